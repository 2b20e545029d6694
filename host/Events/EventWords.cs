using Polyblk.Host.Model;

namespace Polyblk.Host.Events;

/// <summary>The wording of the host's own events, and how serious they are; what arrays tell has its words from there.</summary>
internal static class EventWords
{
    /// <summary>One sentence; complete as a line of the log.</summary>
    public static string MessageOf(EventJson e) => e.Kind switch
    {
        EventKinds.DaemonStarted => "The daemon has started",
        EventKinds.DaemonEnding => "The daemon ends",
        EventKinds.DaemonDied => $"The daemon has died ({e.Reason}), and another process goes on",
        EventKinds.VolumeCreated => $"{e.Volume} is recorded: {e.Reason}",
        EventKinds.VolumeDeleted => $"{e.Volume} is recorded no more: {e.Reason}",
        EventKinds.VolumeChanged => $"{e.Volume} has another setting: {e.Reason}",
        EventKinds.VolumeWaiting => $"{e.Volume} waits up to {e.Seconds} s for {string.Join(", ", e.WaitsFor ?? [])}",
        EventKinds.VolumeServed => $"{e.Volume} is served",
        EventKinds.VolumeFailed => $"{e.Volume} is not served: {e.Reason}",
        EventKinds.VolumeStopped => $"{e.Volume} is not served any more",
        EventKinds.ExportAdded => $"{e.Export} is served at {e.Endpoint}",
        EventKinds.ExportRemoved => $"{e.Export} is removed",
        EventKinds.ExportDied => $"{e.Export} failed and is not served any more; the other exports go on: {e.Reason}",
        EventKinds.SpareAdded => $"{e.Drive?.Path} is a spare of {e.Volume}",
        EventKinds.DriveRemoved => $"{e.Drive?.Path} does not belong to {e.Volume} any more",
        EventKinds.SpareShared => $"{e.Volume} has got a spare of its group: {e.Reason}",
        EventKinds.SessionAttached => $"{e.Session}: {e.Peer} is attached",
        EventKinds.SessionDetached => $"{e.Session}: {e.Peer} is detached: {e.Reason}",
        EventKinds.SessionsNotTold => $"{e.Export}: {e.Count} more sessions came and went",
        EventKinds.EventsLost => $"{e.Count} events could not be kept: they came too fast, or could not be written",
        _ => throw new InvalidOperationException($"An event of the kind {e.Kind} has no words here."),
    };

    /// <summary>How serious it is.</summary>
    public static EventSeverity SeverityOf(EventJson e) => e.Kind switch
    {
        EventKinds.VolumeFailed or EventKinds.ExportDied or EventKinds.DaemonDied => EventSeverity.Error,
        EventKinds.VolumeWaiting or EventKinds.SessionsNotTold or EventKinds.EventsLost => EventSeverity.Warning,
        _ => EventSeverity.Info,
    };
}
