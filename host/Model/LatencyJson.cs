using System.Text.Json.Serialization;
using Polyblk.Core.Metering;

namespace Polyblk.Host.Model;

/// <summary>How long requests took, in microseconds. Percentiles are at most a sixteenth too long.</summary>
/// <param name="Count">How many there were.</param>
/// <param name="MeanUs">The mean.</param>
/// <param name="P50Us">The median.</param>
/// <param name="P90Us">What 90 % took at most.</param>
/// <param name="P99Us">What 99 % took at most.</param>
/// <param name="P999Us">What 99.9 % took at most.</param>
/// <param name="P9999Us">What 99.99 % took at most.</param>
public sealed record LatencyJson(
    long Count, double MeanUs, double P50Us, double P90Us, double P99Us, double P999Us, double P9999Us)
{
    private const double NsInUs = 1000;

    /// <summary>From what was counted; null where that is nothing.</summary>
    public static LatencyJson? Of(LatencyCounts counts)
    {
        ArgumentNullException.ThrowIfNull(counts);
        return counts.Count == 0 ? null : new LatencyJson(
            counts.Count, Math.Round(counts.MeanNs / NsInUs, 3), Us(0.5m), Us(0.9m), Us(0.99m), Us(0.999m), Us(0.9999m));

        double Us(decimal part) => counts.PercentileNs(part) / NsInUs;
    }
}

/// <summary>The same of each kind of requests; null for those of which there was none.</summary>
public sealed record LatenciesJson
{
    public LatencyJson? Read { get; init; }

    public LatencyJson? Write { get; init; }

    public LatencyJson? Flush { get; init; }

    /// <summary>Of discards and write-zeroes.</summary>
    public LatencyJson? Discard { get; init; }

    /// <summary>Those of which there was one, with their words.</summary>
    [JsonIgnore]
    public IEnumerable<(string Operation, LatencyJson Latency)> Kinds =>
        from kind in new[] { ("read", Read), ("write", Write), ("flush", Flush), ("discard", Discard) }
        where kind.Item2 is not null
        select (kind.Item1, kind.Item2!);

    /// <summary>From what was counted.</summary>
    public static LatenciesJson Of(LatencyTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        return new LatenciesJson
        {
            Read = LatencyJson.Of(table.Reads),
            Write = LatencyJson.Of(table.Writes),
            Flush = LatencyJson.Of(table.Flushes),
            Discard = LatencyJson.Of(table.Discards),
        };
    }
}
