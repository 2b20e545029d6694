// One virtqueue of a virtio-blk device on one reactor: requests that go to the device in several parts.
//
// A transfer that is larger than the device takes at once, and the ranges of a discard or write-zeroes request, are sent one part
// after the other with the slot's only request. A device that completes inside Submit is driven by a loop instead of by
// recursion. A part for which the queue's share of the turn does not suffice waits, prepared, in a list; the next turn goes on
// with the first. Waiting parts and new requests have half a turn each when there are both.

using Polyblk.Core.Block;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio;

public sealed unsafe partial class VirtioBlkQueue
{
    /// <summary>What a part counts for at least, in bytes of the turn.</summary>
    private const long LeastPartBytes = 4 << 10;

    /// <summary>How much less a discarded byte costs than one that is copied or zeroed.</summary>
    private const long DiscardDiscount = 16;

    private WaitingSlots _waitingTransfers;
    private WaitingSlots _waitingRanges;

    /// <summary>Whether a part waits for nothing but its turn.</summary>
    private bool HasRunnable =>
        !_waitingTransfers.IsEmpty || (_waitingRanges.First is { } slot && (MayStartRange(slot) || IsCut(slot)));

    private void BeginParts(VirtioBlkSlot slot)
    {
        slot.InParts = true;
        slot.Error = 0;
        if (slot.HasRanges && !_waitingRanges.IsEmpty && TryPreparePart(slot))
        {
            _waitingRanges.Append(slot);
            return;
        }

        RunParts(slot);
    }

    private void RunParts(VirtioBlkSlot slot)
    {
        while (TryPreparePart(slot))
        {
            if (slot.HasRanges && !(_turnLeft > 0 && MayStartRange(slot)))
            {
                // What was begun is finished first: when the queue pauses, few requests are half done.
                _waitingRanges.Prepend(slot);
                return;
            }

            if (!slot.HasRanges && !(_turnLeft > 0 && _waitingTransfers.IsEmpty))
            {
                _waitingTransfers.Append(slot);
                return;
            }

            if (!SubmitPart(slot))
            {
                return;
            }
        }

        EndParts(slot);
    }

    private void EndParts(VirtioBlkSlot slot)
    {
        slot.InParts = false;
        if (slot.HasRanges && slot.Error == -Errno.ECANCELED && _abandonsRanges && _setup.Inflight is not null)
        {
            // It stays in the inflight log, and a successor does it.
            _free.Return(slot.Index);
            _inFlight--;
            return;
        }

        Finish(slot, slot.Error);
    }

    /// <summary>Goes on with waiting parts, for at most half the turn. Returns how many.</summary>
    private int RunWaiting()
    {
        int count = 0;
        long rest = _turnLeft / 2;
        bool found = true;
        while (found && _turnLeft > rest)
        {
            found = false;
            if (!_waitingTransfers.IsEmpty)
            {
                found = true;
                Continue(_waitingTransfers.TakeFirst());
            }

            if (_waitingRanges.First is { } range && _turnLeft > rest && (MayStartRange(range) || IsCut(range)))
            {
                found = true;
                _ = _waitingRanges.TakeFirst();
                Continue(range);
            }

            count += found ? 1 : 0;
        }

        _turnLeft = Math.Max(_turnLeft, rest);
        return count;
    }

    /// <summary>Submits the part that was prepared and waited, or ends the request when it is cut meanwhile.</summary>
    private void Continue(VirtioBlkSlot slot)
    {
        if (slot.HasRanges && IsCut(slot))
        {
            Cut(slot);
            _turnLeft -= LeastPartBytes;
            EndParts(slot);
        }
        else if (SubmitPart(slot))
        {
            RunParts(slot);
        }
    }

    /// <summary>Submits the prepared part. True when it completed already.</summary>
    private bool SubmitPart(VirtioBlkSlot slot)
    {
        BlockRequest request = slot.Request;
        bool isRange = slot.HasRanges;
        _turnLeft -= isRange ? LeastPartBytes : Math.Max(LeastPartBytes, request.LengthBytes);
        if (isRange)
        {
            StartRange(request);
        }

        slot.Submitting = true;
        slot.CompletedMeanwhile = false;
        _blockQueue.Submit(request);
        slot.Submitting = false;
        if (!isRange)
        {
            _isInline = slot.CompletedMeanwhile;
        }
        else if (slot.CompletedMeanwhile)
        {
            // It was done on this thread, inside Submit.
            bool zeroes = request.Operation == BlockOperation.WriteZeroes;
            _turnLeft -= zeroes ? request.LengthBytes : request.LengthBytes / DiscardDiscount;
        }

        return slot.CompletedMeanwhile;
    }

    private void OnPartCompleted(VirtioBlkSlot slot)
    {
        if (slot.HasRanges)
        {
            EndRange(slot.Request);
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

        if (slot.HasRanges ? TryPrepareRange(slot) : TryPrepareTransfer(slot))
        {
            return true;
        }

        if (slot.Error != 0 || !slot.FlushAtEnd)
        {
            return false;
        }

        slot.FlushAtEnd = false;
        slot.Request.Prepare(BlockOperation.Flush, 0, 0, null, 0);
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
        long wanted = PartBytes(slot);
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
        slot.Request.Prepare(operation, slot.NextOffset, bytes, vectors, count);
        slot.Request.Flags = operation == BlockOperation.Write && _virtio.WriteThrough ? BlockFlags.Fua : BlockFlags.None;
        slot.NextOffset += bytes;
        slot.BytesLeft -= bytes;
        return true;
    }

    /// <summary>
    /// Bytes of a transfer's next part. Parts of writes end with a stripe where they can: a part of a stripe costs reading the
    /// rest.
    /// </summary>
    private long PartBytes(VirtioBlkSlot slot)
    {
        long most = _maxTransferBytes;
        if (_isInline)
        {
            long share = Math.Max(InlineBytes, _share.PollerBytes & ~_blockMask);
            most = Math.Min(most, slot.Type == VIRTIO_BLK_T_OUT ? Math.Max(share, _stripeBytes) : share);
        }

        return slot.BytesLeft <= most ? slot.BytesLeft : EndWithStripe(slot.NextOffset, most);
    }

    /// <summary>The length of a part of at most so many bytes that ends with a stripe, where one ends within it.</summary>
    private long EndWithStripe(long offset, long most)
    {
        long beyond = (offset + most) % _stripeBytes;
        return beyond < most ? most - beyond : most;
    }
}
