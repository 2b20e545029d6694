// What a superblock says. Immutable: an update is a copy with a higher event count.
//
// Theory of operation of the event count. Every update of an array's metadata, but one that only marks further regions, raises
// the event count by one and is written to all members that are present; none may begin before the one before it is written or
// has recorded as failed the members that did not take it; and no write is acknowledged without a member before an update that
// marks it failed is on the others. So a member that the newest superblock calls present and that is at most one event behind
// only missed the update that a crash cut short: it is in step. Whatever is further behind, or called failed by the newest, is
// stale.
//
// A superblock is true when it becomes durable, whatever comes after. So a start writes none: the newest stays what it is until a
// consumer's write, a resync or a failure changes something. Who writes one is named in Engine/ArrayMetadata.cs.

using System.Collections.Immutable;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Superblock;

/// <summary>The state of a member as the array last knew it; the values are stored.</summary>
public enum MemberState : byte
{
    /// <summary>No drive has this role.</summary>
    Missing = 0,

    /// <summary>In step with the array.</summary>
    Present = 1,

    /// <summary>Dropped from the array; its data is stale. <see cref="OutReason"/> says why.</summary>
    Failed = 2,

    /// <summary>In step with the array up to <see cref="ArraySuperblock.RebuildCheckpoint"/>; the rest is being made.</summary>
    Rebuilding = 3,
}

/// <summary>Why a member is out; the values are stored. Unknown ones are taken for <see cref="Unknown"/>.</summary>
public enum OutReason : byte
{
    /// <summary>Not recorded, or the member is not out.</summary>
    Unknown = 0,

    /// <summary>Its drive was not there when the array was used without it.</summary>
    Absent = 1,

    /// <summary>Its drive did not do what it was asked.</summary>
    Errors = 2,

    /// <summary>Somebody said so.</summary>
    Asked = 3,

    /// <summary>Its drive did not answer in time. Programs that do not know this read <see cref="Unknown"/>.</summary>
    TimedOut = 4,
}

/// <summary>The state of the array; the values are stored.</summary>
[Flags]
public enum ArrayStateFlags : uint
{
    /// <summary>Stopped in order: parity and copies agree with the data.</summary>
    Clean = 0,

    /// <summary>In use, or not stopped in order: parity and copies may not agree with the data.</summary>
    Dirty = 1,

    /// <summary>
    /// The members that are being rebuilt were away: they have missed what <see cref="ArraySuperblock.Regions"/> marks, and
    /// nothing else.
    /// </summary>
    RebuildsMarked = 2,
}

/// <summary>How an array is put right after an unclean stop; the values are stored.</summary>
public enum ArrayConsistency : uint
{
    /// <summary>
    /// Not recorded (an older program), or there is no redundancy that could disagree. As <see cref="Bitmap"/>.
    /// </summary>
    Unrecorded = 0,

    /// <summary>The whole array is resynced.</summary>
    None = 1,

    /// <summary>What was marked as being written is resynced. A parity array that lacks a member then has lost blocks.</summary>
    Bitmap = 2,

    /// <summary>
    /// What was being written is put right from the journal, also without the members that the level can lose, then resynced.
    /// </summary>
    Journal = 3,
}

/// <summary>The last check or repair that came to its end.</summary>
/// <param name="EndedAt">When.</param>
/// <param name="IsRepair">Whether members were made to agree.</param>
/// <param name="Differing">Ranges in which members differed, and that were left.</param>
/// <param name="Repaired">Ranges that were repaired.</param>
/// <param name="MadeToAgree">Ranges that were made to agree, without knowing which member was right.</param>
/// <param name="Unreadable">Ranges that could not be read from all members, or not be written.</param>
/// <param name="Skipped">Ranges that could not be compared.</param>
/// <param name="FirstOffset">Where the first was found, in bytes of the volume; -1 when nothing was.</param>
public readonly record struct LastScrub(
    DateTimeOffset EndedAt, bool IsRepair, uint Differing, uint Repaired, uint MadeToAgree, uint Unreadable, uint Skipped, long FirstOffset);

/// <summary>Optional parts of the format that an older program may ignore; none yet.</summary>
[Flags]
public enum CompatibleFeatures : ulong
{
    /// <summary>None.</summary>
    None = 0,
}

