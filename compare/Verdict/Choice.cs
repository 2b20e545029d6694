using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>The choice among the candidates for one kind of consumer.</summary>
/// <param name="Field">Who competed.</param>
/// <param name="Best">The chosen one; null when there is none to choose.</param>
/// <param name="Ranking">All candidates against the chosen one, best first.</param>
/// <param name="Rivals">Candidates that are not measurably behind the chosen one.</param>
/// <param name="TieBreak">Why it was preferred to the rivals, when there are any.</param>
internal sealed record Choice(Field Field, MethodFacts? Best, IReadOnlyList<RankedMethod> Ranking, IReadOnlyList<MethodFacts> Rivals, string? TieBreak)
{
    /// <summary>
    /// Chooses. Throughput decides where it differs measurably. Among those that are not measurably behind the fastest or one of
    /// its equals, the order is: survives a restart of the target without a failed request, costs measurably less processor time
    /// for a request, has a measurably lower p99, asks for less of the host, and last the one with the highest figures, which
    /// then decide nothing else.
    /// </summary>
    public static Choice Make(Comparison comparison, Consumer consumer, Rules rules)
    {
        Field field = Field.For(comparison, consumer);
        if (field.Candidates.Count == 0 || field.IsLeftToClients)
            return new Choice(field, null, [], [], null);

        MethodFacts fastest = Fastest(comparison, field.Candidates, field, rules);
        MethodFacts[] level = Level(comparison, field, fastest, rules);
        (MethodFacts best, string? tieBreak) = level.Length == 1 ? (fastest, null) : BreakTie(comparison, field, level, rules);

        RankedMethod[] ranking =
        [
            .. field.Candidates
                .Select(m => (Method: m, Duel: Duel.OfResults(comparison, m.Id, best.Id, field.Workloads, rules)))
                .Where(x => x.Duel.Ratio is not null)
                .Select(x => new RankedMethod(x.Method.Id, comparison.TitleOf(x.Method), x.Duel.Ratio!.Value, x.Duel.IsTie))
                .OrderBy(r => r.Method != best.Id)
                .ThenByDescending(r => r.Ratio.Median),
        ];
        return new Choice(field, best, ranking, [.. level.Where(m => m != best)], tieBreak);
    }

    private static MethodFacts Fastest(Comparison comparison, IReadOnlyList<MethodFacts> among, Field field, Rules rules)
    {
        MethodFacts reference = among[0];
        return among.MaxBy(m => m == reference ? 1 : Duel.OfResults(comparison, m.Id, reference.Id, field.Workloads, rules).Ratio?.Median ?? 0)!;
    }

    /// <summary>
    /// Those not measurably behind the fastest, nor behind another of these: where the fastest wandered so much that it leads
    /// nobody, one that is steadily behind a second does not become its equal.
    /// </summary>
    private static MethodFacts[] Level(Comparison comparison, Field field, MethodFacts fastest, Rules rules)
    {
        MethodFacts[] tied = [.. field.Candidates.Where(m => m == fastest || Duel.OfResults(comparison, fastest.Id, m.Id, field.Workloads, rules).IsTie)];
        return [.. tied.Where(m => m == fastest || !tied.Any(o => Duel.OfResults(comparison, o.Id, m.Id, field.Workloads, rules).FirstIsGreater))];
    }

    private static (MethodFacts Best, string Reason) BreakTie(Comparison comparison, Field field, MethodFacts[] level, Rules rules)
    {
        MethodFacts[] remaining = [.. level.Where(m => RestartSurvived(comparison, m) == true)];
        if (remaining.Length == 0 || remaining.Length == level.Length)
            remaining = level;
        if (remaining.Length == 1)
            return (remaining[0], "it alone of them was seen to survive a kill of the target under load without a failed request");

        (string Words, Func<MeasuredRun, double?> Cost)[] costs =
        [
            ("its processor time for a request is measurably lower", CpuOf),
            ("its 99th percentile of latency is measurably lower", r => r.Latency.P99),
        ];
        foreach ((string words, Func<MeasuredRun, double?> cost) in costs)
        {
            if (remaining.FirstOrDefault(m => remaining.All(o => o == m || Duel.OfCosts(comparison, o.Id, m.Id, field.Workloads, cost, rules).FirstIsGreater)) is { } cheapest)
                return (cheapest, words);
        }

        int least = remaining.Min(m => m.Needs.All().Count());
        MethodFacts[] modest = [.. remaining.Where(m => m.Needs.All().Count() == least)];
        return modest.Length == 1 && remaining.Length > 1 ? (modest[0], "it asks for less of the host")
            : (Fastest(comparison, modest, field, rules), modest.Length < remaining.Length
                ? "it is one of those that ask for least of the host, and nothing else that was measured tells these apart"
                : "nothing that was measured tells them apart, and it is named only because one has to be");
    }

    /// <summary>Processor time of both sides; null unless both were read, for half a sum compares with nothing.</summary>
    public static double? CpuOf(MeasuredRun run) => run.TargetCpuUsPerRequest + run.LoadCpuUsPerRequest;

    /// <summary>Whether it survived the restart test; null when that was not made.</summary>
    public static bool? RestartSurvived(Comparison comparison, MethodFacts method) => comparison.Restarts.FirstOrDefault(r => r.Method == method.Id) switch
    {
        { DidNotComeBack: true } => false,
        { GapMs: not null } test => test is { IoErrors: 0, Verification: not Verification.Failed },
        _ => null,
    };
}
