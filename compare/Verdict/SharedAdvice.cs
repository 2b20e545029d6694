// One volume for VMs and containers at the same time.
//
// A volume can be served by several frontends at once, so the two choices are independent. One frontend for both is simpler to
// run; it is recommended when it is, on each side, the choice or level with it.

using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>The recommendation for <see cref="Purpose.Shared"/>.</summary>
internal static class SharedAdvice
{
    public static Recommendation Make(Comparison comparison, Rules rules)
    {
        Choice vm = Choice.Make(comparison, Consumer.Vm, rules);
        Choice container = Choice.Make(comparison, Consumer.Container, rules);
        (MethodFacts Vm, MethodFacts Container)? single = SingleFrontend(vm, container);
        (Peers ofVm, Peers ofContainer) = (Peers.AheadOf(comparison, vm, rules), Peers.AheadOf(comparison, container, rules));
        return new Recommendation
        {
            Purpose = Purpose.Shared,
            Outcome = OutcomeOf(vm, container, single is not null),
            Methods = single is { } one ? [.. new[] { one.Vm.Id, one.Container.Id }.Distinct()]
                : vm.Best is null || container.Best is null ? [] : [vm.Best.Id, container.Best.Id],
            Headline = Headline(comparison, vm, container, single) + (vm.Best is null || container.Best is null ? string.Empty
                : $"{Advisor.Besides(vm.Field, ofVm)}{Advisor.Besides(container.Field, ofContainer)}"),
            Ahead = [.. ofVm.Sentences.Union(ofContainer.Sentences)],
            Reasons =
            [
                .. single is { } s && (s.Vm != vm.Best || s.Container != container.Best)
                    ? new[] { $"One frontend, {s.Vm.Frontend}, is not measurably behind the best on either side, and one is simpler to run than two." }
                    : [],
                .. Reasons.For(comparison, vm, rules).Select(x => $"VMs: {x}"),
                .. Reasons.For(comparison, container, rules).Select(x => $"Containers: {x}"),
            ],
            WouldChange = [.. Reasons.Against(comparison, vm, rules).Select(x => $"VMs: {x}"), .. Reasons.Against(comparison, container, rules).Select(x => $"Containers: {x}")],
            NotRanked = [.. vm.Field.NotRanked.Union(container.Field.NotRanked)],
            NotMeasured = [.. vm.Field.NotMeasured.Union(container.Field.NotMeasured)],
            Disqualified = [.. vm.Field.Disqualified.Union(container.Field.Disqualified)],
            Cautions = [.. Cautions.Of(comparison, [vm, container], rules).Distinct()],
            Ranking = [.. vm.Ranking, .. container.Ranking.Where(r => !vm.Ranking.Any(v => v.Method == r.Method))],
        };
    }

    private static string Headline(Comparison comparison, Choice vm, Choice container, (MethodFacts Vm, MethodFacts Container)? single)
    {
        if (vm.Best is null || container.Best is null)
        {
            return (vm.Best, container.Best) switch
            {
                (null, null) => "For a shared volume, no method can be recommended from these results.",
                (null, { } c) => $"For a shared volume, only the containers' side could be judged ({comparison.TitleOf(c)}): no recommendation.",
                ({ } v, _) => $"For a shared volume, only the VMs' side could be judged ({comparison.TitleOf(v)}): no recommendation.",
            };
        }

        return single is { } one && one.Vm == one.Container ? $"For a shared volume: {comparison.TitleOf(one.Vm)} for VMs and containers alike."
            : single is { } two ? $"For a shared volume: one frontend, {two.Vm.Frontend}: {comparison.TitleOf(two.Vm)} for VMs, {comparison.TitleOf(two.Container)} for containers."
            : $"For a shared volume, two frontends at once: {comparison.TitleOf(vm.Best)} for VMs, {comparison.TitleOf(container.Best)} for containers.";
    }

    private static (MethodFacts Vm, MethodFacts Container)? SingleFrontend(Choice vm, Choice container)
    {
        if (vm.Best is null || container.Best is null)
            return null;
        MethodFacts[] forVm = [vm.Best, .. vm.Rivals];
        MethodFacts[] forContainer = [container.Best, .. container.Rivals];
        foreach (MethodFacts v in forVm)
        {
            if (forContainer.FirstOrDefault(c => c.Frontend == v.Frontend) is { } c)
                return (v, c);
        }

        return null;
    }

    private static Outcome OutcomeOf(Choice vm, Choice container, bool isSingle)
    {
        Outcome[] both = [Advisor.OutcomeOf(vm), Advisor.OutcomeOf(container)];
        return both.Contains(Outcome.None) ? Outcome.None
            : both.Contains(Outcome.Tie) ? Outcome.Tie
            : both.All(o => o == Outcome.Only) && isSingle ? Outcome.Only
            : both.Contains(Outcome.Only) ? Outcome.Only
            : Outcome.Clear;
    }
}
