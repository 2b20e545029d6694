// All counters and histograms of a daemon at a moment, for whoever takes two of these pictures and says what was between them:
// polyblk top. These names are documented in docs/daemon.md and stay.

using System.Diagnostics;
using Polyblk.Core.Metering;
using Polyblk.Frontends;

namespace Polyblk.Host.Model;

/// <summary>A picture of a daemon.</summary>
public sealed record StatisticsJson
{
    /// <summary>
    /// When it was taken, in nanoseconds of the host's monotonic clock: the difference of two is the time between them.
    /// </summary>
    public required long TakenNs { get; init; }

    /// <summary>The daemon's process.</summary>
    public required int Pid { get; init; }

    public required IReadOnlyList<VolumeStatisticsJson> Volumes { get; init; }

    public required IReadOnlyList<ReactorJson> Reactors { get; init; }

    /// <summary>Now, of what a daemon says of itself.</summary>
    public static StatisticsJson Of(DaemonJson daemon, IReadOnlyList<LiveJson> live)
    {
        ArgumentNullException.ThrowIfNull(daemon);
        return new StatisticsJson
        {
            TakenNs = (long)Stopwatch.GetElapsedTime(0).TotalNanoseconds,
            Pid = daemon.Pid,
            Volumes = [.. daemon.Volumes.Select(v => VolumeStatisticsJson.Of(v, live.FirstOrDefault(l => l.Volume == v.Name)))],
            Reactors = daemon.Reactors,
        };
    }
}

/// <summary>A volume in it.</summary>
public sealed record VolumeStatisticsJson
{
    public required string Name { get; init; }

    public required DaemonState State { get; init; }

    /// <summary>How it is; null where it is not served.</summary>
    public Health? Health { get; init; }

    /// <summary>
    /// All its exports together since it is served, those that were removed included; empty where it is not served.
    /// </summary>
    public IReadOnlyList<OperationStatisticsJson> Operations { get; init; } = [];

    public required IReadOnlyList<DoorStatisticsJson> Exports { get; init; }

    /// <summary>The members of its array; empty where it has none.</summary>
    public required IReadOnlyList<DriveStatisticsJson> Drives { get; init; }

    /// <summary>Of a volume of the daemon.</summary>
    internal static VolumeStatisticsJson Of(DaemonVolumeJson volume, LiveJson? live) => (live is null ? Nothing : Of(live)) with
    {
        Name = volume.Name,
        State = volume.State,
        Exports = [.. volume.Exports.Select(e => DoorStatisticsJson.Of(e, live?.Exports.FirstOrDefault(l => l.Id == e.Id)))],
    };

    /// <summary>Of what is served.</summary>
    internal static VolumeStatisticsJson Of(LiveJson live) => new()
    {
        Name = live.Volume,
        State = DaemonState.Served,
        Health = live.Health,
        Operations = OperationStatisticsJson.Of(live.Statistics.Latencies, live.Statistics.ReadBytes, live.Statistics.WriteBytes),
        Exports = [.. live.Exports.Select(DoorStatisticsJson.Of)],
        Drives = [.. (live.Array?.Members ?? []).Select(DriveStatisticsJson.Of)],
    };

    /// <summary>A picture of the same moment that came over a socket, with its histograms, which do not go that way.</summary>
    internal LiveJson FillIn(LiveJson live) => live with
    {
        Statistics = live.Statistics with { Latencies = Operations.ToTable() },
        Exports = [.. live.Exports.Select(e => Exports.FirstOrDefault(d => d.Id == e.Id)?.FillIn(e) ?? e)],
        Array = live.Array is not { } array ? null : array with
        {
            Members = [.. array.Members.Select(m => Drives.FirstOrDefault(d => d.Member == m.Role)?.FillIn(m) ?? m)],
        },
    };

    private static VolumeStatisticsJson Nothing { get; } = new()
    {
        Name = string.Empty, State = default, Exports = [], Drives = [],
    };
}

/// <summary>An export in it.</summary>
public sealed record DoorStatisticsJson
{
    public required string Id { get; init; }

    /// <summary><c>serving</c>, <c>ended</c>, <c>failed</c>; or the state of its volume where that is not served.</summary>
    public required string State { get; init; }

    public int Sessions { get; init; }

    /// <summary>Requests in flight now.</summary>
    public long InFlight { get; init; }

    /// <summary>Requests that ended with an error.</summary>
    public long Errors { get; init; }

    public required IReadOnlyList<OperationStatisticsJson> Operations { get; init; }

    /// <summary>Those of its sessions that are told apart.</summary>
    public IReadOnlyList<SessionOperationsJson> SessionList { get; init; } = [];

    internal static DoorStatisticsJson Of(DaemonExportJson export, ExportJson? live) =>
        Of(live ?? s_none) with { Id = export.Id, State = export.State };

