using Polyblk.Core.Block;

namespace Polyblk.Raid.Engine;

/// <summary>A role of an array, with its drive if there is one, and what went wrong with it.</summary>
internal sealed class RaidMember(int role, IBlockDevice? drive, Guid uuid)
{
    private long _readErrors, _writeErrors, _repairs;

    /// <summary>The role, from 0.</summary>
    public int Role { get; } = role;

    /// <summary>
    /// The drive; null when the array does without the member. Where it cannot, and is read all the same, one that answers every
    /// request with an error.
    /// </summary>
    public IBlockDevice? Drive { get; } = drive;

    /// <summary>The member's UUID; empty when the role never had a drive that is known.</summary>
    public Guid Uuid { get; } = uuid;

    /// <summary>The sequence number of the superblock last written to it. The control task's.</summary>
    public ulong Sequence { get; set; }

    /// <summary>For a member that is out: the event count at which the superblocks first said so; otherwise 0. The control task's.</summary>
    public ulong OutSinceEvent { get; set; }

    /// <summary>Whether no drive with this role is here.</summary>
    public bool IsAbsent => Drive is null or AbsentDrive;

    public long ReadErrors => Interlocked.Read(ref _readErrors);

    public long WriteErrors => Interlocked.Read(ref _writeErrors);

    public long Repairs => Interlocked.Read(ref _repairs);

    public void CountReadError() => Interlocked.Increment(ref _readErrors);

    public void CountWriteError() => Interlocked.Increment(ref _writeErrors);

    public void CountRepair() => Interlocked.Increment(ref _repairs);
}
