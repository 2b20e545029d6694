// The transmission phase of one connection, on one reactor.
//
// Theory of operation
//   * The socket does not block. A poll reads what is there into a small buffer, takes a bounded number of requests from it and hands
//     them to the device; a large write payload is read straight into the request's memory.
//   * A request needs a slot and memory of the lane. Where one of them runs out nothing more is read: the socket's own flow
//     control is the back-pressure on the client.
//   * Ranges without data (trim, write-zeroes) go to the device in pieces, a few at a time, in turn with each other; other
//     requests overtake them. A range of 4 GiB neither holds up the client's reads nor outlives the client.
//   * Replies are collected in one segment list and written by one writev a turn, in the order of completion; a slot and its memory come
//     back when the last byte of its reply is in the socket. A client that does not read its replies stops only itself.
//   * While nothing arrives the socket is tried less and less often, and before the reactor sleeps its edge-triggered doorbell takes over.
// Requests are read in NbdConnection.Requests.cs, go to the device in NbdConnection.Device.cs, replies are sent in
// NbdConnection.Replies.cs.
//
// The end. There are three, and each waits for the requests at the device:
//   * The client asked for it (NBD_CMD_DISC): nothing more is read, what it asked for before is done and answered.
//   * The export stops: nothing more is read, ranges are left where they are, what the device has is answered as far as the
//     socket takes it.
//   * The connection broke, or the client broke the protocol or stands still in the middle of something: nothing is read or sent,
//     and what the device does not have yet is left undone.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using static Polyblk.Frontends.Nbd.NbdProtocol;
using Tmds.Linux;

namespace Polyblk.Frontends.Nbd;

/// <summary>One client in its transmission phase.</summary>
internal sealed unsafe partial class NbdConnection : IDoorbell, IBlockCompletion, IDisposable
{
    private const int SlotCount = 128;

    // More than slots, so that a write in parts and a few pieces of ranges find one while every slot has a part at the device.
    private const int PartCount = SlotCount + 32;
    private const int InputBytes = 64 << 10;
    private const int OutputVectors = 1024;
    private const int VectorsPerPart = 33; // 4 MiB, the usual limit of a device, and one for a start in the middle of a block
    private const int QuantumBytes = 256 << 10;
    private const int QuantumRequests = 64;
    private const int EagerTries = 64;
    private const int LazyInterval = 32;

    private readonly NbdLane _lane;
    private readonly Reactor _reactor;
    private readonly IBlockDevice _device;
    private readonly IBlockQueue _queue;
    private readonly NbdSessionOptions _options;
    private readonly NbdCounters _counters;
    private readonly bool _readOnly;
    private readonly int _fd;
    private readonly int _blockMask;
    private readonly int _vectorsPerPart;
    private readonly RequestPool _parts = new(PartCount, VectorsPerPart);
    private readonly NbdSlot[] _slots = new NbdSlot[SlotCount];
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private byte* _memory;
    private readonly byte* _input;
    private readonly IoVec* _output;
    private FreeIndices _freeSlots = new(SlotCount);
    private int _inputStart, _inputEnd;
    private int _outputStart, _outputEnd;
    private long _queuedBytes, _sentBytes;
    private NbdSlot? _sendingFirst, _sendingLast;
    private NbdSlot? _readyFirst, _readyLast;
    private NbdSlot? _payload;
    private NbdSlot? _submitting;
    private NbdSlot? _rangeFirst, _rangeLast;
    private int _rangePieces;
    private long _skip;
    private int _atDevice;
    private int _heldBlocks, _wantedBlocks;
    private int _quantum;
    private int _emptyTries;
    private int _lazyTurn;
    private int _stillLooks;
    private long _seenTaken, _seenReplies, _takenCount, _replyCount;
    private bool _inputDry, _outputFull, _starved, _rung, _gone;
    private bool _paused, _ending, _leaving, _mute, _closing;
    private TaskCompletionSource? _drained;

    /// <summary>
    /// Takes over a connected, non-blocking socket. On the reactor's thread; <paramref name="fd"/> stays the caller's.
    /// </summary>
    /// <exception cref="IOException">The device cannot be opened here, or the socket not be watched; nothing stays
    /// behind.</exception>
    public NbdConnection(
        NbdLane lane,
        Reactor reactor,
        IBlockDevice device,
        int fd,
        NbdSessionOptions options,
        bool readOnly,
        NbdCounters counters)
    {
        _lane = lane;
        _reactor = reactor;
        _device = device;
        _fd = fd;
        _options = options;
        _readOnly = readOnly;
        _counters = counters;
        _blockMask = device.Limits.LogicalBlockSize - 1;
        _vectorsPerPart = Math.Min(VectorsPerPart, device.Limits.MaxSegments);

        nuint output = OutputVectors * (nuint)sizeof(IoVec);
        _memory = (byte*)NativeMemory.AlignedAlloc(InputBytes + output + (SlotCount * NbdSlot.HeaderCapacity), 4096);
        _input = _memory;
        _output = (IoVec*)(_memory + InputBytes);
        for (int i = 0; i < SlotCount; i++)
        {
            _slots[i] = new NbdSlot(_memory + InputBytes + output + (i * NbdSlot.HeaderCapacity), i);
        }

        IBlockQueue? queue = null;
        try
        {
            _queue = queue = device.OpenQueue(reactor);
            reactor.Watch(fd, this, writable: true);
        }
        catch
        {
            queue?.Dispose();
            FreeMemory();
            throw;
        }

        lane.Add(this);
    }

