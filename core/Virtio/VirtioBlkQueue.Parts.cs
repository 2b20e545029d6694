// One virtqueue of a virtio-blk device on one reactor: requests that go to the device in several parts.
//
// A transfer that is larger than the device takes at once, and the ranges of a discard or write-zeroes request, are sent one part after
// the other with the slot's only request. Drivers that keep to the announced limits hardly ever cause this. A device that completes
// inside Submit is driven by a loop instead of by recursion, and after some parts the rest waits for the next turn.

using Polyblk.Core.Block;
using static Polyblk.Core.Virtio.VirtioBlkProtocol;

namespace Polyblk.Core.Virtio;

public sealed unsafe partial class VirtioBlkQueue
{
    private const int PartsInOneTurn = 8;

    private void BeginParts(VirtioBlkSlot slot)
    {
        slot.InParts = true;
        slot.Error = 0;
        RunParts(slot);
    }

    private void RunParts(VirtioBlkSlot slot)
    {
        for (int i = 0; TryPreparePart(slot); i++)
        {
            if (i == PartsInOneTurn)
            {
                // The part is prepared; it is submitted when the reactor comes back to this request.
                slot.Deferred = true;
                _reactor.Defer(slot.Request);
                return;
            }

            if (!SubmitPart(slot))
            {
                return;
            }
        }

        slot.InParts = false;
        Finish(slot, slot.Error);
    }

    /// <summary>Submits the prepared part. True when it completed already.</summary>
    private bool SubmitPart(VirtioBlkSlot slot)
    {
        slot.Submitting = true;
        slot.CompletedMeanwhile = false;
        _blockQueue.Submit(slot.Request);
        slot.Submitting = false;
        return slot.CompletedMeanwhile;
    }

    private void OnPartCompleted(VirtioBlkSlot slot)
    {
        if (slot.Deferred)
        {
            // Not a completion: the turn for which the prepared part waited.
            slot.Deferred = false;
            if (SubmitPart(slot))
            {
                RunParts(slot);
            }

            return;
        }

        if (slot.Error == 0)
        {
            slot.Error = slot.Request.Status;
        }

        if (slot.Submitting)
        {
            slot.CompletedMeanwhile = true;
        }
        else
        {
            RunParts(slot);
        }
    }

    /// <summary>Makes the slot's request the next part. False when there is none.</summary>
    private bool TryPreparePart(VirtioBlkSlot slot)
    {
        if (slot.Error != 0)
        {
            return false;
        }

        bool ranges = slot.Type is VIRTIO_BLK_T_DISCARD or VIRTIO_BLK_T_WRITE_ZEROES;
        if (ranges ? TryPrepareRange(slot) : TryPrepareTransfer(slot))
        {
            return true;
        }

        if (slot.Error != 0 || !slot.FlushAtEnd)
        {
            return false;
        }

        slot.FlushAtEnd = false;
        slot.Request.Prepare(BlockOperation.Flush, 0, 0, null, 0, this);
        return true;
    }

    private bool TryPrepareTransfer(VirtioBlkSlot slot)
    {
        if (slot.BytesLeft == 0)
        {
            return false;
        }

        IoVec* vectors = slot.PartVectors;
        IoVecCursor start = slot.Cursor;
        long wanted = Math.Min(slot.BytesLeft, _maxTransferBytes);
        long bytes = slot.Cursor.Take(wanted, vectors, _maxSegments, out int count);
        if ((bytes & _blockMask) != 0)
        {
            // The segments ran out inside a block: the part ends before it.
            slot.Cursor = start;
            bytes = slot.Cursor.Take(bytes & ~_blockMask, vectors, _maxSegments, out count);
        }

        if (bytes == 0)
        {
            // One block in more pieces than the device takes: far beyond the announced seg_max.
            slot.Error = -Errno.EIO;
            return false;
        }

        BlockOperation operation = slot.Type == VIRTIO_BLK_T_OUT ? BlockOperation.Write : BlockOperation.Read;
        slot.Request.Prepare(operation, slot.NextOffset, bytes, vectors, count, this);
        slot.Request.Flags = operation == BlockOperation.Write && _virtio.WriteThrough ? BlockFlags.Fua : BlockFlags.None;
        slot.NextOffset += bytes;
        slot.BytesLeft -= bytes;
        return true;
    }

