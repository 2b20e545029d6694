using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>The sentences for and against a choice.</summary>
internal static class Reasons
{
    /// <summary>Why the chosen method.</summary>
    public static IEnumerable<string> For(Comparison comparison, Choice choice, Rules rules)
    {
        if (choice.Best is not { } best)
        {
            yield return choice.Field.IsLeftToClients
                ? "What works here was not driven by one client, and a part of a difference between two methods would be that of what drove them. Their figures are shown."
                : choice.Field.NotMeasured.Count + choice.Field.Disqualified.Count == 0
                ? "No method for this purpose was part of the comparison."
                : "No method for this purpose has verified figures; the reasons are below.";
            yield break;
        }

        foreach (string sentence in AgainstOthers(comparison, choice, best, rules))
            yield return sentence;
        if (choice.TieBreak is string tieBreak)
            yield return $"{comparison.TitleOf(best)} is preferred among those that are level because {tieBreak}.";
        if (BaselineSentence(comparison, choice, best, rules) is string baseline)
            yield return baseline;
        if (CpuSentence(comparison, choice, best) is string cpu)
            yield return cpu;
        if (RestartSentence(comparison, best) is string restart)
            yield return restart;
    }

    /// <summary>What would change the choice.</summary>
    public static IEnumerable<string> Against(Comparison comparison, Choice choice, Rules rules)
    {
        if (choice.Best is not { } best)
        {
            yield return choice.Field.IsLeftToClients
                ? "One client for all: see below how."
                : "A run in which at least one method for this purpose can be measured and its data verified.";
            yield break;
        }

        foreach (MethodFacts rival in choice.Rivals)
        {
            Duel duel = Duel.OfResults(comparison, best.Id, rival.Id, choice.Field.Workloads, rules);
            if (duel.Ratio is { } ratio && ratio.Count < rules.LeastRounds)
                yield return $"More rounds: {comparison.TitleOf(rival)} was compared over {Sentences.Rounds(ratio.Count)} only, and a lead needs {rules.LeastRounds}.";
            else if (duel.Lead >= duel.LeadThatCounts)
                yield return $"More or longer rounds: the difference to {comparison.TitleOf(rival)} ({Sentences.Percent(duel.Lead)}) is not larger than its own spread over the rounds.";
        }

        if (choice.Rivals.Count == 0 && choice.Ranking.Count > 1)
        {
            RankedMethod next = choice.Ranking[1];
            Duel duel = Duel.OfResults(comparison, best.Id, next.Method, choice.Field.Workloads, rules);
            yield return $"The nearest, {next.Title}, is level when its result grows by {Sentences.Percent(duel.Lead)}; from {Sentences.Percent(Math.Max(0, (duel.Ratio!.Value.Median / (1 + duel.LeadThatCounts)) - 1))} on, the lead no longer counts.";
        }

        foreach (string sentence in SingleWorkloads(comparison, choice, best, rules))
            yield return sentence;
        foreach ((string title, MethodFacts[] able) in Features(choice, best))
            yield return $"If you need {title}: {comparison.TitleOf(best)} was not seen to do it, {Sentences.List([.. able.Select(comparison.TitleOf)])} {(able.Length == 1 ? "was" : "were")}.";
        if (comparison.Methods.Any(m => m is { Available: false, Role: MethodRole.Frontend } && m.Reaches.Contains(choice.Field.Consumer)))
            yield return "A method that could not be measured here may turn out better; see what is needed for it below.";
        if (comparison.Environment.Virtualization == Virtualization.Emulation)
            yield return "The same comparison on hardware with KVM: emulation changes what an interrupt, a system call and a copy cost relative to each other.";
    }

    /// <summary>A sentence for each tie and for the nearest of those behind; one for all further ones.</summary>
    private static IEnumerable<string> AgainstOthers(Comparison comparison, Choice choice, MethodFacts best, Rules rules)
    {
        (MethodFacts Method, Duel Duel)[] others =
            [.. choice.Ranking.Skip(1).Select(r => comparison.Method(r.Method)).Select(m => (m, Duel.OfResults(comparison, best.Id, m.Id, choice.Field.Workloads, rules)))];
        string over = $"Over {Sentences.Workloads(choice.Field.Workloads.Count)}, {comparison.TitleOf(best)} reaches";
        foreach ((MethodFacts method, Duel duel) in others.Where(o => o.Duel.IsTie))
            yield return $"{over} {Sentences.Ratio(duel.Ratio!.Value)} times the result of {comparison.TitleOf(method)}: a tie, because {WhyTie(duel)}.";
        (MethodFacts Method, Duel Duel)[] behind = [.. others.Where(o => !o.Duel.IsTie)];
        if (behind.Length > 0)
            yield return $"{over} {Sentences.Ratio(behind[0].Duel.Ratio!.Value)} times the result of {comparison.TitleOf(behind[0].Method)}: a lead, for it is at least {Sentences.Percent(behind[0].Duel.LeadThatCounts)} and exceeds the spread.";
        if (behind.Length > 1)
            yield return $"It leads {Sentences.List([.. behind.Skip(1).Select(o => $"{comparison.TitleOf(o.Method)} by {Sentences.Ratio(o.Duel.Ratio!.Value)}")])}.";
    }

