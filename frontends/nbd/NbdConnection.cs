// The transmission phase of one connection, on one reactor.
//
// Theory of operation
//   * The socket does not block. A poll reads what is there into a small buffer, takes a bounded number of requests from it and hands
//     them to the device; a large write payload is read straight into the request's memory.
//   * A request needs a slot and memory from the connection's arena. Where one of them runs out nothing more is read: the socket's
//     own flow control is the back-pressure on the client.
//   * Replies are collected in one segment list and written by one writev a turn, in the order of completion; a slot and its memory come
//     back when the last byte of its reply is in the socket. A client that does not read its replies stops only itself.
//   * While nothing arrives the socket is tried less and less often, and before the reactor sleeps its edge-triggered doorbell takes over.
// Protocol errors and a closed peer end the connection alone: no new requests, those at the device are waited for, then Closed completes.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using static Polyblk.Frontends.Nbd.NbdProtocol;

namespace Polyblk.Frontends.Nbd;

/// <summary>One client in its transmission phase.</summary>
internal sealed unsafe class NbdConnection : IPoller, IDoorbell, IBlockCompletion, IDisposable
{
    private const int SlotCount = 128;
    private const int ArenaBlocks = 384;
    private const int InputBytes = 64 << 10;
    private const int OutputVectors = 1024;
    private const int VectorsPerPart = 64;
    private const int TurnBudget = 64;
    private const int EagerTries = 64;
    private const int LazyInterval = 32;

    private readonly Reactor _reactor;
    private readonly IBlockDevice _device;
    private readonly IBlockQueue _queue;
    private readonly NbdSessionOptions _options;
    private readonly NbdCounters _counters;
    private readonly bool _readOnly;
    private readonly int _fd;
    private readonly int _blockMask;
    private readonly RequestPool _parts = new(SlotCount * 2, VectorsPerPart);
    private readonly BlockArena _arena = new(ArenaBlocks);
    private readonly NbdSlot[] _freeSlots = new NbdSlot[SlotCount];
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private byte* _memory;
    private readonly byte* _input;
    private readonly IoVec* _output;
    private int _freeCount;
    private int _inputStart, _inputEnd;
    private int _outputStart, _outputEnd;
    private long _queuedBytes, _sentBytes;
    private NbdSlot? _sendingFirst, _sendingLast;
    private NbdSlot? _readyFirst, _readyLast;
    private NbdSlot? _payload;
    private long _payloadDone;
    private NbdSlot? _submitting;
    private long _skip;
    private int _atDevice;
    private int _emptyTries;
    private int _lazyTurn;
    private bool _inputDry, _outputFull, _starved, _closing, _stopping;
    private TaskCompletionSource? _drained;

    /// <summary>Takes over a connected, non-blocking socket. On the reactor's thread; <paramref name="fd"/> stays the caller's.</summary>
    public NbdConnection(Reactor reactor, IBlockDevice device, int fd, NbdSessionOptions options, bool readOnly, NbdCounters counters)
    {
        _reactor = reactor;
        _device = device;
        _fd = fd;
        _options = options;
        _readOnly = readOnly;
        _counters = counters;
        _blockMask = device.Limits.LogicalBlockSize - 1;

        nuint headers = SlotCount * NbdSlot.HeaderCapacity;
        nuint vectors = SlotCount * NbdSlot.VectorCapacity * (nuint)sizeof(IoVec);
        nuint output = OutputVectors * (nuint)sizeof(IoVec);
        _memory = (byte*)NativeMemory.AlignedAlloc(InputBytes + headers + vectors + output, 4096);
        _input = _memory;
        _output = (IoVec*)(_memory + InputBytes);
        byte* header = _memory + InputBytes + output;
        var list = (IoVec*)(header + headers);
        for (int i = 0; i < SlotCount; i++)
        {
            _freeSlots[_freeCount++] = new NbdSlot(header + (i * NbdSlot.HeaderCapacity), list + (i * NbdSlot.VectorCapacity));
        }

        _queue = device.OpenQueue(reactor);
        reactor.Watch(fd, this, writable: true);
        reactor.Add(this);
    }

    /// <summary>Completes when the connection has ended and none of its requests is at the device.</summary>
    public Task Closed => _closed.Task;

    /// <summary>Why it ended, when the client broke the protocol.</summary>
    public string? Fault { get; private set; }

    /// <summary>Requests at the device.</summary>
    public int InFlight => Volatile.Read(ref _atDevice);

    /// <inheritdoc/>
    public int Poll()
    {
        int taken = 0;
        if (_closing)
        {
            FinishClosing();
            return 0;
        }

        if (_submitting is not null)
        {
            Submit(_submitting);
        }

        if (!_stopping && _submitting is null && WorthTrying())
        {
            taken = TakeRequests();
        }

        SendReplies();
        if (_stopping)
        {
            SettleDrain();
        }

        return taken;
    }

