// What Prometheus scrapes: its text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). A metric's name,
// help and type come once, before its samples; counters end in _total; values of labels are quoted, with \\, \" and \n escaped.
//
// Histograms are made of fine buckets (LatencyScale), which a scrape would be too long with: a bound is a power of two of
// microseconds, from 1 us to 8.4 s, and exact.
//
// Written from the same pictures of the volumes that volume show has. Nothing here runs on a reactor.

using System.Globalization;
using System.Text;
using Polyblk.Core.Metering;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Model;

namespace Polyblk.Api;

/// <summary>Writes metrics.</summary>
internal sealed class MetricsText
{
    private const double NsInSecond = 1e9;

    /// <summary>Log2 of the longest bound of a histogram in microseconds.</summary>
    private const int LastPower = 23;

    private readonly StringBuilder _text = new();

    /// <summary>All metrics of a daemon.</summary>
    public static string Write(DaemonJson daemon, IReadOnlyList<LiveJson> volumes)
    {
        var metrics = new MetricsText();
        metrics.Begin("polyblk_build_info", "gauge", "The version of the daemon: 1.");
        metrics.Add(1, ("version", ProgramVersion.Text));
        metrics.WriteVolumes(daemon, volumes);
        metrics.WriteTraffic(volumes);
        metrics.WriteMembers(volumes);
        metrics.WriteExports(daemon, volumes);
        metrics.WriteSessions(volumes);
        metrics.WriteReactors(daemon.Reactors);
        return metrics._text.ToString();
    }

    private void WriteVolumes(DaemonJson daemon, IReadOnlyList<LiveJson> volumes)
    {
        Begin("polyblk_volume_state", "gauge", "What the daemon does with a volume: 1 for the state that it is in.");
        foreach (DaemonVolumeJson volume in daemon.Volumes)
        {
            foreach (DaemonState state in Enum.GetValues<DaemonState>())
            {
                Add(volume.State == state ? 1 : 0, ("volume", volume.Name), ("state", state.Word()));
            }
        }

        Begin(
            "polyblk_volume_health", "gauge",
            "Health of a volume: 1 for the one that it has. failed where it is to be served and cannot; none where it is not.");
        Dictionary<string, Health> healths = daemon.Volumes.Where(v => v.State == DaemonState.Failed)
            .ToDictionary(v => v.Name, _ => Health.Failed);
        foreach (LiveJson volume in volumes)
        {
            healths[volume.Volume] = volume.Health;
        }

        foreach ((string volume, Health its) in healths)
        {
            foreach (Health health in Enum.GetValues<Health>())
            {
                Add(its == health ? 1 : 0, ("volume", volume), ("health", health.Word()));
            }
        }

        Each("polyblk_volume_size_bytes", "gauge", "Size of a volume.", volumes, v => v.SizeBytes, Named);
        LiveJson[] arrays = [.. volumes.Where(v => v.Array is not null)];
        Each("polyblk_array_warnings", "gauge", "What needs the attention of a human.", arrays, v => v.Array!.Warnings.Count, Named);
        Each("polyblk_array_ranges_in_doubt", "gauge", "Ranges in which members may disagree.", arrays, v => v.Array!.RangesInDoubt, Named);
        Each("polyblk_array_spares", "gauge", "Drives that wait to take a lost member's place.", arrays, v => v.Array!.Spares.Count, Named);
        Progress("polyblk_array_resync", "resync", [.. arrays.Where(v => v.Array!.Resync is not null)], v => v.Array!.Resync!);
        Progress("polyblk_array_rebuild", "rebuild", [.. arrays.Where(v => v.Array!.Rebuild is not null)], v => v.Array!.Rebuild!);
        Progress(
            "polyblk_array_reshape", "reshape",
            [.. arrays.Where(v => v.Array!.Reshape is not null)], v => v.Array!.Reshape!.Progress);
        Progress(
            "polyblk_array_replacement", "replacement of a drive",
            [.. arrays.Where(v => v.Array!.Replacement is not null)], v => v.Array!.Replacement!.Copy);
    }

    private void Progress(string name, string what, LiveJson[] volumes, Func<LiveJson, ProgressJson> progress)
    {
        Each($"{name}_done_bytes", "gauge", $"Bytes of every member that the {what} has done.", volumes, v => progress(v).DoneBytes, Named);
        Each($"{name}_bytes", "gauge", $"Bytes of every member that the {what} does in all.", volumes, v => progress(v).TotalBytes, Named);
    }

    private void WriteTraffic(IReadOnlyList<LiveJson> volumes)
    {
        Each(
            "polyblk_volume_in_flight", "gauge", "Requests to a volume that are being worked on.",
            volumes, v => v.Statistics.InFlight, Named);
        Requests("polyblk_volume", "all exports of a volume, those that were removed included", volumes, v => v.Statistics, Named);
    }

