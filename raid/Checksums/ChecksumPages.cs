// The pages of sums of a member that are in memory, and what is known of those that are not. Any reactor pins a page that is
// there and reads and changes its sums; the keeper alone brings pages in and throws them out.
//
// A word for each page, which says it all, so that one compare-and-swap pins:
//   bits 0..31 pins   32..55 the frame   56 Ready   57 Dirty   58 Recent   59 Stale   60 Unlearned
//
//   Ready      It is in its frame. Only the keeper sets it, and takes it away where nobody has a pin.
//   Dirty      A sum was changed that the drive does not have. Set after the sum, taken away before the page is copied for the
//              drive, both with a full fence: a change is in the copy, or the page is dirty.
//   Stale      What the drive has of it counts for nothing: as good as a page of "none". Until it is written.
//   Unlearned  Blocks may have no sum though they had one, or should: they are to be read, and their sums made.
//
// A page that is being loaded is not Ready, and known to the keeper only, who therefore loads none twice.

using Polyblk.Core.Block;

namespace Polyblk.Raid.Checksums;

/// <summary>See the top of the file.</summary>
internal sealed unsafe class ChecksumPages : IDisposable
{
    private const long Ready = 1L << 56, Dirty = 1L << 57, Recent = 1L << 58, Stale = 1L << 59, Unlearned = 1L << 60;
    private const int FrameShift = 32;
    private const long FrameMask = 0xFF_FFFF, PinMask = uint.MaxValue;

    private readonly long[] _words;
    private readonly int[] _pageOf;
    private readonly PagedMemory _memory;
    private readonly Action _onRoom;
    private FreeIndices _free;
    private int _hand;
    private bool _isHungry;

    /// <param name="pages">Pages of the member.</param>
    /// <param name="frames">How many of them may be in memory.</param>
    /// <param name="onRoom">Called where a pin is given back while the keeper lacks room; by any thread.</param>
    public ChecksumPages(int pages, int frames, Action onRoom)
    {
        frames = Math.Min(frames, pages);
        _words = new long[pages];
        _pageOf = new int[frames];
        Array.Fill(_pageOf, -1);
        _free = new FreeIndices(frames);
        _memory = new PagedMemory((long)frames * ChecksumLayout.BlockBytes);
        _onRoom = onRoom;
    }

    /// <summary>
    /// Whether the keeper found no room: who gives a pin back tells it. The keeper sets it, and looks once more then.
    /// </summary>
    public bool IsHungry
    {
        get => Volatile.Read(ref _isHungry);
        set => Interlocked.Exchange(ref _isHungry, value);
    }

