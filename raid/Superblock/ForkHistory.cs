using System.Collections.Immutable;

namespace Polyblk.Raid.Superblock;

/// <summary>An update that took a member out: from there on the array went on without it.</summary>
/// <param name="EventCount">The event count of that update.</param>
/// <param name="Run">A random number of the run that wrote it; never 0.</param>
public readonly record struct ArrayFork(ulong EventCount, ulong Run);

/// <summary>
/// Where an array went on without some of its members. It tells a drive that was away from one that was used by itself meanwhile,
/// on another host for instance: whoever goes on alone records the others as out, so each of two halves that went on apart has an
/// entry that the other lacks; a drive that was only away has none that the newest superblock lacks. Event counts alone do not
/// tell, since after a crash one member may be one event ahead of another.
/// </summary>
/// <param name="SinceEvent">No entry of this event count or a later one is missing; at least 1.</param>
/// <param name="Entries">The latest of them, at most <see cref="MaxEntries"/>, in the order of their event counts.</param>
public sealed record ForkHistory(ulong SinceEvent, ImmutableArray<ArrayFork> Entries)
{
    /// <summary>The most entries that are kept.</summary>
    public const int MaxEntries = 5;

    /// <summary>A history without entries.</summary>
    public static ForkHistory From(ulong eventCount) => new(eventCount, []);

    /// <summary>The same with one more; where there is no room the oldest is forgotten.</summary>
    public ForkHistory With(ArrayFork fork) =>
        Entries.Length < MaxEntries
            ? this with { Entries = Entries.Add(fork) }
            : new ForkHistory(Entries[0].EventCount + 1, Entries.RemoveAt(0).Add(fork));

    /// <summary>
    /// The event after which a drive went its own way; null when it did not, or when that is too long ago to be known.
    /// </summary>
    /// <param name="other">The history on that drive; this one is the newest superblock's.</param>
    public ulong? LeftAt(ForkHistory? other) =>
        other is { Entries: [.., ArrayFork last] } && last.EventCount >= SinceEvent && !Entries.Contains(last)
            ? last.EventCount - 1
            : null;

    /// <summary>What is wrong with it in a superblock of that event count, or null.</summary>
    public string? Check(ulong eventCount)
    {
        if (Entries.IsDefault || Entries.Length > MaxEntries) return "it went on without members too often";
        ulong least = SinceEvent;
        foreach (ArrayFork fork in Entries)
        {
            if (fork.EventCount < least || fork.EventCount > eventCount || fork.Run == 0) return "its history contradicts itself";
            least = fork.EventCount + 1;
        }
        return SinceEvent == 0 ? "its history has no beginning" : null;
    }

    /// <inheritdoc/>
    public bool Equals(ForkHistory? other) =>
        other is not null && SinceEvent == other.SinceEvent && Entries.AsSpan().SequenceEqual(other.Entries.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(SinceEvent, Entries.Length);
}
