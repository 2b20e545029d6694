// The device's side of an NBD connection: requests become parts of at most what the device takes, and parts become results.
//
// A request with data is handed over as a whole, as far as parts and the turn's budget last; the rest follows in the next turns,
// before anything else is taken. A range without data is different: it costs its client 28 bytes and may cover 4 GiB, for which a
// device may work for seconds. So it goes over in pieces of a few MiB, at most MaxRangePieces of a connection at a time and one
// in a turn, the ranges of a connection in turn; between two pieces it can be cancelled, paused, and overtaken.

using Polyblk.Core.Block;

namespace Polyblk.Frontends.Nbd;

internal sealed unsafe partial class NbdConnection
{
    /// <summary>
    /// Pieces of ranges at the device at a time: enough to keep one busy, and what the end of a connection waits for.
    /// </summary>
    private const int MaxRangePieces = 4;

    /// <summary>Largest piece of zeroes: a RAM disk writes it in about a millisecond.</summary>
    private const long ZeroPieceBytes = 4 << 20;

    /// <summary>Largest piece of a trim, which moves no data.</summary>
    private const long TrimPieceBytes = 32 << 20;

    /// <summary>What a piece counts in the budget of a turn: about what the calls for it cost, in bytes of copying.</summary>
    private const int PieceCost = 64 << 10;

    private bool CanIssuePiece => _rangeFirst is not null && _rangePieces < MaxRangePieces && _parts.Available != 0;

    /// <inheritdoc/>
    public void OnCompleted(BlockRequest request)
    {
        var slot = (NbdSlot)request.Context!;
        if (request.Status != 0 && slot.Status == 0)
        {
            slot.Status = request.Status;
        }

        _rangePieces -= (int)request.Tag;
        _parts.Return(request);
        _atDevice--;
        CloseWhenDropped();
        slot.Pending--;
        if (slot.Pending != 0)
        {
            return;
        }

        if (slot.Cancelled)
        {
            Free(slot);
        }
        else if (slot.Submitted == slot.LengthBytes)
        {
            Finish(slot);
        }
    }

    /// <summary>Hands a request over, all of it.</summary>
    private void SubmitAll(NbdSlot slot)
    {
        RewindData(slot);
        _submitting = slot;
        Submit(slot);
    }

    /// <summary>Hands over what is left. Out of parts or beyond the turn's budget it stays in <c>_submitting</c>.</summary>
    private void Submit(NbdSlot slot)
    {
        BlockOperation operation = OperationOf(slot.Command);
        do
        {
            BlockRequest? part = _quantum <= 0 && slot.Submitted != 0 ? null : _parts.TryRent();
            if (part is null)
            {
                return;
            }

            int count = 0;
            long length = Math.Min(slot.LengthBytes - slot.Submitted, _device.Limits.MaxTransferBytes);
            if (slot.BlockCount != 0)
            {
                length = slot.Data.Take(length, part.OwnVectors, _vectorsPerPart, out count);
            }

            if (slot.Submitted + length == slot.LengthBytes)
            {
                // Before the last part, which may complete, and with it the request, inside Submit.
                _submitting = null;
            }

            part.Prepare(operation, slot.OffsetBytes + slot.Submitted, length, part.OwnVectors, count, this);
            bool fua = slot.Command == NbdCommand.Write && (slot.Flags & NbdCommandFlags.Fua) != 0;
            part.Flags = fua ? BlockFlags.Fua : BlockFlags.None;
            HandOver(slot, part, pieces: 0);
        }
        while (_submitting is not null);
    }

    private void AddRange(NbdSlot slot)
    {
        slot.Next = null;
        if (_rangeLast is null)
        {
            _rangeFirst = slot;
        }
        else
        {
            _rangeLast.Next = slot;
        }

        _rangeLast = slot;
    }

    private NbdSlot TakeRange()
    {
        NbdSlot slot = _rangeFirst!;
        _rangeFirst = slot.Next;
        slot.Next = null;
        if (_rangeFirst is null)
        {
            _rangeLast = null;
        }

        return slot;
    }

