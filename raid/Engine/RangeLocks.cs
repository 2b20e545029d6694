// The locks that keep writes to the same place in order, shared by every reactor that has the array open.
//
// Theory of operation. The address space is cut into units (4 KiB of the volume for mirrors, a row of the stripes for parity). 64
// neighbouring units share a slot of the table, one bit each; a range is locked by setting its bits with one compare-and-swap for
// each slot that it touches, and unlocked by clearing them. Regions further apart than the table is long share slots: that costs
// a needless wait now and then, never correctness.
//
// A range of several slots is taken all or nothing: who meets a set bit gives back what it took, so nobody waits while holding
// and there is no deadlock. Waiting never blocks a thread: the waiter links itself into the slot's list, and whoever clears bits
// of that slot sends every waiter back to its own reactor, where it tries again.
//
//     waiter                                   releaser
//     W1  find a bit set                       R1  clear bits (interlocked: full fence)
//     W2  push itself on the list (full fence) R2  look at the list; if it is not empty: take it all, wake each
//     W3  look at the bits again; clear? wake
//
// If R2 misses the push of W2, then R1 came before W3 in the order of the two fences, and W3 sees the bits clear and does the
// waking.

using System.Numerics;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Engine;

/// <summary>Something that locks a range of units and may have to wait for it. In one list at a time.</summary>
internal abstract class RangeWaiter : ReactorWork
{
    /// <summary>The link of the slot's list.</summary>
    internal RangeWaiter? NextBlocked;

    /// <summary>The first unit of the range.</summary>
    internal long FirstUnit;

    /// <summary>How many units: 1 to <see cref="RangeLocks.MaxUnits"/>.</summary>
    internal int UnitCount;

    /// <summary>The reactor on which it lives and is woken.</summary>
    internal abstract Reactor Home { get; }

    /// <summary>The table.</summary>
    internal abstract RangeLocks Locks { get; }

    /// <summary>The lock is held now. Only called when <see cref="RangeLocks.LockOrWait"/> had returned false.</summary>
    protected abstract void OnLocked();

    /// <summary>A wake-up: tries again.</summary>
    public sealed override void Run()
    {
        if (Locks.LockOrWait(this))
        {
            OnLocked();
        }
    }
}

/// <summary>The table of locks of one array.</summary>
internal sealed class RangeLocks
{
    /// <summary>The largest range.</summary>
    public const int MaxUnits = 64 * 64;

    private const int UnitsPerSlot = 64;
    private const int SlotCount = 4096;
    private const uint Spread = 2_654_435_769; // odd: neighbouring regions get different slots, far apart in memory

    private struct Slot
    {
        public ulong Bits;
        public RangeWaiter? Blocked;
    }

    private readonly Slot[] _slots = new Slot[SlotCount];

    /// <summary>
    /// Locks the waiter's range and returns true, or queues it and returns false; it is then woken on its reactor.
    /// </summary>
    public bool LockOrWait(RangeWaiter waiter)
    {
        long conflict = TryLock(waiter.FirstUnit, waiter.UnitCount);
        if (conflict < 0)
        {
            return true;
        }

        ref Slot slot = ref SlotOf(conflict / UnitsPerSlot);
        RangeWaiter? top = Volatile.Read(ref slot.Blocked);
        while (true)
        {
            waiter.NextBlocked = top;
            RangeWaiter? found = Interlocked.CompareExchange(ref slot.Blocked, waiter, top);
            if (ReferenceEquals(found, top))
            {
                break;
            }

            top = found;
        }

        // W3: partner of R1 and R2. From here on the waiter may be running elsewhere already; only locals are used.
        if ((Volatile.Read(ref slot.Bits) & (1UL << (int)(conflict % UnitsPerSlot))) == 0)
        {
            WakeAll(ref slot);
        }

        return false;
    }

    /// <summary>
    /// Locks a range without waiting. Returns -1, or a unit that is held by somebody else; nothing is locked then.
    /// </summary>
    public long TryLock(long firstUnit, int count)
    {
        long unit = firstUnit;
        long end = firstUnit + count;
        while (unit < end)
        {
            int bit = (int)(unit % UnitsPerSlot);
            int here = (int)Math.Min(UnitsPerSlot - bit, end - unit);
            ulong mask = Mask(bit, here);
            ref Slot slot = ref SlotOf(unit / UnitsPerSlot);
            ulong seen = Volatile.Read(ref slot.Bits);
            while ((seen & mask) == 0)
            {
                ulong found = Interlocked.CompareExchange(ref slot.Bits, seen | mask, seen);
                if (found == seen)
                {
                    break;
                }

                seen = found;
            }

            if ((seen & mask) != 0)
            {
                long conflict = unit + BitOperations.TrailingZeroCount((seen & mask) >> bit);
                if (unit > firstUnit)
                {
                    Unlock(firstUnit, (int)(unit - firstUnit));
                }

                return conflict;
            }

            unit += here;
        }

        return -1;
    }

    /// <summary>Unlocks a range that is held, and wakes those who waited.</summary>
    public void Unlock(long firstUnit, int count)
    {
        long unit = firstUnit;
        long end = firstUnit + count;
        while (unit < end)
        {
            int bit = (int)(unit % UnitsPerSlot);
            int here = (int)Math.Min(UnitsPerSlot - bit, end - unit);
            ref Slot slot = ref SlotOf(unit / UnitsPerSlot);
            Interlocked.And(ref slot.Bits, ~Mask(bit, here)); // R1
            if (Volatile.Read(ref slot.Blocked) is not null)  // R2
            {
                WakeAll(ref slot);
            }

            unit += here;
        }
    }

    /// <summary>Whether nothing is locked. For tests, when nothing is in flight.</summary>
    public bool IsIdle => Array.TrueForAll(_slots, slot => slot.Bits == 0 && slot.Blocked is null);

    private ref Slot SlotOf(long region) => ref _slots[(int)(((uint)region * Spread) % SlotCount)];

    private static ulong Mask(int bit, int count) => (count == UnitsPerSlot ? ulong.MaxValue : (1UL << count) - 1) << bit;

    private static void WakeAll(ref Slot slot)
    {
        RangeWaiter? node = Interlocked.Exchange(ref slot.Blocked, null);
        RangeWaiter? oldest = null;
        while (node is not null)
        {
            RangeWaiter? next = node.NextBlocked;
            node.NextBlocked = oldest;
            oldest = node;
            node = next;
        }

        while (oldest is not null)
        {
            RangeWaiter? next = oldest.NextBlocked;
            if (oldest.Home.IsCurrent)
            {
                oldest.Home.Defer(oldest);
            }
            else
            {
                oldest.Home.Post(oldest);
            }

            oldest = next;
        }
    }
}
