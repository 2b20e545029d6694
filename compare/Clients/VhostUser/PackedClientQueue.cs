using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>A packed queue (VIRTIO 1.3, section 2.8). The buffer id is the slot.</summary>
internal sealed unsafe class PackedClientQueue : ClientQueue
{
    private readonly pvirtq_desc* _ring;
    private readonly pvirtq_desc* _tables;
    private readonly pvirtq_event_suppress* _driver;
    private readonly pvirtq_event_suppress* _device;
    private readonly byte[] _chainLengths;
    private readonly bool _indirect;
    private readonly bool _eventIndex;
    private int _next, _used, _added;
    private bool _nextWrap = true, _usedWrap = true;

    public PackedClientQueue(ClientMemory memory, in QueueLayout layout, VhostUserClientOptions options, int size, bool eventIndex)
        : base(memory, layout, options, size)
    {
        _ring = (pvirtq_desc*)(memory.Address + layout.Descriptors);
        _tables = (pvirtq_desc*)(memory.Address + layout.Tables);
        _driver = (pvirtq_event_suppress*)(memory.Address + layout.Driver);
        _device = (pvirtq_event_suppress*)(memory.Address + layout.Device);
        _chainLengths = new byte[Depth];
        _indirect = options.Indirect;
        _eventIndex = eventIndex;
        DisableCalls();
    }

    internal override uint Base
    {
        get
        {
            uint half = (uint)_used | (_usedWrap ? 0x8000u : 0);
            return half | (half << 16);
        }
    }

    public override bool HasUsed
    {
        get
        {
            ushort flags = Volatile.Read(ref _ring[_used].flags);
            bool available = (flags & VIRTQ_DESC_F_AVAIL) != 0;
            bool used = (flags & VIRTQ_DESC_F_USED) != 0;
            return available == used && used == _usedWrap;
        }
    }

    private protected override void Enqueue(int slot, byte* data, uint length, bool deviceWrites)
    {
        int head = _next;
        bool headWrap = _nextWrap;
        int count = length == 0 ? 2 : 3;
        ushort headFlags;
        if (_indirect)
        {
            pvirtq_desc* table = _tables + (slot * 4);
            table[0] = new pvirtq_desc { addr = HeaderOf(slot), len = 16 };
            table[1] = new pvirtq_desc { addr = Guest(data), len = length, flags = deviceWrites ? VIRTQ_DESC_F_WRITE : (ushort)0 };
            table[count - 1] = new pvirtq_desc { addr = StatusOf(slot), len = 1, flags = VIRTQ_DESC_F_WRITE };
            headFlags = Write(slot, Guest((byte*)table), (uint)count * DescriptorBytes, VIRTQ_DESC_F_INDIRECT, isHead: true);
            count = 1;
        }
        else
        {
            headFlags = Write(slot, HeaderOf(slot), 16, VIRTQ_DESC_F_NEXT, isHead: true);
            if (length != 0)
            {
                Write(slot, Guest(data), length, deviceWrites ? (ushort)(VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE) : VIRTQ_DESC_F_NEXT, isHead: false);
            }

            Write(slot, StatusOf(slot), 1, VIRTQ_DESC_F_WRITE, isHead: false);
        }

        _chainLengths[slot] = (byte)count;
        _added += count;

        // Release: the chain is complete before its head becomes available (pairs with the device's acquire load of the flags).
        Volatile.Write(ref _ring[head].flags, (ushort)(headFlags | Avail(headWrap)));
    }

    private protected override bool MustKick()
    {
        if (_added == 0)
        {
            return false;
        }

        // Pairs with the device's fence between asking for kicks and looking at the ring once more.
        Interlocked.MemoryBarrier();
        uint suppress = Volatile.Read(ref *(uint*)_device);
        ushort flags = (ushort)(suppress >> 16);
        ushort old = (ushort)(_next - _added);
        _added = 0;
        if (!_eventIndex || flags != RING_EVENT_FLAGS_DESC)
        {
            return flags != RING_EVENT_FLAGS_DISABLE;
        }

        ushort offsetWrap = (ushort)suppress;
        int eventIndex = offsetWrap & 0x7FFF;
        if ((offsetWrap >> 15 != 0) != _nextWrap)
        {
            eventIndex -= Size;
        }

        return (ushort)(_next - eventIndex - 1) < (ushort)(_next - old);
    }

    private protected override bool TryDequeue(out int slot, out uint written)
    {
        slot = 0;
        written = 0;
        if (!HasUsed)
        {
            return false;
        }

        pvirtq_desc descriptor = _ring[_used];
        slot = descriptor.id;
        written = descriptor.len;
        if (slot < Depth)
        {
            _used += _chainLengths[slot];
            if (_used >= Size)
            {
                _used -= Size;
                _usedWrap = !_usedWrap;
            }
        }

        return true;
    }

    private protected override void Polled()
    {
    }

    private protected override void EnableCalls() => Volatile.Write(ref _driver->flags, RING_EVENT_FLAGS_ENABLE);

    private protected override void DisableCalls() => Volatile.Write(ref _driver->flags, RING_EVENT_FLAGS_DISABLE);

    private static ushort Avail(bool wrap) => wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;

    /// <summary>Writes a descriptor and moves on; the head's flags are returned and written by the caller last of all.</summary>
    private ushort Write(int slot, ulong address, uint length, ushort flags, bool isHead)
    {
        pvirtq_desc* descriptor = _ring + _next;
        descriptor->addr = address;
        descriptor->len = length;
        descriptor->id = (ushort)slot;
        if (!isHead)
        {
            descriptor->flags = (ushort)(flags | Avail(_nextWrap));
        }

        if (++_next == Size)
        {
            _next = 0;
            _nextWrap = !_nextWrap;
        }

        return flags;
    }
}