    internal static DoorStatisticsJson Of(ExportJson export)
    {
        ExportStatistics counts = export.Statistics ?? new ExportStatistics();
        return new DoorStatisticsJson
        {
            Id = export.Id,
            State = export.State,
            Sessions = counts.Sessions,
            InFlight = counts.InFlight,
            Errors = counts.Errors,
            Operations = OperationStatisticsJson.Of(counts.Latencies, counts.ReadBytes, counts.WriteBytes),
            SessionList =
            [
                .. counts.SessionList.Select(s => new SessionOperationsJson(
                    s.Name, OperationStatisticsJson.Of(s.Latencies, s.ReadBytes, s.WriteBytes))),
            ],
        };
    }

    internal ExportJson FillIn(ExportJson export) => export.Statistics is not { } counts ? export : export with
    {
        Statistics = counts with
        {
            Latencies = Operations.ToTable(),
            SessionList =
            [
                .. counts.SessionList.Select(s => s with
                {
                    Latencies = SessionList.FirstOrDefault(l => l.Name == s.Name)?.Operations.ToTable() ?? LatencyTable.Empty,
                }),
            ],
        },
    };

    private static readonly ExportJson s_none = new()
    {
        Id = string.Empty, Frontend = string.Empty, EndpointKind = string.Empty, Endpoint = string.Empty, State = string.Empty,
    };
}

/// <summary>A session in it.</summary>
/// <param name="Name">Its name, as in events and metrics.</param>
/// <param name="Operations">What it has asked for since it came.</param>
public sealed record SessionOperationsJson(string Name, IReadOnlyList<OperationStatisticsJson> Operations);

/// <summary>The drive of a member in it.</summary>
public sealed record DriveStatisticsJson
{
    /// <summary>The member's role, from 0.</summary>
    public required int Member { get; init; }

    /// <summary>Its drive; null where none is there.</summary>
    public string? Drive { get; init; }

    /// <summary>As of <c>volume show</c>: <c>present</c>, <c>rebuilding</c>, <c>failed</c> and so on.</summary>
    public required string State { get; init; }

    /// <summary>Requests that are at the drive now.</summary>
    public long InFlight { get; init; }

    /// <summary>Requests that it answered with an error.</summary>
    public long Errors { get; init; }

    public required IReadOnlyList<OperationStatisticsJson> Operations { get; init; }

    internal static DriveStatisticsJson Of(MemberJson member) => new()
    {
        Member = member.Role,
        Drive = member.Drive,
        State = member.State,
        InFlight = member.Traffic?.InFlight ?? 0,
        Errors = member.ReadErrors + member.WriteErrors,
        Operations = member.Traffic is not { } traffic ? []
            : OperationStatisticsJson.Of(traffic.Latencies, traffic.ReadBytes, traffic.WriteBytes),
    };

    internal MemberJson FillIn(MemberJson member) => member.Traffic is not { } traffic ? member
        : member with { Traffic = traffic with { Latencies = Operations.ToTable() } };
}

/// <summary>One kind of requests in it.</summary>
/// <param name="Operation"><c>read</c>, <c>write</c>, <c>flush</c> or <c>discard</c>.</param>
/// <param name="Requests">Requests that were answered.</param>
/// <param name="Bytes">Their bytes; 0 of flushes and discards.</param>
/// <param name="SumNs">The sum of the times that they took, in nanoseconds.</param>
/// <param name="Buckets">How many took how long: pairs of a longest time in nanoseconds and a number; times without requests are
/// left out.</param>
public sealed record OperationStatisticsJson(
    string Operation, long Requests, long Bytes, long SumNs, IReadOnlyList<IReadOnlyList<long>> Buckets)
{
    internal static IReadOnlyList<OperationStatisticsJson> Of(LatencyTable table, long readBytes, long writeBytes) =>
    [
        .. table.Kinds.Select(k => new OperationStatisticsJson(
            k.Operation,
            k.Counts.Count,
            k.Operation == "read" ? readBytes : k.Operation == "write" ? writeBytes : 0,
            k.Counts.SumNs,
            [.. k.Counts.Buckets.Select(b => (IReadOnlyList<long>)[b.UpperNs, b.Count])])),
    ];

    /// <summary>The histogram again.</summary>
    public LatencyCounts ToCounts() => LatencyCounts.Of(Buckets.Select(b => (b[0], b[1])), SumNs);
}

/// <summary>All kinds of requests of something.</summary>
internal static class OperationStatistics
{
    /// <summary>The histograms of each kind again.</summary>
    public static LatencyTable ToTable(this IReadOnlyList<OperationStatisticsJson> operations)
    {
        return new LatencyTable(Of("read"), Of("write"), Of("flush"), Of("discard"));

        LatencyCounts Of(string word) =>
            operations.FirstOrDefault(o => o.Operation == word)?.ToCounts() ?? LatencyCounts.Empty;
    }
}
