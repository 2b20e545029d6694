using Polyblk.Compare.Measurement;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load;

/// <summary>The phases of a run that its threads share: warm-up, counting, end.</summary>
internal sealed class LoadPhase
{
    private const int WarmingUp = 0;
    private const int Counting = 1;
    private const int Ending = 2;

    private int _phase = WarmingUp;

    public bool IsCounting => Volatile.Read(ref _phase) == Counting;

    public bool IsEnding => Volatile.Read(ref _phase) == Ending;

    /// <summary>Leads the threads through the phases and returns the length of the counted time.</summary>
    public async Task<double> LeadAsync(LoadSettings settings, Action<bool> onMeasuring, Task anyFailed, CancellationToken cancellation)
    {
        try
        {
            await Task.WhenAny(Task.Delay(settings.WarmUp, cancellation), anyFailed).ConfigureAwait(false);
            cancellation.ThrowIfCancellationRequested();
            onMeasuring(true);
            long start = System.Diagnostics.Stopwatch.GetTimestamp();
            Volatile.Write(ref _phase, Counting);
            await Task.WhenAny(Task.Delay(settings.Duration, cancellation), anyFailed).ConfigureAwait(false);
            double seconds = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;
            onMeasuring(false);

            // A run that was broken off is none: it would count as much as a whole one.
            cancellation.ThrowIfCancellationRequested();
            return seconds;
        }
        finally
        {
            Volatile.Write(ref _phase, Ending);
        }
    }

    /// <summary>The result of a run in this process.</summary>
    public static LoadResult Result(IEnumerable<LatencyHistogram> parts, Workload workload, double seconds, long errors, long loadCpuNs)
    {
        var all = new LatencyHistogram();
        foreach (LatencyHistogram part in parts)
        {
            all.Merge(part);
        }

        return LoadResult.From(all, workload.BlockBytes, seconds, errors, loadCpuNs);
    }
}
