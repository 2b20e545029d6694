// A split virtqueue (VIRTIO 1.3, section 2.7), the device's side.
//
// Barriers and their partners in the driver:
//   P1  avail.idx is loaded with acquire before the ring and the descriptors     <- the driver's store of avail.idx after them
//   P2  used.idx is stored with release after the elements, data and status      -> the driver's load of used.idx before them
//   P3  full fence between storing used.idx and loading used_event or flags      <> the driver's fence between storing those and loading
//                                                                                   used.idx (it enables calls, then looks again)
//   P4  full fence between storing avail_event or flags and loading avail.idx    <> the driver's fence between storing avail.idx and
//                                                                                   loading those (it publishes, then decides to kick)

using System.Runtime.Intrinsics.X86;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Virtio;

/// <summary>A split virtqueue.</summary>
internal sealed unsafe class SplitVirtqueue : Virtqueue
{
    private readonly int _mask;
    private readonly InflightLog? _log;
    private readonly ushort[] _batch;
    private readonly ushort _startBase;
    private readonly Action? _afterStore;
    private SplitInflight? _inflight;
    private ushort[] _recovered = [];
    private int _recoveredNext;

    private virtq_desc* _table;
    private ushort* _availFlags;
    private ushort* _availIdx;
    private ushort* _availRing;
    private ushort* _usedEvent;
    private ushort* _usedFlags;
    private ushort* _usedIdx;
    private virtq_used_elem* _usedRing;
    private ushort* _availEvent;

    private ushort _nextAvail;
    private ushort _seenAvail;
    private ushort _nextUsed;
    private ushort _shownUsed;
    private bool _driverWasTold;
    private ushort _lastHead;
    private byte* _lastHeader;

    public SplitVirtqueue(VirtqueueSetup setup)
        : base(setup)
    {
        _mask = Size - 1;
        _log = setup.Inflight;
        _afterStore = setup.AfterStore;
        _batch = new ushort[Size];
        _startBase = (ushort)setup.Base;
    }

    public override int RecoveredLeft => _recovered.Length - _recoveredNext;

    public override uint Base => _nextAvail;

    public override bool HasMore => _nextAvail != _seenAvail;

    public override bool TryPop()
    {
        if (_recoveredNext < _recovered.Length)
        {
            return TryPopRecovered();
        }

        ushort next = _nextAvail;
        if (next == _seenAvail && !LooksForMore(next))
        {
            return false;
        }

        ushort head = _availRing[next & _mask];
        if (!TryTake(head))
        {
            return false;
        }

        _inflight?.Take(head);
        _nextAvail = ++next;
        if (next != _seenAvail && Sse.IsSupported)
        {
            // The next chain's descriptor is on its way while this one is parsed.
            Sse.Prefetch0(_table + (_availRing[next & _mask] & _mask));
        }

        if (!TryParse(head))
        {
            return false;
        }

        _lastHead = head;
        _lastHeader = Segments->Base;
        return true;
    }

    public override void Push(ushort id, ushort descriptorCount, uint written)
    {
        ushort slot = (ushort)(_nextUsed & _mask);
        _usedRing[slot].id = id;
        _usedRing[slot].len = written;
        _nextUsed++;
        _batch[Pushed++] = id;
    }

    public override void Show()
    {
        ushort previous = _shownUsed;
        ushort current = _nextUsed;
        var batch = new ReadOnlySpan<ushort>(_batch, 0, Pushed);
        _inflight?.LinkBatch(batch);
        Volatile.Write(ref *_usedIdx, current); // P2
        _inflight?.UnmarkBatch(batch, current);
        Release(batch);
        _shownUsed = current;
        Unannounced += Pushed;
        Pushed = 0;
        if (DirtyLog is not null)
        {
            LogUsed(previous, current);
        }
    }

