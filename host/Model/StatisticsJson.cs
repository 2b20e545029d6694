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

    public required IReadOnlyList<DoorStatisticsJson> Exports { get; init; }

    /// <summary>The members of its array; empty where it has none.</summary>
    public required IReadOnlyList<DriveStatisticsJson> Drives { get; init; }

    internal static VolumeStatisticsJson Of(DaemonVolumeJson volume, LiveJson? live) => new()
    {
        Name = volume.Name,
        State = volume.State,
        Health = live is null ? null : live.Array?.Health ?? Model.Health.Optimal,
        Exports = [.. volume.Exports.Select(e => DoorStatisticsJson.Of(e, live?.Exports.FirstOrDefault(l => l.Id == e.Id)))],
        Drives = [.. (live?.Array?.Members ?? []).Select(DriveStatisticsJson.Of)],
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

    internal static DoorStatisticsJson Of(DaemonExportJson export, ExportJson? live)
    {
        ExportStatistics counts = live?.Statistics ?? new ExportStatistics();
        return new DoorStatisticsJson
        {
            Id = export.Id,
            State = export.State,
            Sessions = counts.Sessions,
            InFlight = counts.InFlight,
            Errors = counts.Errors,
            Operations = OperationStatisticsJson.Of(counts.Latencies, counts.ReadBytes, counts.WriteBytes),
        };
    }
}

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
