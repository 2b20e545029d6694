using System.Globalization;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>Figures as people read them: three digits and a unit.</summary>
internal static class Figures
{
    public const string None = "\u2013";

    /// <summary>Three significant digits, without an exponent.</summary>
    public static string Number(double value) => Math.Abs(value) switch
    {
        0 => "0",
        >= 100 => value.ToString("#,0", CultureInfo.InvariantCulture),
        >= 10 => value.ToString("0.0", CultureInfo.InvariantCulture),
        >= 0.095 => value.ToString("0.00", CultureInfo.InvariantCulture),
        _ => value.ToString("0.####", CultureInfo.InvariantCulture),
    };

    public static string Number(double? value) => value is double v ? Number(v) : None;

    public static string Count(long count) => count.ToString("#,0", CultureInfo.InvariantCulture);

    /// <summary>What divides a result for display, and its unit.</summary>
    public static (double Divisor, string Unit) Scale(bool isBandwidth, double largest) => isBandwidth
        ? largest >= 10e9 ? (1e9, "GB/s") : (1e6, "MB/s")
        : largest >= 10e6 ? (1e6, "million IOPS") : (1e3, "kIOPS");

    /// <summary>With its unit: <c>312 kIOPS</c>.</summary>
    public static string Result(bool isBandwidth, double value)
    {
        (double divisor, string unit) = Scale(isBandwidth, value);
        return $"{Number(value / divisor)} {unit}";
    }

    public static string Percent(double? fraction) => fraction is double f ? (100 * f).ToString("0", CultureInfo.InvariantCulture) + " %" : None;

    public static string Ratio(double value) => value.ToString(value >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);

    /// <summary>The range of a ratio over the rounds; empty when they agree.</summary>
    public static string RatioRange(Sample ratio) =>
        ratio.Count < 2 ? "one round" : ratio.Minimum == ratio.Maximum ? string.Empty : $"{Ratio(ratio.Minimum)}\u2013{Ratio(ratio.Maximum)}";

    /// <summary>Both in one: <c>0.62 (0.58–0.66)</c>.</summary>
    public static string RatioAndRange(Sample ratio) => RatioRange(ratio) is { Length: > 0 } range ? $"{Ratio(ratio.Median)} ({range})" : Ratio(ratio.Median);

    /// <summary>An access pattern in words.</summary>
    public static string Pattern(AccessPattern pattern) => pattern switch
    {
        AccessPattern.RandomRead => "random read",
        AccessPattern.RandomWrite => "random write",
        AccessPattern.SequentialRead => "sequential read",
        AccessPattern.SequentialWrite => "sequential write",
        _ => "custom",
    };

    public static string Bytes(long? bytes) => bytes switch
    {
        null => None,
        >= 1L << 40 => InUnit(bytes.Value, 40, "TiB"),
        >= 1L << 30 => InUnit(bytes.Value, 30, "GiB"),
        >= 1L << 20 => InUnit(bytes.Value, 20, "MiB"),
        >= 1L << 10 => InUnit(bytes.Value, 10, "KiB"),
        _ => $"{bytes} bytes",
    };

    public static string Duration(double seconds) => seconds switch
    {
        >= 3600 => string.Create(CultureInfo.InvariantCulture, $"{(int)(seconds / 3600)} h {(int)(seconds % 3600 / 60)} min"),
        >= 60 => string.Create(CultureInfo.InvariantCulture, $"{(int)(seconds / 60)} min {(int)(seconds % 60)} s"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{seconds:0.##} s"),
    };

    private static string InUnit(long bytes, int shift, string unit) => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << shift):0.##} {unit}");
}
