using Polyblk.Core.Block;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

/// <summary>How an array is.</summary>
public enum ArrayHealth
{
    /// <summary>All members are in use and in step.</summary>
    Optimal,

    /// <summary>All members are in use; a resync makes mirrors or parity agree.</summary>
    Resyncing,

    /// <summary>Members are missing or failed, no data is.</summary>
    Degraded,

    /// <summary>
    /// More failed than the redundancy makes up for: writes end with an error, reads that are possible still work.
    /// </summary>
    Failed,
}

/// <summary>One member of an array.</summary>
/// <param name="Role">Its role, from 0.</param>
/// <param name="Name">The drive's name; empty for a missing member.</param>
/// <param name="State">Its state.</param>
/// <param name="ReadErrors">Reads that it failed, since the start.</param>
/// <param name="WriteErrors">Writes and flushes that it failed.</param>
/// <param name="Repairs">Bad blocks that were rewritten from redundancy.</param>
public sealed record MemberStatus(int Role, string Name, MemberState State, long ReadErrors, long WriteErrors, long Repairs)
{
    /// <summary>
    /// Blocks that were not what had been written, since the start; null where the array has no checksums, or the member no
    /// drive.
    /// </summary>
    public long? ChecksumErrors { get; init; }

    /// <summary>How long its oldest request in flight has been there, in seconds; 0 when none has been there for one.</summary>
    public int OldestRequestSeconds { get; init; }

    /// <summary>Requests of consumers that are at the drive.</summary>
    public int RequestsInFlight { get; init; }

    /// <summary>What was asked of the drive and answered.</summary>
    public MemberTraffic Traffic { get; init; } = MemberTraffic.None;

    /// <summary>Whether that is so long that the member counts as hanging: <see cref="ArrayRunOptions.SlowAfter"/>.</summary>
    public bool IsHanging { get; init; }

    /// <summary>Places that it could not write, and that the other members serve: runs of rows.</summary>
    public int BadRanges { get; init; }

    /// <summary>How many bytes they have.</summary>
    public long BadBytes { get; init; }

    /// <summary>The drive; null when none has the role.</summary>
    public IBlockDevice? Drive { get; init; }

    /// <summary>Why it is out; <see cref="OutReason.Unknown"/> where it is not.</summary>
    public OutReason WhyOut { get; init; }

    /// <summary>The last request that the drive answered with an error; null where there was none.</summary>
    public BlockFault? LastFault { get; init; }
}

/// <summary>A resync or rebuild that is under way or needed.</summary>
/// <param name="DoneBytes">Bytes of every member that are done.</param>
/// <param name="TotalBytes">Bytes of every member in all.</param>
/// <param name="BytesPerSecond">The present speed in bytes a second of every member.</param>
public sealed record ResyncStatus(long DoneBytes, long TotalBytes, long BytesPerSecond)
{
    /// <summary>Progress, 0 to 100.</summary>
    public double Percent => TotalBytes == 0 ? 100 : 100.0 * DoneBytes / TotalBytes;

    /// <summary>Whether it is needed and is not done, because the array is only read.</summary>
    public bool IsLeft { get; init; }
}

/// <summary>A drive that works and is being replaced.</summary>
/// <param name="Role">Its role.</param>
/// <param name="Old">The drive, which serves.</param>
/// <param name="New">The one that takes its place.</param>
/// <param name="Progress">How much of it is copied.</param>
public sealed record ReplacementStatus(int Role, IBlockDevice Old, IBlockDevice New, ResyncStatus Progress);

/// <summary>Another shape that the volume is being moved to: drives were added, or the level changes.</summary>
/// <param name="OldLevel">The level that it had.</param>
/// <param name="OldMembers">How many members it had.</param>
/// <param name="NewLevel">The level that it gets; the same where only drives were added.</param>
/// <param name="NewMembers">How many it gets.</param>
/// <param name="Progress">How much of every member is made.</param>
public sealed record ReshapeStatus(
    RaidLevel OldLevel, int OldMembers, RaidLevel NewLevel, int NewMembers, ResyncStatus Progress)
{
    /// <summary>How many members the array may lose until the end: what both shapes survive.</summary>
    public int Redundancy => Math.Min(OldLevel.ParityCount(), NewLevel.ParityCount());
}

/// <summary>
/// A scrub: members were compared. Ranges are rows of a stripe, or up to 64 KiB of a mirror.
/// </summary>
public sealed record ScrubStatus
{
    /// <summary>Whether it makes members agree; otherwise it only looks.</summary>
    public required bool IsRepair { get; init; }