    /// <summary>Pins a page, where it is in memory. Any thread.</summary>
    public bool TryPin(int page)
    {
        ref long word = ref _words[page];
        long seen = Volatile.Read(ref word);
        while ((seen & Ready) != 0)
        {
            long found = Interlocked.CompareExchange(ref word, (seen | Recent) + 1, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }

        return false;
    }

    /// <summary>Gives a pin back. Any thread.</summary>
    public void Unpin(int page)
    {
        if ((Interlocked.Decrement(ref _words[page]) & PinMask) == 0 && IsHungry)
        {
            _onRoom();
        }
    }

    /// <summary>The sums of a page that is pinned.</summary>
    public uint* Sums(int page) => (uint*)(Frame(page) + ChecksumPage.HeaderBytes);

    /// <summary>Sums of a page that is pinned were changed, before. Any thread.</summary>
    public void MarkDirty(int page) => Interlocked.Or(ref _words[page], Dirty);

    /// <summary>Whether a page is in memory.</summary>
    public bool IsReady(int page) => (Volatile.Read(ref _words[page]) & Ready) != 0;

    /// <summary>Whether what the drive has of it does not count.</summary>
    public bool IsStale(int page) => (Volatile.Read(ref _words[page]) & Stale) != 0;

    /// <summary>Whether its blocks are to be read for their sums.</summary>
    public bool IsUnlearned(int page) => (Volatile.Read(ref _words[page]) & Unlearned) != 0;

    /// <summary>Whether the drive lacks what it should have of it.</summary>
    public bool MustBeWritten(int page)
    {
        long word = Volatile.Read(ref _words[page]);
        return (word & Stale) != 0 || (word & (Ready | Dirty)) == (Ready | Dirty);
    }

    /// <summary>What the drive has of it does not count. The keeper's.</summary>
    public void MarkStale(int page, bool isUnlearned) => Interlocked.Or(ref _words[page], Stale | (isUnlearned ? Unlearned : 0));

    /// <summary>Its blocks have the sums that can be had.</summary>
    public void MarkLearned(int page) => Interlocked.And(ref _words[page], ~Unlearned);

    /// <summary>The frame of a page that is in memory, or being brought in.</summary>
    public byte* Frame(int page) =>
        _memory.Start + (((Volatile.Read(ref _words[page]) >> FrameShift) & FrameMask) * ChecksumLayout.BlockBytes);

    /// <summary>Gives a page a frame, throwing another page out where that is clean. The keeper's.</summary>
    /// <returns>Whether there was one; it holds anything.</returns>
    public bool TryGiveFrame(int page)
    {
        for (int looks = 2 * _pageOf.Length; _free.IsEmpty && looks > 0; looks--)
        {
            _hand = (_hand + 1) % _pageOf.Length;
            int victim = _pageOf[_hand];
            if (victim >= 0)
            {
                TryThrowOut(victim, evenDirty: false);
            }
        }

        if (_free.IsEmpty)
        {
            return false;
        }

        int frame = _free.Take();
        _pageOf[frame] = page;
        Interlocked.Or(ref _words[page], (long)frame << FrameShift);
        return true;
    }

    /// <summary>What was brought into its frame counts from now on. The keeper's.</summary>
    public void Enter(int page) => Interlocked.Or(ref _words[page], Ready | Recent);

    /// <summary>Up to so many dirty pages that nobody has pinned. The keeper's.</summary>
    public List<int> DirtyVictims(int most)
    {
        var victims = new List<int>();
        for (int looks = _pageOf.Length; victims.Count < most && looks > 0; looks--)
        {
            _hand = (_hand + 1) % _pageOf.Length;
            int page = _pageOf[_hand];
            if (page >= 0 && (Volatile.Read(ref _words[page]) & (PinMask | Ready | Dirty)) == (Ready | Dirty))
            {
                victims.Add(page);
            }
        }

        return victims;
    }

    /// <summary>Whether a page could be thrown out as it is. The keeper's.</summary>
    public bool HasVictim =>
        !_free.IsEmpty || Array.Exists(
            _pageOf, page => page >= 0 && (Volatile.Read(ref _words[page]) & (PinMask | Ready | Dirty)) == Ready);

    /// <summary>
    /// Throws a page out that is dirty and cannot be written: what it said is not known any more. Nothing where it is pinned.
    /// </summary>
    public void Drop(int page)
    {
        // First: who pins it afterwards is told that what he finds will be lost, by the region.
        MarkStale(page, isUnlearned: true);
        TryThrowOut(page, evenDirty: true);
    }

    /// <summary>Copies a page for the drive: it is clean from now on but for what changes from now on. The keeper's.</summary>
    public void CopyForDrive(int page, Span<byte> block)
    {
        if (IsReady(page))
        {
            Interlocked.And(ref _words[page], ~Dirty);
            new ReadOnlySpan<byte>(Frame(page), ChecksumLayout.BlockBytes).CopyTo(block);
        }
        else
        {
            block.Clear();
        }
    }

    /// <summary>The drive has what was copied for it. The keeper's.</summary>
    public void MarkWritten(int page) => Interlocked.And(ref _words[page], ~Stale);

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private void TryThrowOut(int page, bool evenDirty)
    {
        ref long word = ref _words[page];
        long seen = Volatile.Read(ref word);
        if ((seen & Recent) != 0 && !evenDirty)
        {
            Interlocked.And(ref word, ~Recent);
            return;
        }

        if ((seen & (PinMask | Ready)) == Ready && ((seen & Dirty) == 0 || evenDirty)
            && Interlocked.CompareExchange(ref word, seen & (Stale | Unlearned), seen) == seen)
        {
            int frame = (int)((seen >> FrameShift) & FrameMask);
            _pageOf[frame] = -1;
            _free.Return(frame);
        }
    }
}
