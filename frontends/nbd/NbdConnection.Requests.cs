// The way in of an NBD connection: bytes of the socket become requests with their data.

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
        while (taken < QuantumRequests && _quantum > 0 && !_closing && !_ending && _submitting is null && !_starved)
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
        SkipHere();
        return true;
    }

    private bool CheckRead(long read)
    {
        if (read > 0)
        {
            _inputDry = false;
            _emptyTries = 0;
            _quantum -= (int)read;
            return true;
        }

        if (read is -Errno.EAGAIN or -Errno.EINTR)
        {
            _inputDry = true;
            if (_emptyTries++ == 0 && (_payload is not null || _skip != 0 || _inputEnd != _inputStart))
            {
                _lane.WatchPatience();
            }
        }
        else
        {
            _closing = true;
        }

        return false;
    }

    /// <summary>Drops what of a refused write's data is in the buffer.</summary>
    private void SkipHere()
    {
        if (_skip == 0)
        {
            return;
        }

        int here = (int)Math.Min(_skip, _inputEnd - _inputStart);
        _inputStart += here;
        _skip -= here;
        if (_skip == 0)
        {
            _takenCount++;
        }
    }

    /// <summary>Reads the rest of a write's data straight into its memory; false when nothing more is there.</summary>
    private bool ReceivePayload()
    {
        NbdSlot slot = _payload!;
        IoVec* rest = stackalloc IoVec[16];
        BlockCursor ahead = slot.Data;
        _ = ahead.Take(_quantum, rest, 16, out int count);
        long read = Libc.readv(_fd, rest, count);
        if (!CheckRead(read))
        {
            return false;
        }

        slot.Data.Skip(read);
        if (slot.Data.LeftBytes == 0)
        {
            _payload = null;
            _takenCount++;
            SubmitAll(slot);
        }

        return true;
    }

    /// <summary>
    /// Takes the request at the front of the buffer; false when it must wait for a slot or memory, or is the last.
    /// </summary>
    private bool TakeRequest()
    {
        var bytes = new ReadOnlySpan<byte>(_input + _inputStart, RequestBytes);
        if (BinaryPrimitives.ReadUInt32BigEndian(bytes) != RequestMagic)
        {
            Break("a request does not start with its magic number");
            return false;
        }

        if ((NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]) == NbdCommand.Disconnect)
        {
            _ending = true;
            return false;
        }

        if (_freeSlots.IsEmpty)
        {
            _starved = true;
            return false;
        }

        NbdSlot slot = _slots[_freeSlots.Next()];
        slot.Begin(bytes);
        slot.TakenNs = _reactor.TurnNs;
        slot.Status = NbdRequestCheck.Check(slot, _device.SizeBytes, _blockMask, _readOnly, _options);
        if (slot.Status == 0 && slot.HasData && !TakeMemory(slot))
        {
            _starved = true;
            return false;
        }

        _ = _freeSlots.Take();
        _inputStart += RequestBytes;
        Start(slot);
        return true;
    }

    private bool TakeMemory(NbdSlot slot)
    {
        _wantedBlocks = BlockArena.BlocksFor(slot.LengthBytes);
        if (!_lane.TryTake(this, _heldBlocks, _wantedBlocks, out slot.FirstBlock))
        {
            return false;
        }

        slot.BlockCount = _wantedBlocks;
        _heldBlocks += slot.BlockCount;
        _wantedBlocks = 0;
        RewindData(slot);
        return true;
    }

    private void RewindData(NbdSlot slot) =>
        slot.Data = new BlockCursor(_lane.Arena, slot.FirstBlock, slot.BlockCount == 0 ? 0 : slot.LengthBytes);

    private void Start(NbdSlot slot)
    {
        if (slot.Status != 0)
        {
            // The data of a refused write is read past, however long it is: the client pays for sending it.
            if (slot.Command == NbdCommand.Write && slot.LengthBytes != 0)
            {
                _skip = slot.LengthBytes;
                SkipHere();
            }
            else
            {
                _takenCount++;
            }

            Finish(slot);
            return;
        }

        switch (slot.Command)
        {
            case NbdCommand.Write:
                TakePayload(slot);
                return;
            case NbdCommand.BlockStatus:
                Finish(slot);
                break;
            case NbdCommand.Trim or NbdCommand.WriteZeroes:
                slot.FlushAfter = (slot.Flags & NbdCommandFlags.Fua) != 0;
                AddRange(slot);
                break;
            default:
                SubmitAll(slot);
                break;
        }

        _takenCount++;
    }

    /// <summary>Copies what of the payload is in the buffer already; the rest is read straight into the slot's memory.</summary>
    private void TakePayload(NbdSlot slot)
    {
        IoVec run;
        for (long here = Math.Min(slot.LengthBytes, _inputEnd - _inputStart); here != 0; here -= (long)run.Length)
        {
            _ = slot.Data.Take(here, &run, 1, out _);
            Buffer.MemoryCopy(_input + _inputStart, run.Base, (long)run.Length, (long)run.Length);
            _inputStart += (int)run.Length;
        }

        if (slot.Data.LeftBytes == 0)
        {
            _takenCount++;
            SubmitAll(slot);
            return;
        }

        _payload = slot;
    }
}
