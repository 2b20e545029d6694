using System.Globalization;

namespace Polyblk.Compare.Measurement;

/// <summary>What others take of the processors while nothing is measured.</summary>
/// <param name="OtherPercent">Other programs, in percent of the time of all processors that may be used.</param>
/// <param name="StealPercent">The hypervisor (steal), in percent of the same.</param>
/// <param name="LoadAverage">Load average over one minute.</param>
public sealed record ForeignLoad(double OtherPercent, double StealPercent, double LoadAverage)
{
    /// <summary>So long that a hundred ticks of each processor are counted.</summary>
    private static readonly TimeSpan s_time = TimeSpan.FromSeconds(1);

    /// <summary>Reads it, which takes a second.</summary>
    public static async Task<ForeignLoad> ReadAsync(CancellationToken cancellation)
    {
        var meter = new NoiseMeter([]);
        await Task.Delay(s_time, cancellation).ConfigureAwait(false);
        (double foreign, double steal) = meter.Shares();
        double average = double.Parse(
            (await File.ReadAllTextAsync("/proc/loadavg", cancellation).ConfigureAwait(false)).Split(' ')[0], CultureInfo.InvariantCulture);
        return new ForeignLoad(100 * Math.Max(0, foreign - steal), 100 * steal, average);
    }
}
