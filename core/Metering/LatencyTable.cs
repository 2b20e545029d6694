namespace Polyblk.Core.Metering;

/// <summary>What histograms of each kind of requests have counted up to a moment.</summary>
/// <param name="Reads">Of reads.</param>
/// <param name="Writes">Of writes.</param>
/// <param name="Flushes">Of flushes.</param>
/// <param name="Discards">Of discards and write-zeroes.</param>
public sealed record LatencyTable(LatencyCounts Reads, LatencyCounts Writes, LatencyCounts Flushes, LatencyCounts Discards)
{
    /// <summary>Nothing yet.</summary>
    public static LatencyTable Empty { get; } =
        new(LatencyCounts.Empty, LatencyCounts.Empty, LatencyCounts.Empty, LatencyCounts.Empty);

    /// <summary>All of them, with the word of each.</summary>
    public IReadOnlyList<(string Operation, LatencyCounts Counts)> Kinds =>
        [("read", Reads), ("write", Writes), ("flush", Flushes), ("discard", Discards)];

    /// <summary>All kinds together.</summary>
    public LatencyCounts All => Reads.Plus(Writes).Plus(Flushes).Plus(Discards);

    /// <summary>The sum of two.</summary>
    public LatencyTable Plus(LatencyTable other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return new LatencyTable(
            Reads.Plus(other.Reads), Writes.Plus(other.Writes), Flushes.Plus(other.Flushes), Discards.Plus(other.Discards));
    }
}
