using System.Diagnostics;
using System.Numerics;

namespace Polyblk.Blkio;

/// <summary>Latencies in buckets whose width is 1/32 of their value: percentiles are right within 3 %.</summary>
internal sealed class LatencyHistogram
{
    private const int SubBuckets = 32;
    private const int SubBits = 5;

    private readonly long[] _counts = new long[64 * SubBuckets];
    private double _sum;

    public long Count { get; private set; }

    public double MeanNs => Count == 0 ? 0 : _sum / Count * NsPerTick;

    private static double NsPerTick => 1e9 / Stopwatch.Frequency;

    /// <summary>Records a latency in stopwatch ticks.</summary>
    public void Record(long ticks)
    {
        Count++;
        _sum += ticks;
        _counts[IndexOf(ticks)]++;
    }

    /// <summary>Adds another histogram to this one.</summary>
    public void Add(LatencyHistogram other)
    {
        Count += other.Count;
        _sum += other._sum;
        for (int i = 0; i < _counts.Length; i++)
        {
            _counts[i] += other._counts[i];
        }
    }

    /// <summary>The latency below which that many percent lie, in nanoseconds.</summary>
    public double PercentileNs(double percent)
    {
        long wanted = (long)Math.Ceiling(Count * percent / 100);
        long seen = 0;
        for (int i = 0; i < _counts.Length; i++)
        {
            seen += _counts[i];
            if (seen >= wanted && seen != 0)
            {
                return ValueOf(i) * NsPerTick;
            }
        }

        return 0;
    }

    private static int IndexOf(long ticks)
    {
        if (ticks < SubBuckets)
        {
            return (int)Math.Max(0, ticks);
        }

        int shift = BitOperations.Log2((ulong)ticks) - SubBits;
        return ((shift + 1) * SubBuckets) + (int)((ticks >> shift) - SubBuckets);
    }

    private static double ValueOf(int index) =>
        index < SubBuckets ? index : ((double)(index % SubBuckets) + SubBuckets + 0.5) * Math.Pow(2, (index / SubBuckets) - 1);
}
