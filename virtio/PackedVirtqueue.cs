// A packed virtqueue (VIRTIO 1.3, section 2.8), the device's side.
//
// One ring of descriptors serves both directions; a descriptor's AVAIL and USED bits, compared with a wrap counter, say whose it
// is. A batch of answers becomes visible at once: the flags of its first descriptor are stored last.
//
// Barriers and their partners in the driver:
//   K1  the flags of a chain's first descriptor are loaded with acquire          <- the driver's store of them after the whole chain
//   K2  the flags of a batch's first descriptor are stored with release          -> the driver's load of them before ids and data
//   K3  full fence between K2 and loading the driver's event structure           <> the driver's fence between storing that and loading flags
//   K4  full fence between storing the device's event structure and loading      <> the driver's fence between storing flags (it publishes)
//       flags                                                                       and loading that (it decides to kick)

using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Virtio;

/// <summary>A packed virtqueue.</summary>
internal sealed unsafe class PackedVirtqueue : Virtqueue
{
    private const ushort OwnerBits = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
    private const ushort WrapBit = 0x8000;

    private readonly InflightLog? _log;
    private readonly ushort[] _batch;
    private readonly ushort[] _batchEntries;
    private readonly ushort[] _entryOfId;
    private readonly uint _startBase;
    private readonly Action? _afterStore;
    private PackedInflight? _inflight;
    private ushort[] _recovered = [];
    private int _recoveredNext;

    private pvirtq_desc* _ring;
    private pvirtq_event_suppress* _driverEvent;
    private pvirtq_event_suppress* _deviceEvent;

    private int _nextAvail;
    private bool _availWrap;
    private int _nextUsed;
    private bool _usedWrap;
    private pvirtq_desc* _firstUsed;
    private ushort _firstUsedFlags;
    private int _batchDescriptors;
    private int _unannouncedDescriptors;
    private int _taken;
    private bool _driverWasTold;

    public PackedVirtqueue(VirtqueueSetup setup)
        : base(setup)
    {
        _log = setup.Inflight;
        _afterStore = setup.AfterStore;
        _batch = new ushort[Size];
        _batchEntries = new ushort[Size];
        _entryOfId = new ushort[Size];
        _startBase = setup.Base;
    }

    public override int RecoveredLeft => _recovered.Length - _recoveredNext;

    public override uint Base => Encode(_nextAvail, _availWrap) | ((uint)Encode(_nextUsed, _usedWrap) << 16);

    public override bool HasMore => IsAvailable(Volatile.Read(ref _ring[_nextAvail].flags));

    public override bool TryPop()
    {
        if (_recoveredNext < _recovered.Length)
        {
            return TryPopRecovered(_recovered[_recoveredNext++]);
        }

        pvirtq_desc* first = _ring + _nextAvail;
        ushort flags = Volatile.Read(ref first->flags); // K1
        if (!IsAvailable(flags))
        {
            return false;
        }

        // The first descriptor's flags are those that were loaded above.
        pvirtq_desc desc = new() { addr = first->addr, len = first->len, id = first->id, flags = flags };
        return TryParse(desc);
    }

    public override void Push(ushort id, ushort descriptorCount, uint written)
    {
        pvirtq_desc* used = _ring + _nextUsed;
        var flags = (ushort)((_usedWrap ? OwnerBits : 0) | (written != 0 ? VIRTQ_DESC_F_WRITE : 0));
        used->id = id;
        used->len = written;
        if (Pushed == 0)
        {
            _firstUsed = used;
            _firstUsedFlags = flags;
        }
        else
        {
            used->flags = flags;
        }

        if (DirtyLog is not null)
        {
            DirtyLog.Mark(UsedLogAddress + ((ulong)_nextUsed * DescriptorBytes), DescriptorBytes);
        }

        _batchEntries[Pushed] = _entryOfId[id];
        _batch[Pushed++] = id;
        _batchDescriptors += descriptorCount;
        Advance(ref _nextUsed, ref _usedWrap, descriptorCount);
    }