/// <summary>Parts of the format without which the array must not be used.</summary>
[Flags]
public enum IncompatibleFeatures : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>
    /// It is being reshaped (<see cref="ArraySuperblock.Reshape"/>): a part of it lies where another geometry says.
    /// </summary>
    Reshape = 1,

    /// <summary>Some members lack places (<see cref="ArraySuperblock.BadRanges"/>): what lies there is not to be read.</summary>
    BadRanges = 2,

    /// <summary>Stripes have more than two parities, which programs without this bit do not know.</summary>
    ManyParities = 4,

    /// <summary>
    /// Members have checksums (<see cref="ArraySuperblock.ChecksumOffset"/>), which a program that does not know them would not
    /// keep.
    /// </summary>
    Checksums = 8,

    /// <summary>
    /// It is being reshaped (<see cref="Reshape"/> is there, too) from another number of parities, or with more than two:
    /// programs without this bit know reshapes that add drives to raid0, raid5 and raid6.
    /// </summary>
    ReshapeOfParities = 16,

    /// <summary>
    /// Members are in groups that have stripes of their own (<see cref="ArraySuperblock.GroupCount"/>), which programs without
    /// this bit do not know.
    /// </summary>
    Groups = 32,
}

/// <summary>What a human should know until he says that he does; the values are stored. Unknown ones are ignored.</summary>
[Flags]
public enum ArrayNotices : uint
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>
    /// A member was lost while parity was not known to be right: what was being written at the time may be damaged.
    /// </summary>
    MayBeDamaged = 1,
}

/// <summary>A row of the member table.</summary>
/// <param name="Uuid">The member's UUID; empty when the role never had a drive.</param>
/// <param name="State">Its state.</param>
/// <param name="EventCount">
/// For a failed or missing member: the event count of the update that first said so, which that member did not take; else 0.
/// </param>
/// <param name="Reason">Why it is out, when it is.</param>
public readonly record struct MemberEntry(Guid Uuid, MemberState State, ulong EventCount = 0, OutReason Reason = OutReason.Unknown);

/// <summary>A spare that is being made like the drive of a role that works, and is to take its place.</summary>
/// <param name="Spare">The spare's UUID.</param>
/// <param name="Role">The role.</param>
public readonly record struct SpareForRole(Guid Spare, int Role);

/// <summary>
/// A reshape that is under way, or has come to its end in the run that wrote this: the geometry is the new one, and below the
/// frontier the volume lies in it.
/// </summary>
/// <param name="OldLevel">The level of the old geometry.</param>
/// <param name="OldMemberCount">The members of the old geometry: the first so many.</param>
/// <param name="ShiftBytes">By how many bytes the data of the old geometry began later on every member.</param>
/// <param name="Frontier">A byte of the volume.</param>
public sealed record ReshapeRecord(RaidLevel OldLevel, int OldMemberCount, long ShiftBytes, long Frontier)
{
    /// <summary>What says in the superblocks that there is one.</summary>
    /// <param name="level">The level that the array gets.</param>
    public IncompatibleFeatures FeaturesOf(RaidLevel level) => OldLevel != level || level.HasManyParities()
        ? IncompatibleFeatures.Reshape | IncompatibleFeatures.ReshapeOfParities
        : IncompatibleFeatures.Reshape;
}

/// <summary>The contents of a superblock.</summary>
public sealed record ArraySuperblock
{
    /// <summary>The longest name in bytes of UTF-8.</summary>
    public const int MaxNameBytes = 63;

    /// <summary>The longest name of a host in bytes of UTF-8; longer ones are cut.</summary>
    public const int MaxHostBytes = 32;

    /// <summary>The value of <see cref="ResyncCheckpoint"/> when no resync is under way.</summary>
    public const long NoResync = -1;

    /// <summary>The value of <see cref="RebuildCheckpoint"/> when no member is being rebuilt.</summary>
    public const long NoRebuild = -1;

    /// <summary>The <see cref="Role"/> of a spare.</summary>
    public const int SpareRole = -1;

    /// <summary>The most spares of an array.</summary>
    public const int MaxSpares = 16;

    /// <summary>Identifies the array.</summary>
    public required Guid ArrayUuid { get; init; }

    /// <summary>Identifies this member.</summary>
    public required Guid MemberUuid { get; init; }

    /// <summary>The array's name: 1..63 bytes of UTF-8 without control characters.</summary>
    public required string Name { get; init; }

    /// <summary>The level.</summary>
    public required RaidLevel Level { get; init; }

    /// <summary>Parity blocks in a stripe.</summary>
    public required int ParityCount { get; init; }

    /// <summary>The chunk in bytes.</summary>
    public required int ChunkSize { get; init; }

    /// <summary>The number of members, 1..64.</summary>
    public required int MemberCount { get; init; }

