using Polyblk.Compare.Results;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>Everything that is computed from runs, against examples worked out by hand.</summary>
public sealed class DerivedFigureTests
{
    [Theory]
    [InlineData(new[] { 30.0, 10, 20 }, 20, 1.0)] // (30 - 10) / 20
    [InlineData(new[] { 10.0, 20, 30, 60 }, 25, 2.0)] // the mean of 20 and 30; (60 - 10) / 25
    [InlineData(new[] { 5.0, 5 }, 5, 0.0)]
    public void Median_and_spread(double[] values, double median, double spread)
    {
        Sample sample = Sample.Of(values.Select(v => (double?)v))!.Value;
        Assert.Equal(median, sample.Median);
        Assert.Equal(spread, sample.Spread!.Value, 12);
        Assert.Equal(values.Length, sample.Count);
    }

    [Fact]
    public void One_value_has_no_spread_and_no_value_no_sample()
    {
        Assert.Null(Sample.Of([7.0])!.Value.Spread);
        Assert.Null(Sample.Of([null, double.NaN, double.PositiveInfinity]));
        Assert.Equal(1, Sample.Of([null, 3.0])!.Value.Count);
    }

    [Fact]
    public void Ratios_are_taken_within_rounds()
    {
        // The machine halves its speed in the third round. The ratio of the medians would be 120 / 100; within rounds it is 1.5
        // always.
        Comparison comparison = Of([Method("base"), Method("m")], [Workload()], Runs("base", "w", 100, 200, 50), Runs("m", "w", 150, 300, 75));
        ComparedRow row = ComparedRow.From(comparison).Single(r => r.Method.Id == "m");
        Assert.Equal(new Sample(1.5, 1.5, 1.5, 3), row.Ratio);
        Assert.Equal(150, row.Iops.Median);
        Assert.Equal(1.5, row.Iops.Spread!.Value, 12); // (300 - 75) / 150
    }

    [Fact]
    public void A_round_that_the_baseline_lacks_gives_no_ratio()
    {
        Comparison comparison = Of([Method("base"), Method("m")], [Workload()], Runs("base", "w", 100), Runs("m", "w", 150, 400));
        ComparedRow row = ComparedRow.From(comparison).Single(r => r.Method.Id == "m");
        Assert.Equal(new Sample(1.5, 1.5, 1.5, 1), row.Ratio);
        Assert.Equal(2, row.Iops.Count);
    }

    [Fact]
    public void Without_runs_of_the_baseline_there_is_no_ratio()
    {
        Comparison comparison = Of([Method("base"), Method("m")], [Workload()], Runs("m", "w", 150));
        Assert.Null(Assert.Single(ComparedRow.From(comparison)).Ratio);
    }

    [Fact]
    public void Sequential_patterns_are_compared_by_bytes()
    {
        IEnumerable<MeasuredRun> fast = Runs("m", "w", 100).Select(r => r with { BytesPerSecond = 3e6 });
        IEnumerable<MeasuredRun> slow = Runs("base", "w", 100).Select(r => r with { BytesPerSecond = 1e6 });
        Comparison comparison = Of([Method("base"), Method("m")], [Workload("w", AccessPattern.SequentialWrite)], slow, fast);
        Assert.Equal(3, ComparedRow.From(comparison).Single(r => r.Method.Id == "m").Ratio!.Value.Median);
    }

    [Fact]
    public void Figures_that_were_not_taken_stay_absent()
    {
        Comparison comparison = Of([Method("base")], [Workload()], Runs("base", "w", 100, 110));
        ComparedRow row = Assert.Single(ComparedRow.From(comparison));
        Assert.Null(row.P99Ns);
        Assert.Null(row.CpuUs);
        Assert.Empty(row.Percentiles());
    }

    [Fact]
    public void Failed_requests_and_wrong_data_make_a_row_unsound()
    {
        Comparison errors = Of([Method("base")], [Workload()], Runs("base", "w", 100, 100).Select(r => r with { Errors = r.Round }));
        Assert.False(Assert.Single(ComparedRow.From(errors)).IsSound);
        Comparison wrong = Of([Method("base") with { Verification = Verification.Failed }], [Workload()], Runs("base", "w", 100));
        Assert.False(Assert.Single(ComparedRow.From(wrong)).IsSound);
    }

    // One drive reads 100 and writes 50 (of whatever unit).
    [Theory]
    [InlineData(AccessPattern.RandomRead, "raid5", 4, 400)]
    [InlineData(AccessPattern.RandomWrite, "raid0", 4, 200)]
    [InlineData(AccessPattern.RandomWrite, "raid1", 2, 50)]
    [InlineData(AccessPattern.RandomWrite, "raid10", 4, 100)]
    [InlineData(AccessPattern.RandomWrite, "raid5", 6, 100)] // 6 / (2/100 + 2/50)
    [InlineData(AccessPattern.RandomWrite, "raid6", 6, 66.6666666667)] // 6 / (3/100 + 3/50)
    [InlineData(AccessPattern.SequentialRead, "raid6", 6, 600)]
    [InlineData(AccessPattern.SequentialWrite, "raid0", 4, 200)]
    [InlineData(AccessPattern.SequentialWrite, "raid5", 24, 1150)] // 23 x 50
    [InlineData(AccessPattern.SequentialWrite, "raid6", 6, 200)]
    [InlineData(AccessPattern.RandomWrite, "raid7.4", 6, 40)] // 6 / (5/100 + 5/50)
    [InlineData(AccessPattern.SequentialWrite, "raid7.3", 11, 400)]
    [InlineData(AccessPattern.SequentialWrite, "raid10", 4, 100)]
    public void Theoretical_result_of_an_array(AccessPattern pattern, string level, int members, double expected)
    {
        (double value, string formula) = RaidTheory.Theoretical(pattern, level, members, 100, 50);
        Assert.Equal(expected, value, 8);
        Assert.NotEmpty(formula);
    }

    [Fact]
    public void Efficiency_is_in_percent_and_absent_without_a_theory()
    {
        var row = new EfficiencyRow { Pattern = AccessPattern.RandomRead, Workload = "w", Level = "raid5", Members = 4, SingleDrive = 100, Theoretical = 400, Formula = "4 x read", Array = 300 };
        Assert.Equal(75, row.Percent);
        Assert.Null((row with { Theoretical = 0 }).Percent);
        Assert.Throws<ArgumentException>(() => RaidTheory.Theoretical(AccessPattern.RandomRead, "raid4", 4, 1, 1));
        Assert.Throws<ArgumentException>(() => RaidTheory.Theoretical(AccessPattern.Custom, "raid5", 4, 1, 1));
    }
}
