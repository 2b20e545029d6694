using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>Who is held against whom: methods that one client drove, and the programs of others beside them.</summary>
public sealed class ClientAndPeerTests
{
    private const string Virtio = "the built-in virtio driver";
    private const string Fio = "fio-3.33";

    [Fact]
    public void Methods_that_different_clients_drove_are_not_ranked_with_one_another()
    {
        Recommendation verdict = Advisor.Advise(Make(("v1", Virtio, 40), ("v2", Virtio, 80), ("nbd", Fio, 400)), Purpose.Vm);
        Assert.Equal((Outcome.Clear, "v2"), (verdict.Outcome, Assert.Single(verdict.Methods)));
        Assert.Equal($"For a VM: v2. Not ranked with it: nbd, which {Virtio} could not drive.", verdict.Headline);
        Assert.DoesNotContain(verdict.Ranking, r => r.Method == "nbd");
        string why = Assert.Single(verdict.NotRanked);
        Assert.StartsWith($"nbd: it was driven by {Fio}, those that are ranked by {Virtio}, so it is not ranked with them.", why, StringComparison.Ordinal);
        Assert.Contains("polyblk compare --vantage guest", why, StringComparison.Ordinal);
        Assert.Contains("libblkio", why, StringComparison.Ordinal);
    }

    [Fact]
    public void One_client_for_all_ranks_all()
    {
        Recommendation verdict = Advisor.Advise(Make(("v1", Fio, 40), ("v2", Fio, 80), ("nbd", Fio, 400)), Purpose.Vm);
        Assert.Equal("For a VM: nbd.", verdict.Headline);
        Assert.Equal(3, verdict.Ranking.Count);
        Assert.Empty(verdict.NotRanked);
    }

    [Fact]
    public void Of_two_methods_with_a_client_each_neither_is_recommended()
    {
        Recommendation verdict = Advisor.Advise(Make(("v1", Virtio, 40), ("nbd", Fio, 400)), Purpose.Vm);
        Assert.Equal((Outcome.None, 0), (verdict.Outcome, verdict.Methods.Count));
        Assert.Equal("For a VM, no recommendation: the methods could not be driven by the same client.", verdict.Headline);
        Assert.Equal(2, verdict.NotRanked.Count);
    }

    /// <summary>A job file of fio: Debian's fio has no engine for vhost-user, and nbd would be left as the only one.</summary>
    [Fact]
    public void What_is_left_because_fio_lacks_an_engine_is_not_recommended_for_that()
    {
        const string Why = "fio job mine: only fio runs a fio job file, and the fio that is installed has no engine that drives this";
        Comparison comparison = Of(
            [Base, Vm("vhost-user") with { Load = Virtio, Undriven = Why }, Vm("nbd") with { Load = Fio }], [Workload()], Runs("base", "w", 100, 100, 100), Runs("nbd", "w", 10, 10, 10));
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Vm);
        Assert.Equal((Outcome.None, 0), (verdict.Outcome, verdict.Methods.Count));
        Assert.StartsWith($"vhost-user: {Why}. To have all driven by one client: ", Assert.Single(verdict.NotRanked), StringComparison.Ordinal);

