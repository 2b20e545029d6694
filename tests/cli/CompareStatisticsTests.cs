using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;

namespace Polyblk.Cli.Tests;

public class CompareStatisticsTests
{
    [Fact]
    public void PercentilesAreWithinOnePercentOfTheSortedValues()
    {
        const int seed = 20;
        var random = new Random(seed);
        var histogram = new LatencyHistogram();
        long[] values = [.. Enumerable.Range(0, 50_000).Select(_ => (long)Math.Exp(random.NextDouble() * 25))];
        Array.ForEach(values, histogram.Add);
        Array.Sort(values);
        foreach (double fraction in (double[])[0, 0.25, 0.5, 0.9, 0.99, 0.999, 1])
        {
            long exact = values[(int)Math.Clamp(Math.Ceiling(fraction * values.Length) - 1, 0, values.Length - 1)];
            Assert.True(
                Math.Abs(histogram.Percentile(fraction) - exact) <= Math.Max(1, exact * 0.01),
                $"seed {seed}: p{fraction} is {histogram.Percentile(fraction)}, not {exact}");
        }

        Assert.Equal(values.Average(), histogram.MeanNs, 3);
        Assert.Equal(values[0], histogram.MinNs);
        Assert.Equal(values[^1], histogram.MaxNs);
    }

    [Fact]
    public void MergedHistogramsCountLikeOne()
    {
        var a = new LatencyHistogram();
        var b = new LatencyHistogram();
        var all = new LatencyHistogram();
        for (int i = 1; i <= 1000; i++)
        {
            (i % 3 == 0 ? a : b).Add(i * 1000);
            all.Add(i * 1000);
        }

        a.Merge(b);
        Assert.Equal((all.Count, all.MinNs, all.MaxNs, all.Percentile(0.99)), (a.Count, a.MinNs, a.MaxNs, a.Percentile(0.99)));
        Assert.Equal(all.MeanNs, a.MeanNs);
        a.Add(long.MaxValue);
        Assert.Equal(long.MaxValue, a.MaxNs);
    }

    [Fact]
    public void BusyTicksLeaveOutIdleAndWaitingAndStealIsReadByItself() =>
        Assert.Equal(new NoiseMeter.Ticks(1 + 2 + 3 + 6 + 7 + 8, 8), NoiseMeter.Ticks.Parse("cpu  1 2 3 4 5 6 7 8 9 10"));

    /// <summary>On processors that others have to themselves nothing counts.</summary>
    [Fact]
    public void BusyTicksAreThoseOfTheProcessorsThatMayBeUsed() => Assert.Equal(
        new NoiseMeter.Ticks(100 + 300, 1 + 4),
        NoiseMeter.Ticks.Of(["cpu  999 0 0 0 0 0 0 99", "cpu0 99 0 0 7 7 0 0 1", "cpu1 99 0 0 7 7 0 0 2", "cpu10 296 0 0 7 7 0 0 4", "intr 5"], [0, 10]));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void OffsetsAreAlignedInRangeAndCoverTheSpan(bool random)
    {
        var seen = new HashSet<long>();
        var offsets = new OffsetStream(7, 64 * 4096, 4096, random);
        for (int i = 0; i < 2000; i++)
        {
            long offset = offsets.Next();
            Assert.InRange(offset, 0, 63 * 4096);
            Assert.Equal(0, offset % 4096);
            seen.Add(offset);
        }

        Assert.Equal(64, seen.Count);
    }

    [Fact]
    public void TheVerifierFindsTheFirstWrongByte()
    {
        byte[] block = new byte[4096];
        byte[] expected = new byte[4096];
        DataVerifier.Fill(block, 8192, 3);
        Assert.Equal(-1, DataVerifier.FirstDifference(block, 8192, 3, expected));
        Assert.NotEqual(-1, DataVerifier.FirstDifference(block, 4096, 3, expected));
        Assert.NotEqual(-1, DataVerifier.FirstDifference(block, 8192, 4, expected));
        block[1234] ^= 1;
        Assert.Equal(1234, DataVerifier.FirstDifference(block, 8192, 3, expected));
    }

    [Fact]
    public void WhatFioTellsIsRead()
    {
        const string output = """
            fio: a message before the document
            {"fio version":"fio-3.36","jobs":[{"error":0,"usr_cpu":60.0,"sys_cpu":20.0,
              "read":{"io_bytes":4096000,"total_ios":1000,"runtime":500,
                "clat_ns":{"mean":1500.5,"percentile":{"50.000000":1400,"99.000000":3000,"99.900000":9000}}},
              "write":{"io_bytes":0,"total_ios":0,"runtime":0,"clat_ns":{"mean":0.0}}}]}
            """;
        LoadResult result = FioOutput.Parse(output, new Workload("r", false, true, 4096, 1));
        Assert.Equal((1000, 4096000, 0.5, 0), (result.Requests, result.Bytes, result.Seconds, result.Errors));
        Assert.Equal((1500.5, 1400, 3000, 9000), (result.MeanNs, result.P50Ns, result.P99Ns, result.P999Ns));
        Assert.Equal(400_000_000, result.LoadCpuNs);
        Assert.Equal(0, FioOutput.Parse(output, new Workload("w", true, true, 4096, 1)).Requests);
    }
}
