using Polyblk.Compare.Load;
using Polyblk.Compare.Results;
using Polyblk.Compare.Workloads;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>From the runner's records to the recorded form.</summary>
public sealed class RunnerMappingTests
{
    private static readonly Dictionary<string, MethodFacts> Known = new()
    {
        ["bare drive"] = Method("bare@host") with { Role = MethodRole.Bare },
        ["good"] = Method("good@host", Consumer.Vm),
        ["liar"] = Method("liar@host"),
        ["missing"] = Method("missing@host"),
    };

    [Fact]
    public void Figures_get_their_units_and_what_was_not_read_is_absent()
    {
        Comparison comparison = Map();
        MeasuredRun good = comparison.Runs.First(r => r.Method == "good@host");
        MeasuredRun bare = comparison.Runs.First(r => r.Method == "bare@host");
        Assert.Equal((2000, 8_192_000, 2), (good.Iops, good.BytesPerSecond, good.Seconds)); // 4000 requests of 4 KiB in 2 s
        Assert.Equal((5, 2.5, 0.25), (good.TargetCpuUsPerRequest!.Value, good.LoadCpuUsPerRequest!.Value, good.ContextSwitchesPerRequest!.Value));
        Assert.Equal((100, 90, 300), (good.Latency.Mean, good.Latency.P50, good.Latency.P99));
        Assert.Null(bare.TargetCpuUsPerRequest);
        Assert.Null(bare.ContextSwitchesPerRequest);
        Assert.Equal(40, comparison.Environment.Noise.OtherLoadPercent!.Value, 9);
        Assert.Equal((30.0, 10.0), (Math.Round(good.OtherLoadPercent!.Value, 9), good.StealPercent));
        Assert.Equal(50, bare.OtherLoadPercent!.Value, 9);
        Assert.Equal(77ul, comparison.Settings.Seed);
        Assert.Equal("bare@host", comparison.Baseline);
    }

    [Fact]
    public void What_happened_to_a_method_replaces_what_was_known()
    {
        Comparison comparison = Map();
        ComparisonCheck.Check(comparison);
        MethodFacts good = comparison.Method("good@host");
        Assert.Equal((true, Verification.Passed, "fio"), (good.Available, good.Verification, good.Load));
        Assert.Equal(["serve"], good.Commands);
        MethodFacts liar = comparison.Method("liar@host");
        Assert.Equal((true, Verification.Failed, "the data was not kept: block 3"), (liar.Available, liar.Verification, liar.VerificationDetail));
        MethodFacts missing = comparison.Method("missing@host");
        Assert.Equal((false, Verification.NotRun, "no module"), (missing.Available, missing.Verification, missing.Reason));
        Assert.Equal(["modprobe it"], missing.Remedies);
    }

    /// <summary>
    /// A run in which nothing was answered counts in requests per second and not in latency. A percentile that one run lacks the
    /// row does not have: what is left would be the better runs.
    /// </summary>
    [Fact]
    public void Runs_without_answers_or_percentiles_leave_out_what_they_lack()
    {
        ComparisonResults results = Results();
        RunRecord good = results.Runs[1];
        RunRecord silent = good with { Round = 1, Load = good.Load with { Requests = 0, Bytes = 0, MeanNs = 0 } };
        RunRecord untold = good with { Round = 2, Load = good.Load with { P99Ns = 0, P999Ns = 0 } };
        ComparedRow RowOf(params RunRecord[] runs) =>
            ComparedRow.From((results with { Runs = [results.Runs[0], .. runs] }).ToComparison(Known, Environment(), Volume(), null)).Single(r => r.Method.Id == "good@host");
        ComparedRow row = RowOf(good, silent, untold);
        Assert.Equal((3, 2000, 0, 2000), (row.Iops.Count, row.Iops.Median, row.Iops.Minimum, row.Iops.Maximum));
        Assert.Equal((2, 100), (row.MeanNs!.Value.Count, row.MeanNs.Value.Median));
        Assert.Null(row.P99Ns);
        Assert.Null(RowOf(good, untold).P99Ns);
        Assert.Equal((2, 300), (RowOf(good, good with { Round = 1 }).P99Ns!.Value.Count, RowOf(good).P99Ns!.Value.Median));
    }