    public override bool Publish()
    {
        if (Pushed != 0)
        {
            Show();
        }

        ushort current = _shownUsed;
        var previous = (ushort)(current - Unannounced);
        Unannounced = 0;
        Interlocked.MemoryBarrier(); // P3
        bool first = !_driverWasTold;
        _driverWasTold = true;
        return EventIdx
            ? first || PassedEvent(Volatile.Read(ref *_usedEvent), current, previous)
            : (Volatile.Read(ref *_availFlags) & VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
    }

    public override bool EnableKicks()
    {
        if (EventIdx)
        {
            Volatile.Write(ref *_availEvent, _nextAvail);
        }
        else
        {
            Volatile.Write(ref *_usedFlags, 0);
        }

        Interlocked.MemoryBarrier(); // P4
        return Volatile.Read(ref *_availIdx) == _nextAvail && RecoveredLeft == 0;
    }

    public override void DisableKicks()
    {
        if (EventIdx)
        {
            // An event index that was passed already: the driver kicks once in 65536 requests.
            Volatile.Write(ref *_availEvent, (ushort)(_nextAvail - 1));
        }
        else
        {
            Volatile.Write(ref *_usedFlags, VIRTQ_USED_F_NO_NOTIFY);
        }
    }

    protected override bool TryMapRing(VirtqueueAddresses addresses)
    {
        bool user = addresses.AreUserAddresses;
        byte* table = MapArea(
            "descriptor table", addresses.Descriptor, (ulong)Size * DescriptorBytes, 16, user, MapAccess.Read);
        byte* avail = table is null ? null : MapArea("available ring", addresses.Driver, AvailBytes(Size, EventIdx), 2, user, MapAccess.Read);
        byte* used = avail is null ? null : MapArea("used ring", addresses.Device, UsedBytes(Size, EventIdx), 4, user, MapAccess.ReadWrite);
        if (used is null)
        {
            return false;
        }

        _table = (virtq_desc*)table;
        _availFlags = (ushort*)avail;
        _availIdx = _availFlags + 1;
        _availRing = _availFlags + 2;
        _usedEvent = _availRing + Size;
        _usedFlags = (ushort*)used;
        _usedIdx = _usedFlags + 1;
        _usedRing = (virtq_used_elem*)(used + 4);
        _availEvent = (ushort*)(_usedRing + Size);
        return true;
    }

    protected override bool TryRecover()
    {
        ushort used = Volatile.Read(ref *_usedIdx);
        _nextUsed = _shownUsed = used;
        _nextAvail = _startBase;
        if (_log is not null)
        {
            if (!SplitInflight.TryAttach(
                _log, _afterStore, used, Volatile.Read(ref *_availIdx), out _inflight, out _recovered, out bool known, out string error))
            {
                return Fail(VirtqueueFault.BadInflightLog, $"The inflight log is refused: {error}.");
            }

            // What was taken is either used or in flight.
            _nextAvail = known ? (ushort)(used + _recovered.Length) : _startBase;
        }

        _seenAvail = _nextAvail;
        return true;
    }

    /// <summary>Loads the available index; false when there is nothing, or too much.</summary>
    private bool LooksForMore(ushort next)
    {
        ushort avail = Volatile.Read(ref *_availIdx); // P1
        int count = (ushort)(avail - next);
        if (count > Size)
        {
            return Fail(VirtqueueFault.AvailIndexJump, $"The available index went from {next} to {avail} in a queue of {Size}.");
        }

        _seenAvail = avail;
        if (count == 0)
        {
            return false;
        }

        if (Sse.IsSupported)
        {
            // Ring entry, descriptor and header would be three cache misses one after the other. A driver with few requests in
            // flight uses the same descriptor and header again: a guess that costs nothing when it is wrong, and a prefetch never
            // faults.
            Sse.Prefetch0(_availRing + (next & _mask));
            Sse.Prefetch0(_table + _lastHead);
            Sse.Prefetch0(_lastHeader);
        }

        return true;
    }

    private bool TryTake(ushort head)
    {
        if (head >= Size)
        {
            return Fail(VirtqueueFault.BadDescriptorIndex, $"The head {head} is not in a table of {Size}.");
        }

        return TryOccupy(head, "head");
    }

    private bool TryPopRecovered()
    {
        ushort head = _recovered[_recoveredNext++];
        return TryTake(head) && TryParse(head);
    }

    private bool TryParse(ushort head)
    {
        BeginChain();
        Id = head;
        DescriptorCount = 1;
        int index = head;
        int left = Math.Min(Size, MaxDescriptors);
        while (true)
        {
            // The one read of this descriptor.
            virtq_desc desc = _table[index];
            if ((desc.flags & VIRTQ_DESC_F_INDIRECT) != 0)
            {
                return TryParseIndirect(desc) && EndChain();
            }

            if (!AddBuffer(desc.addr, desc.len, desc.flags))
            {
                return false;
            }

            if ((desc.flags & VIRTQ_DESC_F_NEXT) == 0)
            {
                return EndChain();
            }

            index = desc.next;
            if (index >= Size)
            {
                return Fail(VirtqueueFault.BadDescriptorIndex, $"A chain leads to descriptor {index} of {Size}.");
            }

            if (--left == 0)
            {
                return FailLength();
            }
        }
    }

    private bool TryParseIndirect(virtq_desc table)
    {
        if (!CheckIndirect(table.len, table.flags, out int entries))
        {
            return false;
        }

        var mapped = (virtq_desc*)TryMapTable(table.addr, table.len);
        int index = 0;
        for (int left = entries; left != 0; left--)
        {
            virtq_desc desc;
            if (mapped is not null)
            {
                desc = mapped[index];
            }
            else if (!TryReadEntry(table.addr + ((ulong)index * DescriptorBytes), &desc))
            {
                return false;
            }

            if ((desc.flags & VIRTQ_DESC_F_INDIRECT) != 0)
            {
                return Fail(VirtqueueFault.BadIndirectTable, "An indirect table holds an indirect descriptor.");
            }

            if (!AddBuffer(desc.addr, desc.len, desc.flags))
            {
                return false;
            }

            if ((desc.flags & VIRTQ_DESC_F_NEXT) == 0)
            {
                return true;
            }

            index = desc.next;
            if (index >= entries)
            {
                return Fail(VirtqueueFault.BadDescriptorIndex, $"A chain leads to entry {index} of an indirect table of {entries}.");
            }
        }

        return Fail(VirtqueueFault.ChainTooLong, $"A chain has more descriptors than its indirect table of {entries}: it is a circle.");
    }

    private void LogUsed(ushort previous, ushort current)
    {
        for (ushort i = previous; i != current; i++)
        {
            DirtyLog!.Mark(UsedLogAddress + 4 + ((ulong)(i & _mask) * (ulong)sizeof(virtq_used_elem)), (ulong)sizeof(virtq_used_elem));
        }

        DirtyLog!.Mark(UsedLogAddress, 4);
    }
}
