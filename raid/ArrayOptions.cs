using Polyblk.Core.Block;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

/// <summary>How a new array is made: see <see cref="ArrayBuilder.CreateAsync"/>.</summary>
public sealed record ArrayCreateOptions
{
    /// <summary>The array's name: 1 to 63 bytes of UTF-8 without control characters.</summary>
    public required string Name { get; init; }

    /// <summary>The level.</summary>
    public required RaidLevel Level { get; init; }

    /// <summary>
    /// Into how many groups of neighbours the drives of raid50 and raid60 are cut, from 2 on; null makes
    /// <see cref="RaidLevels.UsualGroups"/>. Other levels have none.
    /// </summary>
    public int? Groups { get; init; }

    /// <summary>
    /// The chunk in bytes: a power of two, 4 KiB to 1 MiB. Must be a multiple of the drives' logical block size.
    /// </summary>
    public int ChunkBytes { get; init; } = 64 << 10;

    /// <summary>Size of the volume in bytes, a multiple of 4096; null takes all that the drives give.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>Overwrite whatever the drives hold: file systems, partitions, members of other arrays.</summary>
    public bool Force { get; init; }

    /// <summary>
    /// The caller knows that every byte of every drive reads as zero (fresh RAM, a new sparse file): mirrors are equal and parity
    /// is right, so the first resync is left out. Never set it for anything else.
    /// </summary>
    public bool AssumeZeroed { get; init; }

    /// <summary>
    /// How the array is put right after an unclean stop. Null takes the journal where there is parity and the drives outlive the
    /// process, else the bitmap.
    /// </summary>
    public ArrayConsistency? Consistency { get; init; }

    /// <summary>
    /// Whether each block of a member has a checksum, by which a drive is found out that returns something else than what was
    /// written to it. It takes a thousandth of the drives. For good: it cannot be changed later.
    /// </summary>
    public bool Checksums { get; init; }

    /// <summary>Makes the UUIDs of the array and its members, each another.</summary>
    public Func<Guid> NewUuid { get; init; } = Guid.NewGuid;

    /// <summary>How the array behaves while it runs.</summary>
    public ArrayRunOptions Run { get; init; } = new();
}

/// <summary>How an existing array is started: see <see cref="ArrayBuilder.AssembleAsync"/>.</summary>
public sealed record ArrayAssembleOptions
{
    /// <summary>The array that is wanted, by its name; null takes any. Needed when the drives belong to several arrays.</summary>
    public string? Name { get; init; }

    /// <summary>The array that is wanted, by its UUID; null takes any.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>
    /// Start although data may be damaged: a parity array without a journal (<see cref="ArrayConsistency"/>) that lacks a member
    /// and was not stopped in order. Includes <see cref="AllowDegraded"/>.
    /// </summary>
    public bool Force { get; init; }

    /// <summary>
    /// Whether an array may start without members that its superblocks call present. Once something is written without them they
    /// are stale; and of a mirror those that are here may be the stale ones. An array that is recorded as degraded needs no
    /// leave.
    /// </summary>
    public bool AllowDegraded { get; init; }

    /// <summary>
    /// Whether the array is only read. Nothing is written to any member, superblocks, resync and repairs included. An array that
    /// lacks more members than its level can lose starts, too: what lies on those that are here can be read.
    /// </summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// The unit in bytes, 512 or 4096, in which consumers have addressed the volume, for an array that was made by a program that
    /// did not record it and of which members are absent; null asks for it where it is not certain. Where it is recorded, that
    /// counts.
    /// </summary>
    public int? LogicalBlockSize { get; init; }

    /// <summary>
    /// Says how the user knows the drive of a role, of so many, for messages about members that are absent; null where it is not
    /// known.
    /// </summary>
    public Func<int, int, string?> DescribeRole { get; init; } = (_, _) => null;

    /// <summary>
    /// Whether the run before this one is known to have left members that agree, though it could not say so: it was this
    /// process's, and had nothing under way.
    /// </summary>
    internal bool IsInSync { get; init; }

    /// <summary>How the array behaves while it runs.</summary>
    public ArrayRunOptions Run { get; init; } = new();
}