        // A method that this host cannot serve is another matter: then there is one to use here.
        Comparison unavailable = comparison with
        {
            Methods = [Base, Vm("vhost-user") with { Available = false, Reason = "no memory can be shared", Verification = Verification.NotRun }, Vm("nbd") with { Load = Fio }],
        };
        Assert.Equal((Outcome.Only, "nbd"), (Advisor.Advise(unavailable, Purpose.Vm).Outcome, Assert.Single(Advisor.Advise(unavailable, Purpose.Vm).Methods)));
    }

    [Fact]
    public void A_client_that_is_not_installed_leaves_the_others_and_is_named_with_what_to_install()
    {
        MethodFacts nbd = Vm("nbd") with
        {
            Available = false, Reason = "fio, which drives it, is not installed", Remedies = ["apt-get install fio"], Undriven = "fio, which drives it, is not installed", Verification = Verification.NotRun,
        };
        Comparison two = Make(("v1", Virtio, 40), ("v2", Virtio, 80));
        Recommendation verdict = Advisor.Advise(two with { Methods = [.. two.Methods, nbd] }, Purpose.Vm);
        Assert.Equal($"For a VM: v2. Not ranked with it: nbd, which {Virtio} could not drive.", verdict.Headline);
        Assert.Contains("apt-get install fio", Assert.Single(verdict.NotMeasured), StringComparison.Ordinal);
        Comparison one = Make(("v1", Virtio, 40));
        Assert.Equal(Outcome.None, Advisor.Advise(one with { Methods = [.. one.Methods, nbd] }, Purpose.Vm).Outcome);
    }

    [Fact]
    public void Another_program_that_reaches_more_is_in_the_headline_with_what_is_different_about_it()
    {
        Comparison comparison = WithPeer(("v1", Virtio, 40), 100, Virtio);
        Recommendation verdict = Advisor.Advise(comparison, Purpose.Vm);
        Assert.Equal("v1", Assert.Single(verdict.Methods));
        Assert.EndsWith(" Faster, but another program: qsd.", verdict.Headline, StringComparison.Ordinal);
        Assert.Equal("qsd, another program, reaches 2.50 (2.50 to 2.50 over 3 rounds) times the result of v1 over the workload (it served one file, without RAID).", Assert.Single(verdict.Ahead));
        Assert.Contains($"it was driven by {Fio}, the other by {Virtio}", Assert.Single(Advisor.Advise(WithPeer(("v1", Virtio, 40), 100, Fio), Purpose.Vm).Ahead), StringComparison.Ordinal);
        Assert.EndsWith(" Faster, but another program: qsd.", Advisor.Advise(WithContainer(comparison), Purpose.Shared).Headline, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(48)] // a tie
    [InlineData(20)]
    public void One_that_is_not_measurably_ahead_is_not_mentioned(double result)
    {
        Recommendation verdict = Advisor.Advise(WithPeer(("v1", Virtio, 40), result, Virtio), Purpose.Vm);
        Assert.Empty(verdict.Ahead);
        Assert.DoesNotContain("Faster", verdict.Headline, StringComparison.Ordinal);
    }

    [Fact]
    public void One_that_is_ahead_in_a_single_workload_is_named_with_it()
    {
        MethodFacts peer = Vm("qsd") with { Role = MethodRole.Peer };
        Comparison comparison = Of(
            [Base, Vm("v1"), peer], [Workload("read"), Workload("write")], Steady("v1", "read", 100), Steady("v1", "write", 40), Steady("qsd", "read", 40), Steady("qsd", "write", 80));
        Assert.Equal(
            "qsd, another program, reaches more than v1 in some workloads: 2.00 (2.00 to 2.00 over 3 rounds) times in write.",
            Assert.Single(Advisor.Advise(comparison, Purpose.Vm).Ahead));
    }

    [Fact]
    public void One_whose_data_was_wrong_or_that_had_failures_is_not_ahead()
    {
        Comparison ahead = WithPeer(("v1", Virtio, 40), 100, Virtio);
        Comparison wrong = ahead with { Methods = [.. ahead.Methods.Select(m => m.Id == "qsd" ? m with { Verification = Verification.Failed, VerificationDetail = "x" } : m)] };
        Comparison failed = ahead with { Runs = [.. ahead.Runs.Select(r => r.Method == "qsd" ? r with { Errors = 1 } : r)] };
        Assert.All(new[] { wrong, failed }, c => Assert.Empty(Advisor.Advise(c, Purpose.Vm).Ahead));
    }

    private static MethodFacts Base => Method("base") with { Role = MethodRole.Bare, Reaches = [] };

    private static MethodFacts Vm(string id) => Method(id, Consumer.Vm);

    private static Comparison Make(params (string Id, string Load, double Iops)[] methods) => Of(
        [Base, .. methods.Select(m => Vm(m.Id) with { Load = m.Load })], [Workload()], [Steady("base", "w", 100), .. methods.Select(m => Steady(m.Id, "w", m.Iops))]);

    private static Comparison WithPeer((string Id, string Load, double Iops) method, double peer, string load)
    {
        Comparison alone = Make(method);
        return alone with
        {
            Methods = [.. alone.Methods, Vm("qsd") with { Role = MethodRole.Peer, Backing = Backing.Drive, Load = load }], Runs = [.. alone.Runs, .. Steady("qsd", "w", peer)],
        };
    }

    private static Comparison WithContainer(Comparison comparison) => comparison with
    {
        Methods = [.. comparison.Methods, Method("ublk") with { Load = Fio }], Runs = [.. comparison.Runs, .. Steady("ublk", "w", 500)],
    };

    private static IEnumerable<MeasuredRun> Steady(string method, string workload, double iops) => Runs(method, workload, iops, iops, iops);
}
