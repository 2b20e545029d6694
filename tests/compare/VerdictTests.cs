using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>The recommendation, from figures that can be followed by hand. The baseline always has 100.</summary>
public sealed class VerdictTests
{
    // Requests per second of a and b in each round; who is recommended for containers, and how firmly.
    public static TheoryData<string, double[], double[], string, Outcome> Duels => new()
    {
        { "twice as fast", [80, 82, 84], [40, 41, 42], "a", Outcome.Clear },
        { "the second is faster", [40, 41, 42], [80, 82, 84], "b", Outcome.Clear },
        { "exactly a quarter more", [50, 50, 50], [40, 40, 40], "a", Outcome.Clear },
        { "less than a quarter more", [49, 49, 49], [40, 40, 40], "a", Outcome.Tie },
        { "half more, but the ratio varies from 1.0 to 2.0", [40, 60, 80], [40, 40, 40], "a", Outcome.Tie },
        { "large, but two rounds only", [80, 80], [40, 40], "a", Outcome.Tie },
        { "three rounds, of which two are common", [80, 80, 80], [40, 40], "a", Outcome.Tie },
        { "equal", [50, 50, 50], [50, 50, 50], "a", Outcome.Tie },
        { "the machine slows down for both alike", [80, 40, 20], [40, 20, 10], "a", Outcome.Clear },
    };

    [Theory]
    [MemberData(nameof(Duels))]
    public void Leads_and_ties(string what, double[] a, double[] b, string recommended, Outcome outcome)
    {
        Recommendation verdict = Advisor.Advise(Make(a, b), Purpose.Container);
        Assert.True((recommended, outcome) == (Assert.Single(verdict.Methods), verdict.Outcome), $"{what}: {verdict.Headline}");
        Assert.Equal(outcome == Outcome.Tie, verdict.Ranking[1].IsTie);
        Assert.Equal(outcome == Outcome.Tie, verdict.Reasons.Any(r => r.Contains("a tie", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_run_that_others_disturbed_is_pointed_out_with_its_round()
    {
        Comparison quiet = Make([80, 82, 84], [40, 41, 42]);
        Comparison With(double ofB2, double ofOthers) => quiet with { Runs = [.. quiet.Runs.Select(r => r with { OtherLoadPercent = r is { Method: "b", Round: 1 } ? ofB2 : ofOthers, StealPercent = 0 })] };
        const string Words = "1 run was disturbed: b, w, round 2 (others took 35 %).";
        Assert.Contains(Words, Advisor.Advise(With(35, 3), Purpose.Container).Cautions);

        // What is the same in every run is a matter of the median, and little more than usual is nothing.
        Assert.Null(Disturbances.In(With(35, 35)));
        Assert.Null(Disturbances.In(With(12, 3)));
        Assert.Null(Disturbances.In(quiet));
        string many = Disturbances.In(quiet with { Runs = [.. quiet.Runs.Select(r => r with { StealPercent = r.Round == 0 ? 20 : 0 })] })!;
        Assert.StartsWith("3 runs were disturbed: ", many, StringComparison.Ordinal);
    }

    [Fact]
    public void The_lead_is_the_same_from_either_side()
    {
        // From b's side the ratio is 0.4, 0.5, 0.625: a spread of 45 %. From a's side 1.6 to 2.5, also 45 %, against a lead of
        // 100 %.
        Comparison comparison = Make([80, 100, 125], [50, 50, 50]);
        Assert.Equal(Duelled("a", "b").IsTie, Duelled("b", "a").IsTie);
        Assert.Equal(Duelled("a", "b").Lead, Duelled("b", "a").Lead, 12);
        Assert.True(Duelled("a", "b").FirstIsGreater);
        Assert.True(Duelled("b", "a").SecondIsGreater);

        Duel Duelled(string first, string second) => Duel.OfResults(comparison, first, second, comparison.Workloads, Rules.Default);
    }

    [Fact]
    public void Several_workloads_count_by_their_geometric_mean()
    {
        // a has 4 times b's result in one workload and a quarter in the other: no lead, and each workload is named where it
        // matters.
        Comparison comparison = Of(
            [Base, Method("a"), Method("b")], [Workload("w1"), Workload("w2", AccessPattern.SequentialRead)],
            Runs("a", "w1", 400, 400, 400), Runs("a", "w2", 10, 10, 10), Runs("b", "w1", 100, 100, 100), Runs("b", "w2", 40, 40, 40));
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Container);
        Assert.Equal((Outcome.Tie, "a"), (verdict.Outcome, Assert.Single(verdict.Methods)));
        Assert.Equal(1, verdict.Ranking[1].Ratio.Median, 12);
        Assert.Contains(verdict.WouldChange, s => s.StartsWith("If your load is w2: there b reaches 4.00", StringComparison.Ordinal));
        Assert.DoesNotContain(verdict.WouldChange, s => s.Contains("w1", StringComparison.Ordinal));
    }

    [Fact]
    public void Who_is_steadily_behind_another_is_not_level_because_the_fastest_wanders()
    {
        // c leads nobody, so much does it wander; a has steadily twice b's result; b asks for the least.
        var needs = new MethodNeeds { Programs = ["x"] };
        Comparison comparison = Of(
            [Base, Method("a") with { Needs = needs }, Method("b"), Method("c") with { Needs = needs }], [Workload()],
            Runs("a", "w", 100, 100, 100), Runs("b", "w", 50, 50, 50), Runs("c", "w", 100, 300, 110));
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Container);
        Assert.Equal((Outcome.Tie, "c"), (verdict.Outcome, Assert.Single(verdict.Methods)));
    }

    [Fact]
    public void The_fastest_is_disqualified_when_its_data_was_wrong()
    {
        Comparison comparison = With(Make([90, 90, 90], [40, 40, 40]), "a", m => m with { Verification = Verification.Failed, VerificationDetail = "block 7" });
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Container);
        Assert.Equal((Outcome.Only, "b"), (verdict.Outcome, Assert.Single(verdict.Methods)));
        Assert.Equal("a: its data verification failed (block 7). Speed does not matter then.", Assert.Single(verdict.Disqualified));
        Assert.DoesNotContain(verdict.Ranking, r => r.Method == "a");
    }

    [Fact]
    public void Unverified_data_and_failed_requests_disqualify_too()
    {
        Comparison comparison = With(Make([90, 90, 90], [40, 40, 40]), "a", m => m with { Verification = Verification.NotRun });
        comparison = comparison with { Runs = [.. comparison.Runs.Select(r => r.Method == "b" && r.Round == 1 ? r with { Errors = 3 } : r)] };
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Container);
        Assert.Equal(Outcome.None, verdict.Outcome);
        Assert.Empty(verdict.Methods);
        Assert.Contains("a: its data was not verified, so its figures are not used.", verdict.Disqualified);
        Assert.Contains("b: 3 requests failed while it was measured.", verdict.Disqualified);
        Assert.NotEmpty(verdict.WouldChange);
    }

