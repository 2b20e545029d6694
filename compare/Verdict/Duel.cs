// How two methods compare over all workloads.
//
// For each round that both have complete: the ratio of their results for each workload, then the geometric mean of these ratios
// (so that a factor of two up in one workload and a factor of two down in another cancel, and no workload outweighs the others by
// its unit). The median over the rounds is the answer, its spread over the rounds says how far to trust it. A lead counts when it
// is at least the least lead that counts, larger than the spread, and rests on enough rounds; otherwise it is a tie.

using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>The outcome of comparing two methods in one figure.</summary>
/// <param name="Ratio">First against second, the median over the rounds; null when there is nothing to compare.</param>
/// <param name="LeadThatCounts">The least lead that counts.</param>
/// <param name="LeastRounds">The least rounds that count.</param>
public sealed record Duel(Sample? Ratio, double LeadThatCounts, int LeastRounds)
{
    /// <summary>How much more the greater has than the lesser: 0.3 is 30 % more.</summary>
    public double Lead => Ratio is not { Median: > 0 } r ? 0 : Math.Max(r.Median, 1 / r.Median) - 1;

    /// <summary>Whether the lead does not count.</summary>
    public bool IsTie => Ratio is not { Median: > 0 } r || r.Count < LeastRounds || Lead < LeadThatCounts || Lead <= SpreadOfLead(r);

    /// <summary>Whether the first has measurably more.</summary>
    public bool FirstIsGreater => !IsTie && Ratio!.Value.Median > 1;

    /// <summary>Whether the second has measurably more.</summary>
    public bool SecondIsGreater => !IsTie && Ratio!.Value.Median < 1;

    /// <summary>Compares the results of two methods over workloads.</summary>
    public static Duel OfResults(Comparison comparison, string first, string second, IReadOnlyCollection<WorkloadFacts> workloads, Rules rules) =>
        Make(comparison, first, second, workloads, (w, r) => w.ResultOf(r), rules);

    /// <summary>Compares a cost of two methods, such as processor time for a request: what is greater is worse.</summary>
    public static Duel OfCosts(
        Comparison comparison, string first, string second, IReadOnlyCollection<WorkloadFacts> workloads, Func<MeasuredRun, double?> cost, Rules rules) =>
        Make(comparison, first, second, workloads, (_, r) => cost(r), rules);

    private static Duel Make(
        Comparison comparison, string first, string second, IReadOnlyCollection<WorkloadFacts> workloads, Func<WorkloadFacts, MeasuredRun, double?> figure, Rules rules)
    {
        Dictionary<(string, string, int), MeasuredRun> runs = comparison.Runs.ToDictionary(r => (r.Method, r.Workload, r.Round));
        IEnumerable<int> rounds = comparison.Runs.Select(r => r.Round).Distinct();
        Sample? ratio = workloads.Count == 0 ? null : Sample.Of(rounds.Select(RatioOfRound));
        return new Duel(ratio, rules.LeadThatCounts(comparison.Environment.Noise), rules.LeastRounds);

        double? RatioOfRound(int round)
        {
            double logarithms = 0;
            foreach (WorkloadFacts workload in workloads)
            {
                if (!runs.TryGetValue((first, workload.Name, round), out MeasuredRun? a) || !runs.TryGetValue((second, workload.Name, round), out MeasuredRun? b)
                    || figure(workload, a) is not > 0 || figure(workload, b) is not > 0)
                {
                    return null;
                }

                logarithms += Math.Log(figure(workload, a)!.Value / figure(workload, b)!.Value);
            }

            return Math.Exp(logarithms / workloads.Count);
        }
    }

    /// <summary>
    /// The spread of the ratio taken so that the greater is on top: the same whichever of the two is called first.
    /// </summary>
    private static double SpreadOfLead(Sample ratio) =>
        ratio.Median >= 1 ? ratio.Spread ?? 0 : ((1 / ratio.Minimum) - (1 / ratio.Maximum)) * ratio.Median;
}