    /// <summary>Hands one piece of the first range over, and puts what is left of it behind the others.</summary>
    private void IssuePiece()
    {
        NbdSlot slot = TakeRange();
        if (slot.Status != 0)
        {
            // A piece failed: the rest of the range is not tried.
            slot.Submitted = slot.LengthBytes;
            if (slot.Pending == 0)
            {
                Finish(slot);
            }

            return;
        }

        BlockRequest part = _parts.TryRent()!;
        BlockOperation operation = OperationOf(slot.Command);
        long at = slot.OffsetBytes + slot.Submitted;
        long length = Math.Min(slot.LengthBytes - slot.Submitted, PieceLength(operation, at));
        if (slot.Submitted + length < slot.LengthBytes)
        {
            AddRange(slot);
        }

        part.Prepare(operation, at, length, null, 0, this);
        bool unmap = slot.Command == NbdCommand.WriteZeroes && (slot.Flags & NbdCommandFlags.NoHole) == 0;
        part.Flags = unmap ? BlockFlags.Unmap : BlockFlags.None;
        _quantum -= PieceCost;
        HandOver(slot, part, pieces: 1);
    }

    /// <summary>
    /// Longest piece at an offset: pieces end where stripes (or powers of two) do, so that cutting makes no part-written stripe.
    /// </summary>
    private long PieceLength(BlockOperation operation, long offsetBytes)
    {
        BlockLimits limits = _device.Limits;
        long longest = operation == BlockOperation.Discard
            ? Math.Min(TrimPieceBytes, limits.MaxDiscardBytes)
            : Math.Min(ZeroPieceBytes, limits.MaxWriteZeroesBytes);
        long unit = Math.Max(limits.OptimalIoSize, limits.LogicalBlockSize);
        long step = longest >= unit ? longest / unit * unit : longest;
        return step - (offsetBytes % step);
    }

    private void HandOver(NbdSlot slot, BlockRequest part, int pieces)
    {
        part.Tag = pieces;
        _rangePieces += pieces;
        part.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
        part.Context = slot;
        slot.Submitted += part.LengthBytes;
        slot.Pending++;
        _atDevice++;
        if (slot.HasData)
        {
            _quantum -= (int)Math.Min(part.LengthBytes, QuantumBytes);
        }

        _queue.Submit(part);
    }

    /// <summary>All parts are done: the flush that must follow, or the reply.</summary>
    private void Finish(NbdSlot slot)
    {
        if (slot.FlushAfter && slot.Status == 0)
        {
            // Parts were returned just now, so one is there.
            slot.FlushAfter = false;
            BlockRequest part = _parts.TryRent()!;
            part.Prepare(BlockOperation.Flush, 0, 0, null, 0, this);
            HandOver(slot, part, pieces: 0);
            return;
        }

        _counters.Count(slot);
        slot.Next = null;
        if (_readyLast is null)
        {
            _readyFirst = slot;
        }
        else
        {
            _readyLast.Next = slot;
        }

        _readyLast = slot;
    }

    /// <summary>
    /// Leaves undone what the device does not have yet. Who asked gets no reply, and asks again where he connects next.
    /// </summary>
    private void CancelWaiting()
    {
        if (_payload is not null)
        {
            Cancel(_payload);
            _payload = null;
        }

        if (_submitting is not null)
        {
            Cancel(_submitting);
            _submitting = null;
        }

        while (_rangeFirst is not null)
        {
            Cancel(TakeRange());
        }
    }

    private void Cancel(NbdSlot slot)
    {
        slot.Cancelled = true;
        if (slot.Pending == 0)
        {
            Free(slot);
        }
    }

    private static BlockOperation OperationOf(NbdCommand command) => command switch
    {
        NbdCommand.Read => BlockOperation.Read,
        NbdCommand.Write => BlockOperation.Write,
        NbdCommand.Trim => BlockOperation.Discard,
        NbdCommand.WriteZeroes => BlockOperation.WriteZeroes,
        _ => BlockOperation.Flush,
    };
}