    public override void Show()
    {
        var entries = new ReadOnlySpan<ushort>(_batchEntries, 0, Pushed);
        _inflight?.FreeBatch(entries, Encode(_nextUsed, _usedWrap));
        Volatile.Write(ref _firstUsed->flags, _firstUsedFlags); // K2
        _inflight?.UnmarkBatch(entries);
        Release(new ReadOnlySpan<ushort>(_batch, 0, Pushed));
        _taken -= _batchDescriptors;
        if (DirtyLog is not null)
        {
            DirtyLog.Mark(UsedLogAddress + ((ulong)(_firstUsed - _ring) * DescriptorBytes), DescriptorBytes);
        }

        _unannouncedDescriptors += _batchDescriptors;
        _batchDescriptors = 0;
        Unannounced += Pushed;
        Pushed = 0;
    }

    public override bool Publish()
    {
        if (Pushed != 0)
        {
            Show();
        }

        int descriptors = _unannouncedDescriptors;
        _unannouncedDescriptors = 0;
        Unannounced = 0;
        Interlocked.MemoryBarrier(); // K3
        return WantsCall(descriptors);
    }

    public override bool EnableKicks()
    {
        if (EventIdx)
        {
            Volatile.Write(ref _deviceEvent->off_wrap, Encode(_nextAvail, _availWrap));
            Volatile.Write(ref _deviceEvent->flags, RING_EVENT_FLAGS_DESC);
        }
        else
        {
            Volatile.Write(ref _deviceEvent->flags, RING_EVENT_FLAGS_ENABLE);
        }

        Interlocked.MemoryBarrier(); // K4
        return !IsAvailable(Volatile.Read(ref _ring[_nextAvail].flags)) && RecoveredLeft == 0;
    }

    public override void DisableKicks() => Volatile.Write(ref _deviceEvent->flags, RING_EVENT_FLAGS_DISABLE);

    protected override bool TryMapRing(VirtqueueAddresses addresses)
    {
        bool user = addresses.AreUserAddresses;
        byte* ring = MapArea("descriptor ring", addresses.Descriptor, (ulong)Size * DescriptorBytes, 16, user, MapAccess.ReadWrite);
        byte* driver = ring is null ? null : MapArea("driver event structure", addresses.Driver, 4, 4, user, MapAccess.Read);
        byte* device = driver is null ? null : MapArea("device event structure", addresses.Device, 4, 4, user, MapAccess.ReadWrite);
        _ring = (pvirtq_desc*)ring;
        _driverEvent = (pvirtq_event_suppress*)driver;
        _deviceEvent = (pvirtq_event_suppress*)device;
        return device is not null;
    }

    protected override bool TryRecover()
    {
        Decode((ushort)_startBase, out _nextAvail, out _availWrap);
        Decode((ushort)(_startBase >> 16), out _nextUsed, out _usedWrap);
        if (_nextAvail >= Size || _nextUsed >= Size)
        {
            return Fail(VirtqueueFault.RingNotMapped, $"The base {_startBase:x8} does not fit a packed queue of {Size} descriptors.");
        }

        if (_log is null)
        {
            return true;
        }

        if (!PackedInflight.TryAttach(
            _log, _afterStore, _ring, (ushort)(_startBase >> 16), out _inflight, out _recovered, out int descriptors, out bool known, out string error))
        {
            return Fail(VirtqueueFault.BadInflightLog, $"The inflight log is refused: {error}.");
        }

        if (known)
        {
            // What was taken is either used or in flight.
            Decode(_inflight.Used, out _nextUsed, out _usedWrap);
            _nextAvail = _nextUsed;
            _availWrap = _usedWrap;
            for (int i = 0; i < descriptors; i++)
            {
                TakeBack(_ring + _nextAvail, _availWrap);
                Advance(ref _nextAvail, ref _availWrap, 1);
            }
        }

        return true;
    }

    /// <summary>
    /// A predecessor that died before K2 may have left later answers of its batch in the ring, flagged as used: the driver would
    /// take them for answers as soon as it gets there. The descriptor becomes an available one again; the log has what it said.
    /// </summary>
    private static void TakeBack(pvirtq_desc* desc, bool wrap)
    {
        if ((desc->flags & OwnerBits) == (wrap ? OwnerBits : 0))
        {
            Volatile.Write(ref desc->flags, wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED);
        }
    }

    /// <summary>Whether a descriptor with these flags at the next place to look is the device's.</summary>
    private bool IsAvailable(ushort flags) => (flags & OwnerBits) == (_availWrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED);

    private static ushort Encode(int index, bool wrap) => (ushort)(index | (wrap ? WrapBit : 0));

