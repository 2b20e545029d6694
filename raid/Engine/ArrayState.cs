// What all reactors of an array must agree on in an instant: who failed, what of that is on disk, how far the resync is.
//
// Theory of operation. A reactor that sees a write fail sets the member's bit here before it lets go of the stripe (or range) that it
// holds; whoever locks that stripe next therefore sees the bit (the lock's interlocked operations order the two), and never trusts
// what the failed member holds. The acknowledgement of that write, and of every other write and flush from then on, is held back until
// the superblocks of the survivors say so too (FailedMask == PersistedMask): after a crash the failed member must not come back as if
// nothing had happened. Bits are only ever set while the array runs.

using System.Runtime.InteropServices;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Engine;

/// <summary>State shared by the reactors of one array, padded to cache lines of its own.</summary>
[StructLayout(LayoutKind.Explicit, Size = 192)]
internal struct SharedWords
{
    [FieldOffset(64)]
    public ulong FailedMask;

    [FieldOffset(72)]
    public ulong PersistedMask;

    [FieldOffset(80)]
    public long SyncedUnits;

    [FieldOffset(88)]
    public int Broken;
}

/// <summary>See the top of the file.</summary>
internal sealed class ArrayState(RaidGeometry geometry, ulong missing, long syncedUnits)
{
    private SharedWords _words = new() { FailedMask = missing, PersistedMask = missing, SyncedUnits = syncedUnits };

    /// <summary>Members that hold nothing usable: one bit each, by role.</summary>
    public ulong FailedMask => Volatile.Read(ref _words.FailedMask);

    /// <summary>The failures that the superblocks of the survivors know of.</summary>
    public ulong PersistedMask
    {
        get => Volatile.Read(ref _words.PersistedMask);
        set => Volatile.Write(ref _words.PersistedMask, value);
    }

    /// <summary>Whether acknowledgements of writes and flushes must wait for the superblocks.</summary>
    public bool MetadataPending => Volatile.Read(ref _words.FailedMask) != Volatile.Read(ref _words.PersistedMask);

    /// <summary>
    /// Lock units below this are in sync: mirrors are equal, parity is right. <see cref="long.MaxValue"/> when all are.
    /// </summary>
    public long SyncedUnits
    {
        get => Volatile.Read(ref _words.SyncedUnits);
        set => Volatile.Write(ref _words.SyncedUnits, value);
    }

    /// <summary>Whether more failed than the redundancy makes up for: every write ends with -EIO from then on.</summary>
    public bool IsBroken => Volatile.Read(ref _words.Broken) != 0;

    /// <summary>Writes cannot be made safe any more.</summary>
    public void Break() => Volatile.Write(ref _words.Broken, 1);

    /// <summary>
    /// A write, a flush or a repair of a member failed. Returns true when the array goes on without it (also when it had been given up
    /// before), false when that would lose data: the array is broken then and the member keeps its state.
    /// </summary>
    public bool TryFail(int member)
    {
        ulong bit = 1UL << member;
        ulong seen = FailedMask;
        while ((seen & bit) == 0)
        {
            if (!geometry.SurvivesWithout(seen | bit))
            {
                Break();
                return false;
            }

            ulong found = Interlocked.CompareExchange(ref _words.FailedMask, seen | bit, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }

        return true;
    }
}