    [Theory]
    [InlineData(19, "")]
    [InlineData(20, "p50")]
    [InlineData(999, "p50 p90")]
    [InlineData(1000, "p50 p90 p99")]
    [InlineData(9_999, "p50 p90 p99")]
    [InlineData(10_000, "p50 p90 p99 p99.9")]
    [InlineData(99_999, "p50 p90 p99 p99.9")]
    [InlineData(100_000, "p50 p90 p99 p99.9 p99.99")]
    public void A_percentile_is_recorded_from_ten_requests_beyond_it_on(long requests, string recorded)
    {
        ComparisonResults results = Results();
        RunRecord run = results.Runs[1] with { Load = results.Runs[1].Load with { Requests = requests, P90Ns = 200, P9999Ns = 900 } };
        ComparedRow row = Assert.Single(ComparedRow.From((results with { Runs = [run] }).ToComparison(Known, Environment(), Volume(), null)));
        Assert.Equal(recorded, string.Join(' ', row.Percentiles().Select(p => p.Name)));
    }

    [Fact]
    public void The_drift_is_that_of_the_baseline_over_the_rounds()
    {
        // Two workloads; geometric means of the rounds: 100, 100, 140. The third is 40 % from the median.
        MeasuredRun[] runs = [.. Runs("b", "w1", 50, 100, 70), .. Runs("b", "w2", 200, 100, 280), .. Runs("other", "w1", 1, 9, 99)];
        Assert.Equal(40, RunnerMapping.Drift(runs, "b")!.Value, 9);
        Assert.Null(RunnerMapping.Drift([.. Runs("b", "w1", 50)], "b"));
        Assert.Null(RunnerMapping.Drift([], "b"));
    }

    [Fact]
    public void A_method_that_nobody_knows_is_an_error() =>
        Assert.Throws<ComparisonFormatException>(() => Results().ToComparison(new Dictionary<string, MethodFacts>(), Environment(), Volume(), null));

    private static Comparison Map() => Results().ToComparison(Known, Environment(), Volume(), "polyblk compare");

    private static EnvironmentFacts Environment() => Of([Method("x")], []).Environment;

    private static VolumeFacts Volume() => Of([Method("x")], []).Volume;

    private static ComparisonResults Results() => new()
    {
        StartedUtc = DateTimeOffset.UtcNow.AddSeconds(-10),
        Host = new HostFacts("cpu", 2, true, "6.1", "/tmp", "there was room"),
        Settings = new RunSettings(1, 2, 0.1, [0], [1], 1 << 20, 3) { Seed = 77 },
        Methods =
        [
            new MethodRecord { Name = "bare drive", Description = "d", Ran = true, Verified = true, Load = "built-in" },
            new MethodRecord { Name = "good", Description = "d", Ran = true, Verified = true, Load = "fio", Commands = ["serve"] },
            new MethodRecord { Name = "liar", Description = "d", Ran = false, Load = "fio", Reason = "the data was not kept: block 3" },
            new MethodRecord { Name = "missing", Description = "d", Ran = false, Reason = "no module", Remedies = ["modprobe it"] },
        ],
        Workloads = [new Workload("w", false, true, 4096, 1)],
        Runs = [Run("bare drive", 0) with { ForeignCpuShare = 0.5 }, Run("good", 20_000_000) with { StealShare = 0.1 }],
        Baseline = "bare drive",
        Notes = [],
    };

    private static RunRecord Run(string method, long targetCpuNs) => new(
        method, "w", 0,
        new LoadResult { Requests = 4000, Bytes = 4000 * 4096, Seconds = 2, Errors = 0, MeanNs = 100, P50Ns = 90, P99Ns = 300, P999Ns = 700, LoadCpuNs = 10_000_000 },
        targetCpuNs, targetCpuNs / 20_000) { ForeignCpuShare = 0.4 };
}