    /// <summary>Completes when the connection has ended and none of its requests is at the device.</summary>
    public Task Closed => _closed.Task;

    /// <summary>Why it ended, when the client broke the protocol or stood still.</summary>
    public string? Fault { get; private set; }

    /// <summary>The bug that ended it.</summary>
    public Exception? Bug { get; private set; }

    /// <summary>Requests at the device.</summary>
    public int InFlight => Volatile.Read(ref _atDevice);

    /// <summary>Whether nothing can be done until the socket, the device or another thread has news.</summary>
    public bool CanSleep => _closing
        ? _atDevice != 0 || _closed.Task.IsCompleted
        : !CanSubmit && !CanTake && !CanSend && !CanEnd;

    private bool CanSubmit => _parts.Available != 0 && (_submitting is not null || (!_paused && CanIssuePiece));

    private bool CanTake => !(_paused || _ending || _inputDry || _submitting is not null || (_starved && !CanFeed));

    private bool CanSend => !_outputFull && (_outputStart != _outputEnd || _readyFirst is not null);

    /// <summary>Whether what was missing for the next request is there again: other connections give memory back, too.</summary>
    private bool CanFeed => !_freeSlots.IsEmpty && _lane.MayTake(this, _heldBlocks, _wantedBlocks);

    /// <summary>The end was asked for, and nothing is left to do, or nothing that must be waited for.</summary>
    private bool CanEnd => _ending && _atDevice == 0 && (_freeSlots.IsFull || (_leaving && _outputFull));

    /// <summary>Does a bounded amount of work; returns the requests that were taken.</summary>
    public int Poll()
    {
        if (_closing)
        {
            FinishClosing();
            return 0;
        }

        _quantum = Math.Min(QuantumBytes, _lane.Budget);
        int before = _quantum;
        int taken = 0;
        if (_rung)
        {
            LookForPeer();
        }

        if (_submitting is not null)
        {
            Submit(_submitting);
        }

        if (!_paused && CanIssuePiece)
        {
            IssuePiece();
        }

        if (!_paused && !_ending && _submitting is null && WorthTrying())
        {
            taken = TakeRequests();
        }

        // Of a client that is gone nothing more is read while it waits for a slot or memory, so its end would not be seen.
        _closing |= _gone && !_ending && (_starved || _submitting is not null);
        SendReplies();
        _lane.Budget -= before - _quantum;
        _closing |= CanEnd;
        if (_closing)
        {
            FinishClosing();
        }
        else if (_paused)
        {
            SettleDrain();
        }

        return taken;
    }

    /// <inheritdoc/>
    public void OnRung()
    {
        _inputDry = false;
        _outputFull = false;
        _emptyTries = 0;
        _rung = true;
    }

    /// <summary>Stops taking requests; the task completes when none is at the device. On the reactor's thread.</summary>
    public Task DrainAsync()
    {
        _paused = true;
        _drained ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task drained = _drained.Task;
        SettleDrain();
        return drained;
    }

    /// <summary>Takes requests again. On the reactor's thread.</summary>
    public void Resume()
    {
        _paused = false;
        _drained = null;
        OnRung();
    }

    /// <summary>Ends the connection because the export stops. On the reactor's thread; see <see cref="Closed"/>.</summary>
    public void Close()
    {
        _ending = true;
        _leaving = true;
        _paused = false;
        CancelWaiting();
        if (_closing)
        {
            FinishClosing();
        }
    }

    /// <summary>Ends the connection because something in it threw. On the reactor's thread.</summary>
    public void Fail(Exception bug)
    {
        Bug ??= bug;
        _closing = true;
    }

    /// <summary>
    /// Whether it waits for its client in the middle of something. Asked at each look of the lane's timer: after a few at which
    /// nothing had moved on the connection ends.
    /// </summary>
    public bool IsWaitingForClient()
    {
        // While a request waits for the device nothing is read, and that is not the client's fault.
        bool reading = !_paused && !_ending && _submitting is null
            && (_payload is not null || _skip != 0 || _inputEnd - _inputStart is > 0 and < RequestBytes);
        bool writing = _sendingFirst is not null;
        if (_closing || !(reading || writing))
        {
            _stillLooks = 0;
            return false;
        }

        // One whole request or reply is what counts: single bytes now and then would hold memory for hours.
        bool moved = (reading && _takenCount != _seenTaken) || (writing && _replyCount != _seenReplies);
        _stillLooks = moved ? 0 : _stillLooks + 1;
        _seenTaken = _takenCount;
        _seenReplies = _replyCount;
        if (_stillLooks > NbdLane.Looks)
        {
            Break(reading ? "it stands still in the middle of a request" : "it does not read its replies");
            FinishClosing();
            return false;
        }

        return true;
    }

    /// <summary>Frees everything. On the reactor's thread, after <see cref="Closed"/>.</summary>
    public void Dispose()
    {
        if (_memory is null)
        {
            return;
        }

        _lane.Remove(this);
        _reactor.Unwatch(_fd);
        foreach (NbdSlot slot in _slots)
        {
            ReturnBlocks(slot);
        }

        _queue.Dispose();
        FreeMemory();
    }

    private void FreeMemory()
    {
        _parts.Dispose();
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }

    private void Break(string fault)
    {
        Fault ??= fault;
        _closing = true;
    }

    private void LookForPeer()
    {
        _rung = false;
        var look = new pollfd { fd = _fd };
        _gone |= Libc.poll(&look, 1, 0) == 1 && (look.revents & (Libc.POLLHUP | Libc.POLLERR)) != 0;
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
