// One virtqueue of a virtio-blk device on one reactor: the way of a request.
//
// A turn takes a bounded batch of chains. Each chain is already checked and translated (Virtqueue); here its bytes get their
// meaning, whatever their division over descriptors: 16 bytes of header first, the status as the last writable byte, the data
// between. A slot keeps what is needed for the answer, and its request goes to the device with vectors that point into the
// guest's memory. Answers are pushed when they come and published once a turn, with one notification.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio;

public sealed unsafe partial class VirtioBlkQueue
{
    /// <summary>
    /// What a descriptor counts for in the bytes of a turn (<see cref="TurnShare"/>): whoever makes us read tables without data
    /// pays for it. Of ordinary requests the largest (a segment for each page) count for a little more than their data.
    /// </summary>
    private const int DescriptorTurnBytes = 64;

    /// <summary>
    /// A device that does its work inside Submit (memory) holds up the turn for as long as a request is large: what is larger
    /// than this, and than the queue's part of a turn, goes to it in parts.
    /// </summary>
    private const long InlineBytes = 64 << 10;

    /// <summary>
    /// Answers of a turn that are shown before its end: after 2, 4, 8, 16 and 32. With few the driver's next requests come
    /// sooner; with many there is work enough on both sides.
    /// </summary>
    private const int MaxShownEarly = 32;

    /// <summary>Sectors beyond this one cannot be expressed in bytes.</summary>
    private const ulong LastSector = long.MaxValue / VirtioBlkDevice.SectorBytes / 2;

    private readonly VirtioBlkSlot[] _slots;
    private FreeIndices _free;
    private int _takenLast;
    private bool _leftMore;
    private int _inFlight;
    private bool _kicksEnabled;
    private string? _unreachable;
    private bool _isInline;
    private long _turnLeft;
    private ulong _lossesSeen;
    private long _reads, _readBytes, _writes, _writeBytes, _flushes, _discards, _errors, _notifications, _recovered;

    private bool IsDrained => _inFlight == 0 && !HasAnswers && !MustFinishRecovered;

    /// <summary>Whether the driver is still to be shown answers, or to be told of them.</summary>
    private bool HasAnswers => (_ring.Pushed | _ring.Unannounced) != 0;

    /// <summary>
    /// Whether requests that a predecessor had taken are still to be done before the queue counts as drained: its position in the
    /// ring is behind them already. A queue that was paused before keeps them for its successor.
    /// </summary>
    private bool MustFinishRecovered => _finishesRecovered && _fault is null && _ring.RecoveredLeft > 0;

    private bool TakesRequests => _fetching || MustFinishRecovered;

    /// <inheritdoc/>
    public int Poll()
    {
        _turnLeft = _share.BytesIn(_reactor.Turn, _ticket);
        int taken = _waitingTransfers.IsEmpty && _waitingRanges.IsEmpty ? 0 : RunWaiting();
        taken += Fetch();
        if (!ReferenceEquals(_sharedMemory, _ring.Memory))
        {
            // A resolver found more memory.
            ShareMemory(_ring.Memory);
        }

        if (HasAnswers)
        {
            PublishAnswers();
        }

        if (_drained is not null && IsDrained)
        {
            TellDrained();
        }

        return taken;
    }

    /// <inheritdoc/>
    public bool TryArm()
    {
        if (HasAnswers || HasRunnable)
        {
            return false;
        }

        if (_free.IsEmpty || !TakesRequests)
        {
            // Nothing to take, or nowhere to put it: what wakes the reactor is a completion or a call from a control thread.
            return true;
        }

        if (_kick is null)
        {
            // Nobody would wake the reactor.
            return false;
        }

        _kicksEnabled = true;
        return _ring.EnableKicks();
    }

    /// <inheritdoc/>
    public void Disarm()
    {
        if (_kicksEnabled)
        {
            _kicksEnabled = false;
            _ring.DisableKicks();
        }
    }

