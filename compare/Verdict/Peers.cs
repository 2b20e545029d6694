// Other programs that did better than the recommended method. They are never recommended, since the choice is among this
// program's frontends, but whoever reads the recommendation has to know that there is something faster.

using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>The peers that are measurably ahead of a choice.</summary>
internal sealed record Peers
{
    /// <summary>Titles of those ahead over all workloads that they share with the choice.</summary>
    public required IReadOnlyList<string> Faster { get; init; }

    /// <summary>A sentence for each peer that is ahead over all of them, or in single ones.</summary>
    public required IReadOnlyList<string> Sentences { get; init; }

    public static Peers AheadOf(Comparison comparison, Choice choice, Rules rules)
    {
        var faster = new List<string>();
        var sentences = new List<string>();
        IReadOnlyList<ComparedRow> rows = ComparedRow.From(comparison);
        foreach (MethodFacts peer in choice.Best is null ? [] : comparison.Methods.Where(m => m.Role == MethodRole.Peer && m.Vantage == choice.Field.Vantage))
        {
            ComparedRow[] own = [.. rows.Where(r => r.Method.Id == peer.Id)];
            if (peer.Verification != Verification.Passed || own.Any(r => !r.IsSound))
            {
                continue;
            }

            WorkloadFacts[] common = [.. choice.Field.Workloads.Where(w => own.Any(r => r.Workload.Name == w.Name))];
            string best = comparison.TitleOf(choice.Best!);
            Duel all = Duel.OfResults(comparison, peer.Id, choice.Best!.Id, common, rules);
            string[] single =
            [
                .. common.Select(w => (Workload: w, Duel: Duel.OfResults(comparison, peer.Id, choice.Best!.Id, [w], rules))).Where(x => x.Duel.FirstIsGreater)
                    .Select(x => $"{Verdict.Sentences.Ratio(x.Duel.Ratio!.Value)} times in {x.Workload.Title}"),
            ];
            if (all.FirstIsGreater)
            {
                faster.Add(comparison.TitleOf(peer));
                sentences.Add($"{comparison.TitleOf(peer)}, another program, reaches {Verdict.Sentences.Ratio(all.Ratio!.Value)} times the result of {best} over {Verdict.Sentences.Workloads(common.Length)}{Remark(comparison, peer, choice.Best!)}.");
            }
            else if (single.Length > 0)
            {
                sentences.Add($"{comparison.TitleOf(peer)}, another program, reaches more than {best} in some workloads: {string.Join("; ", single)}{Remark(comparison, peer, choice.Best!)}.");
            }
        }

        return new Peers { Faster = faster, Sentences = sentences };
    }

    /// <summary>What keeps the two from being the same but for the program.</summary>
    private static string Remark(Comparison comparison, MethodFacts peer, MethodFacts best)
    {
        string[] remarks =
        [
            .. peer.Backing == Backing.Drive && best.Backing == Backing.Volume && comparison.Volume.Members.Count > 1 ? new[] { "it served one file, without RAID" } : [],
            .. peer.Load is not null && best.Load is not null && peer.Load != best.Load ? new[] { $"it was driven by {peer.Load}, the other by {best.Load}" } : [],
        ];
        return remarks.Length == 0 ? string.Empty : $" ({string.Join("; ", remarks)})";
    }
}