    private bool TryPrepareRange(VirtioBlkSlot slot)
    {
        while (slot.BytesLeft == 0)
        {
            if (slot.NextRange == slot.RangeCount)
            {
                return false;
            }

            virtio_blk_discard_write_zeroes next = slot.Ranges[slot.NextRange++];
            slot.NextOffset = (long)next.sector * VirtioBlkDevice.SectorBytes;
            slot.BytesLeft = (long)next.num_sectors * VirtioBlkDevice.SectorBytes;
        }

        bool discard = slot.Type == VIRTIO_BLK_T_DISCARD;
        long bytes = Math.Min(slot.BytesLeft, discard ? _maxDiscardBytes : _maxWriteZeroesBytes);
        slot.Request.Prepare(discard ? BlockOperation.Discard : BlockOperation.WriteZeroes, slot.NextOffset, bytes, null, 0, this);
        if ((slot.Ranges[slot.NextRange - 1].flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0)
        {
            slot.Request.Flags = BlockFlags.Unmap;
        }

        slot.NextOffset += bytes;
        slot.BytesLeft -= bytes;
        return true;
    }

    /// <summary>A discard or write-zeroes request: every range is checked before the first is touched.</summary>
    private void ChangeRanges(VirtioBlkSlot slot, IoVec* segments, int count, long bytes)
    {
        slot.DataCount = 0;
        bool discard = slot.Type == VIRTIO_BLK_T_DISCARD;
        int status = CheckAndCopyRanges(slot, discard, segments, bytes);
        if (status != 0 || count == 0)
        {
            Finish(slot, count == 0 ? -Errno.EIO : status);
            return;
        }

        slot.NextRange = 0;
        slot.BytesLeft = 0;
        slot.FlushAtEnd = !discard && _virtio.WriteThrough;
        BeginParts(slot);
    }

    private int CheckAndCopyRanges(VirtioBlkSlot slot, bool discard, IoVec* segments, long bytes)
    {
        if (!_virtio.Offers(discard ? VirtioFeatures.VIRTIO_BLK_F_DISCARD : VirtioFeatures.VIRTIO_BLK_F_WRITE_ZEROES))
        {
            return _virtio.ReadOnly ? -Errno.EIO : -Errno.EOPNOTSUPP;
        }

        if (bytes == 0 || bytes % sizeof(virtio_blk_discard_write_zeroes) != 0
            || bytes > VirtioBlkDevice.MaxRanges * sizeof(virtio_blk_discard_write_zeroes))
        {
            return -Errno.EIO;
        }

        CopyFrom(segments, (byte*)slot.Ranges, (int)bytes);
        slot.RangeCount = (int)(bytes / sizeof(virtio_blk_discard_write_zeroes));
        uint allowedFlags = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
        uint mostSectors = discard ? _virtio.MaxDiscardSectors : _virtio.MaxWriteZeroesSectors;
        ulong deviceSectors = (ulong)_setup.Device.SizeBytes / VirtioBlkDevice.SectorBytes;
        ulong blockMask = (ulong)_blockMask / VirtioBlkDevice.SectorBytes;
        for (int i = 0; i < slot.RangeCount; i++)
        {
            virtio_blk_discard_write_zeroes range = slot.Ranges[i];
            if ((range.flags & ~allowedFlags) != 0)
            {
                return -Errno.EOPNOTSUPP;
            }

            if (range.num_sectors > mostSectors || range.sector > deviceSectors || range.num_sectors > deviceSectors - range.sector
                || ((range.sector | range.num_sectors) & blockMask) != 0)
            {
                return -Errno.EIO;
            }
        }

        return 0;
    }
}