    /// <summary>The groups of members that have stripes of their own; 1 but for raid50 and raid60.</summary>
    public int GroupCount { get; init; } = 1;

    /// <summary>The role of this member, 0..<see cref="MemberCount"/> - 1, or <see cref="SpareRole"/>.</summary>
    public required int Role { get; init; }

    /// <summary>Where the data of every member begins, in bytes.</summary>
    public required long MemberDataOffset { get; init; }

    /// <summary>The bytes of data and parity on every member.</summary>
    public required long MemberDataSize { get; init; }

    /// <summary>
    /// Where the area of checksums begins on every member, in bytes: a multiple of 4096, not before the end of the data; 0
    /// without.
    /// </summary>
    public long ChecksumOffset { get; init; }

    /// <summary>The bytes that a drive must have for what a member is.</summary>
    public long MemberBytes => ChecksumLayout.Of(this)?.AreaEnd ?? (MemberDataOffset + MemberDataSize);

    /// <summary>The capacity that the geometry gives, in bytes.</summary>
    public required long ArraySize { get; init; }

    /// <summary>The size that the volume shows, in bytes: at most <see cref="ArraySize"/>, a multiple of 512.</summary>
    public required long ExportedSize { get; init; }

    /// <summary>Raised by one with every update of the array.</summary>
    public required ulong EventCount { get; init; }

    /// <summary>Raised by one with every write of a superblock to this member; its lowest bit is the slot.</summary>
    public ulong Sequence { get; init; }

    /// <summary>When the array was made.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>When this superblock was made.</summary>
    public required DateTimeOffset UpdatedAt { get; init; }

    /// <summary>Clean or dirty.</summary>
    public ArrayStateFlags State { get; init; }

    /// <summary>Since when the array is dirty; null when it is clean.</summary>
    public DateTimeOffset? DirtySince { get; init; }

    /// <summary>
    /// Bytes of every member, from <see cref="MemberDataOffset"/>, that are resynced already; <see cref="NoResync"/> when none is
    /// needed.
    /// </summary>
    public long ResyncCheckpoint { get; init; } = NoResync;

    /// <summary>
    /// Bytes of every member that is being rebuilt, from <see cref="MemberDataOffset"/>, that are in step with the array and take
    /// part in its writes; <see cref="NoRebuild"/> when there is no such member.
    /// </summary>
    public long RebuildCheckpoint { get; init; } = NoRebuild;

    /// <summary>
    /// The version of the format in which it was found; what is written has the newest. Where it came from, not what it says: two
    /// that differ in nothing else are equal.
    /// </summary>
    public uint FormatVersion { get; init; } = SuperblockFormat.Version;

    /// <summary>
    /// Where members may disagree after an unclean stop, and what one that is out may have missed; null where it is not recorded,
    /// and is everything (superblocks of version 1), or where no two members hold the same.
    /// </summary>
    public DirtyRegions? Regions { get; init; }

    /// <summary>How it is put right after an unclean stop.</summary>
    public ArrayConsistency Consistency { get; init; }

    /// <summary>
    /// Whether what is not in sync can be made from redundancy all the same, once the journal has been replayed; only with <see
    /// cref="ArrayConsistency.Journal"/>.
    /// </summary>
    public bool TrustsUnsynced { get; init; }

    /// <summary>
    /// Whether rows may not fit that were being written as a whole when the array was cut off, and that no resync has come to
    /// since. They are trusted all the same (<see cref="TrustsUnsynced"/>): what nobody was writing is not in them.
    /// </summary>
    public bool MayHaveTornRows { get; init; }

    /// <summary>The last check or repair that came to its end; null when there was none.</summary>
    public LastScrub? LastScrub { get; init; }

    /// <summary>Where the array went on without members; null where it is not recorded (an older program).</summary>
    public ForkHistory? Forks { get; init; }

    /// <summary>
    /// The host that wrote this, at most <see cref="MaxHostBytes"/> bytes of UTF-8; empty when it is not recorded.
    /// </summary>
    public string Host { get; init; } = "";

    /// <summary>The run whose records in the journal count; 0 when there are none.</summary>
    public ulong JournalGeneration { get; init; }

    /// <summary>The UUIDs of the drives that wait to take a lost member's place.</summary>
    public ImmutableArray<Guid> Spares { get; init; } = [];

    /// <summary>
    /// The one of <see cref="Spares"/> that is to take the place of a drive that works, and of which; null without one.
    /// </summary>
    public SpareForRole? Replacing { get; init; }