    private void WriteMembers(IReadOnlyList<LiveJson> volumes)
    {
        (LiveJson Volume, MemberJson Member)[] members = [.. volumes.SelectMany(v => (v.Array?.Members ?? []).Select(m => (v, m)))];
        Each("polyblk_member_in_use", "gauge", "Whether the drive of a member is in use.", members, m => m.Member.IsInUse ? 1 : 0, Named);
        Begin("polyblk_member_errors_total", "counter", "Requests that the drive of a member has failed.");
        foreach ((LiveJson Volume, MemberJson Member) m in members)
        {
            Add(m.Member.ReadErrors, [.. Named(m), ("operation", "read")]);
            Add(m.Member.WriteErrors, [.. Named(m), ("operation", "write")]);
        }

        Each(
            "polyblk_member_checksum_errors_total", "counter", "Blocks of a member that were not what had been written.",
            members, m => m.Member.ChecksumErrors ?? 0, Named);
        Each("polyblk_member_repairs_total", "counter", "Ranges of a member that were read wrong, and written again.", members, m => m.Member.Repairs, Named);
        const string Bad = "Places that the drive of a member could not write.";
        Each("polyblk_member_bad_ranges", "gauge", Bad, members, m => m.Member.BadRanges, Named);
        Each("polyblk_member_oldest_request_seconds", "gauge", "Age of the oldest request at the drive of a member.", members, m => m.Member.OldestRequestSeconds, Named);
        (LiveJson Volume, MemberJson Member)[] metered = [.. members.Where(m => m.Member.Traffic is not null)];
        Each(
            "polyblk_member_in_flight", "gauge", "Requests that are at the drive of a member.",
            metered, m => m.Member.Traffic!.InFlight, Named);
        Begin("polyblk_member_requests_total", "counter", "Requests that the drive of a member has answered.");
        foreach ((LiveJson Volume, MemberJson Member) m in metered)
        {
            foreach ((string operation, LatencyCounts counts) in m.Member.Traffic!.Latencies.Kinds)
            {
                Add(counts.Count, [.. Named(m), ("operation", operation)]);
            }
        }

        Begin("polyblk_member_bytes_total", "counter", "Bytes that the drive of a member has read and written.");
        foreach ((LiveJson Volume, MemberJson Member) m in metered)
        {
            Add(m.Member.Traffic!.ReadBytes, [.. Named(m), ("operation", "read")]);
            Add(m.Member.Traffic!.WriteBytes, [.. Named(m), ("operation", "write")]);
        }

        Histograms(
            "polyblk_member_request_seconds", "How long the drive of a member takes for a request.",
            metered, m => m.Member.Traffic!.Latencies, Named);
    }

    private void WriteExports(DaemonJson daemon, IReadOnlyList<LiveJson> volumes)
    {
        DaemonExportJson[] all = [.. daemon.Volumes.SelectMany(v => v.Exports)];
        Begin("polyblk_export_up", "gauge", "Whether an export is served.");
        foreach (DaemonExportJson export in all)
        {
            Add(export.State == "serving" ? 1 : 0, ("volume", export.Volume), ("export", export.Id), ("frontend", export.Frontend));
        }

        (LiveJson Volume, ExportJson Export, ExportStatistics Counts)[] exports =
            [.. volumes.SelectMany(v => v.Exports.Where(e => e.Statistics is not null).Select(e => (v, e, e.Statistics!)))];
        Each("polyblk_export_sessions", "gauge", "Consumers that are attached.", exports, e => e.Counts.Sessions, Named);
        Each("polyblk_export_in_flight", "gauge", "Requests that are being worked on.", exports, e => e.Counts.InFlight, Named);
        Each("polyblk_export_queues", "gauge", "Queues.", exports, e => e.Counts.QueueReactors.Count, Named);
        Requests("polyblk_export", "an export", exports, e => e.Counts, Named);
    }

    private void WriteSessions(IReadOnlyList<LiveJson> volumes)
    {
        (LiveJson Volume, ExportJson Export, SessionStatistics Session)[] sessions =
        [
            .. from volume in volumes
               from export in volume.Exports
               from session in export.Statistics?.SessionList ?? []
               select (volume, export, session),
        ];
        Each(
            "polyblk_session_info", "gauge", "A session that is attached, and who it is.", sessions, _ => 1,
            s => [.. Named(s), ("peer", s.Session.Peer)]);
        Each("polyblk_session_queues", "gauge", "Queues of a session that run.", sessions, s => s.Session.Queues, Named);
        Each(
            "polyblk_session_in_flight", "gauge", "Requests of a session that are being worked on.",
            sessions, s => s.Session.InFlight, Named);
        Requests("polyblk_session", "a session", sessions, s => AsCounts(s.Session), Named);
    }

    private static ExportStatistics AsCounts(SessionStatistics session) => new()
    {
        Reads = session.Reads,
        ReadBytes = session.ReadBytes,
        Writes = session.Writes,
        WriteBytes = session.WriteBytes,
        Flushes = session.Flushes,
        Discards = session.Discards,
        Errors = session.Errors,
        Latencies = session.Latencies,
    };

