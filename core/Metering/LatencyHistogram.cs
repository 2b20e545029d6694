using System.Runtime.CompilerServices;

namespace Polyblk.Core.Metering;

/// <summary>
/// Counts times in the buckets of <see cref="LatencyScale"/>. One thread adds, without a lock and without allocating; any thread
/// reads, and may see the last additions in part.
/// </summary>
public sealed class LatencyHistogram
{
    private readonly long[] _counts = new long[LatencyScale.Buckets];
    private long _sumNs;

    /// <summary>Counts so many requests that took a time, in nanoseconds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(long ns, int count = 1)
    {
        _counts[LatencyScale.IndexOf(ns)] += count;
        _sumNs += Math.Max(ns, 0) * count;
    }

    /// <summary>What was counted so far. Any thread.</summary>
    public LatencyCounts Read()
    {
        int used = LatencyScale.Buckets;
        while (used > 0 && Volatile.Read(ref _counts[used - 1]) == 0)
        {
            used--;
        }

        if (used == 0)
        {
            return LatencyCounts.Empty;
        }

        long[] counts = new long[used];
        for (int i = 0; i < used; i++)
        {
            counts[i] = Volatile.Read(ref _counts[i]);
        }

        return new LatencyCounts(counts, Volatile.Read(ref _sumNs));
    }
}