    private static string WhyTie(Duel duel) =>
        duel.Ratio!.Value.Count < duel.LeastRounds ? $"fewer than {duel.LeastRounds} rounds cannot show a lead"
        : duel.Lead < duel.LeadThatCounts ? $"a difference of {Sentences.Percent(duel.Lead)} is below the {Sentences.Percent(duel.LeadThatCounts)} that count"
        : $"a difference of {Sentences.Percent(duel.Lead)} is not larger than its spread over the rounds";

    private static string? BaselineSentence(Comparison comparison, Choice choice, MethodFacts best, Rules rules)
    {
        if (comparison.Baseline == best.Id)
            return null;
        MethodFacts baseline = comparison.Method(comparison.Baseline);
        WorkloadFacts[] common = [.. choice.Field.Workloads.Where(w => comparison.Runs.Any(r => r.Method == baseline.Id && r.Workload == w.Name))];
        Duel duel = Duel.OfResults(comparison, best.Id, baseline.Id, common, rules);
        return duel.Ratio is { } ratio && baseline.Verification != Verification.Failed
            ? $"Against the baseline, {comparison.TitleOf(baseline)}, it reaches {Sentences.Ratio(ratio)}."
            : null;
    }

    private static string? CpuSentence(Comparison comparison, Choice choice, MethodFacts best)
    {
        if (comparison.Environment.Virtualization == Virtualization.Emulation)
            return null;
        var costs = new List<string>();
        foreach (string method in choice.Ranking.Select(r => r.Method))
        {
            if (Sample.Of(comparison.Runs.Where(r => r.Method == method && choice.Field.Workloads.Any(w => w.Name == r.Workload && !w.IsBandwidth)).Select(Choice.CpuOf)) is { } cost)
                costs.Add($"{cost.Median:0.0} us for {comparison.TitleOf(comparison.Method(method))}");
        }

        return costs.Count == 0 || !choice.Field.Workloads.Any(w => !w.IsBandwidth) || !costs[0].EndsWith(comparison.TitleOf(best), StringComparison.Ordinal) ? null
            : $"Processor time of both sides for a random request, median over runs: {string.Join(", ", costs)}.";
    }

    private static string? RestartSentence(Comparison comparison, MethodFacts best)
    {
        RestartTest? test = comparison.Restarts.FirstOrDefault(r => r.Method == best.Id);
        return test switch
        {
            null => null,
            { DidNotComeBack: true } => $"Its target was killed under load and did not come back{Sentences.Detail(test.Detail)}.",
            { GapMs: null } => $"What a kill of its target does could not be measured{Sentences.Detail(test.Detail)}.",
            { IoErrors: > 0 } => $"Its target was killed under load: {test.IoErrors} requests failed, after {test.GapMs:0} ms it served again.",
            { Verification: Verification.Failed } => $"Its target was killed under load: after {test.GapMs:0} ms it served again, but with wrong data.",
            _ => $"Its target was killed under load: no request failed, after {test.GapMs:0} ms it served again.",
        };
    }

    private static IEnumerable<string> SingleWorkloads(Comparison comparison, Choice choice, MethodFacts best, Rules rules)
    {
        if (choice.Field.Workloads.Count < 2)
            yield break;
        foreach (WorkloadFacts workload in choice.Field.Workloads)
        {
            (MethodFacts Method, Duel Duel)[] ahead =
            [
                .. choice.Field.Candidates.Where(m => m != best)
                    .Select(m => (Method: m, Duel: Duel.OfResults(comparison, m.Id, best.Id, [workload], rules)))
                    .Where(x => x.Duel.FirstIsGreater)
                    .OrderByDescending(x => x.Duel.Lead),
            ];
            if (ahead.Length > 0)
                yield return $"If your load is {workload.Title}: there {comparison.TitleOf(ahead[0].Method)} reaches {Sentences.Ratio(ahead[0].Duel.Ratio!.Value)} times the result of {comparison.TitleOf(best)}.";
        }
    }

    private static IEnumerable<(string Title, MethodFacts[] Able)> Features(Choice choice, MethodFacts best) =>
        from feature in best.Features.All()
        where feature.State != true
        let able = choice.Field.Candidates.Where(m => m != best && m.Features.All().Any(f => f.Title == feature.Title && f.State == true)).ToArray()
        where able.Length > 0
        select (feature.Title, able);
}
