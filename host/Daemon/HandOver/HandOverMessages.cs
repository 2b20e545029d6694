// What a daemon and its successor say to each other: JSON, with descriptors beside it.
//
// The successor asks; of each volume in turn:
//
//   successor                          predecessor
//   take-over (version, pid)        ->
//                                   <- volumes (those that are served; those that were stopped) | refused
//   give (volume)                   ->    stops its exports, closes the volume
//                                   <- given (what its start was allowed) | kept (why)
//   opened | failed (why)           ->
//                                   <- exports (with descriptors) | taken-back | dropped
//   ...
//   done                            ->
//                                   <- done, and ends
//
// Neither waits for a limited time: opening drives may take long, and who is gone is seen by the end of the connection.
//
// Until `exports` the predecessor can go on with a volume by itself, as nobody else has touched the rings of its guests. From
// then on it is the successor's, whatever becomes of it. A first volume that cannot be opened ends the whole, with nothing
// changed; a later one is dropped: its guests see what they see after a kill.

using System.Text.Json.Serialization;
using Polyblk.Host.Model;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>A message of either side.</summary>
internal sealed record HandOverMessage
{
    /// <summary>The version of these messages: it changes when an older program would misunderstand them.</summary>
    public const int CurrentVersion = 1;

    public const string TakeOver = "take-over";
    public const string Volumes = "volumes";
    public const string Refused = "refused";
    public const string Give = "give";
    public const string Given = "given";
    public const string Kept = "kept";
    public const string Opened = "opened";
    public const string Failed = "failed";
    public const string Exports = "exports";
    public const string TakenBack = "taken-back";
    public const string Dropped = "dropped";
    public const string Done = "done";

    public required string Kind { get; init; }

    /// <summary>Of <c>take-over</c>.</summary>
    public int Version { get; init; }

    /// <summary>Of <c>take-over</c>: the successor's process.</summary>
    public int Pid { get; init; }

    /// <summary>The volume that it is about.</summary>
    public string? Volume { get; init; }

    /// <summary>Why something is not as it was wanted.</summary>
    public string? Reason { get; init; }

    /// <summary>Of <c>given</c>: what the successor's start needs to be allowed, as this one's was.</summary>
    public StartPermissions? Allowed { get; init; }

    /// <summary>Of <c>volumes</c>: what is served.</summary>
    public IReadOnlyList<string> Served { get; init; } = [];

    /// <summary>Of <c>volumes</c>: what somebody stopped, and the successor does not start either.</summary>
    public IReadOnlyList<string> Stopped { get; init; } = [];

    /// <summary>Of <c>exports</c>: descriptors come in the order in which these speak of them.</summary>
    public IReadOnlyList<HandedOverExportJson> Luggage { get; init; } = [];
}

/// <summary>An export that goes over: the descriptor of its socket, then those of its sessions.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Sessions">Its sessions.</param>
internal sealed record HandedOverExportJson(string Id, IReadOnlyList<HandedOverSessionJson> Sessions);

/// <summary>A session that goes over: the descriptor of its connection, then its others.</summary>
/// <param name="State">What its frontend wrote down.</param>
/// <param name="Descriptors">How many others there are.</param>
internal sealed record HandedOverSessionJson(byte[] State, int Descriptors);

/// <summary>How messages are written.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(HandOverMessage))]
internal sealed partial class HandOverJson : JsonSerializerContext;
