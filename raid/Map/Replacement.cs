// A drive that works is replaced: what all reactors and the control task know of that.
//
// Theory of operation. From the moment that the map names a replacement, every way to the role is a twin (TwinQueue): what is written
// goes to the old drive and to the new one, and is done when both have it; what is read comes from the old one. Beside that, what was
// there before is copied (Jobs/CopyJob.cs). Ranges that are written or copied are locked (Locks), in a table of the replacement's own
// and in bytes of the drive: so the level above does not matter, and two writes that overlap reach both drives in one order.
//
//   Copying    The old drive is the member. Whether a write succeeds is what the old drive says. When the new one refuses, it is given
//              up (Fault), and the array is as it was.
//   Deciding   The new drive holds all that the old one holds, durably, and the superblocks are being told. A crash may be decided
//              either way until that is durable: whoever lacks one of the two halves now waits for the outcome.
//   Done       The new drive is the member: what it says counts.
//
// A write of which one half failed sets its place in the CopyMap first, and looks at the phase then; who decides sets the phase first,
// and looks at the CopyMap then. So he learns of it, or it waits for him: never neither.
//
// Reads move to the new drive (ReadsNew) when the superblocks know it and while writes still go to both: reactors do so one after the
// other, and each of them may read what any other has just written.

using Polyblk.Core.Block;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;

namespace Polyblk.Raid.Map;

/// <summary>How far a replacement is; the top of Replacement.cs says what each means.</summary>
internal enum ReplacementPhase
{
    Copying,
    Deciding,
    Done,
}

/// <summary>See the top of the file. Any thread.</summary>
/// <param name="old">The member that works.</param>
/// <param name="next">The one that takes its place.</param>
/// <param name="copies">Where they differ.</param>
internal sealed class Replacement(RaidMember old, RaidMember next, CopyMap copies)
{
    private const long Nowhere = -1;
    private const int MostMends = JobRunner.MaxDepth;

    private readonly long[] _mending = MakeMends();
    private int _phase;
    private int _fault;
    private bool _readsNew;

    /// <summary>The role.</summary>
    public int Role => Old.Role;

    /// <summary>The member that works.</summary>
    public RaidMember Old { get; } = old;

    /// <summary>The one that takes its place.</summary>
    public RaidMember New { get; } = next;

    /// <summary>Where they differ.</summary>
    public CopyMap Copies { get; } = copies;

    /// <summary>Orders writes and copies to the same place, in units of 4 KiB of the drives.</summary>
    public RangeLocks Locks { get; } = new();

    /// <summary>How far it is.</summary>
    public ReplacementPhase Phase => (ReplacementPhase)Volatile.Read(ref _phase);

    /// <summary>Whether reads go to the new drive.</summary>
    public bool ReadsNew => Volatile.Read(ref _readsNew);

    /// <summary>What the new drive answered that is given up: a negative errno; 0 while it is not.</summary>
    public int Fault => Volatile.Read(ref _fault);

    /// <summary>Moves on. The control task's.</summary>
    public void Enter(ReplacementPhase phase) => Interlocked.Exchange(ref _phase, (int)phase);

    /// <summary>Reads go to the new drive from now on. The control task's.</summary>
    public void ReadNew() => Volatile.Write(ref _readsNew, true);

    /// <summary>The new drive did not do what it was asked.</summary>
    /// <param name="status">A negative errno.</param>
    public void GiveUp(int status)
    {
        New.NoteWriteError(BlockErrors.KindOf(status));
        Interlocked.CompareExchange(ref _fault, status, 0);
    }

    /// <summary>
    /// A row that the old drive cannot read is being written anew: should it not take that either, nothing is lost that was there.
    /// </summary>
    /// <param name="index">Which of the rows that are copied at once.</param>
    /// <param name="offset">Where it begins on the drives.</param>
    public void BeginMend(int index, long offset) => Volatile.Write(ref _mending[index], offset);

    /// <summary>That is over.</summary>
    public void EndMend(int index) => Volatile.Write(ref _mending[index], Nowhere);

    /// <summary>The length of a row that is mended, in bytes; the last one may be shorter.</summary>
    public int MendBytes { get; set; }

    /// <summary>
    /// Whether a write is one of those. One that begins there and is longer is a consumer's: behind the row the old drive has what was
    /// there before, and it may be copied from there.
    /// </summary>
    public bool IsMending(BlockRequest write)
    {
        if (write.LengthBytes > MendBytes)
        {
            return false;
        }

        bool found = false;
        for (int i = 0; i < MostMends; i++)
        {
            found |= write.OffsetBytes == Volatile.Read(ref _mending[i]);
        }

        return found;
    }

    private static long[] MakeMends()
    {
        var mends = new long[MostMends];
        Array.Fill(mends, Nowhere);
        return mends;
    }
}
