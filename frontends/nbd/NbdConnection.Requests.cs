// The way in of an NBD connection: bytes of the socket become requests, and requests become parts for the device.

using System.Buffers.Binary;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using static Polyblk.Frontends.Nbd.NbdProtocol;

namespace Polyblk.Frontends.Nbd;

internal sealed unsafe partial class NbdConnection
{
    private bool WorthTrying()
    {
        if (_inputEnd - _inputStart >= RequestBytes || !_inputDry || _emptyTries < EagerTries)
        {
            return true;
        }

        return ++_lazyTurn % LazyInterval == 0;
    }

    private int TakeRequests()
    {
        int taken = 0;
        _starved = false;
        while (taken < TurnBudget && !_closing && _submitting is null && !_starved)
        {
            if (_payload is not null)
            {
                if (!ReceivePayload())
                {
                    break;
                }
            }
            else if (_skip != 0 || _inputEnd - _inputStart < RequestBytes)
            {
                if (!Fill())
                {
                    break;
                }
            }
            else if (TakeRequest())
            {
                taken++;
            }
        }

        return taken;
    }

    /// <summary>Reads more into the buffer; false when nothing is there, or when the connection ended.</summary>
    private bool Fill()
    {
        if (_inputStart != 0)
        {
            int rest = _inputEnd - _inputStart;
            Buffer.MemoryCopy(_input + _inputStart, _input, InputBytes, rest);
            _inputStart = 0;
            _inputEnd = rest;
        }

        long read = Libc.read(_fd, _input + _inputEnd, (nuint)(InputBytes - _inputEnd));
        if (!CheckRead(read))
        {
            return false;
        }

        _inputEnd += (int)read;
        if (_skip != 0)
        {
            int drop = (int)Math.Min(_skip, _inputEnd - _inputStart);
            _inputStart += drop;
            _skip -= drop;
        }

        return true;
    }

    private bool CheckRead(long read)
    {
        if (read > 0)
        {
            _inputDry = false;
            _emptyTries = 0;
            return true;
        }

        if (read is -Errno.EAGAIN or -Errno.EINTR)
        {
            _inputDry = true;
            _emptyTries++;
        }
        else
        {
            _closing = true;
        }

        return false;
    }

    /// <summary>Reads the rest of a write's data straight into its memory; false when nothing more is there.</summary>
    private bool ReceivePayload()
    {
        NbdSlot slot = _payload!;
        var cursor = new IoVecCursor(slot.Vectors, slot.VectorCount);
        cursor.Skip(_payloadDone);
        IoVec* rest = stackalloc IoVec[16];
        _ = cursor.Take(slot.LengthBytes - _payloadDone, rest, 16, out int count);
        long read = NbdSyscalls.readv(_fd, rest, count);
        if (!CheckRead(read))
        {
            return false;
        }

        _payloadDone += read;
        if (_payloadDone == slot.LengthBytes)
        {
            _payload = null;
            Submit(slot);
        }

        return true;
    }