    private void WriteReactors(IReadOnlyList<ReactorJson> reactors)
    {
        Each("polyblk_reactor_queues", "gauge", "Queues that a reactor serves.", reactors, r => r.Queues, Named);
        Each("polyblk_reactor_requests_total", "counter", "Requests that a reactor has taken.", reactors, r => r.Requests, Named);
        Each("polyblk_reactor_turns_total", "counter", "Turns of a reactor.", reactors, r => r.Turns, Named);
        Each("polyblk_reactor_sleeps_total", "counter", "How often a reactor went to sleep.", reactors, r => r.Sleeps, Named);
        Each("polyblk_reactor_faults_total", "counter", "Pollers that a reactor has dropped: bugs.", reactors, r => r.Faults, Named);
        Begin("polyblk_reactor_seconds_total", "counter", "What a reactor has spent its time with.");
        foreach (ReactorJson r in reactors)
        {
            Add(r.BusyNs / NsInSecond, [.. Named(r), ("mode", "busy")]);
            Add(r.SpinNs / NsInSecond, [.. Named(r), ("mode", "spin")]);
            Add(r.SleepNs / NsInSecond, [.. Named(r), ("mode", "sleep")]);
        }
    }

    private static (string, string)[] Named(LiveJson volume) => [("volume", volume.Volume)];

    private static (string, string)[] Named((LiveJson Volume, MemberJson Member) m) =>
        [("volume", m.Volume.Volume), ("member", m.Member.Role.ToString(CultureInfo.InvariantCulture)), ("drive", m.Member.Drive ?? string.Empty)];

    private static (string, string)[] Named((LiveJson Volume, ExportJson Export, ExportStatistics Counts) e) =>
        [("volume", e.Volume.Volume), ("export", e.Export.Id), ("frontend", e.Export.Frontend)];

    private static (string, string)[] Named((LiveJson Volume, ExportJson Export, SessionStatistics Session) s) =>
        [("volume", s.Volume.Volume), ("export", s.Export.Id), ("session", s.Session.Name)];

    private static (string, string)[] Named(ReactorJson reactor) => [("reactor", reactor.Name)];

    private void Each<T>(string name, string type, string help, IReadOnlyList<T> all, Func<T, double> value, Func<T, (string, string)[]> labels)
    {
        Begin(name, type, help);
        foreach (T one in all)
        {
            Add(value(one), labels(one));
        }
    }

    /// <summary>What something that is asked has done: its requests, bytes, errors, and how long they took.</summary>
    private void Requests<T>(
        string prefix, string of, IReadOnlyList<T> all, Func<T, ExportStatistics> counts, Func<T, (string, string)[]> labels)
    {
        Begin($"{prefix}_requests_total", "counter", $"Requests of {of} that were completed.");
        foreach (T one in all)
        {
            ExportStatistics its = counts(one);
            Add(its.Reads, [.. labels(one), ("operation", "read")]);
            Add(its.Writes, [.. labels(one), ("operation", "write")]);
            Add(its.Flushes, [.. labels(one), ("operation", "flush")]);
            Add(its.Discards, [.. labels(one), ("operation", "discard")]);
        }

        Begin($"{prefix}_bytes_total", "counter", $"Bytes that requests of {of} have read and written.");
        foreach (T one in all)
        {
            ExportStatistics its = counts(one);
            Add(its.ReadBytes, [.. labels(one), ("operation", "read")]);
            Add(its.WriteBytes, [.. labels(one), ("operation", "write")]);
        }

        Each($"{prefix}_errors_total", "counter", $"Requests of {of} that ended with an error.", all, o => counts(o).Errors, labels);
        Histograms(
            $"{prefix}_request_seconds", $"How long a request of {of} takes, from when it is taken to its answer.",
            all, o => counts(o).Latencies, labels);
    }

    private void Histograms<T>(
        string name, string help, IReadOnlyList<T> all, Func<T, LatencyTable> table, Func<T, (string, string)[]> labels)
    {
        Begin(name, "histogram", help);
        foreach (T one in all)
        {
            foreach ((string operation, LatencyCounts counts) in table(one).Kinds)
            {
                (string, string)[] own = [.. labels(one), ("operation", operation)];
                for (int power = 0; power <= LastPower; power++)
                {
                    string bound = ((1L << power) / 1_000_000m).ToString("0.######", CultureInfo.InvariantCulture);
                    AddPart("_bucket", counts.CountUpTo(power), [.. own, ("le", bound)]);
                }

                AddPart("_bucket", counts.Count, [.. own, ("le", "+Inf")]);
                AddPart("_sum", counts.SumNs / NsInSecond, own);
                AddPart("_count", counts.Count, own);
            }
        }
    }

    private string _name = string.Empty;

    private void Begin(string name, string type, string help)
    {
        _name = name;
        _text.Append("# HELP ").Append(name).Append(' ').Append(help).Append('\n');
        _text.Append("# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
    }

    private void Add(double value, params (string Name, string Value)[] labels) => AddPart(string.Empty, value, labels);

    private void AddPart(string part, double value, (string Name, string Value)[] labels)
    {
        _text.Append(_name).Append(part).Append('{');
        foreach ((string name, string text) in labels)
        {
            _text.Append(name).Append("=\"");
            _text.Append(text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal));
            _text.Append("\",");
        }

        _text[^1] = '}';
        _text.Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');
    }
}
