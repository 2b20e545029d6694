// A histogram of latencies with a bounded relative error and no allocation while counting.
//
// Values are nanoseconds. Below 2^SubBits every value has a bucket of its own; above, each power of two is divided into 2^SubBits
// equal buckets, so that a bucket is never wider than 1/2^SubBits (0.8 %) of its values. Percentiles name the middle of their
// bucket.

using System.Numerics;

namespace Polyblk.Compare.Measurement;

/// <summary>Counts latencies. One thread writes; merge copies of several threads.</summary>
public sealed class LatencyHistogram
{
    private const int SubBits = 7;
    private const int SubCount = 1 << SubBits;
    private const int MaxBits = 40;

    private readonly long[] _buckets = new long[((MaxBits - SubBits) + 1) * SubCount];
    private long _sumNs;

    /// <summary>Values counted.</summary>
    public long Count { get; private set; }

    /// <summary>Smallest and largest value in nanoseconds; 0 when nothing was counted.</summary>
    public long MinNs { get; private set; }

    /// <inheritdoc cref="MinNs"/>
    public long MaxNs { get; private set; }

    /// <summary>The mean in nanoseconds; 0 when nothing was counted.</summary>
    public double MeanNs => Count == 0 ? 0 : (double)_sumNs / Count;

    /// <summary>
    /// Counts a value in nanoseconds; negative ones count as 0, those above 2^40 (18 minutes) as the largest bucket.
    /// </summary>
    public void Add(long ns)
    {
        ns = Math.Max(0, ns);
        _buckets[IndexOf(ns)]++;
        _sumNs += ns;
        MinNs = Count == 0 ? ns : Math.Min(MinNs, ns);
        MaxNs = Math.Max(MaxNs, ns);
        Count++;
    }

    /// <summary>Adds what another histogram counted.</summary>
    public void Merge(LatencyHistogram other)
    {
        ArgumentNullException.ThrowIfNull(other);
        for (int i = 0; i < _buckets.Length; i++)
        {
            _buckets[i] += other._buckets[i];
        }

        MinNs = Count == 0 ? other.MinNs : other.Count == 0 ? MinNs : Math.Min(MinNs, other.MinNs);
        MaxNs = Math.Max(MaxNs, other.MaxNs);
        _sumNs += other._sumNs;
        Count += other.Count;
    }

    /// <summary>The value in nanoseconds below or at which <paramref name="fraction"/> (0 to 1) of all values lie.</summary>
    public long Percentile(double fraction)
    {
        if (Count == 0)
        {
            return 0;
        }

        long wanted = Math.Clamp((long)Math.Ceiling(fraction * Count), 1, Count);
        long seen = 0;
        for (int i = 0; i < _buckets.Length; i++)
        {
            seen += _buckets[i];
            if (seen >= wanted)
            {
                return Math.Clamp(MiddleOf(i), MinNs, MaxNs);
            }
        }

        return MaxNs;
    }

    private static int IndexOf(long ns)
    {
        if (ns < SubCount)
        {
            return (int)ns;
        }

        int log = Math.Min(BitOperations.Log2((ulong)ns), MaxBits - 1);
        int sub = log == MaxBits - 1 && ns >= 1L << MaxBits ? SubCount - 1 : (int)((ns >> (log - SubBits)) & (SubCount - 1));
        return ((log - SubBits + 1) * SubCount) + sub;
    }

    private static long MiddleOf(int index)
    {
        if (index < SubCount)
        {
            return index;
        }

        int log = (index / SubCount) + SubBits - 1;
        long width = 1L << (log - SubBits);
        return (1L << log) + ((index % SubCount) * width) + (width / 2);
    }
}
