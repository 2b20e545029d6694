namespace Polyblk.Core.Metering;

/// <summary>What histograms have counted up to a moment.</summary>
public sealed class LatencyCounts
{
    private readonly long[] _counts;

    /// <param name="counts">Requests of each bucket, from the first; buckets that are left out have none.</param>
    /// <param name="sumNs">The sum of their times in nanoseconds.</param>
    public LatencyCounts(long[] counts, long sumNs)
    {
        ArgumentNullException.ThrowIfNull(counts);
        _counts = counts;
        SumNs = sumNs;
        Count = counts.Sum();
    }

    /// <summary>Nothing yet.</summary>
    public static LatencyCounts Empty { get; } = new([], 0);

    /// <summary>What <see cref="Buckets"/> says, and a sum of times in nanoseconds.</summary>
    public static LatencyCounts Of(IEnumerable<(long UpperNs, long Count)> buckets, long sumNs)
    {
        ArgumentNullException.ThrowIfNull(buckets);
        long[] counts = new long[LatencyScale.Buckets];
        foreach ((long upper, long count) in buckets)
        {
            counts[LatencyScale.IndexOf(upper)] += count;
        }

        return new LatencyCounts(counts, sumNs);
    }

    /// <summary>Requests.</summary>
    public long Count { get; }

    /// <summary>The sum of their times in nanoseconds.</summary>
    public long SumNs { get; }

    /// <summary>The mean in nanoseconds; 0 without requests.</summary>
    public double MeanNs => Count == 0 ? 0 : (double)SumNs / Count;

    /// <summary>Buckets that have requests: their upper bounds in nanoseconds, and how many each has.</summary>
    public IEnumerable<(long UpperNs, long Count)> Buckets =>
        _counts.Select((count, i) => (LatencyScale.UpperNs(i), count)).Where(b => b.count != 0);

    /// <summary>Requests that took at most so many microseconds, as a power of two: exact.</summary>
    /// <param name="powerOfTwoUs">0 to <see cref="LatencyScale.Powers"/> - 1.</param>
    public long CountUpTo(int powerOfTwoUs) => _counts.Take(LatencyScale.LastUpTo(powerOfTwoUs) + 1).Sum();

    /// <summary>
    /// The time within which a part of the requests was answered, in nanoseconds: the upper bound of its bucket, so at most a
    /// sixteenth more than it was. 0 without requests.
    /// </summary>
    /// <param name="part">Above 0, to 1: 0.9999 for p99.99. Decimal, so that it is what it says.</param>
    public long PercentileNs(decimal part)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(part);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(part, 1);
        long left = Math.Max(1, (long)decimal.Ceiling(part * Count));
        int index = 0;
        while (index < _counts.Length && left > _counts[index])
        {
            left -= _counts[index++];
        }

        return index == _counts.Length ? 0 : LatencyScale.UpperNs(index);
    }

    /// <summary>Of two histograms together.</summary>
    public LatencyCounts Plus(LatencyCounts other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return other.Count == 0 ? this : Count == 0 ? other : Combine(other, 1);
    }

    /// <summary>What has come since an earlier moment; all of it where the histogram was begun anew meanwhile.</summary>
    public LatencyCounts Since(LatencyCounts earlier)
    {
        ArgumentNullException.ThrowIfNull(earlier);
        LatencyCounts news = Combine(earlier, -1);
        return news.SumNs < 0 || news._counts.Any(c => c < 0) ? this : news;
    }

    private LatencyCounts Combine(LatencyCounts other, int sign)
    {
        long[] counts = new long[Math.Max(_counts.Length, other._counts.Length)];
        _counts.CopyTo(counts, 0);
        for (int i = 0; i < other._counts.Length; i++)
        {
            counts[i] += sign * other._counts[i];
        }

        return new LatencyCounts(counts, SumNs + (sign * other.SumNs));
    }
}
