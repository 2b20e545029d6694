using System.Text.Json.Serialization;

namespace Polyblk.Host.Model;

/// <summary>What the daemon does with a volume.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<DaemonState>))]
public enum DaemonState
{
    /// <summary>Its drives are being opened.</summary>
    [JsonStringEnumMemberName("starting")]
    Starting,

    /// <summary>Drives that are not there are waited for.</summary>
    [JsonStringEnumMemberName("waiting")]
    Waiting,

    /// <summary>It is served.</summary>
    [JsonStringEnumMemberName("served")]
    Served,

    /// <summary>It could not be started, or ended by a failure; the reason says why.</summary>
    [JsonStringEnumMemberName("failed")]
    Failed,

    /// <summary>It was stopped, or is not started by itself.</summary>
    [JsonStringEnumMemberName("stopped")]
    Stopped,
}

/// <summary>Words of what the daemon does with a volume.</summary>
public static class DaemonStates
{
    /// <summary>The word, as JSON has it.</summary>
    public static string Word(this DaemonState state) => state switch
    {
        DaemonState.Starting => "starting",
        DaemonState.Waiting => "waiting",
        DaemonState.Served => "served",
        DaemonState.Failed => "failed",
        _ => "stopped",
    };
}

/// <summary>A volume of the daemon.</summary>
public sealed record DaemonVolumeJson
{
    public required string Name { get; init; }

    public required DaemonState State { get; init; }

    /// <summary>Why it failed; null otherwise.</summary>
    public string? Reason { get; init; }

    /// <summary>The drives that are waited for.</summary>
    public IReadOnlyList<string> WaitsFor { get; init; } = [];

    /// <summary>Whether the daemon starts it by itself.</summary>
    public bool Autostart { get; init; } = true;

    /// <summary>The process that it has of its own; null where it has none.</summary>
    public int? Pid { get; init; }

    /// <summary>Its exports: as they are where it is served; by their ids alone otherwise.</summary>
    public IReadOnlyList<DaemonExportJson> Exports { get; init; } = [];
}

/// <summary>An export of the daemon.</summary>
public sealed record DaemonExportJson
{
    public required string Id { get; init; }

    public required string Volume { get; init; }

    public required string Frontend { get; init; }

    public bool ReadOnly { get; init; }

    /// <summary><c>serving</c>, <c>ended</c>, <c>failed</c>; or the state of its volume where that is not served.</summary>
    public required string State { get; init; }

    /// <summary>Why it, or its volume, failed; null otherwise.</summary>
    public string? Reason { get; init; }

    /// <summary>The export as it is served; null where it is not.</summary>
    public ExportJson? Live { get; init; }
}

/// <summary>The daemon.</summary>
public sealed record DaemonJson
{
    public required int Pid { get; init; }

    public required DateTimeOffset StartedUtc { get; init; }

    /// <summary>Why the reactors run where they run.</summary>
    public required string ReactorPlan { get; init; }

    public required IReadOnlyList<ReactorJson> Reactors { get; init; }

    public required IReadOnlyList<DaemonVolumeJson> Volumes { get; init; }
}