    [Fact]
    public void What_could_not_be_measured_is_named_with_its_remedy()
    {
        Comparison comparison = Make([90, 90, 90], [40, 40, 40]);
        MethodFacts missing = Method("vduse") with { Available = false, Reason = "the module vduse is missing.", Remedies = ["modprobe vduse"], Verification = Verification.NotRun };
        Recommendation verdict = Advisor.Advise(comparison with { Methods = [.. comparison.Methods, missing] }, Purpose.Container);
        Assert.Equal("vduse: the module vduse is missing. To have it measured: modprobe vduse.", Assert.Single(verdict.NotMeasured));
        Assert.Contains(verdict.WouldChange, s => s.Contains("could not be measured here", StringComparison.Ordinal));
    }

    [Fact]
    public void A_method_that_lacks_a_workload_is_not_ranked()
    {
        Comparison comparison = Of(
            [Base, Method("a"), Method("b")], [Workload("w1"), Workload("w2")], Runs("a", "w1", 10, 10, 10), Runs("a", "w2", 10, 10, 10), Runs("b", "w1", 99, 99, 99));
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Container);
        Assert.Equal((Outcome.Only, "a"), (verdict.Outcome, Assert.Single(verdict.Methods)));
        Assert.Equal("b: not all workloads were measured (missing: w2).", Assert.Single(verdict.NotMeasured));
    }

    [Fact]
    public void A_run_that_failed_disqualifies_its_method_as_a_failed_request_does()
    {
        Comparison comparison = Make([90, 90, 90], [40, 40, 40]);
        Assert.Equal("a", Assert.Single(Advisor.Advise(comparison, Purpose.Container).Methods));
        var failed = new FailedRun { Method = "a", Workload = comparison.Workloads[0].Name, Round = 1, Reason = "fio ended with 1: Input/output error." };
        Comparison once = comparison with { FailedRuns = [failed] };
        Recommendation verdict = Advisor.Advise(once, Purpose.Container);
        Assert.Equal("b", Assert.Single(verdict.Methods));
        Assert.Equal($"a: 1 run failed: {comparison.Workloads[0].Title}, round 2: fio ended with 1: Input/output error.", Assert.Single(verdict.Disqualified));
        Assert.False(ComparedRow.From(once).First(r => r.Method.Id == "a").IsSound);
        Assert.True(ComparedRow.From(once).First(r => r.Method.Id == "b").IsSound);
        Recommendation twice = Advisor.Advise(comparison with { FailedRuns = [failed, failed with { Round = 2 }] }, Purpose.Container);
        Assert.StartsWith("a: 2 runs failed, the first of them ", Assert.Single(twice.Disqualified), StringComparison.Ordinal);
    }

    [Fact]
    public void Nothing_measured_gives_no_recommendation()
    {
        Recommendation verdict = Advisor.Advise(Of([Base], [Workload()]), Purpose.Vm);
        Assert.Equal(Outcome.None, verdict.Outcome);
        Assert.Equal("For a VM, no method can be recommended from these results.", verdict.Headline);
        Assert.Equal("No method for this purpose was part of the comparison.", Assert.Single(verdict.Reasons));
    }

    [Fact]
    public void Peers_bare_drives_and_other_backings_are_never_recommended()
    {
        Comparison comparison = Make([40, 40, 40], [90, 90, 90]);
        Assert.Equal("a", Assert.Single(Advisor.Advise(With(comparison, "b", m => m with { Role = MethodRole.Peer }), Purpose.Container).Methods));
        Assert.Equal("a", Assert.Single(Advisor.Advise(With(comparison, "b", m => m with { Backing = Backing.Drive }), Purpose.Container).Methods));
        Assert.Equal("a", Assert.Single(Advisor.Advise(With(comparison, "b", m => m with { Reaches = [Consumer.Vm] }), Purpose.Container).Methods));
    }

    [Fact]
    public void A_tie_goes_to_the_one_that_survived_a_restart_then_to_the_cheaper_then_to_the_one_that_asks_for_less()
    {
        Comparison tie = Make([50, 50, 50], [49, 49, 49]);
        Recommendation plain = Advisor.Advise(tie, Purpose.Container);
        Assert.Equal("a", Assert.Single(plain.Methods));
        Assert.Contains(plain.Reasons, r => r.Contains("only because one has to be", StringComparison.Ordinal));

        Comparison restart = tie with
        {
            Restarts = [new RestartTest { Method = "a", GapMs = 100, IoErrors = 2 }, new RestartTest { Method = "b", GapMs = 900, IoErrors = 0 }],
        };
        Recommendation survived = Advisor.Advise(restart, Purpose.Container);
        Assert.Equal("b", Assert.Single(survived.Methods));
        Assert.Contains("Its target was killed under load: no request failed, after 900 ms it served again.", survived.Reasons);

        Comparison gone = tie with
        {
            Restarts = [new RestartTest { Method = "a", DidNotComeBack = true, IoErrors = 0, Detail = "requests are still waiting" }, new RestartTest { Method = "b", GapMs = 900, IoErrors = 0 }],
        };
        Assert.Equal("b", Assert.Single(Advisor.Advise(gone, Purpose.Container).Methods));
        Comparison alone = Make([90, 90, 90], [40, 40, 40]) with { Restarts = gone.Restarts };
        Assert.Contains("Its target was killed under load and did not come back (requests are still waiting).", Advisor.Advise(alone, Purpose.Container).Reasons);

        Comparison cheap = tie with { Runs = [.. tie.Runs.Select(r => r with { TargetCpuUsPerRequest = r.Method == "a" ? 4 : 2, LoadCpuUsPerRequest = 1 })] };
        Recommendation cheaper = Advisor.Advise(cheap, Purpose.Container);
        Assert.Equal("b", Assert.Single(cheaper.Methods));
        Assert.Contains("Processor time of both sides for a random request, median over runs: 3.0 us for b, 5.0 us for a.", cheaper.Reasons);

        Comparison needy = With(tie, "a", m => m with { Needs = new MethodNeeds { KernelModules = ["x"], Privileges = ["root"] } });
        Assert.Equal("b", Assert.Single(Advisor.Advise(needy, Purpose.Container).Methods));
    }

    [Fact]
    public void Of_those_that_ask_least_of_the_host_the_one_with_the_highest_figures_is_named_wherever_it_was_listed()
    {
        MethodFacts needy = Method("needy") with { Needs = new MethodNeeds { KernelModules = ["x"] } };
        IEnumerable<MeasuredRun>[] runs = [Runs("base", "w", 100, 100, 100), Runs("needy", "w", 50, 50, 50), Runs("low", "w", 45, 45, 45), Runs("high", "w", 48, 48, 48)];
        foreach (MethodFacts[] order in new[] { new[] { needy, Method("low"), Method("high") }, [Method("high"), Method("low"), needy] })
        {
            Recommendation verdict = Advisor.Advise(Of([Base, .. order], [Workload()], runs), Purpose.Container);
            Assert.Equal(Outcome.Tie, verdict.Outcome);
            Assert.Equal("high", Assert.Single(verdict.Methods));
            Assert.Contains(verdict.Reasons, r => r.Contains("one of those that ask for least of the host", StringComparison.Ordinal));
        }
    }

    [Fact]
    public void Processor_time_of_one_side_alone_breaks_no_tie()
    {
        Comparison tie = Make([50, 50, 50], [49, 49, 49]);
        Comparison half = tie with { Runs = [.. tie.Runs.Select(r => r with { TargetCpuUsPerRequest = r.Method == "a" ? 4 : null, LoadCpuUsPerRequest = 1 })] };
        Assert.Equal("a", Assert.Single(Advisor.Advise(half, Purpose.Container).Methods));
    }

    [Theory]
    [InlineData(60, 40, Outcome.Clear, 10)] // 50 % more, and the reference wandered by 10 %
    [InlineData(60, 40, Outcome.Tie, 60)] // ... by 60 %: 50 % more is no lead then
    public void A_wandering_reference_raises_what_counts(double a, double b, Outcome outcome, double drift)
    {
        Comparison comparison = Make([a, a, a], [b, b, b]);
        comparison = comparison with { Environment = comparison.Environment with { Noise = new NoiseReadings { ReferenceDriftPercent = drift } } };
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Container);
        Assert.Equal(outcome, verdict.Outcome);
        Assert.Equal(drift > 10, verdict.Cautions.Any(c => c.Contains("reference run wandered", StringComparison.Ordinal)));
    }

    public static TheoryData<string, Func<Comparison, Comparison>> Weaknesses => new()
    {
        { "took 7 % of the processor time (steal)", c => c with { Environment = c.Environment with { Noise = new NoiseReadings { StealPercent = 7 } } } },
        { "Other programs used 21 %", c => c with { Environment = c.Environment with { Noise = new NoiseReadings { OtherLoadPercent = 21 } } } },
        { "Noise was not read", c => c with { Environment = c.Environment with { Noise = new NoiseReadings() } } },
        { "only ratios between methods mean something", c => c with { Environment = c.Environment with { Virtualization = Virtualization.Emulation } } },
        { "broken off", c => c with { Interrupted = true } },
        { "The host is a virtual machine itself", c => c with { Environment = c.Environment with { HostIsVirtual = true } } },
        { "shared one processor", c => c with { Environment = c.Environment with { CpuCount = 1 } } },
        { "Only 1 round", c => c with { Runs = [.. c.Runs.Where(r => r.Round == 0)] } },
    };

    [Theory]
    [MemberData(nameof(Weaknesses))]
    public void What_weakens_the_figures_is_said(string words, Func<Comparison, Comparison> weaken)
    {
        Comparison comparison = Make([80, 80, 80], [40, 40, 40]);
        Assert.DoesNotContain(Advisor.Advise(comparison, Purpose.Container).Cautions, c => c.Contains(words, StringComparison.Ordinal));
        Assert.Contains(Advisor.Advise(weaken(comparison), Purpose.Container).Cautions, c => c.Contains(words, StringComparison.Ordinal));
    }

    [Fact]
    public void Under_emulation_no_absolute_figure_is_a_reason()
    {
        Comparison example = ExampleComparison.Make();
        Recommendation real = Advisor.Advise(example, Purpose.Vm);
        Recommendation emulated = Advisor.Advise(example with { Environment = example.Environment with { Virtualization = Virtualization.Emulation } }, Purpose.Vm);
        Assert.Contains(real.Reasons, r => r.Contains(" us for ", StringComparison.Ordinal));
        Assert.DoesNotContain(emulated.Reasons, r => r.Contains(" us for ", StringComparison.Ordinal));
        Assert.Contains(emulated.WouldChange, r => r.Contains("hardware with KVM", StringComparison.Ordinal));
    }

    [Fact]
    public void A_VM_is_judged_from_inside_a_VM_where_that_was_measured()
    {
        MethodFacts guest = Method("g", Consumer.Vm) with { Vantage = Vantage.Guest };
        Comparison comparison = Of([Base, guest, Method("h", Consumer.Vm)], [Workload()], Runs("g", "w", 10, 10, 10), Runs("h", "w", 90, 90, 90));
        Recommendation inside = Advisor.Advise(comparison, Purpose.Vm);
        Assert.Equal("g", Assert.Single(inside.Methods));
        Assert.Contains(inside.NotMeasured, s => s.StartsWith("h: measured from another place", StringComparison.Ordinal));

        Recommendation outside = Advisor.Advise(comparison with { Runs = [.. comparison.Runs.Where(r => r.Method == "h")] }, Purpose.Vm);
        Assert.Equal("h", Assert.Single(outside.Methods));
        Assert.Contains(outside.Cautions, s => s.Contains("driven from the host", StringComparison.Ordinal));
    }

    [Fact]
    public void A_feature_that_only_others_have_is_named()
    {
        Comparison comparison = With(Make([80, 80, 80], [40, 40, 40]), "b", m => m with { Features = new MethodFeatures { Resize = true } });
        Assert.Contains("If you need resize: a was not seen to do it, b was.", Advisor.Advise(comparison, Purpose.Container).WouldChange);
    }

    // Results of x and y for the VM, of x and z for containers; x is one frontend that serves both.
    [Theory]
    [InlineData(50, 20, 50, 20, "For a shared volume: one frontend, x: x-vm for VMs, x-c for containers.")]
    [InlineData(50, 55, 50, 20, "For a shared volume: one frontend, x: x-vm for VMs, x-c for containers.")] // y is a little faster: a tie
    [InlineData(20, 50, 50, 20, "For a shared volume, two frontends at once: y for VMs, x-c for containers.")]
    public void A_shared_volume_takes_one_frontend_where_it_is_not_behind(double xVm, double y, double xContainer, double z, string headline)
    {
        MethodFacts[] methods =
        [
            Base, Method("y", Consumer.Vm), Method("x-vm", Consumer.Vm) with { Frontend = "x" }, Method("x-c") with { Frontend = "x" }, Method("z"),
        ];
        Comparison comparison = Of(methods, [Workload()], Steady("x-vm", xVm), Steady("y", y), Steady("x-c", xContainer), Steady("z", z));
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Shared);
        Assert.Equal(headline, verdict.Headline);
        Assert.Equal(2, verdict.Methods.Count);

        static IEnumerable<MeasuredRun> Steady(string method, double iops) => Runs(method, "w", iops, iops, iops);
    }

    [Fact]
    public void A_shared_volume_needs_both_sides()
    {
        Recommendation verdict = Advisor.Advise(Make([80, 80, 80], [40, 40, 40]), Purpose.Shared);
        Assert.Equal((Outcome.None, 0), (verdict.Outcome, verdict.Methods.Count));
        Assert.Contains("only the containers' side could be judged (a)", verdict.Headline, StringComparison.Ordinal);
    }

    [Fact]
    public void The_example_gets_the_verdict_that_its_figures_bear()
    {
        Comparison example = ExampleComparison.Make();
        Recommendation vm = Advisor.Advise(example, Purpose.Vm);
        Assert.Equal((Outcome.Clear, "vhost-user-4q@guest"), (vm.Outcome, Assert.Single(vm.Methods)));
        Recommendation container = Advisor.Advise(example, Purpose.Container);
        Assert.Equal(Outcome.Tie, container.Outcome);
        Assert.Contains(container.NotMeasured, s => s.StartsWith("ublk, zero copy: the kernel 6.12", StringComparison.Ordinal));
    }

    private static MethodFacts Base => Method("base") with { Role = MethodRole.Bare, Reaches = [] };

    private static Comparison Make(double[] a, double[] b) =>
        Of([Base, Method("a"), Method("b")], [Workload()], Runs("base", "w", [.. a.Select(_ => 100.0)]), Runs("a", "w", a), Runs("b", "w", b));

    private static Comparison With(Comparison comparison, string method, Func<MethodFacts, MethodFacts> change) =>
        comparison with { Methods = [.. comparison.Methods.Select(m => m.Id == method ? change(m) : m)] };
}
