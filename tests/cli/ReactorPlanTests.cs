using Polyblk.Cli.CommandLine;
using Polyblk.Core.Reactors;
using Polyblk.Host;
using Polyblk.Host.Serving;

namespace Polyblk.Cli.Tests;

public class ReactorPlanTests
{
    [Theory]
    [InlineData("0", null, "0")]
    [InlineData("0-1", null, "0,1")]
    [InlineData("0-2", null, "1,2")]
    [InlineData("4-7", null, "5,6,7")]
    [InlineData("0-31", null, "24,25,26,27,28,29,30,31")]
    [InlineData("0-31", 2, "30,31")]
    [InlineData("0-1", 1, "1")]
    public void TheAutomaticPlanLeavesOneProcessorWhenThereAreMoreThanTwo(string allowed, int? queues, string expected)
    {
        ReactorPlan plan = ReactorPlan.Make(null, CpuSet.Parse(allowed), queues);
        Assert.Equal(expected, string.Join(',', plan.Cpus));
        Assert.StartsWith("automatic", plan.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void AWantedSetIsCutToWhatIsAllowedAndThatIsSaid()
    {
        ReactorPlan plan = ReactorPlan.Make(CpuSet.Parse("2-5"), CpuSet.Parse("0-3"), null);
        Assert.Equal([2, 3], plan.Cpus);
        Assert.Contains("without 4,5", plan.Reason, StringComparison.Ordinal);
        RefusalException e = Assert.Throws<RefusalException>(() => ReactorPlan.Make(CpuSet.Parse("9"), CpuSet.Parse("0-3"), null));
        Assert.Equal(RefusalKind.HostLacks, e.Kind);
    }

    [Theory]
    [InlineData(new[] { 0 }, new[] { 0 }, new[] { 0 })]
    [InlineData(new[] { 0, 1 }, new[] { 0 }, new[] { 1 })]
    [InlineData(new[] { 0, 1, 2 }, new[] { 1 }, new[] { 2 })]
    [InlineData(new[] { 0, 1, 2, 3 }, new[] { 0, 1 }, new[] { 2, 3 })]
    [InlineData(new[] { 2, 3, 4, 5, 6, 7 }, new[] { 4, 5 }, new[] { 6, 7 })]
    public void AComparisonKeepsTargetAndLoadApart(int[] cpus, int[] target, int[] load)
    {
        (IReadOnlyList<int> t, IReadOnlyList<int> l) = CompareCommand.SplitProcessors(cpus);
        Assert.Equal(target, t);
        Assert.Equal(load, l);
    }

    [Theory]
    [InlineData("volume", "volum", 1)]
    [InlineData("list", "lsit", 1)]
    [InlineData("", "abc", 3)]
    [InlineData("serve", "serve", 0)]
    public void DistancesCountEdits(string a, string b, int expected) => Assert.Equal(expected, Suggestion.Distance(a, b));

    [Fact]
    public void NothingIsSuggestedThatIsFarOff()
    {
        Assert.Equal("--level", Suggestion.Nearest("--lvel", ["--size", "--level", "--force"]));
        Assert.Null(Suggestion.Nearest("zzz", ["volume", "serve"]));
    }
}
