using Polyblk.Compare.Results;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

public sealed class DiffTests
{
    [Theory]
    [InlineData(new[] { 50.0, 51, 52 }, new[] { 70.0, 71, 72 }, true)] // 0.51 -> 0.71: +39 %, spreads 4 % and 3 %
    [InlineData(new[] { 40.0, 50, 60 }, new[] { 48.0, 58, 68 }, false)] // 0.50 -> 0.58: +16 %, spread 40 %
    [InlineData(new[] { 50.0, 50, 50 }, new[] { 50.0, 50, 50 }, false)]
    public void A_change_counts_when_it_is_beyond_the_spread(double[] before, double[] after, bool counts)
    {
        DiffRow row = Assert.Single(ComparisonDiff.Of(Make(before), Make(after)).Rows);
        Assert.Equal(("m", "w", counts), (row.Method, row.Workload, row.IsBeyondSpread));
        Assert.Equal((after[1] / before[1]) - 1, row.Change, 12);
    }

    [Fact]
    public void A_machine_that_became_faster_as_a_whole_is_no_change()
    {
        Comparison before = Make([50, 51, 52]);
        Comparison after = before with { Runs = [.. before.Runs.Select(r => r with { Iops = 3 * r.Iops })] };
        Assert.Equal(0, Assert.Single(ComparisonDiff.Of(before, after).Rows).Change, 12);
    }

    [Fact]
    public void One_round_shows_no_spread_so_nothing_counts()
    {
        DiffRow row = Assert.Single(ComparisonDiff.Of(Make([50]), Make([90])).Rows);
        Assert.Null(row.Spread);
        Assert.False(row.IsBeyondSpread);
    }

    [Fact]
    public void Different_baselines_are_refused()
    {
        Comparison other = Make([50, 51, 52]) with { Baseline = "m" };
        Assert.Throws<ComparisonFormatException>(() => ComparisonDiff.Of(Make([50, 51, 52]), other));
    }

    [Fact]
    public void What_only_one_has_and_what_cannot_be_used_is_named()
    {
        Comparison before = Of([Method("base"), Method("m"), Method("old")], [Workload()], Runs("base", "w", 100, 100), Runs("m", "w", 50, 51), Runs("old", "w", 10, 11));
        Comparison after = Of(
            [Method("base"), Method("m") with { Verification = Verification.Failed }, Method("new")], [Workload() with { Jobs = 2 }],
            Runs("base", "w", 100, 100), Runs("m", "w", 50, 51), Runs("new", "w", 10, 11));
        ComparisonDiff diff = ComparisonDiff.Of(before, after with { Volume = after.Volume with { Level = "raid6" } });
        Assert.Empty(diff.Rows);
        Assert.Equal([("m", "w"), ("old", "w")], diff.OnlyBefore);
        Assert.Equal([("new", "w")], diff.OnlyAfter);
        Assert.Contains("The RAID level differs: raid5 before, raid6 after.", diff.Cautions);
        Assert.Contains("The workload 'w' is not the same in both.", diff.Cautions);
        Assert.Contains("Left out (after): m, w: wrong data.", diff.Cautions);
    }

    [Fact]
    public void A_row_that_is_left_out_says_which_of_the_three_reasons_it_has()
    {
        Comparison sound = Make([50, 51, 52]);
        (Comparison Damaged, string Words)[] cases =
        [
            (sound with { Methods = [sound.Methods[0], sound.Methods[1] with { Verification = Verification.Failed }] }, "wrong data"),
            (sound with { Runs = [.. sound.Runs.Select(r => r.Method == "m" ? r with { Errors = 1 } : r)] }, "requests failed"),
            (sound with { FailedRuns = [new FailedRun { Method = "m", Workload = "w", Round = 3, Reason = "it hung" }] }, "runs failed"),
        ];
        foreach ((Comparison damaged, string words) in cases)
        {
            ComparisonDiff diff = ComparisonDiff.Of(sound, damaged);
            Assert.Empty(diff.Rows);
            Assert.Equal([$"Left out (after): m, w: {words}."], diff.Cautions);
        }
    }

    [Fact]
    public void The_text_says_what_changed()
    {
        string text = ComparisonDiff.Of(Make([50, 51, 52]), Make([70, 71, 72])).ToText();
        Assert.Contains("0.51", text, StringComparison.Ordinal);
        Assert.Contains("+39 %", text, StringComparison.Ordinal);
        Assert.Contains("changed", text, StringComparison.Ordinal);
    }

    private static Comparison Make(double[] results) => Of(
        [Method("base"), Method("m")], [Workload()], Runs("base", "w", [.. results.Select(_ => 100.0)]), Runs("m", "w", results));
}
