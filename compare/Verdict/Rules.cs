using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>
/// What counts. The numbers that the verdict uses to turn figures into words, all of them; docs/compare.md gives the reasons.
/// </summary>
public sealed record Rules
{
    public static Rules Default { get; } = new();

    /// <summary>Least lead that counts: 0.25 is "a quarter more".</summary>
    public double LeastLead { get; init; } = 0.25;

    /// <summary>Rounds below which nothing is called a lead: two points have no middle.</summary>
    public int LeastRounds { get; init; } = 3;

    /// <summary>Steal above which the reader is warned, in percent.</summary>
    public double StealWarningPercent { get; init; } = 2;

    /// <summary>Other load above which the reader is warned, in percent.</summary>
    public double OtherLoadWarningPercent { get; init; } = 10;

    /// <summary>Drift of the reference run above which the reader is warned, in percent.</summary>
    public double DriftWarningPercent { get; init; } = 10;

    /// <summary>
    /// Other load and steal together from which a run says more of the machine than of the method, in percent of the processors'
    /// time.
    /// </summary>
    public double TooBusyPercent { get; init; } = 25;

    /// <summary>
    /// Share of such runs above which nothing is recommended: with a third of them, a median over three rounds may rest on one.
    /// </summary>
    public double TooBusyShare { get; init; } = 1.0 / 3;

    /// <summary>The lead that counts on this occasion: never less than how far the reference run itself wandered.</summary>
    public double LeadThatCounts(NoiseReadings noise) => Math.Max(LeastLead, (noise?.ReferenceDriftPercent ?? 0) / 100);
}
