using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Fakes.Virtio;

/// <summary>The driver of a packed virtqueue.</summary>
public sealed unsafe class PackedGuestDriver : GuestDriver
{
    private readonly Stack<ushort> _freeIds = new();
    private readonly int[] _countOfId;
    private int _freeDescriptors;
    private int _nextAvail;
    private bool _availWrap = true;
    private int _nextUsed;
    private bool _usedWrap = true;
    private int _firstIndex = -1;
    private ushort _firstFlags;
    private int _addedDescriptors;

    public PackedGuestDriver(GuestSpace space, int size, ulong features, ulong ringAddress)
        : base(space, size, features, ringAddress)
    {
        _countOfId = new int[size];
        _freeDescriptors = size;
        Ring = (pvirtq_desc*)space.At(ringAddress, (ulong)size * DescriptorBytes);
        DriverEvent = (pvirtq_event_suppress*)space.At(Addresses.Driver, 4);
        DeviceEvent = (pvirtq_event_suppress*)space.At(Addresses.Device, 4);
        for (int i = size - 1; i >= 0; i--)
        {
            _freeIds.Push((ushort)i);
        }
    }

    /// <summary>The descriptor ring.</summary>
    public pvirtq_desc* Ring { get; }

    /// <summary>When the driver wants calls.</summary>
    public pvirtq_event_suppress* DriverEvent { get; }

    /// <summary>When the device wants kicks.</summary>
    public pvirtq_event_suppress* DeviceEvent { get; }

    /// <inheritdoc/>
    public override VirtqueueAddresses Addresses =>
        new(RingAddress, RingAddress + ((ulong)Size * DescriptorBytes), RingAddress + ((ulong)Size * DescriptorBytes) + 4, false);

    /// <inheritdoc/>
    public override int FreeDescriptors => _freeDescriptors;

    /// <inheritdoc/>
    public override uint StartBase => VirtqueueSetup.PackedStart;

    /// <inheritdoc/>
    public override int Add(ReadOnlySpan<GuestBuffer> buffers, ulong tableAddress = 0, int indirectCount = int.MaxValue)
    {
        int indirect = tableAddress == 0 ? 0 : Math.Min(indirectCount, buffers.Length);
        int direct = buffers.Length - indirect;
        int needed = direct + (indirect == 0 ? 0 : 1);
        if (_freeDescriptors < needed || _freeIds.Count == 0)
        {
            return -1;
        }

        ushort id = _freeIds.Pop();
        _countOfId[id] = needed;
        _freeDescriptors -= needed;
        _addedDescriptors += needed;
        for (int i = 0; i < needed; i++)
        {
            bool last = i == needed - 1;
            var owner = _availWrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
            pvirtq_desc desc = i < direct
                ? Describe(buffers[i], id)
                : new pvirtq_desc { addr = tableAddress, len = (uint)(indirect * DescriptorBytes), id = id, flags = VIRTQ_DESC_F_INDIRECT };
            desc.flags |= (ushort)(owner | (last ? 0 : VIRTQ_DESC_F_NEXT));
            Store(_nextAvail, desc);
            if (++_nextAvail == Size)
            {
                _nextAvail = 0;
                _availWrap = !_availWrap;
            }
        }

        for (int i = 0; i < indirect; i++)
        {
            pvirtq_desc desc = Describe(buffers[direct + i], id);
            Space.Write(tableAddress + ((ulong)i * DescriptorBytes), new ReadOnlySpan<byte>(&desc, DescriptorBytes));
        }

        return id;
    }

    /// <inheritdoc/>
    public override bool Publish()
    {
        if (_firstIndex >= 0)
        {
            Volatile.Write(ref Ring[_firstIndex].flags, _firstFlags);
            _firstIndex = -1;
        }

        int added = _addedDescriptors;
        _addedDescriptors = 0;
        Interlocked.MemoryBarrier();
        uint both = Volatile.Read(ref *(uint*)DeviceEvent);
        var flags = (ushort)(both >> 16);
        if (flags != RING_EVENT_FLAGS_DESC)
        {
            return flags == RING_EVENT_FLAGS_ENABLE;
        }

        int eventIndex = (ushort)both & 0x7FFF;
        if (((both >> 15) & 1) != (_availWrap ? 1u : 0u))
        {
            eventIndex -= Size;
        }

        return (ushort)(_nextAvail - eventIndex - 1) < (ushort)added;
    }

    /// <inheritdoc/>
    public override bool TryGetUsed(out int token, out uint length)
    {
        token = -1;
        length = 0;
        int flags = Volatile.Read(ref Ring[_nextUsed].flags) & (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED);
        if (flags != (_usedWrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0))
        {
            return false;
        }

        ushort id = Ring[_nextUsed].id;
        int count = id < Size ? _countOfId[id] : 0;
        if (count == 0)
        {
            throw new InvalidOperationException($"The device answered buffer {id}, which is not in flight.");
        }

        token = id;
        length = Ring[_nextUsed].len;
        _countOfId[id] = 0;
        _freeIds.Push(id);
        _freeDescriptors += count;
        _nextUsed += count;
        if (_nextUsed >= Size)
        {
            _nextUsed -= Size;
            _usedWrap = !_usedWrap;
        }

        return true;
    }

    /// <inheritdoc/>
    public override bool EnableCalls()
    {
        if (EventIdx)
        {
            DriverEvent->off_wrap = (ushort)(_nextUsed | (_usedWrap ? 0x8000 : 0));
            Volatile.Write(ref DriverEvent->flags, RING_EVENT_FLAGS_DESC);
        }
        else
        {
            Volatile.Write(ref DriverEvent->flags, RING_EVENT_FLAGS_ENABLE);
        }

        Interlocked.MemoryBarrier();
        int flags = Volatile.Read(ref Ring[_nextUsed].flags) & (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED);
        return flags != (_usedWrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0);
    }

    /// <inheritdoc/>
    public override void DisableCalls() => Volatile.Write(ref DriverEvent->flags, RING_EVENT_FLAGS_DISABLE);

    private static pvirtq_desc Describe(GuestBuffer buffer, ushort id) =>
        new() { addr = buffer.Address, len = buffer.Length, id = id, flags = (ushort)(buffer.Write ? VIRTQ_DESC_F_WRITE : 0) };

    private void Store(int index, pvirtq_desc desc)
    {
        Ring[index].addr = desc.addr;
        Ring[index].len = desc.len;
        Ring[index].id = desc.id;
        if (_firstIndex < 0)
        {
            _firstIndex = index;
            _firstFlags = desc.flags;
        }
        else
        {
            Ring[index].flags = desc.flags;
        }
    }
}