    /// <inheritdoc/>
    public void OnCompleted(BlockRequest request)
    {
        // An exception of ours ends here: what called us is a drive or an array, which serves others as well.
        try
        {
            var slot = Unsafe.As<VirtioBlkSlot>(request.Context!);
            if (_isDropped)
            {
                OnCompletedAfterDrop();
            }
            else if (slot.InParts)
            {
                OnPartCompleted(slot);
            }
            else
            {
                Finish(slot, request.Status);
            }
        }
#pragma warning disable CA1031 // Whatever it is, it is a bug, and it ends this queue.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _reactor.Drop(this, e);
        }
    }

    private int Fetch()
    {
        Virtqueue ring = _ring;
        int count = 0;
        int shown = MayShowEarly() ? 0 : MaxShownEarly;
        while (count < _batchSize && !_free.IsEmpty && _turnLeft > 0 && TakesRequests)
        {
            if (!ring.TryPop())
            {
                if (ring.Fault != VirtqueueFault.None)
                {
                    OnBroken(ring.Fault, ring.FaultText);
                }

                break;
            }

            count++;
            _turnLeft -= (long)(ring.ReadableBytes + ring.WritableBytes);
            _turnLeft -= (ring.SegmentCount + ring.EmptyCount) * DescriptorTurnBytes;
            if (!Accept())
            {
                OnBroken(VirtqueueFault.BadRequest, "A request has no header of 16 bytes, or no byte for its status.");
                break;
            }

            if (shown < MaxShownEarly && ring.Pushed >= Math.Max(2, shown))
            {
                shown += ring.Pushed;
                ring.Show();
            }
        }

        _takenLast = count;
        _leftMore = count == _batchSize && ring.HasMore;
        return count;
    }

    /// <summary>
    /// Whether answers of this turn are shown before it ends: a driver that waits for them then works beside us on the first
    /// ones, instead of in lockstep with our turns. Who has filled the ring beyond a turn, or other queues that are busy, keep
    /// both sides at work anyhow, and every showing costs them a cache line that goes back and forth.
    /// </summary>
    private bool MayShowEarly() => !_leftMore && _reactor.TakenLastTurn == _takenLast;

    /// <summary>Takes the ring's present chain as a request. False when it is none.</summary>
    private bool Accept()
    {
        Virtqueue ring = _ring;
        if (ring.ReadableBytes < (ulong)sizeof(virtio_blk_outhdr) || ring.WritableBytes == 0)
        {
            return false;
        }

        if (!ring.IsReachable && !ring.HasLastWritable)
        {
            OnBroken(VirtqueueFault.BufferNotMapped, $"{ring.MissingText} The request's status cannot be written.");
            return true;
        }

        VirtioBlkSlot slot = _slots[_free.Take()];
        _inFlight++;
        slot.Id = ring.Id;
        slot.DescriptorCount = ring.DescriptorCount;
        slot.Written = (uint)ring.WritableBytes;
        slot.TakenNs = _reactor.TurnNs;

        IoVec* segments = ring.Segments;
        int count = ring.SegmentCount;
        IoVec* last = segments + count - 1;
        slot.Status = last->Base + --last->Length;
        count -= last->Length == 0 ? 1 : 0;
        if (!ring.IsReachable)
        {
            RefuseUnreachable(slot);
            return true;
        }

        int first = TakeHeader(segments, out virtio_blk_outhdr header);
        int readable = ring.ReadableCount;
        slot.Type = header.type;
        switch (header.type)
        {
            case VIRTIO_BLK_T_IN:
                Transfer(slot, BlockOperation.Read, header.sector, segments + readable, count - readable, (long)ring.WritableBytes - 1);
                break;
            case VIRTIO_BLK_T_OUT:
                Transfer(slot, BlockOperation.Write, header.sector, segments + first, readable - first, (long)ring.ReadableBytes - sizeof(virtio_blk_outhdr));
                break;
            case VIRTIO_BLK_T_FLUSH:
                Flush(slot);
                break;
            case VIRTIO_BLK_T_GET_ID:
                GetId(slot, segments + readable, count - readable);
                break;
            case VIRTIO_BLK_T_DISCARD:
            case VIRTIO_BLK_T_WRITE_ZEROES:
                ChangeRanges(slot, segments + first, readable - first, (long)ring.ReadableBytes - sizeof(virtio_blk_outhdr));
                break;
            default:
                FinishWithoutData(slot, -Errno.EOPNOTSUPP);
                break;
        }

        return true;
    }

    /// <summary>
    /// Answers a request of which a buffer is not in the memory that is shared with us (a DIMM that was plugged in and is not
    /// shared): its driver gets an error, and the queue goes on.
    /// </summary>
    private void RefuseUnreachable(VirtioBlkSlot slot)
    {
        slot.Type = VIRTIO_BLK_T_GET_ID;
        slot.Written = _ring.WritablePrefix;
        FinishWithoutData(slot, -Errno.EFAULT);
        if (_unreachable is null)
        {
            Volatile.Write(ref _unreachable, $"{_setup.Name}: {_ring.MissingText} Such requests fail.");
            Unreachable?.Invoke(this, _unreachable);
        }
    }

    /// <summary>Copies the header, once, and takes it off the segments; returns the index of the first that is left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int TakeHeader(IoVec* segments, out virtio_blk_outhdr header)
    {
        nuint length = segments->Length;
        if (length >= (nuint)sizeof(virtio_blk_outhdr))
        {
            header = Unsafe.ReadUnaligned<virtio_blk_outhdr>(segments->Base);
            segments->Base += sizeof(virtio_blk_outhdr);
            segments->Length = length - (nuint)sizeof(virtio_blk_outhdr);
            return length == (nuint)sizeof(virtio_blk_outhdr) ? 1 : 0;
        }

        return GatherHeader(segments, out header);
    }

    private static int GatherHeader(IoVec* segments, out virtio_blk_outhdr header)
    {
        virtio_blk_outhdr gathered;
        int index = CopyFrom(segments, (byte*)&gathered, sizeof(virtio_blk_outhdr));
        header = gathered;
        return index;
    }

    /// <summary>
    /// Copies bytes from the front of a list and takes them off; returns the index of the first segment that is left.
    /// </summary>
    private static int CopyFrom(IoVec* segments, byte* destination, int bytes)
    {
        int index = 0;
        while (bytes != 0)
        {
            int part = (int)Math.Min((nuint)bytes, segments[index].Length);
            Unsafe.CopyBlockUnaligned(destination, segments[index].Base, (uint)part);
            destination += part;
            bytes -= part;
            segments[index].Base += part;
            segments[index].Length -= (nuint)part;
            index += segments[index].Length == 0 ? 1 : 0;
        }

        return index;
    }

    private void Transfer(VirtioBlkSlot slot, BlockOperation operation, ulong sector, IoVec* segments, int count, long bytes)
    {
        IoVec* data = count <= VirtioBlkSlot.FewSegments ? slot.Few : slot.Many;
        for (int i = 0; i < count; i++)
        {
            data[i] = segments[i];
        }

        slot.Data = data;
        slot.DataCount = count;
        slot.DataBytes = bytes;
        var offset = (long)(sector * VirtioBlkDevice.SectorBytes);
        bool bad = sector > LastSector || ((offset | bytes) & _blockMask) != 0 || (operation == BlockOperation.Write && _virtio.ReadOnly);
        if (bad || bytes == 0)
        {
            Finish(slot, bad || offset > _setup.Device.SizeBytes ? -Errno.EIO : 0);
            return;
        }

        BlockRequest request = slot.Request;
        bool isLarge = bytes > InlineBytes;
        if (bytes <= _maxTransferBytes && count <= _maxSegments && !(isLarge && _isInline && bytes > _share.PollerBytes))
        {
            request.Prepare(operation, offset, bytes, data, count);
            request.Flags = operation == BlockOperation.Write && _virtio.WriteThrough ? BlockFlags.Fua : BlockFlags.None;
            int inFlight = _inFlight;
            _blockQueue.Submit(request);
            _isInline = isLarge ? _inFlight < inFlight : _isInline;
            return;
        }

        // Its parts are charged to the turns in which they go.
        _turnLeft += bytes;
        slot.FlushAtEnd = false;
        slot.Cursor = new IoVecCursor(data, count);
        slot.NextOffset = offset;
        slot.BytesLeft = bytes;
        BeginParts(slot);
    }

    private void Flush(VirtioBlkSlot slot)
    {
        slot.DataCount = 0;
        slot.Request.Prepare(BlockOperation.Flush, 0, 0, null, 0);
        _blockQueue.Submit(slot.Request);
    }

    private void GetId(VirtioBlkSlot slot, IoVec* segments, int count)
    {
        ReadOnlySpan<byte> serial = _virtio.Serial;
        for (int i = 0; i < count && !serial.IsEmpty; i++)
        {
            int part = (int)Math.Min((nuint)serial.Length, segments[i].Length);
            serial[..part].CopyTo(new Span<byte>(segments[i].Base, part));
            serial = serial[part..];
        }

        slot.Data = segments;
        slot.DataCount = count;
        Finish(slot, 0);
    }

    private void FinishWithoutData(VirtioBlkSlot slot, int status)
    {
        slot.DataCount = 0;
        Finish(slot, status);
    }

    /// <summary>Answers a request: status, used element, statistics.</summary>
    private void Finish(VirtioBlkSlot slot, int status)
    {
        if (*_losses != _lossesSeen && HasLostMemory())
        {
            status = -Errno.EFAULT;
        }

        *slot.Status = status == 0 ? VIRTIO_BLK_S_OK : status == -Errno.EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
        if (_dirtyLog is not null)
        {
            LogWrites(slot);
        }

        _ring.Push(slot.Id, slot.DescriptorCount, slot.Written);
        _free.Return(slot.Index);
        _inFlight--;
        if (status != 0)
        {
            _errors++;
            return;
        }

        switch (slot.Type)
        {
            case VIRTIO_BLK_T_IN:
                _reads++;
                _readBytes += slot.DataBytes;
                _latencies.Answered(BlockOperation.Read, slot.TakenNs);
                break;
            case VIRTIO_BLK_T_OUT:
                _writes++;
                _writeBytes += slot.DataBytes;
                _latencies.Answered(BlockOperation.Write, slot.TakenNs);
                break;
            case VIRTIO_BLK_T_FLUSH:
                _flushes++;
                _latencies.Answered(BlockOperation.Flush, slot.TakenNs);
                break;
            case VIRTIO_BLK_T_DISCARD:
            case VIRTIO_BLK_T_WRITE_ZEROES:
                _discards++;
                _latencies.Answered(BlockOperation.Discard, slot.TakenNs);
                break;
        }
    }

    private void LogWrites(VirtioBlkSlot slot)
    {
        GuestMemory memory = _ring.Memory;
        if (slot.Type is VIRTIO_BLK_T_IN or VIRTIO_BLK_T_GET_ID)
        {
            _dirtyLog!.Mark(memory, slot.Data, slot.DataCount);
        }

        var status = new IoVec(slot.Status, 1);
        _dirtyLog!.Mark(memory, &status, 1);
    }

    private void PublishAnswers()
    {
        if (_ring.Publish() && _call is not null)
        {
            _notifications++;
            _call.Notify();
        }
    }

    /// <summary>
    /// Memory was lost in this process. Where it was this guest's, the queue is broken and nothing is called done any more: what
    /// was read may have gone to a page that the guest does not see, and what was written may have been zeroes (<see
    /// cref="FaultGuard"/>).
    /// </summary>
    private bool HasLostMemory()
    {
        ulong losses = *_losses;
        if (!_ring.Memory.HasLost)
        {
            _lossesSeen = losses;
            return false;
        }

        if (_fault is null)
        {
            OnBroken(VirtqueueFault.MemoryLost, "A part of the guest's memory has gone: its owner made the file shorter.");
        }

        return true;
    }

    private void OnBroken(VirtqueueFault fault, string text)
    {
        _fetching = false;
        Volatile.Write(ref _fault, new VirtqueueFaultReport(fault, $"{_setup.Name}: {text}"));
        _error?.Notify();
        Broken?.Invoke(this, _fault!);
    }
}
