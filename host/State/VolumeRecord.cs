using System.Text.Json.Serialization;

namespace Polyblk.Host.State;

/// <summary>
/// What the host remembers of a volume: which drives to look at. The truth about an array is in its members' superblocks; for a
/// volatile volume this is the recipe by which it is made afresh each time it is served.
/// </summary>
public sealed record VolumeRecord
{
    public const int CurrentFormat = 1;

    /// <summary>Version of this file's format.</summary>
    public int Format { get; init; } = CurrentFormat;

    public required string Name { get; init; }

    public required Guid Uuid { get; init; }

    /// <summary>
    /// <c>raid0</c>, <c>raid1</c>, <c>raid10</c>, <c>raid5</c>, <c>raid6</c>, <c>raid7.3</c> to <c>raid7.8</c>, <c>raid50</c>,
    /// <c>raid60</c>, or <c>none</c> for one drive as it is.
    /// </summary>
    public required string Level { get; init; }

    /// <summary>
    /// Into how many groups of neighbours the members of raid50 and raid60 are cut; null where the level has none.
    /// </summary>
    public int? Groups { get; init; }

    /// <summary>Chunk in bytes; 0 where the level has none.</summary>
    public int ChunkBytes { get; init; }

    /// <summary>Size in bytes when it was last looked at; the superblocks know better.</summary>
    public long SizeBytes { get; init; }

    /// <summary>Whether its content lives only while it is served (a ram: or null: drive is among its drives).</summary>
    public bool Volatile { get; init; }

    /// <summary>
    /// The drives, by stable path: members, spares, and those that have not been removed yet. In the order of creation; a drive
    /// that takes the place of another stands in its place.
    /// </summary>
    public required IReadOnlyList<string> Drives { get; init; }

    /// <summary>
    /// Which drive was which member when they were last seen: what a missing one is looked for by. Null in records of earlier
    /// versions until the volume is served again.
    /// </summary>
    public IReadOnlyList<MemberRecord>? Members { get; init; }

    /// <summary>
    /// The most that a resync or rebuild does, in bytes a second of every member; null sets no bound.
    /// </summary>
    public long? MaxRebuildBytesPerSecond { get; init; }

    /// <summary>The longest time between checks: a hundred years.</summary>
    public const long MostCheckSeconds = 100L * 366 * 24 * 3600;

    /// <summary>After how many seconds members are compared anew; 0 never, null as it is by default.</summary>
    public long? CheckEverySeconds { get; init; }

    /// <summary>After what time members are compared anew; zero never. A month, as long as nobody says otherwise.</summary>
    [JsonIgnore]
    public TimeSpan CheckEvery => Volatile ? TimeSpan.Zero : CheckEverySeconds is long seconds ? TimeSpan.FromSeconds(seconds) : TimeSpan.FromDays(30);

    /// <summary>After how many seconds without an answer others are read in a member's place; null as it is by default.</summary>
    public int? SlowReadSeconds { get; init; }

    /// <summary>The same with the default.</summary>
    [JsonIgnore]
    public TimeSpan SlowRead => TimeSpan.FromSeconds(SlowReadSeconds ?? Patience.UsualSlowSeconds);

    /// <summary>After how many seconds without an answer a member is out; 0 never, null as it is by default.</summary>
    public int? DriveTimeoutSeconds { get; init; }

    /// <summary>The same with the default.</summary>
    [JsonIgnore]
    public TimeSpan DriveTimeout => TimeSpan.FromSeconds(DriveTimeoutSeconds ?? Patience.UsualSeconds);

    /// <summary>With which others the daemon has it share spares; null with none.</summary>
    public string? SpareGroup { get; init; }

    /// <summary>The record with what is said of how long members have to answer.</summary>
    public VolumeRecord With(Patience patience) => this with
    {
        SlowReadSeconds = patience.SlowRead ?? SlowReadSeconds,
        DriveTimeoutSeconds = patience.DriveTimeout ?? DriveTimeoutSeconds,
    };

    public DateTimeOffset CreatedUtc { get; init; }

    /// <summary>What the daemon serves it through; null for nothing.</summary>
    public IReadOnlyList<ExportRecord>? Exports { get; init; }

    /// <summary>Whether the daemon serves it from its own start on; null as it is by default: yes.</summary>
    public bool? Autostart { get; init; }

    /// <summary>Whether the daemon serves it in a process of its own; null as it is by default: no.</summary>
    public bool? Isolate { get; init; }

    /// <summary>The record with another bound for resync and rebuild; 0 sets none.</summary>
    public VolumeRecord WithRebuildLimit(long bytesPerSecond) =>
        this with { MaxRebuildBytesPerSecond = bytesPerSecond == 0 ? null : bytesPerSecond };

    /// <summary>The record of a volume that has a process of its own, or has none.</summary>
    public VolumeRecord WithIsolate(bool isolate) => this with { Isolate = isolate ? true : null };

    /// <summary>The record of a volume that shares spares with those of a group; null shares none.</summary>
    public VolumeRecord WithSpareGroup(string? group) => this with { SpareGroup = group };

    /// <summary>The record of a volume that the daemon serves from its own start on, or does not.</summary>
    public VolumeRecord WithAutostart(bool starts) => this with { Autostart = starts ? null : false };
}

/// <summary>A member as it was last seen.</summary>
/// <param name="Role">Its role, from 0.</param>
/// <param name="Uuid">Its own UUID, which is in its superblock.</param>
/// <param name="Drive">Its path: below /dev/disk/by-id where there was such a link.</param>
/// <param name="Device">What the kernel called it then (<c>sda</c>); null for files.</param>
/// <param name="Serial">The serial number that the device gives; null where it gives none.</param>
public sealed record MemberRecord(int Role, Guid Uuid, string Drive, string? Device, string? Serial);

/// <summary>Reading and writing records.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(VolumeRecord))]
public sealed partial class VolumeRecordJson : JsonSerializerContext;
