using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>
/// A split queue (VIRTIO 1.3, section 2.7). A slot owns three neighbouring descriptors, or with indirect tables one; only the
/// middle one's address, length and direction change from request to request.
/// </summary>
internal sealed unsafe class SplitClientQueue : ClientQueue
{
    private readonly virtq_desc* _descriptors;
    private readonly virtq_desc* _tables;
    private readonly ushort* _avail;
    private readonly ushort* _used;
    private readonly ushort _mask;
    private readonly bool _indirect;
    private readonly bool _eventIndex;
    private ushort _availIndex, _published, _usedIndex;

    public SplitClientQueue(ClientMemory memory, in QueueLayout layout, VhostUserClientOptions options, int size, bool eventIndex)
        : base(memory, layout, options, size)
    {
        _descriptors = (virtq_desc*)(memory.Address + layout.Descriptors);
        _tables = (virtq_desc*)(memory.Address + layout.Tables);
        _avail = (ushort*)(memory.Address + layout.Driver);
        _used = (ushort*)(memory.Address + layout.Device);
        _mask = (ushort)(size - 1);
        _indirect = options.Indirect;
        _eventIndex = eventIndex;
        for (int slot = 0; slot < Depth; slot++)
        {
            Prepare(slot);
        }

        DisableCalls();
    }

    // Flags, index, ring entries, used_event; the used ring likewise with entries of eight bytes.
    private ref ushort AvailFlags => ref _avail[0];

    private ref ushort AvailIndex => ref _avail[1];

    private ref ushort UsedEvent => ref _avail[2 + Size];

    private ref ushort UsedFlags => ref _used[0];

    private ref ushort UsedIndex => ref _used[1];

    private ref ushort AvailEvent => ref _used[2 + (4 * Size)];

    internal override uint Base => Volatile.Read(ref UsedIndex);

    public override bool HasUsed => Volatile.Read(ref UsedIndex) != _usedIndex;

    private protected override void Enqueue(int slot, byte* data, uint length, bool deviceWrites)
    {
        virtq_desc* chain = _indirect ? _tables + (slot * 4) : _descriptors + (slot * 3);
        int first = _indirect ? 0 : slot * 3;
        if (length == 0)
        {
            chain[0].next = (ushort)(first + 2);
        }
        else
        {
            chain[0].next = (ushort)(first + 1);
            chain[1].addr = Guest(data);
            chain[1].len = length;
            chain[1].flags = deviceWrites ? (ushort)(VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE) : VIRTQ_DESC_F_NEXT;
        }

        _avail[2 + (_availIndex & _mask)] = (ushort)(_indirect ? slot : first);
        _availIndex++;
    }

    private protected override bool MustKick()
    {
        if (_availIndex == _published)
        {
            return false;
        }

        // Release: ring and descriptors are written before the index shows them (pairs with the device's acquire load).
        Volatile.Write(ref AvailIndex, _availIndex);
        ushort old = _published;
        _published = _availIndex;

        // Pairs with the device's fence between asking for kicks and looking at the index once more.
        Interlocked.MemoryBarrier();
        return _eventIndex
            ? (ushort)(_availIndex - Volatile.Read(ref AvailEvent) - 1) < (ushort)(_availIndex - old)
            : (Volatile.Read(ref UsedFlags) & VIRTQ_USED_F_NO_NOTIFY) == 0;
    }

    private protected override bool TryDequeue(out int slot, out uint written)
    {
        // Acquire: entries below the index are complete.
        if (Volatile.Read(ref UsedIndex) == _usedIndex)
        {
            slot = 0;
            written = 0;
            return false;
        }

        virtq_used_elem element = ((virtq_used_elem*)(_used + 2))[_usedIndex & _mask];
        _usedIndex++;
        slot = (int)(_indirect ? element.id : element.id / 3);
        written = element.len;
        return true;
    }

    // The event index is kept just behind what was seen: the device never crosses it.
    private protected override void Polled()
    {
        if (_eventIndex)
        {
            Volatile.Write(ref UsedEvent, (ushort)(_usedIndex - 1));
        }
    }

    private protected override void EnableCalls()
    {
        Volatile.Write(ref AvailFlags, 0);
        Volatile.Write(ref UsedEvent, _usedIndex);
    }

    private protected override void DisableCalls()
    {
        if (_eventIndex)
        {
            Volatile.Write(ref UsedEvent, (ushort)(_usedIndex - 1));
        }
        else
        {
            Volatile.Write(ref AvailFlags, VIRTQ_AVAIL_F_NO_INTERRUPT);
        }
    }

    private void Prepare(int slot)
    {
        virtq_desc* chain = _indirect ? _tables + (slot * 4) : _descriptors + (slot * 3);
        int first = _indirect ? 0 : slot * 3;
        chain[0] = new virtq_desc { addr = HeaderOf(slot), len = 16, flags = VIRTQ_DESC_F_NEXT, next = (ushort)(first + 1) };
        chain[1] = new virtq_desc { next = (ushort)(first + 2) };
        chain[2] = new virtq_desc { addr = StatusOf(slot), len = 1, flags = VIRTQ_DESC_F_WRITE };
        if (_indirect)
        {
            _descriptors[slot] = new virtq_desc { addr = Guest((byte*)chain), len = 48, flags = VIRTQ_DESC_F_INDIRECT };
        }
    }
}
