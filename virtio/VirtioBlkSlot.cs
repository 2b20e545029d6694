using Polyblk.Core.Block;

namespace Polyblk.Virtio;

/// <summary>The place of one request in flight of a queue: made once, used again and again.</summary>
internal sealed unsafe class VirtioBlkSlot
{
    /// <summary>Segments that fit into <see cref="Few"/>.</summary>
    public const int FewSegments = 8;

    /// <summary>What goes to the device; its context is this slot.</summary>
    public readonly BlockRequest Request = new();

    /// <summary>Room for the segments of an ordinary request, close together for the cache.</summary>
    public IoVec* Few;

    /// <summary>
    /// Room for <see cref="VirtioBlkQueue.MaxSegments"/> segments, and behind them for as many of a part. Its memory is only
    /// touched by requests that need it; the ranges of a discard lie here as well.
    /// </summary>
    public IoVec* Many;

    /// <summary>The request's data: <see cref="Few"/> or <see cref="Many"/>.</summary>
    public IoVec* Data;

    /// <summary>Segments of <see cref="Data"/>.</summary>
    public int DataCount;

    /// <summary>Bytes of <see cref="Data"/>.</summary>
    public long DataBytes;

    /// <summary>The request's name in the ring.</summary>
    public ushort Id;

    /// <summary>Ring entries that it takes.</summary>
    public ushort DescriptorCount;

    /// <summary>The request's type, for the statistics.</summary>
    public uint Type;

    /// <summary>When the turn began that took it, for the statistics.</summary>
    public long TakenNs;

    /// <summary>Where the status goes.</summary>
    public byte* Status;

    /// <summary>Length that the used element gets.</summary>
    public uint Written;

    /// <summary>Whether the request goes to the device in several parts, one after the other.</summary>
    public bool InParts;

    /// <summary>Parts: a part is being submitted at this moment.</summary>
    public bool Submitting;

    /// <summary>Parts: it completed meanwhile.</summary>
    public bool CompletedMeanwhile;

    /// <summary>Parts: the prepared part waits for its turn, and this one after it.</summary>
    public VirtioBlkSlot? NextWaiting;

    /// <summary>Parts: flush after the last one.</summary>
    public bool FlushAtEnd;

    /// <summary>Parts: the first error.</summary>
    public int Error;

    /// <summary>Parts of a transfer: the data that is left.</summary>
    public IoVecCursor Cursor;

    /// <summary>Parts: where the next one starts on the device.</summary>
    public long NextOffset;

    /// <summary>Parts: bytes left of the transfer or of the present range.</summary>
    public long BytesLeft;

    /// <summary>Parts of a discard: ranges.</summary>
    public int RangeCount;

    /// <summary>Parts of a discard: the range that comes next.</summary>
    public int NextRange;

    public VirtioBlkSlot(int index, IBlockCompletion completion)
    {
        Index = index;
        Request.Context = this;
        Request.Completion = completion;
    }

    /// <summary>Its number among the queue's slots.</summary>
    public int Index { get; }

    /// <summary>Whether it is a discard or a write-zeroes request.</summary>
    public bool HasRanges => Type is VirtioBlkProtocol.VIRTIO_BLK_T_DISCARD or VirtioBlkProtocol.VIRTIO_BLK_T_WRITE_ZEROES;

    /// <summary>The ranges of a discard or write-zeroes request.</summary>
    public virtio_blk_discard_write_zeroes* Ranges => (virtio_blk_discard_write_zeroes*)Many;

    /// <summary>Room for the segments of a part.</summary>
    public IoVec* PartVectors => Many + VirtioBlkQueue.MaxSegments;
}

/// <summary>Slots whose next part waits, oldest first.</summary>
internal struct WaitingSlots
{
    private VirtioBlkSlot? _first;
    private VirtioBlkSlot? _last;

    public readonly bool IsEmpty => _first is null;

    public readonly VirtioBlkSlot? First => _first;

    public void Append(VirtioBlkSlot slot)
    {
        slot.NextWaiting = null;
        if (_last is null)
        {
            _first = slot;
        }
        else
        {
            _last.NextWaiting = slot;
        }

        _last = slot;
    }

    public void Prepend(VirtioBlkSlot slot)
    {
        slot.NextWaiting = _first;
        _first = slot;
        _last ??= slot;
    }

    public VirtioBlkSlot TakeFirst()
    {
        VirtioBlkSlot slot = _first!;
        _first = slot.NextWaiting;
        _last = _first is null ? null : _last;
        return slot;
    }
}
