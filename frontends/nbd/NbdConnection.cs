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
// Requests are read and submitted in NbdConnection.Requests.cs, replies are sent in NbdConnection.Replies.cs.
//
// Protocol errors and a closed peer end the connection alone: no new requests, those at the device are waited for, then Closed completes.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using static Polyblk.Frontends.Nbd.NbdProtocol;

namespace Polyblk.Frontends.Nbd;

/// <summary>One client in its transmission phase.</summary>
internal sealed unsafe partial class NbdConnection : IPoller, IDoorbell, IBlockCompletion, IDisposable
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