/// <summary>How a running array behaves.</summary>
public sealed record ArrayRunOptions
{
    /// <summary>Without a write for this long, the array is marked clean: a crash then costs no resync.</summary>
    public TimeSpan CleanAfter { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How often the progress of a resync is written to the superblocks while nothing else is.</summary>
    public TimeSpan CheckpointEvery { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Whether a needed resync starts by itself.</summary>
    public bool Resync { get; init; } = true;

    /// <summary>
    /// Whether drives that were away are rebuilt in their places, and spares take those of members that fail, without anybody
    /// asking for it.
    /// </summary>
    public bool RebuildByItself { get; init; } = true;

    /// <summary>
    /// How long after the array was opened a needed resync or rebuild starts. It takes processor time and the drives, while a
    /// target that was started again after a crash has consumers that wait for it.
    /// </summary>
    public TimeSpan ResyncAfter { get; init; }

    /// <summary>
    /// After what time since the last check or repair, or since the array was made, members are compared by themselves; zero
    /// never does. It waits for an array that lacks nothing and needs no resync.
    /// </summary>
    public TimeSpan CheckEvery { get; init; }

    /// <summary>
    /// Rows of stripes (up to 64 KiB of every member) that a job in the background has in flight while no consumer is busy, 1 to
    /// 512; 0: as many as keep drives busy, 2 MiB of each member.
    /// </summary>
    public int ResyncDepth { get; init; }

    /// <summary>
    /// The most of the volume, in bytes, that a reshape moves at a time, and that is closed to consumers meanwhile; at least a
    /// stripe is.
    /// </summary>
    public long ReshapeWindowBytes { get; init; } = 4 << 20;

    /// <summary>
    /// What the rows of stripes that a queue of a parity level has under way may use of memory, in bytes: by the columns that
    /// they touch, 4 to 256 rows. Those at rest may keep as much again.
    /// </summary>
    public long RowMemoryBytes { get; init; } = 64 << 20;

    /// <summary>
    /// How many pages of checksums of a member may be in memory, 64 at least: 4096 bytes each, for 4 MiB of its data.
    /// </summary>
    internal int ChecksumPages { get; init; } = 8192;

    /// <summary>
    /// Upper bound of the speed of a resync or rebuild in bytes a second of every member; 0 sets none.
    /// </summary>
    public long ResyncMaxBytesPerSecond { get; init; }

    /// <summary>
    /// When ranges that a resync could not read from enough members are tried for the first time again; each time that does not
    /// help, the wait doubles, up to an hour.
    /// </summary>
    public TimeSpan ResyncRetryAfter { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// How long a request may be at a member before the member counts as hanging: a warning says so, and reads take other ways
    /// where there are any. Superblocks of the others do not wait for it longer.
    /// </summary>
    public TimeSpan SlowAfter { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a request may be at a member before the member is given up, where the level survives without it; zero never does.
    /// In whole seconds.
    /// </summary>
    public TimeSpan DriveTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// A member that fails this many reads in a row, and not one succeeds in between, is given up where redundancy makes up for
    /// it; 0 never gives up.
    /// </summary>
    public int MaxReadErrorsInARow { get; init; } = 256;

    /// <summary>Makes the UUIDs of drives that become members or spares, each another.</summary>
    public Func<Guid> NewUuid { get; init; } = Guid.NewGuid;

    /// <summary>
    /// The host's name, for superblocks: it says where two halves were that were used apart. Empty records none.
    /// </summary>
    public string HostName { get; init; } = "";

    /// <summary>The clock by which requests grow old, control tasks wait, and superblocks are dated.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>
    /// Where the control task runs. A simulation has one of its own; its calls of the array are made there too, so that what they
    /// await goes on there.
    /// </summary>
    public TaskScheduler Scheduler { get; init; } = TaskScheduler.Default;

    /// <summary>
    /// Told of a drive with which the array has nothing to do any more: it was replaced while it worked, or was to replace one
    /// and was given up. On a control thread.
    /// </summary>
    public Action<IBlockDevice>? OnReleased { get; init; }

    /// <summary>Told about failures, repairs and the work of the array, on control threads.</summary>
    public Action<ArrayEvent>? OnEvent { get; init; }
}

/// <summary>An array could not be made, started or changed; the message says why and what to do.</summary>
public sealed class ArrayException : IOException
{
    /// <summary>Whether the change has begun all the same: drives that it brought in belong to the array.</summary>
    public bool HasBegun { get; init; }

    public ArrayException()
    {
    }

    public ArrayException(string message)
        : base(message)
    {
    }

    public ArrayException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}

/// <summary>What a drive holds: see <see cref="ArrayBuilder.InspectAsync"/>.</summary>
/// <param name="Drive">The drive.</param>
/// <param name="Superblock">Its superblock, or null when it is no member of an array.</param>
/// <param name="Problem">Why a superblock that is there cannot be used, or what foreign thing is there; null when all is
/// well.</param>
/// <param name="ForeignSignatures">Names of the foreign things found, such as <c>ext4 file system</c>.</param>
public sealed record DriveInspection(
    IBlockDevice Drive, ArraySuperblock? Superblock, string? Problem, IReadOnlyList<string> ForeignSignatures)
{
    /// <summary>
    /// The one among the foreign things of which the drive is only a part (<c>LVM physical volume</c>), or null.
    /// </summary>
    public string? PartOf { get; init; }

    /// <summary>Slots that the drive did not give, one bit each, where it has a superblock in the other one.</summary>
    internal int UnreadSlots { get; init; }
}
