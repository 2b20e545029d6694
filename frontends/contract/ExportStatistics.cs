using System.Text.Json.Serialization;
using Polyblk.Core.Metering;

namespace Polyblk.Frontends;

/// <summary>Counters of an export since its start. Sums over its queues and, for sockets, its sessions.</summary>
public sealed record ExportStatistics
{
    /// <summary>Sessions attached now (a kernel device counts as one while it is open).</summary>
    public int Sessions { get; init; }

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

    /// <summary>
    /// Notifications sent to consumers; null where they are not counted (no driver is notified: a socket's replies, the kernel's
    /// own completions).
    /// </summary>
    public long? Notifications { get; init; }

    /// <summary>Requests in flight now.</summary>
    public long InFlight { get; init; }

    /// <summary>
    /// How long requests took that are counted as completed: from the beginning of the reactor's turn that took them from the
    /// consumer to the end of the one that answered them.
    /// </summary>
    [JsonIgnore]
    public LatencyTable Latencies { get; init; } = LatencyTable.Empty;

    /// <summary>The sessions, where a door has them and they are told apart.</summary>
    public IReadOnlyList<SessionStatistics> SessionList { get; init; } = [];

    /// <summary>Queues, each with the name of the reactor on which it runs.</summary>
    public IReadOnlyList<string> QueueReactors { get; init; } = [];

    /// <summary>What is over: the counters, without what is there now.</summary>
    public ExportStatistics AsPast() => this with { Sessions = 0, InFlight = 0, SessionList = [], QueueReactors = [] };

    /// <summary>The sum of two exports, or of an export's present and past. Sessions and queues are not listed.</summary>
    public ExportStatistics Plus(ExportStatistics other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return new ExportStatistics
        {
            Sessions = Sessions + other.Sessions,
            Reads = Reads + other.Reads,
            ReadBytes = ReadBytes + other.ReadBytes,
            Writes = Writes + other.Writes,
            WriteBytes = WriteBytes + other.WriteBytes,
            Flushes = Flushes + other.Flushes,
            Discards = Discards + other.Discards,
            Errors = Errors + other.Errors,
            InFlight = InFlight + other.InFlight,
            Latencies = Latencies.Plus(other.Latencies),
        };
    }
}
