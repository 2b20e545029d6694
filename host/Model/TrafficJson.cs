using System.Text.Json.Serialization;
using Polyblk.Core.Metering;
using Polyblk.Raid;

namespace Polyblk.Host.Model;

/// <summary>
/// What an array has asked of a drive since its start: requests that the drive has answered, also with an error.
/// </summary>
public sealed record TrafficJson
{
    public long Reads { get; init; }

    public long ReadBytes { get; init; }

    public long Writes { get; init; }

    public long WriteBytes { get; init; }

    public long Flushes { get; init; }

    /// <summary>Discards and write-zeroes.</summary>
    public long Discards { get; init; }

    /// <summary>Requests that are at the drive now.</summary>
    public int InFlight { get; init; }

    /// <summary>How long they took.</summary>
    public required LatenciesJson Latency { get; init; }

    /// <summary>The same, whole.</summary>
    [JsonIgnore]
    public LatencyTable Latencies { get; init; } = LatencyTable.Empty;

    /// <summary>Of a member.</summary>
    public static TrafficJson Of(MemberStatus member)
    {
        ArgumentNullException.ThrowIfNull(member);
        MemberTraffic traffic = member.Traffic;
        return new TrafficJson
        {
            Reads = traffic.Latencies.Reads.Count,
            ReadBytes = traffic.ReadBytes,
            Writes = traffic.Latencies.Writes.Count,
            WriteBytes = traffic.WrittenBytes,
            Flushes = traffic.Latencies.Flushes.Count,
            Discards = traffic.Latencies.Discards.Count,
            InFlight = member.RequestsInFlight,
            Latency = LatenciesJson.Of(traffic.Latencies),
            Latencies = traffic.Latencies,
        };
    }
}
