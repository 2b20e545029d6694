using System.Globalization;

namespace Polyblk.Cli.Output;

/// <summary>Measured numbers in tables.</summary>
internal static class Figure
{
    /// <summary>A number of three digits, more where it is above a thousand; - for none.</summary>
    public static string Of(double? number) => number switch
    {
        null => "-",
        0 => "0",
        < 10 => number.Value.ToString("0.00", CultureInfo.InvariantCulture),
        < 100 => number.Value.ToString("0.0", CultureInfo.InvariantCulture),
        _ => number.Value.ToString("0", CultureInfo.InvariantCulture),
    };
}
