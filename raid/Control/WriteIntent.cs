// The write-intent bitmap of a running array: after a crash only marked regions need a resync, and a member that was away has
// missed nothing elsewhere.
//
// Theory of operation. A write may start when all regions that it touches are marked durably: that is a part of what the
// superblocks say (DirtyRegions), so a mark costs an update of them, one for all regions that wait for it. Reactors look at the
// durable marks (Covers) and, where one is missing, say which they want (Want) and wait at the queue's gate; the control task takes
// what is wanted (TakeWanted), writes superblocks with it, and then lets it count (OpenMarked).
//
// Marks are taken away all at once: when the array is called clean, every queue's gate is closed and every member has been flushed,
// and only while no member is lost and nothing waits for a resync. So a mark stays for as long as anybody may need it: the resync of
// what a crash left (Jobs/ResyncJob.cs), and the rebuild of a member that was away (SinceEvent says since when marks are complete).

using System.Collections.Immutable;
using System.Numerics;
using System.Runtime.CompilerServices;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file.</summary>
internal sealed class WriteIntent
{
    private readonly int _shift;
    private readonly int _count;

    // Durable, being made durable, and asked for.
    private readonly ulong[] _open = new ulong[DirtyRegions.WordCount];
    private readonly ulong[] _marked = new ulong[DirtyRegions.WordCount];
    private readonly ulong[] _wanted = new ulong[DirtyRegions.WordCount];

    /// <param name="capacityBytes">Bytes of the volume.</param>
    /// <param name="regions">What is marked.</param>
    /// <param name="marksAll">Whether the first write marks everything: no region is told from another.</param>
    public WriteIntent(long capacityBytes, DirtyRegions regions, bool marksAll = false)
    {
        MarksAll = marksAll;
        _shift = regions.Shift;
        _count = DirtyRegions.CountFor(capacityBytes, regions.Shift);
        SinceEvent = regions.SinceEvent;
        regions.Words.CopyTo(_open);
        regions.Words.CopyTo(_marked);
    }

    /// <summary>Whether no region is told from another. The control task's.</summary>
    public bool MarksAll { get; set; }

    /// <summary>The event count of the update that last took all marks away. The control task's.</summary>
    public ulong SinceEvent { get; private set; }

    /// <summary>A bitmap for a volume: everything is marked, or nothing.</summary>
    public static DirtyRegions Make(long capacityBytes, bool marked, ulong sinceEvent)
    {
        int shift = DirtyRegions.ShiftFor(capacityBytes);
        int count = DirtyRegions.CountFor(capacityBytes, shift);
        var words = new ulong[DirtyRegions.WordCount];
        for (int i = 0; marked && i < count; i++)
        {
            words[i >> 6] |= 1UL << i;
        }

        return new DirtyRegions(shift, sinceEvent, [.. words]);
    }

    /// <summary>Whether a write may start: all its regions are marked durably. Any thread.</summary>
    /// <param name="offset">The first byte of the volume.</param>
    /// <param name="length">Bytes, at least 1.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Covers(long offset, long length)
    {
        int first = (int)(offset >> _shift);
        int last = (int)((offset + length - 1) >> _shift);
        return first == last
            ? ((Volatile.Read(ref _open[first >> 6]) >> first) & 1) != 0
            : CoversAll(first, last);
    }

    /// <summary>A write waits for its regions. Any thread; allocates nothing.</summary>
    public void Want(long offset, long length)
    {
        int last = (int)((offset + length - 1) >> _shift);
        for (int region = (int)(offset >> _shift); region <= last; region++)
        {
            Interlocked.Or(ref _wanted[region >> 6], 1UL << region);
        }
    }

    /// <summary>Whether any region of a range is marked, or about to be: members may disagree there. Any thread.</summary>
    public bool IsMarked(long offset, long length)
    {
        int last = Math.Min((int)((offset + length - 1) >> _shift), _count - 1);
        for (int region = (int)(offset >> _shift); region <= last; region++)
        {
            if (((Volatile.Read(ref _marked[region >> 6]) >> region) & 1) != 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// The first byte from <paramref name="offset"/> on that is in a marked region; <see cref="long.MaxValue"/> without one. Any
    /// thread.
    /// </summary>
    public long NextMarked(long offset)
    {
        int region = (int)(offset >> _shift);
        for (int word = region >> 6; word < DirtyRegions.WordCount; word++)
        {
            ulong bits = Volatile.Read(ref _marked[word]);
            bits = word == region >> 6 ? bits & (ulong.MaxValue << region) : bits;
            if (bits != 0)
            {
                long found = (long)((word << 6) + BitOperations.TrailingZeroCount(bits)) << _shift;
                return Math.Max(found, offset);
            }
        }

        return long.MaxValue;
    }

    /// <summary>How much of the volume is marked, in bytes; the last region counts as a whole one. Any thread.</summary>
    public long MarkedBytes => (long)_marked.Sum(w => BitOperations.PopCount(w)) << _shift;

    /// <summary>Marks what is wanted. Returns whether a mark is new: superblocks must say so. The control task's.</summary>
    public bool TakeWanted()
    {
        bool isNew = false;
        if (MarksAll)
        {
            Want(0, (long)_count << _shift);
        }

        for (int i = 0; i < _wanted.Length; i++)
        {
            ulong wanted = Volatile.Read(ref _wanted[i]) == 0 ? 0 : Interlocked.Exchange(ref _wanted[i], 0);
            isNew |= (wanted & ~_marked[i]) != 0;
            Volatile.Write(ref _marked[i], _marked[i] | wanted);
        }

        return isNew;
    }

    /// <summary>All that is marked is durable: writes may go there. The control task's.</summary>
    public void OpenMarked()
    {
        for (int i = 0; i < _open.Length; i++)
        {
            Volatile.Write(ref _open[i], _marked[i]);
        }
    }

    /// <summary>
    /// Takes all marks away: no write is in flight, none can start, and all members have been flushed. The control task's.
    /// </summary>
    /// <param name="eventCount">The event count of the update that says so, which comes next.</param>
    public void Clear(ulong eventCount)
    {
        Array.Clear(_open);
        Array.Clear(_marked);
        SinceEvent = eventCount;
    }

    /// <summary>
    /// What is marked says nothing of what was changed before an update: data was moved, which no mark tells of. Marks are
    /// complete from then on. The control task's.
    /// </summary>
    /// <param name="eventCount">The event count of that update, which comes next.</param>
    public void NoteMoved(ulong eventCount) => SinceEvent = eventCount;

    /// <summary>What a superblock says of it. The control task's.</summary>
    public DirtyRegions Describe() => new(_shift, SinceEvent, [.. _marked]);

    private bool CoversAll(int first, int last)
    {
        for (int region = first; region <= last; region++)
        {
            if (((Volatile.Read(ref _open[region >> 6]) >> region) & 1) == 0)
            {
                return false;
            }
        }

        return true;
    }
}
