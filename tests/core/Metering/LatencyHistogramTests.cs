// Histograms against a sorted list of the same times: bounds, percentiles, sums; and that counting allocates nothing.

using Polyblk.Core.Metering;
using Polyblk.Fakes;

namespace Polyblk.Core.Tests.Metering;

public sealed class LatencyHistogramTests
{
    private const long NsInUs = 1000;

    /// <summary>Each bucket begins behind the end of the one before, and has its upper bound in it.</summary>
    [Fact]
    public void BucketsFollowEachOtherWithoutAGap()
    {
        Assert.Equal(0, LatencyScale.IndexOf(long.MinValue));
        Assert.Equal(0, LatencyScale.IndexOf(0));
        for (int i = 0; i < LatencyScale.Buckets; i++)
        {
            Assert.Equal(i, LatencyScale.IndexOf(LatencyScale.UpperNs(i)));
            Assert.Equal(Math.Min(i + 1, LatencyScale.Buckets - 1), LatencyScale.IndexOf(LatencyScale.UpperNs(i) + 1));
        }

        Assert.Equal(LatencyScale.Buckets - 1, LatencyScale.IndexOf(long.MaxValue));
    }

    /// <summary>What is in a bucket is at most a sixteenth shorter than its bound, or 62.5 ns where that is more.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void ABucketIsNarrow(int seed)
    {
        foreach (long ns in Times(seed, 20_000))
        {
            long upper = LatencyScale.UpperNs(LatencyScale.IndexOf(ns));
            Assert.InRange(ns, upper - Math.Max(63, upper / 16), upper);
        }
    }

    [Fact]
    public void PowersOfTwoOfMicrosecondsAreExactBounds()
    {
        for (int power = 0; power < LatencyScale.Powers; power++)
        {
            long bound = NsInUs << power;
            Assert.Equal(bound, LatencyScale.UpperNs(LatencyScale.LastUpTo(power)));
            var histogram = new LatencyHistogram();
            histogram.Add(bound - 1);
            histogram.Add(bound);
            histogram.Add(bound + 1);
            LatencyCounts counts = histogram.Read();
            Assert.Equal((2, 3), (counts.CountUpTo(power), counts.Count));
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 7)]
    [InlineData(3, 1000)]
    [InlineData(4, 50_000)]
    public void PercentilesAreThoseOfTheSortedTimes(int seed, int count)
    {
        long[] times = Times(seed, count);
        var histogram = new LatencyHistogram();
        Array.ForEach(times, ns => histogram.Add(ns));
        LatencyCounts counts = histogram.Read();
        Array.Sort(times);
        Assert.Equal((count, times.Sum()), (counts.Count, counts.SumNs));
        Assert.Equal(times.Average(), counts.MeanNs, 0.001 * times.Average());
        foreach (decimal part in (decimal[])[0.0001m, 0.5m, 0.9m, 0.99m, 0.999m, 0.9999m, 1])
        {
            long exact = times[(int)decimal.Ceiling(part * count) - 1];
            Assert.Equal(LatencyScale.UpperNs(LatencyScale.IndexOf(exact)), counts.PercentileNs(part));
        }

        for (int power = 0; power < LatencyScale.Powers; power++)
        {
            Assert.Equal(times.Count(ns => ns <= NsInUs << power), counts.CountUpTo(power));
        }
    }

    [Fact]
    public void SumsAndDifferencesAreThoseOfTheTimes()
    {
        long[] first = Times(5, 3000), second = Times(6, 2000);
        var histogram = new LatencyHistogram();
        var other = new LatencyHistogram();
        Array.ForEach(first, ns => histogram.Add(ns));
        LatencyCounts before = histogram.Read();
        Array.ForEach(second, ns => histogram.Add(ns));
        Array.ForEach(second, ns => other.Add(ns));
        LatencyCounts all = histogram.Read();
        AssertSame(other.Read(), all.Since(before));
        AssertSame(all, before.Plus(other.Read()));
        AssertSame(all, all.Plus(LatencyCounts.Empty));
        AssertSame(all, LatencyCounts.Empty.Plus(all));
        AssertSame(all, LatencyCounts.Of(all.Buckets, all.SumNs));

        // A histogram that began anew, and has less of something than before.
        AssertSame(before, before.Since(all));
        LatencyCounts none = LatencyCounts.Empty;
        Assert.Equal((0, 0, 0.0), (none.Count, none.PercentileNs(0.5m), none.MeanNs));
        Assert.Throws<ArgumentOutOfRangeException>(() => all.PercentileNs(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => all.PercentileNs(1.1m));
    }

    [Fact]
    public void SeveralAtOnceAreAsManyOneByOne()
    {
        var histogram = new LatencyHistogram();
        histogram.Add(5000, 3);
        histogram.Add(-1, 2);
        LatencyCounts counts = histogram.Read();
        Assert.Equal((5, 15_000, 2), (counts.Count, counts.SumNs, counts.CountUpTo(0)));
    }

    [Fact]
    public void CountingAllocatesNothing()
    {
        long[] times = Times(7, 1000);
        var histogram = new LatencyHistogram();
        Assert.Equal(0, SteadyAllocation.Measure(() =>
        {
            foreach (long ns in times)
            {
                histogram.Add(ns);
            }
        }));
    }

    /// <summary>A reader beside the writer sees no more than was counted, and all of it afterwards.</summary>
    [Fact]
    public async Task OneThreadReadsWhileAnotherCounts()
    {
        const int Count = 200_000;
        var histogram = new LatencyHistogram();
        Task writer = Task.Run(() =>
        {
            for (int i = 1; i <= Count; i++)
            {
                histogram.Add(i * 100L);
            }
        });
        long seen = 0;
        while (!writer.IsCompleted)
        {
            long now = histogram.Read().Count;
            Assert.InRange(now, seen, Count);
            seen = now;
        }

        await writer;
        Assert.Equal(Count, histogram.Read().Count);
    }

    private static void AssertSame(LatencyCounts expected, LatencyCounts actual)
    {
        Assert.Equal((expected.Count, expected.SumNs), (actual.Count, actual.SumNs));
        Assert.Equal(expected.Buckets, actual.Buckets);
    }

    /// <summary>Times of all lengths, from some nanoseconds to beyond a minute, evenly in their logarithm.</summary>
    private static long[] Times(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (long)Math.Exp(random.NextDouble() * Math.Log(9e10)))];
    }
}