    /// <summary>Bytes of every member that were looked at.</summary>
    public required long DoneBytes { get; init; }

    /// <summary>Bytes of every member in all.</summary>
    public required long TotalBytes { get; init; }

    /// <summary>Whether it has come to the end.</summary>
    public required bool IsComplete { get; init; }

    /// <summary>Ranges in which members differ, and that were left.</summary>
    public required long Differing { get; init; }

    /// <summary>Ranges of which it was known what was wrong, and that were made right.</summary>
    public required long Repaired { get; init; }

    /// <summary>Ranges that were made to agree, without knowing which member was right.</summary>
    public required long MadeToAgree { get; init; }

    /// <summary>Ranges that could not be compared: a member is lost there, or a resync has yet to come.</summary>
    public required long Skipped { get; init; }

    /// <summary>Ranges that cannot be read from all members, or not be written, and were left.</summary>
    public required long Unreadable { get; init; }

    /// <summary>Where in the volume, in bytes, the first of them is; -1 when nothing was found.</summary>
    public required long FirstOffset { get; init; }

    /// <summary>When it ended; null while it is under way.</summary>
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Whether something was found.</summary>
    public bool HasFindings => (Differing | Repaired | MadeToAgree | Unreadable) != 0;

    /// <summary>What a superblock says of the last one that came to its end; null where there was none.</summary>
    public static ScrubStatus? LastOf(ArraySuperblock superblock) => superblock.LastScrub is not { } last ? null : new ScrubStatus
    {
        IsRepair = last.IsRepair,
        DoneBytes = superblock.MemberDataSize,
        TotalBytes = superblock.MemberDataSize,
        IsComplete = true,
        Differing = last.Differing,
        Repaired = last.Repaired,
        MadeToAgree = last.MadeToAgree,
        Skipped = last.Skipped,
        Unreadable = last.Unreadable,
        FirstOffset = last.FirstOffset,
        EndedAt = last.EndedAt,
    };
}

/// <summary>A snapshot of an array.</summary>
public sealed record ArrayStatus
{
    /// <summary>The name.</summary>
    public required string Name { get; init; }

    /// <summary>The UUID.</summary>
    public required Guid Uuid { get; init; }

    /// <summary>The level.</summary>
    public required RaidLevel Level { get; init; }

    /// <summary>The groups of members that have stripes of their own: neighbours; 1 but for raid50 and raid60.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>The chunk in bytes.</summary>
    public required int ChunkBytes { get; init; }

    /// <summary>The size that the volume shows, in bytes.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>The most that the members give, in bytes.</summary>
    public required long CapacityBytes { get; init; }

    /// <summary>How it is put right after an unclean stop.</summary>
    public ArrayConsistency Consistency { get; init; }

    /// <summary>Whether each block of its members has a checksum.</summary>
    public bool Checksums { get; init; }

    /// <summary>How the array is.</summary>
    public required ArrayHealth Health { get; init; }

    /// <summary>Whether the superblocks say dirty: a crash now would need a resync.</summary>
    public required bool Dirty { get; init; }

    /// <summary>The event count of the superblocks.</summary>
    public required ulong EventCount { get; init; }

    /// <summary>The members by role.</summary>
    public required IReadOnlyList<MemberStatus> Members { get; init; }

    /// <summary>The resync, or null when none is needed.</summary>
    public ResyncStatus? Resync { get; init; }

    /// <summary>The rebuild of members that have new drives, or null when there is none.</summary>
    public ResyncStatus? Rebuild { get; init; }

    /// <summary>The replacement of a drive that works; null without one.</summary>
    public ReplacementStatus? Replacement { get; init; }

    /// <summary>The reshape that is under way; null without one.</summary>
    public ReshapeStatus? Reshape { get; init; }

    /// <summary>The scrub that is under way, or the last one of this run; null when there was none.</summary>
    public ScrubStatus? Scrub { get; init; }

    /// <summary>The drives that wait to take a lost member's place.</summary>
    public IReadOnlyList<IBlockDevice> SpareDrives { get; init; } = [];

    /// <summary>Their names.</summary>
    public IReadOnlyList<string> Spares => [.. SpareDrives.Select(d => d.Name)];

    /// <summary>
    /// Ranges (rows of a stripe, up to 64 KiB of a member) in which copies differ or parity does not fit the data, after writes
    /// that some members took and others refused, or because a resync could not read them. What would have to be made from
    /// redundancy there ends with an error until it is written or resynced.
    /// </summary>
    public int RangesInDoubt { get; init; }

    /// <summary>What needs the attention of a human, in sentences; empty when all is well.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];
}