    /// <summary>Takes the request at the front of the buffer; false when it must wait for a slot or memory, or the client is out.</summary>
    private bool TakeRequest()
    {
        var bytes = new ReadOnlySpan<byte>(_input + _inputStart, RequestBytes);
        if (BinaryPrimitives.ReadUInt32BigEndian(bytes) != RequestMagic)
        {
            Break("a request does not start with its magic number");
            return false;
        }

        var command = (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(bytes[24..]);
        if (command == NbdCommand.Disconnect)
        {
            _closing = true;
            return false;
        }

        if (length > MaxRequestBytes && command is NbdCommand.Read or NbdCommand.Write)
        {
            // The payload of such a write cannot be read past in good order, and no client that was told the limit sends it.
            Break($"a request of {length} bytes: the limit is {MaxRequestBytes}");
            return false;
        }

        if (_freeCount == 0)
        {
            _starved = true;
            return false;
        }

        NbdSlot slot = _freeSlots[_freeCount - 1];
        slot.Command = command;
        slot.Flags = (NbdCommandFlags)BinaryPrimitives.ReadUInt16BigEndian(bytes[4..]);
        slot.Cookie = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
        slot.OffsetBytes = BinaryPrimitives.ReadInt64BigEndian(bytes[16..]);
        slot.LengthBytes = length;
        slot.VectorCount = 0;
        slot.Submitted = 0;
        slot.Pending = 0;
        slot.FlushAfter = false;
        slot.Status = Check(slot);
        if (slot.Status == 0 && command is NbdCommand.Read or NbdCommand.Write && slot.Status == 0
            && !_arena.TryTake(length, slot.Vectors, out slot.VectorCount))
        {
            _starved = true;
            return false;
        }

        _freeCount--;
        _inputStart += RequestBytes;
        Start(slot);
        return true;
    }

    private void Start(NbdSlot slot)
    {
        if (slot.Status != 0)
        {
            if (slot.Command == NbdCommand.Write)
            {
                _skip = slot.LengthBytes;
                int here = (int)Math.Min(_skip, _inputEnd - _inputStart);
                _inputStart += here;
                _skip -= here;
            }

            Finish(slot);
            return;
        }

        switch (slot.Command)
        {
            case NbdCommand.Write:
                TakePayload(slot);
                break;
            case NbdCommand.BlockStatus:
                Finish(slot);
                break;
            default:
                slot.FlushAfter = (slot.Flags & NbdCommandFlags.Fua) != 0 && slot.Command is NbdCommand.Trim or NbdCommand.WriteZeroes;
                Submit(slot);
                break;
        }
    }

    /// <summary>Copies what of the payload is in the buffer already; the rest is read straight into the slot's memory.</summary>
    private void TakePayload(NbdSlot slot)
    {
        long here = Math.Min(slot.LengthBytes, _inputEnd - _inputStart);
        var cursor = new IoVecCursor(slot.Vectors, slot.VectorCount);
        for (long done = 0; done < here;)
        {
            IoVec run = cursor.NextRun(here - done);
            Buffer.MemoryCopy(_input + _inputStart + done, run.Base, (long)run.Length, (long)run.Length);
            done += (long)run.Length;
        }

        _inputStart += (int)here;
        if (here == slot.LengthBytes)
        {
            Submit(slot);
            return;
        }

        _payload = slot;
        _payloadDone = here;
    }

    /// <summary>0, or the negative errno with which the request is refused.</summary>
    private int Check(NbdSlot slot)
    {
        bool writes = slot.Command is NbdCommand.Write or NbdCommand.Trim or NbdCommand.WriteZeroes;
        switch (slot.Command)
        {
            case NbdCommand.Flush:
                slot.OffsetBytes = 0;
                slot.LengthBytes = 0;
                return 0;
            case NbdCommand.BlockStatus when !_options.AllocationContext:
                return -Errno.EINVAL;
            case NbdCommand.Read or NbdCommand.Write or NbdCommand.Trim or NbdCommand.WriteZeroes or NbdCommand.BlockStatus:
                break;
            default:
                return -Errno.EINVAL;
        }

        if (writes && _readOnly)
        {
            return -Errno.EPERM;
        }

        long size = _device.SizeBytes;
        if (slot.OffsetBytes < 0 || slot.LengthBytes > size || slot.OffsetBytes > size - slot.LengthBytes)
        {
            return writes ? -Errno.ENOSPC : -Errno.EINVAL;
        }

        return slot.LengthBytes == 0 || ((slot.OffsetBytes | slot.LengthBytes) & _blockMask) != 0 ? -Errno.EINVAL : 0;
    }

    /// <summary>Hands the parts of a request that are left to the device. Out of parts it stays in <c>_submitting</c>.</summary>
    private void Submit(NbdSlot slot)
    {
        _submitting = slot;
        BlockOperation operation = OperationOf(slot.Command);
        var cursor = new IoVecCursor(slot.Vectors, slot.VectorCount);
        cursor.Skip(slot.Submitted);
        do
        {
            BlockRequest? part = _parts.TryRent();
            if (part is null)
            {
                return;
            }

            long length = Math.Min(slot.LengthBytes - slot.Submitted, MaxPart(operation));
            int count = 0;
            if (slot.VectorCount != 0)
            {
                int room = Math.Min(VectorsPerPart, _device.Limits.MaxSegments);
                length = cursor.Take(length, part.OwnVectors, room, out count);
            }

            part.Prepare(operation, slot.OffsetBytes + slot.Submitted, length, part.OwnVectors, count, this);
            part.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
            part.Flags = FlagsOf(slot);
            part.Context = slot;
            slot.Submitted += length;
            slot.Pending++;
            _atDevice++;
            _queue.Submit(part);
        }
        while (slot.Submitted < slot.LengthBytes);

        _submitting = null;
        if (slot.Pending == 0)
        {
            Finish(slot);
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

    private static BlockFlags FlagsOf(NbdSlot slot) => slot.Command switch
    {
        NbdCommand.Write when (slot.Flags & NbdCommandFlags.Fua) != 0 => BlockFlags.Fua,
        NbdCommand.WriteZeroes when (slot.Flags & NbdCommandFlags.NoHole) == 0 => BlockFlags.Unmap,
        _ => BlockFlags.None,
    };

    private long MaxPart(BlockOperation operation) => operation switch
    {
        BlockOperation.Discard => _device.Limits.MaxDiscardBytes,
        BlockOperation.WriteZeroes => _device.Limits.MaxWriteZeroesBytes,
        _ => _device.Limits.MaxTransferBytes,
    };

    /// <summary>All parts are done: the flush that must follow, or the reply.</summary>
    private void Finish(NbdSlot slot)
    {
        if (slot.FlushAfter && slot.Status == 0)
        {
            // Parts were returned just now, so one is there.
            slot.FlushAfter = false;
            BlockRequest part = _parts.TryRent()!;
            part.Prepare(BlockOperation.Flush, 0, 0, null, 0, this);
            part.Context = slot;
            slot.Pending = 1;
            _atDevice++;
            _queue.Submit(part);
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
}
