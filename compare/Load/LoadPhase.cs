using System.Diagnostics;
using System.Globalization;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load;

/// <summary>The phases of a run that its threads share: warm-up, counting, end.</summary>
internal sealed class LoadPhase
{
    private const int WarmingUp = 0;
    private const int Counting = 1;
    private const int Ending = 2;

    /// <summary>How often it looks for a first answer that did not come in time.</summary>
    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(20);

    private int _phase = WarmingUp;

    /// <summary>How long the counted time may become until something is answered in it.</summary>
    internal TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(20);

    public bool IsCounting => Volatile.Read(ref _phase) == Counting;

    public bool IsEnding => Volatile.Read(ref _phase) == Ending;

    /// <summary>
    /// Leads the threads through the phases and returns the length of the counted time. That goes on until something was answered in it: a short one may
    /// pass while the host lets this program or the target rest, and would say "0 a second" of a target that answers.
    /// </summary>
    /// <param name="settings">How long the phases are.</param>
    /// <param name="parts">What the threads count.</param>
    /// <param name="onMeasuring">Told when the counted time begins (true) and ends (false).</param>
    /// <param name="anyFailed">Ends when no thread runs any more.</param>
    /// <param name="cancellation">Breaks the run off.</param>
    /// <exception cref="TimeoutException">Nothing was answered in <see cref="Patience"/>.</exception>
    public async Task<double> LeadAsync(
        LoadSettings settings, IEnumerable<LatencyHistogram> parts, Action<bool> onMeasuring, Task anyFailed, CancellationToken cancellation)
    {
        try
        {
            await Task.WhenAny(Task.Delay(settings.WarmUp, cancellation), anyFailed).ConfigureAwait(false);
            cancellation.ThrowIfCancellationRequested();
            onMeasuring(true);
            long start = Stopwatch.GetTimestamp();
            Volatile.Write(ref _phase, Counting);
            TimeSpan wait = settings.Duration;
            bool isAnswered;
            TimeSpan counted;
            do
            {
                await Task.WhenAny(Task.Delay(wait, cancellation), anyFailed).ConfigureAwait(false);
                isAnswered = parts.Any(p => p.Count > 0);
                counted = Stopwatch.GetElapsedTime(start);
                wait = s_step;
            }
            while (!isAnswered && counted < Patience && !anyFailed.IsCompleted && !cancellation.IsCancellationRequested);
            onMeasuring(false);

            // A run that was broken off is none: it would count as much as a whole one.
            cancellation.ThrowIfCancellationRequested();
            if (!isAnswered && !anyFailed.IsCompleted)
            {
                throw new TimeoutException(string.Create(CultureInfo.InvariantCulture, $"Nothing was answered in {counted.TotalSeconds:0.#} s."));
            }

            return counted.TotalSeconds;
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
