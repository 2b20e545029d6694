using System.ComponentModel;

namespace Polyblk.Compare.Results;

[Description("The volume that the methods delivered.")]
public sealed record VolumeFacts
{
    [Description("Name of the volume.")]
    public required string Name { get; init; }

    [Description("RAID level: raid0, raid1, raid10, raid5, raid6, or none for a single drive.")]
    public required string Level { get; init; }

    [Description("Usable size in bytes.")]
    public required long SizeBytes { get; init; }

    [Description("Chunk in bytes; absent where the level has none.")]
    public int? ChunkBytes { get; init; }

    [Description("The members, as given to 'volume create'.")]
    public required IReadOnlyList<string> Members { get; init; }

    [Description("Whether a member was missing while it was measured.")]
    public bool Degraded { get; init; }
}
