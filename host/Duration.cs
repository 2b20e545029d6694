using System.Globalization;

namespace Polyblk.Host;

/// <summary>Times of hours and days, as people write them: 30d, 12h, off.</summary>
public static class Duration
{
    private const string Off = "off";
    private const int MostDays = 36_600;

    /// <summary>Reads one: whole days or hours, up to a hundred years; off is zero.</summary>
    public static bool TryParse(string text, out TimeSpan time)
    {
        time = TimeSpan.Zero;
        if (text == Off)
        {
            return true;
        }

        if (text.Length < 2 || text[^1] is not ('d' or 'h')
            || !int.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.None, CultureInfo.InvariantCulture, out int count)
            || count == 0 || count > (text[^1] == 'd' ? MostDays : MostDays * 24))
        {
            return false;
        }

        time = text[^1] == 'd' ? TimeSpan.FromDays(count) : TimeSpan.FromHours(count);
        return true;
    }

    /// <summary>Writes one so that it can be read again.</summary>
    public static string Format(TimeSpan time) => time == TimeSpan.Zero ? Off
        : time.Ticks % TimeSpan.TicksPerDay == 0 ? string.Create(CultureInfo.InvariantCulture, $"{time.Ticks / TimeSpan.TicksPerDay}d")
        : string.Create(CultureInfo.InvariantCulture, $"{(long)Math.Ceiling(time.TotalHours)}h");
}
