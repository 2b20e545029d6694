using System.Text.Json.Serialization;
using Polyblk.Core.Metering;

namespace Polyblk.Frontends;

/// <summary>Counters of a session that is attached, since it came.</summary>
/// <param name="Name">Its name, as in events and in the log: <c>data/vhost-user/0#3</c>.</param>
/// <param name="Peer">Who it is: <c>user 64055, process 4711</c>.</param>
public sealed record SessionStatistics(string Name, string Peer)
{
    /// <summary>Queues that run.</summary>
    public int Queues { get; init; }

    /// <summary>Requests in flight now.</summary>
    public long InFlight { get; init; }

    /// <summary>Reads completed.</summary>
    public long Reads { get; init; }

    /// <summary>Bytes read.</summary>
    public long ReadBytes { get; init; }

    /// <summary>Writes completed.</summary>
    public long Writes { get; init; }

    /// <summary>Bytes written.</summary>
    public long WriteBytes { get; init; }

    /// <summary>Flushes completed.</summary>
    public long Flushes { get; init; }

    /// <summary>Discards and write-zeroes completed.</summary>
    public long Discards { get; init; }

    /// <summary>Requests that ended with an error.</summary>
    public long Errors { get; init; }

    /// <summary>How long its requests took: as those of <see cref="ExportStatistics.Latencies"/>.</summary>
    [JsonIgnore]
    public LatencyTable Latencies { get; init; } = LatencyTable.Empty;
}
