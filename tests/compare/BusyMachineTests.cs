using Polyblk.Compare.Measurement;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>A machine whose processors others have gives figures and no verdict, and says so before.</summary>
public sealed class BusyMachineTests
{
    [Theory]
    [InlineData(87, 0, "(in the middle run other programs took 87 %)", "Stop the other programs")]
    [InlineData(5, 60, "other programs took 5 % and the hypervisor 60 %", "The host of this virtual machine has other work")]
    public void Nothing_is_recommended_where_others_took_the_processors(double other, double steal, string words, string remedy)
    {
        Comparison busy = Busy(other, steal, _ => true);
        foreach (Purpose purpose in Enum.GetValues<Purpose>())
        {
            Recommendation verdict = Advisor.Advise(busy, purpose);
            Assert.Equal((Outcome.None, 0), (verdict.Outcome, verdict.Methods.Count));
            Assert.StartsWith("No recommendation: the machine was too busy.", verdict.Headline, StringComparison.Ordinal);
            Assert.Contains($"Others took {other + steal:0} %", verdict.Headline, StringComparison.Ordinal);
            Assert.Contains(words, Assert.Single(verdict.Reasons), StringComparison.Ordinal);
            Assert.StartsWith(remedy, verdict.WouldChange[0], StringComparison.Ordinal);
            Assert.Equal("What to do", verdict.WouldChangeTitle);
            Assert.Empty(verdict.Ranking);
        }
    }

    [Fact]
    public void Wrong_data_is_named_all_the_same()
    {
        Comparison busy = Busy(87, 0, _ => true);
        busy = busy with { Methods = [.. busy.Methods.Select(m => m.Id == "a" ? m with { Verification = Verification.Failed, VerificationDetail = "block 7" } : m)] };
        Assert.StartsWith("a: its data verification failed", Assert.Single(Advisor.Advise(busy, Purpose.Container).Disqualified), StringComparison.Ordinal);
    }

    [Fact]
    public void A_third_of_disturbed_runs_is_borne_and_more_is_not()
    {
        Assert.Equal("a", Assert.Single(Advisor.Advise(Busy(40, 0, r => r.Round == 0), Purpose.Container).Methods));
        Assert.Empty(Advisor.Advise(Busy(40, 0, r => r.Round == 0 || r is { Round: 1, Method: "a" }), Purpose.Container).Methods);
        Assert.Equal("a", Assert.Single(Advisor.Advise(Busy(24, 0, _ => true), Purpose.Container).Methods));
    }

    /// <summary>The kernel's threads work for them: what they do counts as foreign and is their own.</summary>
    [Fact]
    public void What_peers_in_the_kernel_do_is_not_taken_for_the_work_of_others()
    {
        Comparison quiet = Quiet();
        Comparison withLoop = quiet with
        {
            Methods = [.. quiet.Methods, Method("loop") with { Role = MethodRole.Peer, Backing = Backing.Drive }, Method("md") with { Role = MethodRole.Peer }],
            Runs = [.. quiet.Runs, .. new[] { "loop", "md" }.SelectMany(m => Runs(m, "w", 9, 9, 9)).Select(r => r with { OtherLoadPercent = 50, StealPercent = 0 })],
        };
        Assert.Equal("a", Assert.Single(Advisor.Advise(withLoop, Purpose.Container).Methods));
    }

    [Fact]
    public void Results_without_readings_of_runs_are_judged_by_those_over_all()
    {
        Comparison old = Quiet() with { Runs = [.. Quiet().Runs.Select(r => r with { OtherLoadPercent = null, StealPercent = null })] };
        Assert.NotEmpty(Advisor.Advise(old, Purpose.Container).Methods);
        Comparison busy = old with { Environment = old.Environment with { Noise = new NoiseReadings { OtherLoadPercent = 87 } } };
        Assert.StartsWith("No recommendation", Advisor.Advise(busy, Purpose.Container).Headline, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3, 1, null)]
    [InlineData(14, 0, "this machine is busy: other programs took 14 % of its processor time (load average 2.5). Small differences will not be seen. Stop")]
    [InlineData(3, 6, "this machine is busy: other programs took 3 % and the hypervisor 6 % of its processor time (load average 2.5). Small differences will not be seen. The host")]
    [InlineData(87, 0, "this machine is busy: other programs took 87 % of its processor time (load average 2.5). If it stays so, there will be figures but no recommendation. Stop")]
    public void The_user_is_warned_before_anything_is_measured(double other, double steal, string? words)
    {
        string? warning = BusyMachine.Warning(new ForeignLoad(other, steal, 2.5));
        Assert.True(words is null ? warning is null : warning?.StartsWith(words, StringComparison.Ordinal) == true, warning);
    }

    [Fact]
    public void What_is_taken_from_the_host_of_a_machine_is_said_after_it()
    {
        Assert.Null(BusyMachine.WarningAfter(new ForeignLoad(20, 0, 0)));
        Assert.Contains("Take the verdict above for none", BusyMachine.WarningAfter(new ForeignLoad(60, 0, 0)), StringComparison.Ordinal);
    }

    private static Comparison Quiet() => Busy(0, 0, _ => false);

    /// <summary>The container's method a leads b clearly; others take a share in some runs.</summary>
    private static Comparison Busy(double other, double steal, Func<MeasuredRun, bool> isBusy)
    {
        Comparison quiet = Of(
            [Method("base") with { Role = MethodRole.Bare, Reaches = [] }, Method("a"), Method("b")], [Workload()],
            Runs("base", "w", 100, 100, 100), Runs("a", "w", 80, 80, 80), Runs("b", "w", 40, 40, 40));
        return quiet with { Runs = [.. quiet.Runs.Select(r => r with { OtherLoadPercent = isBusy(r) ? other : 1, StealPercent = isBusy(r) ? steal : 0 })] };
    }
}