    private static void Decode(ushort value, out int index, out bool wrap)
    {
        index = value & ~WrapBit;
        wrap = (value & WrapBit) != 0;
    }

    private void Advance(ref int index, ref bool wrap, int count)
    {
        index += count;
        if (index >= Size)
        {
            index -= Size;
            wrap = !wrap;
        }
    }

    private bool TryParse(pvirtq_desc desc)
    {
        BeginChain();
        if (_taken == Size)
        {
            return FailTaken();
        }

        ushort entry = 0;
        if (_inflight is not null && !_inflight.TryBeginTake(out entry))
        {
            return FailTaken();
        }

        int next = _nextAvail;
        bool wrap = _availWrap;
        int count = 0;
        while (true)
        {
            if (_taken + ++count > Size)
            {
                return FailTaken();
            }

            Advance(ref next, ref wrap, 1);
            if (_inflight is not null && !_inflight.TryTake(desc))
            {
                return FailTaken();
            }

            if (!TryAdd(desc))
            {
                return false;
            }

            if ((desc.flags & VIRTQ_DESC_F_NEXT) == 0)
            {
                break;
            }

            if (count == Math.Min(Size, MaxDescriptors))
            {
                return FailLength();
            }

            // The one read of this descriptor; K1 covers it.
            desc = _ring[next];
        }

        if (!TryName(desc.id, count) || !EndChain())
        {
            return false;
        }

        if (_inflight is not null)
        {
            _entryOfId[Id] = entry;
            _inflight.EndTake();
        }

        _nextAvail = next;
        _availWrap = wrap;
        return true;
    }

    private bool FailTaken() =>
        Fail(VirtqueueFault.AvailIndexJump, $"More than {Size} descriptors were made available and not yet used.");

    private bool TryPopRecovered(ushort head)
    {
        BeginChain();
        int count = _inflight!.CountOf(head);
        ushort entry = head;
        pvirtq_desc desc = default;
        for (int i = 0; i < count; i++)
        {
            entry = _inflight.Read(entry, out desc);
            if (!TryAdd(desc))
            {
                return false;
            }
        }

        if (!TryName(desc.id, count) || !EndChain())
        {
            return false;
        }

        _entryOfId[Id] = head;
        return true;
    }

    private bool TryName(ushort id, int count)
    {
        if (id >= Size)
        {
            return Fail(VirtqueueFault.BadDescriptorIndex, $"The buffer id {id} is not below the queue's size, {Size}.");
        }

        if (!TryOccupy(id, "buffer id"))
        {
            return false;
        }

        Id = id;
        DescriptorCount = (ushort)count;
        _taken += count;
        return true;
    }

    private bool TryAdd(in pvirtq_desc desc) =>
        (desc.flags & VIRTQ_DESC_F_INDIRECT) != 0 ? TryAddIndirect(desc) : AddBuffer(desc.addr, desc.len, desc.flags);

    /// <summary>All entries of a packed queue's indirect table are the chain, in order; only their WRITE flag counts.</summary>
    private bool TryAddIndirect(pvirtq_desc table)
    {
        if (!CheckIndirect(table.len, table.flags, out int entries))
        {
            return false;
        }

        var mapped = (pvirtq_desc*)TryMapTable(table.addr, table.len);
        for (int i = 0; i < entries; i++)
        {
            pvirtq_desc desc;
            if (mapped is not null)
            {
                desc = mapped[i];
            }
            else if (!TryReadEntry(table.addr + ((ulong)i * DescriptorBytes), &desc))
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
        }

        return true;
    }

    private bool WantsCall(int descriptors)
    {
        bool first = !_driverWasTold;
        _driverWasTold = true;

        // Both halves in one load: they belong together.
        uint both = Volatile.Read(ref *(uint*)_driverEvent);
        var flags = (ushort)((both >> 16) & 3);
        if (flags != RING_EVENT_FLAGS_DESC || !EventIdx)
        {
            return flags != RING_EVENT_FLAGS_DISABLE;
        }

        Decode((ushort)both, out int eventIndex, out bool eventWrap);
        if (eventWrap != _usedWrap)
        {
            eventIndex -= Size;
        }

        return first || PassedEvent((ushort)eventIndex, (ushort)_nextUsed, (ushort)(_nextUsed - descriptors));
    }
}
