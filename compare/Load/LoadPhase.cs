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

    /// <summary>How often it looks for answers that did not come in time.</summary>
    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(20);

    private int _phase = WarmingUp;

    /// <summary>What is in flight when a run is broken off is waited for no longer: whoever broke it off waits as well.</summary>
    private static readonly TimeSpan s_brokenOff = TimeSpan.FromSeconds(2);

    private CancellationToken _cancellation;

    /// <summary>How long a phase may become until enough is answered in it.</summary>
    public TimeSpan Patience { get; init; } = DefaultPatience;

    /// <summary>Whose time it is.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>A target that answers nothing for so long stands still.</summary>
    public static TimeSpan DefaultPatience { get; } = TimeSpan.FromSeconds(20);

    /// <summary>How long what is in flight at the end is waited for.</summary>
    public TimeSpan DrainPatience => AtEnd(Patience, _cancellation);

    public bool IsCounting => Volatile.Read(ref _phase) == Counting;

    public bool IsEnding => Volatile.Read(ref _phase) == Ending;

    /// <summary>
    /// Leads the threads through the phases and returns the length of the counted time. Neither ends before as many requests were
    /// answered in it as are in flight at once: until then a target may only be beginning, and a short counted time in which the
    /// host let it rest would say "0 a second" of a target that answers.
    /// </summary>
    /// <param name="settings">How long the phases are otherwise.</param>
    /// <param name="inFlight">Requests in flight at once.</param>
    /// <param name="answered">Requests that were answered until now.</param>
    /// <param name="onMeasuring">Told when the counted time begins (true) and ends (false).</param>
    /// <param name="anyFailed">Ends when no thread runs any more.</param>
    /// <param name="cancellation">Breaks the run off.</param>
    /// <exception cref="TimeoutException">Nothing was answered in a phase within <see cref="Patience"/>.</exception>
    public async Task<double> LeadAsync(
        LoadSettings settings, int inFlight, Func<long> answered, Action<bool> onMeasuring, Task anyFailed, CancellationToken cancellation)
    {
        _cancellation = cancellation;
        try
        {
            await LastAsync(settings.WarmUp).ConfigureAwait(false);
            onMeasuring(true);
            Volatile.Write(ref _phase, Counting);
            try
            {
                return (await LastAsync(settings.Duration).ConfigureAwait(false)).TotalSeconds;
            }
            finally
            {
                onMeasuring(false);
            }
        }
        finally
        {
            Volatile.Write(ref _phase, Ending);
        }

        // Returns at the end of a phase how long it was. A run that was broken off is none: it would count as much as a whole
        // one.
        async Task<TimeSpan> LastAsync(TimeSpan least)
        {
            long began = Clock.GetTimestamp();
            long before = answered();
            for (TimeSpan wait = least; ; wait = s_step)
            {
                await Task.WhenAny(Task.Delay(wait, Clock, cancellation), anyFailed).ConfigureAwait(false);
                cancellation.ThrowIfCancellationRequested();
                long count = answered() - before;
                TimeSpan elapsed = Clock.GetElapsedTime(began);
                if (count >= inFlight || anyFailed.IsCompleted || (count > 0 && elapsed >= Patience))
                {
                    return elapsed;
                }

                if (elapsed >= Patience)
                {
                    throw new TimeoutException(
                        string.Create(CultureInfo.InvariantCulture, $"Nothing was answered in {elapsed.TotalSeconds:0.#} s."));
                }
            }
        }
    }

    /// <summary>How long a target is waited for at the end of a run: not so long when it is broken off.</summary>
    public static TimeSpan AtEnd(TimeSpan patience, CancellationToken cancellation) =>
        cancellation.IsCancellationRequested && patience > s_brokenOff ? s_brokenOff : patience;

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
