using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>What the volume is for.</summary>
public enum Purpose
{
    /// <summary>A disk of a virtual machine.</summary>
    Vm,

    /// <summary>A block device on the host, for containers.</summary>
    Container,

    /// <summary>One volume that virtual machines and containers use at the same time.</summary>
    Shared,
}

/// <summary>How far the recommendation goes.</summary>
public enum Outcome
{
    /// <summary>The recommended method is ahead of all others by more than what counts.</summary>
    Clear,

    /// <summary>Others are not measurably behind it: it was chosen from them by other reasons than throughput.</summary>
    Tie,

    /// <summary>One method alone could be judged.</summary>
    Only,

    /// <summary>Nothing can be recommended from these figures.</summary>
    None,
}

/// <summary>One method in the ranking.</summary>
/// <param name="Method">Its id.</param>
/// <param name="Title">What to call it.</param>
/// <param name="Ratio">Its result against the recommended one's, over all workloads; the recommended one itself has 1.</param>
/// <param name="IsTie">Whether it is not measurably different from the recommended one.</param>
public sealed record RankedMethod(string Method, string Title, Sample Ratio, bool IsTie);

/// <summary>A reasoned recommendation. Every sentence rests on recorded figures.</summary>
public sealed record Recommendation
{
    public required Purpose Purpose { get; init; }

    public required Outcome Outcome { get; init; }

    /// <summary>
    /// Ids of the recommended methods: none, one, or for <see cref="Purpose.Shared"/> one for each kind of consumer.
    /// </summary>
    public required IReadOnlyList<string> Methods { get; init; }

    /// <summary>The recommendation in one sentence.</summary>
    public required string Headline { get; init; }

    /// <summary>Why, with the figures.</summary>
    public IReadOnlyList<string> Reasons { get; init; } = [];

    /// <summary>Other programs that reach more than what is recommended, with the figures.</summary>
    public IReadOnlyList<string> Ahead { get; init; } = [];

    /// <summary>What would make it another one; what to do where there is none.</summary>
    public IReadOnlyList<string> WouldChange { get; init; } = [];

    /// <summary>What could not be judged, and why.</summary>
    public IReadOnlyList<string> NotMeasured { get; init; } = [];

    /// <summary>The part of <see cref="NotMeasured"/> that works here and was not ranked.</summary>
    public IReadOnlyList<string> NotRanked { get; init; } = [];

    /// <summary>Methods that are out, and why.</summary>
    public IReadOnlyList<string> Disqualified { get; init; } = [];

    /// <summary>What weakens the figures.</summary>
    public IReadOnlyList<string> Cautions { get; init; } = [];

    /// <summary>The methods that were judged, best first.</summary>
    public IReadOnlyList<RankedMethod> Ranking { get; init; } = [];

    /// <summary>What the sentences of <see cref="WouldChange"/> are about.</summary>
    public string WouldChangeTitle => Outcome == Outcome.None ? "What to do" : "What would change it";
}