    /// <summary>The reshape; null without one.</summary>
    public ReshapeRecord? Reshape { get; init; }

    /// <summary>The places that members could not write, and that are not to be read from them.</summary>
    public BadRanges BadRanges { get; init; } = BadRanges.None;

    /// <summary>How many bytes of a member <see cref="BadRanges"/> are.</summary>
    public long BadBytesOf(int role) => BadRanges.RowsOf(role) * Math.Min(ChunkSize, RaidUnits.MaxRowBytes);

    /// <summary>The same without a spare, whatever it was kept for.</summary>
    public ArraySuperblock WithoutSpare(Guid spare) =>
        this with { Spares = Spares.Remove(spare), Replacing = Replacing?.Spare == spare ? null : Replacing };

    /// <summary>
    /// The unit in bytes in which consumers address the volume, 512 or 4096; 0 when it was made by a program that did not record
    /// it. It is the array's own, whatever drives are there: a partition table is found by it.
    /// </summary>
    public int LogicalBlockSize { get; init; }

    /// <summary>What a human should know.</summary>
    public ArrayNotices Notices { get; init; }

    /// <summary>Features that may be ignored.</summary>
    public CompatibleFeatures Compatible { get; init; }

    /// <summary>Features that must be known.</summary>
    public IncompatibleFeatures Incompatible { get; init; }

    /// <summary>All members by role.</summary>
    public required ImmutableArray<MemberEntry> Members { get; init; }

    /// <summary>True after an unclean stop or in the midst of a resync.</summary>
    public bool NeedsResync => (State & ArrayStateFlags.Dirty) != 0 || ResyncCheckpoint != NoResync;

    /// <summary>The array's geometry, or an error when the fields make none.</summary>
    public bool TryGetGeometry(out RaidGeometry? geometry, out string? error)
    {
        geometry = null;
        if (GroupCount == 0)
        {
            error = "It has no groups, not even one.";
            return false;
        }
        error = RaidGeometry.CheckShape(Level, ChunkSize, MemberCount, MemberDataOffset, GroupCount);
        if (error != null) return false;
        if (MemberDataSize <= 0 || MemberDataSize > long.MaxValue - MemberDataOffset)
        {
            error = $"The member data size {MemberDataSize} is not possible.";
            return false;
        }
        Span<long> sizes = stackalloc long[MemberCount];
        sizes.Fill(MemberDataOffset + MemberDataSize);
        return RaidGeometry.TryCreate(Level, ChunkSize, sizes, out geometry, out error, MemberDataOffset, GroupCount);
    }

    /// <inheritdoc/>
    public bool Equals(ArraySuperblock? other) =>
        other != null && EqualFields(other) && Members.AsSpan().SequenceEqual(other.Members.AsSpan())
            && Spares.AsSpan().SequenceEqual(other.Spares.AsSpan()) && Equals(Regions, other.Regions);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(ArrayUuid, MemberUuid, EventCount, Sequence);

    private bool EqualFields(ArraySuperblock other) =>
        (ArrayUuid, MemberUuid, Name, Level, ParityCount, ChunkSize, MemberCount)
            == (other.ArrayUuid, other.MemberUuid, other.Name, other.Level, other.ParityCount, other.ChunkSize, other.MemberCount)
        && (Role, MemberDataOffset, MemberDataSize, ArraySize, ExportedSize, EventCount, Sequence)
            == (other.Role, other.MemberDataOffset, other.MemberDataSize, other.ArraySize, other.ExportedSize,
                other.EventCount, other.Sequence)
        && (CreatedAt, UpdatedAt, State, DirtySince, ResyncCheckpoint, Compatible, Incompatible)
            == (other.CreatedAt, other.UpdatedAt, other.State, other.DirtySince, other.ResyncCheckpoint,
                other.Compatible, other.Incompatible)
        && (LogicalBlockSize, Notices, RebuildCheckpoint, Consistency, TrustsUnsynced, JournalGeneration)
            == (other.LogicalBlockSize, other.Notices, other.RebuildCheckpoint, other.Consistency, other.TrustsUnsynced, other.JournalGeneration)
        && GroupCount == other.GroupCount && Replacing == other.Replacing && LastScrub == other.LastScrub
        && MayHaveTornRows == other.MayHaveTornRows && Equals(Forks, other.Forks) && Host == other.Host
        && Reshape == other.Reshape && ChecksumOffset == other.ChecksumOffset && BadRanges.Equals(other.BadRanges);
}
