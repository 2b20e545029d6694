// The verdict: which method to use, and why. A pure function of the recorded results.
//
// Each sentence names the figures that it rests on. What the figures do not bear is called a tie, what could not be measured is
// named, and what weakens the figures is said. The rules are in Rules, Duel, Field and Choice; docs/compare.md explains them.

using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>Gives the recommendation.</summary>
public static class Advisor
{
    /// <summary>Recommends a method for a purpose.</summary>
    public static Recommendation Advise(Comparison comparison, Purpose purpose, Rules? rules = null)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        rules ??= Rules.Default;
        return BusyMachine.In(comparison, rules) is BusyMachine busy ? busy.Advice(comparison, purpose, rules)
            : purpose == Purpose.Shared
            ? SharedAdvice.Make(comparison, rules)
            : ForOne(comparison, purpose, Choice.Make(comparison, purpose == Purpose.Vm ? Consumer.Vm : Consumer.Container, rules), rules);
    }

    private static Recommendation ForOne(Comparison comparison, Purpose purpose, Choice choice, Rules rules)
    {
        Outcome outcome = OutcomeOf(choice);
        string consumer = Sentences.Consumer(choice.Field.Consumer);
        string best = choice.Best is null ? string.Empty : comparison.TitleOf(choice.Best);
        Peers peers = Peers.AheadOf(comparison, choice, rules);
        return new Recommendation
        {
            Purpose = purpose,
            Outcome = outcome,
            Methods = choice.Best is null ? [] : [choice.Best.Id],
            Headline = outcome switch
            {
                Outcome.Clear => $"For {consumer}: {best}.{Besides(choice.Field, peers)}",
                Outcome.Tie => $"For {consumer}: {best}, level with {Sentences.List([.. choice.Rivals.Select(comparison.TitleOf)])}.{Besides(choice.Field, peers)}",
                Outcome.Only => $"For {consumer}: {best}, the only method that could be judged here.{Besides(choice.Field, peers)}",
                _ when choice.Field.IsLeftToClients => $"For {consumer}, no recommendation: the methods could not be driven by the same client.",
                _ => $"For {consumer}, no method can be recommended from these results.",
            },
            Ahead = peers.Sentences,
            Reasons = [.. Reasons.For(comparison, choice, rules)],
            WouldChange = [.. Reasons.Against(comparison, choice, rules)],
            NotMeasured = choice.Field.NotMeasured,
            NotRanked = choice.Field.NotRanked,
            Disqualified = choice.Field.Disqualified,
            Cautions = [.. Cautions.Of(comparison, [choice], rules)],
            Ranking = choice.Ranking,
        };
    }

    /// <summary>What the one that is named was not held against, and what is faster: it belongs beside the name.</summary>
    internal static string Besides(Field field, Peers peers)
    {
        string ranked = field.OtherClients.Count == 0 ? string.Empty
            : $" Not ranked with it: {Sentences.List(field.OtherClients)}, which {field.Client ?? "their client"} could not drive.";
        string faster = peers.Faster.Count == 0 ? string.Empty
            : $" Faster, but {(peers.Faster.Count == 1 ? "another program" : "other programs")}: {Sentences.List(peers.Faster)}.";
        return ranked + faster;
    }

    internal static Outcome OutcomeOf(Choice choice) =>
        choice.Best is null ? Outcome.None
        : choice.Field.Candidates.Count == 1 ? Outcome.Only
        : choice.Rivals.Count > 0 ? Outcome.Tie
        : Outcome.Clear;
}
