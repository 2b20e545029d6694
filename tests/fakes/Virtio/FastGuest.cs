// A guest that costs little: its chains are built beforehand and only shown again and again. For measuring a device, and for
// proving that it allocates nothing.

using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Fakes.Virtio;

/// <summary>Submits requests of one kind. Allocates nothing after its construction.</summary>
public sealed unsafe class FastGuest
{
    private const ulong BufferStride = 512;
    private readonly bool _packed;
    private readonly int _size;
    private readonly int _slots;
    private readonly int _descriptors;
    private readonly virtq_desc* _table;
    private readonly ushort* _avail;
    private readonly ushort* _used;
    private readonly pvirtq_desc* _ring;
    private readonly pvirtq_desc[] _chains;
    private readonly ushort[] _free;
    private int _freeCount;
    private ushort _availIdx;
    private ushort _usedIdx;
    private int _nextAvail;
    private int _nextUsed;
    private bool _availWrap = true;
    private bool _usedWrap = true;

    /// <summary>Prepares requests.</summary>
    /// <param name="driver">A fresh ring; it is used from here alone afterwards.</param>
    /// <param name="bufferAddress">Guest address of headers, statuses and, behind them, one data buffer.</param>
    /// <param name="slots">Requests that may be in flight.</param>
    /// <param name="type">The request's type.</param>
    /// <param name="bytes">Data bytes of each request; for discards the bytes are one range of 8 sectors.</param>
    public FastGuest(GuestDriver driver, ulong bufferAddress, int slots, uint type, int bytes)
    {
        _size = driver.Size;
        _slots = slots;
        _free = new ushort[slots];
        bool data = bytes != 0;
        _descriptors = data ? 3 : 2;
        if (slots * _descriptors > _size)
        {
            throw new ArgumentException($"{slots} requests of {_descriptors} descriptors do not fit a queue of {_size}.");
        }

        _packed = driver is PackedGuestDriver;
        if (driver is SplitGuestDriver split)
        {
            _table = split.Table;
            _avail = split.Avail;
            _used = split.Used;
        }
        else
        {
            _ring = ((PackedGuestDriver)driver).Ring;
        }

        bool deviceWrites = type is VirtioBlkProtocol.VIRTIO_BLK_T_IN or VirtioBlkProtocol.VIRTIO_BLK_T_GET_ID;
        _chains = new pvirtq_desc[slots * _descriptors];
        ulong dataAddress = bufferAddress + ((ulong)slots * BufferStride);
        for (int slot = slots - 1; slot >= 0; slot--)
        {
            ulong header = bufferAddress + ((ulong)slot * BufferStride);
            *(virtio_blk_outhdr*)driver.Space.At(header, 16) = new virtio_blk_outhdr { type = type, sector = (ulong)slot * 8 };
            *(virtio_blk_discard_write_zeroes*)driver.Space.At(header + 64, 16) = new virtio_blk_discard_write_zeroes { num_sectors = 8 };
            Prepare(slot, 0, header, 16, VIRTQ_DESC_F_NEXT);
            if (data)
            {
                bool range = type is VirtioBlkProtocol.VIRTIO_BLK_T_DISCARD or VirtioBlkProtocol.VIRTIO_BLK_T_WRITE_ZEROES;
                Prepare(slot, 1, range ? header + 64 : dataAddress, (uint)bytes, (ushort)(VIRTQ_DESC_F_NEXT | (deviceWrites ? VIRTQ_DESC_F_WRITE : 0)));
            }

            Prepare(slot, _descriptors - 1, header + 32, 1, VIRTQ_DESC_F_WRITE);
            _free[_freeCount++] = (ushort)slot;
        }
    }

    /// <summary>Bytes of guest memory that the buffers of so many requests take.</summary>
    public static ulong BufferBytes(int slots, int bytes) => ((ulong)slots * BufferStride) + (ulong)bytes;

    /// <summary>Requests in flight.</summary>
    public int InFlight => _slots - _freeCount;

    /// <summary>Requests answered.</summary>
    public long Answered { get; private set; }

    /// <summary>Shows as many requests as may be in flight; returns how many were new.</summary>
    public int Fill()
    {
        int count = _freeCount;
        if (count == 0)
        {
            return 0;
        }

        if (_packed)
        {
            FillPacked();
        }
        else
        {
            while (_freeCount != 0)
            {
                _avail[2 + (_availIdx++ & (_size - 1))] = (ushort)(_free[--_freeCount] * _descriptors);
            }

            Volatile.Write(ref _avail[1], _availIdx);
        }

        return count;
    }

    /// <summary>Takes all answers; returns how many.</summary>
    public int Reap()
    {
        int count = _packed ? ReapPacked() : ReapSplit();
        Answered += count;
        return count;
    }

    private void Prepare(int slot, int index, ulong address, uint length, ushort flags)
    {
        int at = (slot * _descriptors) + index;
        _chains[at] = new pvirtq_desc { addr = address, len = length, id = (ushort)slot, flags = flags };
        if (!_packed)
        {
            _table[at] = new virtq_desc { addr = address, len = length, flags = flags, next = (ushort)(at + 1) };
        }
    }

    private void FillPacked()
    {
        pvirtq_desc* first = _ring + _nextAvail;
        ushort firstFlags = 0;
        bool isFirst = true;
        while (_freeCount != 0)
        {
            int chain = _free[--_freeCount] * _descriptors;
            for (int i = 0; i < _descriptors; i++)
            {
                pvirtq_desc desc = _chains[chain + i];
                desc.flags |= _availWrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
                pvirtq_desc* entry = _ring + _nextAvail;
                entry->addr = desc.addr;
                entry->len = desc.len;
                entry->id = desc.id;
                if (isFirst)
                {
                    firstFlags = desc.flags;
                    isFirst = false;
                }
                else
                {
                    entry->flags = desc.flags;
                }

                if (++_nextAvail == _size)
                {
                    _nextAvail = 0;
                    _availWrap = !_availWrap;
                }
            }
        }

        Volatile.Write(ref first->flags, firstFlags);
    }

    private int ReapSplit()
    {
        ushort seen = Volatile.Read(ref _used[1]);
        int count = (ushort)(seen - _usedIdx);
        var elements = (virtq_used_elem*)(_used + 2);
        for (; _usedIdx != seen; _usedIdx++)
        {
            _free[_freeCount++] = (ushort)(elements[_usedIdx & (_size - 1)].id / (uint)_descriptors);
        }

        return count;
    }

    private int ReapPacked()
    {
        int count = 0;
        while (true)
        {
            int flags = Volatile.Read(ref _ring[_nextUsed].flags) & (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED);
            if (flags != (_usedWrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0) || _freeCount == _slots)
            {
                return count;
            }

            _free[_freeCount++] = _ring[_nextUsed].id;
            count++;
            _nextUsed += _descriptors;
            if (_nextUsed >= _size)
            {
                _nextUsed -= _size;
                _usedWrap = !_usedWrap;
            }
        }
    }
}
