// One event: what is kept, printed with --json, sent over the API and given to hooks. These names are documented in
// docs/events.md and stay.

using System.Text.Json;
using System.Text.Json.Serialization;

namespace Polyblk.Host.Model;

/// <summary>How serious an event is.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<EventSeverity>))]
public enum EventSeverity
{
    /// <summary>The ordinary course.</summary>
    [JsonStringEnumMemberName("info")]
    Info,

    /// <summary>Something needs attention; data is safe.</summary>
    [JsonStringEnumMemberName("warning")]
    Warning,

    /// <summary>Data or service is lost.</summary>
    [JsonStringEnumMemberName("error")]
    Error,
}

/// <summary>Something that happened. Which of the fields it has depends on its kind.</summary>
public sealed record EventJson
{
    /// <summary>Its number: rises over restarts and processes, with gaps. 0 where it could not be kept.</summary>
    [JsonPropertyOrder(-1)]
    public long Sequence { get; init; }

    public DateTimeOffset Time { get; init; }

    public EventSeverity Severity { get; init; }

    /// <summary>One of <see cref="Events.EventKinds"/>; newer programs may know more.</summary>
    public required string Kind { get; init; }

    /// <summary>The volume; null where it is about the daemon.</summary>
    public string? Volume { get; init; }

    /// <summary>One sentence, made of the other fields.</summary>
    public string Message { get; init; } = string.Empty;

    /// <summary>The member, by its role.</summary>
    public int? Member { get; init; }

    /// <summary>The drive it is about.</summary>
    public DriveJson? Drive { get; init; }

    /// <summary>The drive that comes.</summary>
    public DriveJson? NewDrive { get; init; }

    /// <summary>Why a member is out: <c>absent</c>, <c>errors</c>, <c>asked</c> or <c>timed-out</c>.</summary>
    public string? Cause { get; init; }

    /// <summary>The request that a drive answered with an error: <c>read</c>, <c>write</c>, <c>flush</c> …</summary>
    public string? Operation { get; init; }

    /// <summary>Where, in bytes: of the drive, where there is an operation; else as the kind says.</summary>
    public long? OffsetBytes { get; init; }

    /// <summary>How much, in bytes.</summary>
    public long? LengthBytes { get; init; }

    /// <summary>The error's name, such as <c>EIO</c>.</summary>
    public string? Errno { get; init; }

    /// <summary>How many members, reads, rows or ranges.</summary>
    public long? Count { get; init; }

    /// <summary>Of how many.</summary>
    public long? Of { get; init; }

    /// <summary>Of a reshape that changes the level: the one that the volume had.</summary>
    public string? FromLevel { get; init; }

    /// <summary>Of the same, the one that it gets.</summary>
    public string? ToLevel { get; init; }

    /// <summary>How far the work is, 0 to 100.</summary>
    public int? Percent { get; init; }

    /// <summary>For how long, in seconds.</summary>
    public int? Seconds { get; init; }

    /// <summary>What a comparison of members has found.</summary>
    public CheckJson? Findings { get; init; }

    /// <summary>Whether the file systems should be checked.</summary>
    public bool? MayHaveDamaged { get; init; }

    /// <summary>The export, by its id.</summary>
    public string? Export { get; init; }

    /// <summary>Where it is reached.</summary>
    public string? Endpoint { get; init; }

    /// <summary>The session: a number in its export.</summary>
    public string? Session { get; init; }

    /// <summary>Who is at the other end.</summary>
    public string? Peer { get; init; }

    /// <summary>The drives that are waited for.</summary>
    public IReadOnlyList<string>? WaitsFor { get; init; }

    /// <summary>Why, in words.</summary>
    public string? Reason { get; init; }
}

/// <summary>A drive, by all that leads to it.</summary>
/// <param name="Path">As the volume has it.</param>
public sealed record DriveJson(string Path)
{
    /// <summary>Its link below /dev/disk/by-id; null where it has none.</summary>
    public string? ById { get; init; }

    /// <summary>Its serial number; null where it gives none.</summary>
    public string? Serial { get; init; }

    /// <summary>Where it is plugged in, as its enclosure or the board calls that; null where the host does not know.</summary>
    public string? Slot { get; init; }

    /// <summary>In words, without the path: <c>/dev/disk/by-id/…, serial S, slot 3</c>; empty where nothing is known.</summary>
    public string Describe()
    {
        string? serial = Serial is null ? null : $"serial {Serial}";
        string? slot = Slot is null ? null : $"slot {Slot}";
        string?[] known = [ById == Path ? null : ById, serial, slot];
        return string.Join(", ", known.OfType<string>());
    }
}

/// <summary>One object a line.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(EventJson))]
[JsonSerializable(typeof(IReadOnlyList<EventJson>))]
public sealed partial class EventLineJson : JsonSerializerContext;
