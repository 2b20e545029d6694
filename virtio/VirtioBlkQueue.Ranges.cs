// One virtqueue of a virtio-blk device on one reactor: discards and write-zeroes.
//
// A few bytes in the ring ask for gigabytes of work here. So ranges go to the device in pieces, of which only so many bytes are
// there at a time for each queue, and a queue that is to come to rest does not wait for all of them:
//   - a discard is advice: once the queue pauses, it ends with the piece that is at the device, and succeeds;
//   - zeroing is finished while a queue pauses, but only so much of it (a ring of 256 entries with ranges of the announced length
//     has no more); what is left then fails, as the driver must not take it for done;
//   - when the session ends or the driver resets the device nobody waits for zeroing either: it stays in the inflight log for the
//     successor, or fails where there is none.

using Polyblk.Core.Block;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio;

/// <summary>What becomes of long requests when a queue stops.</summary>
public enum VirtqueueStop
{
    /// <summary>All are answered; see <see cref="VirtioBlkQueue.PauseAsync"/>.</summary>
    Finish = 0,

    /// <summary>
    /// The session ends, or the driver reset the device: discards and write-zeroes that are not done are left in the inflight
    /// log, or fail.
    /// </summary>
    Abandon,
}

public sealed unsafe partial class VirtioBlkQueue
{
    /// <summary>Most bytes that are zeroed while a queue pauses; what is left then fails.</summary>
    public const long ZeroBytesWhilePausing = 1L << 30;

    /// <summary>Most bytes of a piece that is discarded.</summary>
    private const long DiscardPieceBytes = 64 << 20;

    /// <summary>Most bytes of a piece that is zeroed.</summary>
    private const long ZeroPieceBytes = 16 << 20;

    /// <summary>Most bytes of ranges that a queue has at the device at a time, but for a single piece.</summary>
    private const long RangeBytesAtDevice = 64 << 20;

    private long _rangeBytesAtDevice;
    private long _zeroBytesLeft = long.MaxValue;
    private bool _cutsDiscards;
    private bool _abandonsRanges;

    private void BeginCutting()
    {
        if (!_cutsDiscards)
        {
            _cutsDiscards = true;
            _zeroBytesLeft = ZeroBytesWhilePausing;
        }
    }

    private void EndCutting()
    {
        _cutsDiscards = false;
        _zeroBytesLeft = long.MaxValue;
    }

    private bool MayStartRange(VirtioBlkSlot slot) =>
        _rangeBytesAtDevice == 0 || _rangeBytesAtDevice + slot.Request.LengthBytes <= RangeBytesAtDevice;

    private void StartRange(BlockRequest piece)
    {
        _rangeBytesAtDevice += piece.LengthBytes;
        _zeroBytesLeft -= piece.Operation == BlockOperation.WriteZeroes ? piece.LengthBytes : 0;
    }

    private void EndRange(BlockRequest piece) => _rangeBytesAtDevice -= piece.LengthBytes;

    /// <summary>Whether a request with ranges is to go no further.</summary>
    private bool IsCut(VirtioBlkSlot slot) =>
        _abandonsRanges || (slot.Type == VIRTIO_BLK_T_DISCARD ? _cutsDiscards : _zeroBytesLeft <= 0);

    private void Cut(VirtioBlkSlot slot) =>
        slot.Error = slot.Type == VIRTIO_BLK_T_DISCARD && !_abandonsRanges ? 0 : -Errno.ECANCELED;

    /// <summary>
    /// The length of a piece: at least a stripe, and whole ones, so that none is zeroed in part at each border.
    /// </summary>
    private long RangePieceBytes(long wanted, long limit)
    {
        long most = Math.Min(Math.Max(wanted, _stripeBytes), Math.Max(_blockMask + 1, limit & ~_blockMask));
        return most < _stripeBytes ? most : most - (most % _stripeBytes);
    }

    private bool TryPrepareRange(VirtioBlkSlot slot)
    {
        if (IsCut(slot) && (slot.BytesLeft != 0 || slot.NextRange != slot.RangeCount))
        {
            Cut(slot);
            return false;
        }

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
        bool unmap = (slot.Ranges[slot.NextRange - 1].flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
        long most = discard ? _discardPiece : _zeroPiece;
        long bytes = slot.BytesLeft <= most ? slot.BytesLeft : EndWithStripe(slot.NextOffset, most);
        BlockOperation operation = discard ? BlockOperation.Discard : BlockOperation.WriteZeroes;
        slot.Request.Prepare(operation, slot.NextOffset, bytes, null, 0);
        slot.Request.Flags = unmap ? BlockFlags.Unmap : BlockFlags.None;
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

            if (range.num_sectors > mostSectors || range.sector > deviceSectors
                || range.num_sectors > deviceSectors - range.sector
                || ((range.sector | range.num_sectors) & blockMask) != 0)
            {
                return -Errno.EIO;
            }
        }

        return 0;
    }
}
