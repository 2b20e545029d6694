// Sizes as people write them: 512, 4096B, 64KiB, 1.5G, 10TiB. One letter means the binary unit, as it does for dd, lvm and QEMU.

using System.Globalization;

namespace Polyblk.Core.Block;

/// <summary>Parses and formats sizes in bytes.</summary>
public static class ByteSize
{
    /// <summary>How many of <see cref="Units"/> are written: KiB to EiB.</summary>
    private const int WrittenUnits = 6;

    // Those that are written first, from the smallest; the other spellings after them.
    private static readonly (string Name, int Shift)[] Units =
    [
        ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("PiB", 50), ("EiB", 60),
        ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50), ("E", 60), ("B", 0),
    ];

    /// <summary>
    /// Parses a size: a number, possibly with a fraction, and a unit (none, B, K, KiB, M, MiB, G, GiB, T, TiB, P, PiB, E, EiB).
    /// </summary>
    /// <returns>The size in bytes, 0 to <see cref="long.MaxValue"/>.</returns>
    /// <exception cref="FormatException">The text is no size; the message shows how one is written.</exception>
    public static long Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return TryParse(text, out long bytes)
            ? bytes
            : throw new FormatException($"'{text}' is no size: write it like 4096, 64KiB, 512M, 1.5GiB or 2T (units are powers of 1024).");
    }

    /// <summary>
    /// As <see cref="Parse"/>; false when the text is no size. A fraction must come out at a whole number of bytes.
    /// </summary>
    public static bool TryParse(string text, out long bytes)
    {
        ArgumentNullException.ThrowIfNull(text);
        bytes = 0;
        ReadOnlySpan<char> number = text.AsSpan().Trim();
        int shift = 0;
        foreach ((string name, int unitShift) in Units)
        {
            if (number.EndsWith(name, StringComparison.OrdinalIgnoreCase))
            {
                number = number[..^name.Length].TrimEnd();
                shift = unitShift;
                break;
            }
        }

        const NumberStyles style = NumberStyles.AllowDecimalPoint;
        if (number.IsEmpty || !char.IsAsciiDigit(number[0]) || !decimal.TryParse(number, style, CultureInfo.InvariantCulture, out decimal value)
            || value > long.MaxValue)
        {
            return false;
        }

        // value is below 2^63 and the factor at most 2^60, beyond a decimal's 2^96 together: hence the check before they are
        // multiplied.
        decimal factor = 1L << shift;
        if (value > long.MaxValue / factor)
        {
            return false;
        }

        value *= factor;
        if (value != decimal.Truncate(value))
        {
            return false;
        }

        bytes = (long)value;
        return true;
    }

    /// <summary>Writes a size exactly, in the largest unit that divides it: 1GiB, 1536MiB, 513.</summary>
    public static string Format(long bytes)
    {
        if (bytes > 0)
        {
            for (int i = WrittenUnits - 1; i >= 0; i--)
            {
                (string name, int shift) = Units[i];
                if ((bytes & ((1L << shift) - 1)) == 0)
                {
                    return $"{bytes >> shift}{name}";
                }
            }
        }

        return bytes.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>Writes a size for reading, rounded to one digit after the point: 931.5GiB, 4KiB, 12B.</summary>
    public static string FormatRounded(long bytes)
    {
        for (int i = WrittenUnits - 1; i >= 0; i--)
        {
            (string name, int shift) = Units[i];

            // What would be rounded up to 1024 of the smaller unit is 1 of this one.
            double value = bytes / (double)(1L << shift);
            if (value >= 1 || (i > 0 && Math.Round(value * 1024, 1) >= 1024))
            {
                return value.ToString("0.#", CultureInfo.InvariantCulture) + name;
            }
        }

        return $"{bytes}B";
    }
}
