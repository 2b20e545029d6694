// The vocabulary of events: what the host tells, and what arrays tell (raid/ArrayEvent.cs), in kebab case. It is closed,
// documented in docs/events.md, and words in it keep their meaning.

using System.Text.Json;
using Polyblk.Raid;

namespace Polyblk.Host.Events;

/// <summary>The kinds of events.</summary>
public static class EventKinds
{
    public const string DaemonStarted = "daemon-started";
    public const string DaemonEnding = "daemon-ending";
    public const string DaemonDied = "daemon-died";
    public const string VolumeCreated = "volume-created";
    public const string VolumeDeleted = "volume-deleted";
    public const string VolumeChanged = "volume-changed";
    public const string VolumeWaiting = "volume-waiting";
    public const string VolumeServed = "volume-served";
    public const string VolumeFailed = "volume-failed";
    public const string VolumeStopped = "volume-stopped";
    public const string ExportAdded = "export-added";
    public const string ExportRemoved = "export-removed";
    public const string ExportDied = "export-died";
    public const string SpareAdded = "spare-added";
    public const string DriveRemoved = "drive-removed";
    public const string SpareShared = "spare-shared";
    public const string SessionAttached = "session-attached";
    public const string SessionDetached = "session-detached";

    /// <summary>So many more sessions came and went than are told one by one.</summary>
    public const string SessionsNotTold = "sessions-not-told";

    /// <summary>So many events came faster than they could be kept.</summary>
    public const string EventsLost = "events-lost";

    private static readonly string[] s_host =
    [
        DaemonStarted, DaemonEnding, DaemonDied, VolumeCreated, VolumeDeleted, VolumeChanged, VolumeWaiting, VolumeServed,
        VolumeFailed, VolumeStopped, ExportAdded, ExportRemoved, ExportDied, SpareAdded, DriveRemoved, SpareShared,
        SessionAttached, SessionDetached, SessionsNotTold, EventsLost,
    ];

    /// <summary>All of them.</summary>
    public static IReadOnlyList<string> All { get; } = [.. s_host, .. Enum.GetValues<ArrayEventKind>().Select(Of)];

    /// <summary>The word for what an array tells.</summary>
    public static string Of(ArrayEventKind kind) => JsonNamingPolicy.KebabCaseLower.ConvertName(kind.ToString());
}
