// What was between two pictures of a daemon: rates, and times of the requests that were answered meanwhile. It is what polyblk
// top --json prints; these names are documented in docs/cli.md and stay.

using System.Text.Json.Serialization;
using Polyblk.Core.Metering;
using Polyblk.Host.Model;

namespace Polyblk.Cli.Output;

/// <summary>An interval.</summary>
internal sealed record TopJson
{
    /// <summary>How long it was.</summary>
    public required double Seconds { get; init; }

    public required IReadOnlyList<TopVolumeJson> Volumes { get; init; }

    public required IReadOnlyList<TopReactorJson> Reactors { get; init; }

    /// <summary>From one picture to a later one.</summary>
    public static TopJson Between(StatisticsJson before, StatisticsJson after)
    {
        // The counters of a successor begin anew.
        before = before.Pid == after.Pid ? before : before with { Volumes = [], Reactors = [] };
        double seconds = Math.Max(after.TakenNs - before.TakenNs, 1) / 1e9;
        return new TopJson
        {
            Seconds = Math.Round(seconds, 3),
            Volumes =
            [
                .. from volume in after.Volumes
                   let then = before.Volumes.FirstOrDefault(b => b.Name == volume.Name)
                   select TopVolumeJson.Between(then, volume, seconds),
            ],
            Reactors =
            [
                .. from reactor in after.Reactors
                   let then = before.Reactors.FirstOrDefault(b => b.Name == reactor.Name)
                   select TopReactorJson.Between(then, reactor, seconds),
            ],
        };
    }
}

/// <summary>A volume in it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="State">What the daemon does with it.</param>
/// <param name="Health">How it is; null where it is not served.</param>
/// <param name="Total">All exports together.</param>
/// <param name="Exports">Each of them.</param>
/// <param name="Drives">The drives of its members.</param>
internal sealed record TopVolumeJson(
    string Name, DaemonState State, Health? Health, TopTrafficJson Total, IReadOnlyList<TopExportJson> Exports,
    IReadOnlyList<TopDriveJson> Drives)
{
    public static TopVolumeJson Between(VolumeStatisticsJson? before, VolumeStatisticsJson after, double seconds) => new(
        after.Name,
        after.State,
        after.Health,
        TopTrafficJson.Between(
            [.. before?.Exports.SelectMany(e => e.Operations) ?? []],
            [.. after.Exports.SelectMany(e => e.Operations)],
            after.Exports.Sum(e => e.InFlight), after.Exports.Sum(e => e.Errors), seconds),
        [
            .. after.Exports.Select(e => new TopExportJson(e.Id, e.State, e.Sessions, TopTrafficJson.Between(
                before?.Exports.FirstOrDefault(b => b.Id == e.Id)?.Operations ?? [],
                e.Operations, e.InFlight, e.Errors, seconds))),
        ],
        [
            .. after.Drives.Select(d => new TopDriveJson(d.Member, d.Drive, d.State, TopTrafficJson.Between(
                before?.Drives.FirstOrDefault(b => b.Member == d.Member && b.Drive == d.Drive)?.Operations ?? [],
                d.Operations, d.InFlight, d.Errors, seconds))),
        ]);
}

/// <summary>An export in it.</summary>
internal sealed record TopExportJson(string Id, string State, int Sessions, TopTrafficJson Traffic);

/// <summary>The drive of a member in it.</summary>
internal sealed record TopDriveJson(int Member, string? Drive, string State, TopTrafficJson Traffic);

/// <summary>What went through an export, or to a drive.</summary>
internal sealed record TopTrafficJson
{
    public double ReadsPerSecond { get; init; }

    public double WritesPerSecond { get; init; }

    public double ReadBytesPerSecond { get; init; }

    public double WriteBytesPerSecond { get; init; }

    /// <summary>Requests in flight at its end.</summary>
    public long InFlight { get; init; }

    /// <summary>Requests that ended with an error, since the start.</summary>
    public long Errors { get; init; }

    /// <summary>How long those took that were answered in the interval; null where there were none.</summary>
    public LatencyJson? Latency { get; init; }

    /// <summary>The same of each kind.</summary>
    public required LatenciesJson Operations { get; init; }

    public static TopTrafficJson Between(
        IReadOnlyList<OperationStatisticsJson> before, IReadOnlyList<OperationStatisticsJson> after, long inFlight, long errors,
        double seconds)
    {
        LatencyTable news = new(Counts("read"), Counts("write"), Counts("flush"), Counts("discard"));
        return new TopTrafficJson
        {
            ReadsPerSecond = Rate(news.Reads.Count),
            WritesPerSecond = Rate(news.Writes.Count),
            ReadBytesPerSecond = Rate(Bytes("read")),
            WriteBytesPerSecond = Rate(Bytes("write")),
            InFlight = inFlight,
            Errors = errors,
            Latency = LatencyJson.Of(news.All),
            Operations = LatenciesJson.Of(news),
        };

        LatencyCounts Counts(string operation) => Sum(after, operation).Since(Sum(before, operation));

        double Rate(long count) => Math.Round(count / seconds, 1);

        long Bytes(string operation)
        {
            long then = before.Where(o => o.Operation == operation).Sum(o => o.Bytes);
            long now = after.Where(o => o.Operation == operation).Sum(o => o.Bytes);
            return now < then ? now : now - then;
        }
    }

    private static LatencyCounts Sum(IReadOnlyList<OperationStatisticsJson> all, string operation) =>
        all.Where(o => o.Operation == operation).Aggregate(LatencyCounts.Empty, (sum, o) => sum.Plus(o.ToCounts()));
}

/// <summary>A reactor in it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Queues">Queues that it serves.</param>
/// <param name="BusyPercent">Of its time, in turns that found work.</param>
/// <param name="SpinPercent">Of its time, in turns that found none.</param>
/// <param name="SleepPercent">Of its time, asleep.</param>
/// <param name="RequestsPerSecond">Requests that it took.</param>
/// <param name="SleepsPerSecond">How often it went to sleep.</param>
internal sealed record TopReactorJson(
    string Name, int Queues, double BusyPercent, double SpinPercent, double SleepPercent, double RequestsPerSecond,
    double SleepsPerSecond)
{
    public static TopReactorJson Between(ReactorJson? before, ReactorJson after, double seconds)
    {
        return new TopReactorJson(
            after.Name, after.Queues, Percent(r => r.BusyNs), Percent(r => r.SpinNs), Percent(r => r.SleepNs),
            Rate(r => r.Requests), Rate(r => r.Sleeps));

        double Rate(Func<ReactorJson, long> count) =>
            Math.Round((count(after) - (before is null ? 0 : count(before))) / seconds, 1);

        // What a reactor sleeps is added when it wakes, so one may seem to have slept for longer than the interval was.
        double Percent(Func<ReactorJson, long> ns) => Math.Min(100, Math.Round(Rate(ns) / 1e7, 1));
    }
}

/// <summary>A line each.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(TopJson))]
internal sealed partial class TopLineJson : JsonSerializerContext;