    /// <inheritdoc/>
    public bool TryArm() => _closing || ((_stopping || _inputDry || _starved || _submitting is not null)
        && (_outputFull || (_outputStart == _outputEnd && _readyFirst is null)));

    /// <inheritdoc/>
    public void Disarm()
    {
    }

    /// <inheritdoc/>
    public void OnRung()
    {
        _inputDry = false;
        _outputFull = false;
        _emptyTries = 0;
    }

    /// <summary>Stops taking requests; the task completes when none is at the device. On the reactor's thread.</summary>
    public Task DrainAsync()
    {
        _stopping = true;
        _drained ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task drained = _drained.Task;
        SettleDrain();
        return drained;
    }

    /// <summary>Takes requests again. On the reactor's thread.</summary>
    public void Resume()
    {
        _stopping = false;
        _drained = null;
        OnRung();
    }

    /// <summary>Ends the connection from this side. On the reactor's thread; see <see cref="Closed"/>.</summary>
    public void Close()
    {
        _closing = true;
        FinishClosing();
    }

    /// <inheritdoc/>
    public void OnCompleted(BlockRequest request)
    {
        var slot = (NbdSlot)request.Context!;
        if (request.Status != 0 && slot.Status == 0)
        {
            slot.Status = request.Status;
        }

        _parts.Return(request);
        _atDevice--;
        slot.Pending--;
        if (slot.Pending == 0 && !ReferenceEquals(slot, _submitting))
        {
            Finish(slot);
        }
    }

    /// <summary>Frees everything. On the reactor's thread, after <see cref="Closed"/>.</summary>
    public void Dispose()
    {
        if (_memory is null)
        {
            return;
        }

        _reactor.Remove(this);
        _reactor.Unwatch(_fd);
        _queue.Dispose();
        _parts.Dispose();
        _arena.Dispose();
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }

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

    private void SendReplies()
    {
        while (!_closing && !_outputFull && (_readyFirst is not null || _outputStart != _outputEnd))
        {
            QueueReplies();
            long sent = NbdSyscalls.writev(_fd, _output + _outputStart, _outputEnd - _outputStart);
            if (sent is -Errno.EAGAIN or -Errno.EINTR)
            {
                _outputFull = true;
                return;
            }

            if (sent < 0)
            {
                _closing = true;
                return;
            }

            Advance(sent);
        }
    }

    /// <summary>Moves finished requests into the segment list, as many as fit.</summary>
    private void QueueReplies()
    {
        if (_outputStart == _outputEnd)
        {
            _outputStart = _outputEnd = 0;
        }

        while (_readyFirst is { } slot && _outputEnd + 1 + slot.VectorCount <= OutputVectors)
        {
            _readyFirst = slot.Next;
            if (_readyFirst is null)
            {
                _readyLast = null;
            }

            int length = slot.BuildReply(_options.StructuredReplies);
            _output[_outputEnd++] = new IoVec(slot.Header, (nuint)length);
            _queuedBytes += length;
            if (slot.Command == NbdCommand.Read && slot.Status == 0)
            {
                for (int i = 0; i < slot.VectorCount; i++)
                {
                    _output[_outputEnd++] = slot.Vectors[i];
                }

                _queuedBytes += slot.LengthBytes;
            }

            slot.EndPosition = _queuedBytes;
            slot.Next = null;
            if (_sendingLast is null)
            {
                _sendingFirst = slot;
            }
            else
            {
                _sendingLast.Next = slot;
            }

            _sendingLast = slot;
        }
    }

    /// <summary>Moves past what the socket took, and frees the requests whose replies are out.</summary>
    private void Advance(long sent)
    {
        _sentBytes += sent;
        while (sent != 0)
        {
            IoVec* head = _output + _outputStart;
            if ((nuint)sent < head->Length)
            {
                head->Base += sent;
                head->Length -= (nuint)sent;
                break;
            }

            sent -= (long)head->Length;
            _outputStart++;
        }

        while (_sendingFirst is { } slot && slot.EndPosition <= _sentBytes)
        {
            _sendingFirst = slot.Next;
            if (_sendingFirst is null)
            {
                _sendingLast = null;
            }

            Free(slot);
        }
    }

    private void Free(NbdSlot slot)
    {
        _arena.Return(slot.Vectors, slot.VectorCount);
        slot.VectorCount = 0;
        _freeSlots[_freeCount++] = slot;
    }

    private void Break(string fault)
    {
        Fault = fault;
        _closing = true;
    }

    private void SettleDrain()
    {
        if (_atDevice == 0 && _submitting is null)
        {
            _drained?.TrySetResult();
        }
    }

    private void FinishClosing()
    {
        if (_atDevice == 0)
        {
            _submitting = null;
            _drained?.TrySetResult();
            _closed.TrySetResult();
        }
    }
}
