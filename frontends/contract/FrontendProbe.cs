namespace Polyblk.Frontends;

/// <summary>Whether a host can serve by a frontend.</summary>
/// <param name="Available">Whether it can now.</param>
/// <param name="Summary">One sentence: what was found, or why not.</param>
/// <param name="Remedies">Commands or steps that would make it available, or better; empty when there is nothing to do.</param>
/// <param name="Facts">What was found in detail, for example <c>kernel features</c>: a name and a value each.</param>
public sealed record FrontendProbe(
    bool Available, string Summary, IReadOnlyList<string> Remedies, IReadOnlyDictionary<string, string> Facts);
