// One reactor's way to an array: what all levels share.
//
// Theory of operation. A request that fits one child goes down at once: the child borrows the parent's own vectors, and its
// completion completes the parent (StartRead of the levels). Every other request gets a TransferOp, which walks over the request
// and issues parts: children of the pool, or rows of stripes (ParityQueue). When the pool is empty the operation stalls in a list
// and goes on when children come back; when the operations are used up, requests wait in a list of their own. Both lists are
// served by a pump that is deferred, so that completions inside Submit never nest.
//
// Writes pass two gates. They start only while the superblocks say that their regions may be written (WriteIntent): _writesOpen is
// this queue's own flag, opened and closed by the control task on this reactor's thread, so that it costs no fence; while it is
// open no mark goes away. What comes before waits in a list of its own, past which reads go. And they, like flushes, are acknowledged only
// while the superblocks know of every failed member; until then they are held in a further list.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Control;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Engine;

/// <summary>What a queue is a way to: an array has one such shape, or two while it is being reshaped.</summary>
/// <param name="Geometry">Where what lies.</param>
/// <param name="Journal">Where rows that are written in part are recorded; null where they are not.</param>
/// <param name="Intent">What must be marked before it is written; null where nothing must.</param>
/// <param name="Bias">What requests add to a byte of the volume.</param>
/// <param name="IsOwn">Whether the array uses it itself: it may read and write beyond what the volume shows, and is not waited for.</param>
internal readonly record struct QueueShape(RaidGeometry Geometry, WriteJournal? Journal, WriteIntent? Intent, long Bias = 0, bool IsOwn = false);

/// <summary>Base of the queues of all levels. Everything runs on one reactor's thread unless it says otherwise.</summary>
internal abstract unsafe partial class RaidQueue : IBlockQueue, IBlockCompletion
{
    private const int ChildCount = 512;

    /// <summary>Operations that only children which came back may take.</summary>
    private const int ReservedOperations = 16;
    private const int OperationCount = 256 + ReservedOperations;
    private const int PumpBatch = 256;

    /// <summary>Ranges of mirrored writes that are locked at once; a longer request goes in segments.</summary>
    protected const long MaxSegmentBytes = 4L << 20;

    private readonly PumpWork _pump;
    private readonly TaskCompletionSource _closed, _workEnded;
    private readonly int _maxSegments;
    private readonly WriteIntent? _intent;
    private readonly long _bias;
    private readonly bool _isOwn;

    private readonly TransferOp[] _operations = new TransferOp[OperationCount];
    private FreeIndices _freeOperations = new(OperationCount);
    private OperationList _stalled, _stalledReturned;
    private RequestList _waiting;
    private RequestList _returned;
    private RequestList _held;
    private RequestList _gated;
    private bool _pumpScheduled;
    private bool _writesOpen;
    private bool _closing;
    private int _references = 1;
    private long _writesStarted;
    private long _requestsTaken;

    protected RaidQueue(RaidArray array, Reactor reactor, QueueShape shape)
    {
        Array = array;
        Reactor = reactor;
        _closed = reactor.MakePromise();
        _workEnded = reactor.MakePromise();
        Late = new LateAnswers(CloseWhenDone);
        State = array.State;
        Locks = array.Locks;
        Geometry = shape.Geometry;
        Journal = shape.Journal;
        _intent = shape.Intent;
        _bias = shape.Bias;
        _isOwn = shape.IsOwn;
        BlockMask = array.Limits.LogicalBlockSize - 1;
        _maxSegments = Math.Max(1, array.Limits.MaxSegments);
        _pump = new PumpWork(this);
        Map = array.Map;
        MemberQueues = OpenMembers(Map, array.State, reactor);
        MakeRetryLists();
        Children = MakeChildren();
        for (int i = 0; i < OperationCount; i++)
        {
            _operations[i] = new TransferOp(this, i);
        }
    }

    /// <summary>The reactor.</summary>
    internal Reactor Reactor { get; }

    /// <summary>The array's locks.</summary>
    internal RangeLocks Locks { get; }

    /// <summary>The ways to the members by role; null for a member that was out when this queue learned of it.</summary>
    internal MemberPort?[] MemberQueues { get; }

    /// <summary>The map that this queue goes by.</summary>
    internal ArrayMap Map { get; private set; }

    /// <summary>Completes when the queue is disposed, its own work is done, and drives owe it nothing.</summary>
    internal Task Closed => _closed.Task;

    /// <summary>Writes taken and not yet acknowledged.</summary>
    internal long WritesInFlight { get; private set; }

    /// <summary>Writes taken since the queue was opened. Any thread.</summary>
    internal long WritesStarted => Volatile.Read(ref _writesStarted);

    /// <summary>Requests taken since the queue was opened. Any thread.</summary>
    internal long RequestsTaken => Volatile.Read(ref _requestsTaken);

    protected RaidArray Array { get; }

    protected ArrayState State { get; }

    /// <summary>Where what lies of which it is the way.</summary>
    internal RaidGeometry Geometry { get; }

    /// <summary>The records of its rows; null where there are none.</summary>
    internal WriteJournal? Journal { get; }

    protected RequestPool Children { get; }

    /// <summary>The logical block size - 1.</summary>
    protected long BlockMask { get; }

    /// <summary>
    /// Log2 of the bytes of the volume in a unit of the locks; only levels that lock in <see cref="Begin"/> use it.
    /// </summary>
    protected virtual int LockShift => 12;

    /// <inheritdoc/>
    public void Submit(BlockRequest request)
    {
        _requestsTaken++;
        if (_isDiverted)
        {
            Divert(request);
            return;
        }

        int problem = Check(request);
        if (problem != 0)
        {
            request.Complete(problem > 0 ? 0 : problem);
        }
        else if (HasBacklog || !Start(request))
        {
            Enqueue(request);
        }
    }

    /// <summary>A child of the pool is done.</summary>
    public void OnCompleted(BlockRequest request)
    {
        if (ComesAgain(MemberQueues[(int)(request.Tag & MemberMask)]!, request))
        {
            return;
        }

        if (request.Status == -Errno.EFAULT)
        {
            SettleLostMemory(request);
        }
        else if (request.Status != 0 && !SettleFailure(request))
        {
            return;
        }

        // One of the two is set: each reference that is stored has its price.
        var operation = Unsafe.As<TransferOp?>(request.Context);
        BlockRequest? parent = request.Parent;
        int status = request.Status;
        Children.Return(request);
        if (HasBacklog)
        {
            SchedulePump();
        }

        if (operation is not null)
        {
            PartDone(operation, status);
        }
        else if (parent!.Operation == BlockOperation.Read)
        {
            parent.Complete(status);
        }
        else
        {
            FinishWrite(parent, status);
        }
    }

    /// <summary>One more opener on the same reactor shares this queue and its buffers.</summary>
    internal void AddReference() => _references++;

    /// <summary>Gives back one reference; the last one closes the queue.</summary>
    public void Dispose()
    {
        if (_references > 1)
        {
            _references--;
            return;
        }

        if (DisposeSuccessor() || _closed.Task.IsCompleted || _closing)
        {
            return;
        }

        if (WritesInFlight != 0 || HasBacklog || !_gated.IsEmpty || !IsIdle)
        {
            throw new InvalidOperationException($"Requests of {Array.Name} are still in flight on {Reactor.Name}.");
        }

        Array.Forget(this);
        _closing = true;
        if (HasOwnWork)
        {
            return;
        }

        if (Late.Count == 0)
        {
            Close();
        }
        else
        {
            _workEnded.TrySetResult();
        }
    }

    /// <summary>
    /// The level's own work is done: a queue that was disposed meanwhile closes, in a later turn, when no member's queue is in
    /// use.
    /// </summary>
    internal void OwnWorkDone() => CloseWhenDone();

    /// <summary>The same, or the last answer of a drive that is out has come.</summary>
    private void CloseWhenDone()
    {
        if (!_closing || HasOwnWork)
        {
            return;
        }

        if (Late.Count == 0)
        {
            Reactor.Defer(new CloseWork(this));
        }
        else
        {
            _workEnded.TrySetResult();
        }
    }

    private void Close()
    {
        DisposeCore();
        Children.Dispose();
        foreach (MemberPort? port in MemberQueues)
        {
            ClosePort(port);
        }

        Array.ForgetClosed(this);
        _workEnded.TrySetResult();
        _closed.SetResult();
    }

    /// <summary>Whether a member is out: neither read nor written.</summary>
    protected bool IsFailed(int member) => ((State.FailedMask >> member) & 1) != 0;

    /// <summary>Starts a read. Returns false when there is no room.</summary>
    protected virtual bool StartRead(BlockRequest request) => StartOperation(request);

    /// <summary>Starts a write, discard or write-zeroes. Returns false when there is no room.</summary>
    protected virtual bool StartWrite(BlockRequest request) => StartOperation(request);

    /// <summary>
    /// Issues the parts of the operation's segment, moving <see cref="TransferOp.Next"/>. Returns false when it ran out of
    /// children before the end.
    /// </summary>
    protected abstract bool AdvanceData(TransferOp operation);

    /// <summary>Whether the operation locks its range of the volume as a whole.</summary>
    protected virtual bool LocksRange(TransferOp operation) => false;

    /// <summary>
    /// A child came back with an error. Returns true when it is finished (its status is final), false when it was sent on.
    /// </summary>
    protected abstract bool SettleFailure(BlockRequest child);

    /// <summary>
    /// A child came back because the submitter's memory could not be reached (a front-end took it away). That says nothing about
    /// the member, which stays in the array; the request fails. Levels with copies remember that the copies may differ.
    /// </summary>
    protected virtual void SettleLostMemory(BlockRequest child)
    {
    }

    /// <summary>
    /// The copies of an operation's segment may differ. Makes them agree, then calls <see cref="Finish"/>.
    /// </summary>
    protected virtual void MakeAgree(TransferOp operation) => throw new InvalidOperationException("This level has no copies.");

    /// <summary>Whether a stalled operation has a chance now.</summary>
    protected virtual bool HasRoom => Children.Available >= Geometry.CopyCount;

    /// <summary>Whether a stalled operation of a child that came back has a chance now.</summary>
    protected virtual bool HasRoomForReturned => true;

    /// <summary>
    /// Whether a write with FUA is followed by a flush of all members: that its own blocks are durable is not enough where it may
    /// have to be made from others.
    /// </summary>
    internal virtual bool FlushesAfterFua => false;

    /// <summary>
    /// Whether the level does something of its own accord, which outlives the request that gave the reason (a repair).
    /// </summary>
    protected virtual bool HasOwnWork => false;

    /// <summary>Whether everything of the level is at rest.</summary>
    protected virtual bool IsIdle => Children.Available == Children.Capacity;

    /// <summary>Disposes what the level has.</summary>
    protected virtual void DisposeCore()
    {
    }

    /// <summary>
    /// Sets up a child that does the whole of a request on one member, with the request's own vectors: no copy of the list.
    /// </summary>
    /// <param name="child">The child.</param>
    /// <param name="request">Its parent.</param>
    /// <param name="operation">Whom its completion is counted by; null completes the parent.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected static void Borrow(BlockRequest child, BlockRequest request, TransferOp? operation)
    {
        child.Operation = request.Operation;
        child.Flags = request.Flags;
        child.Traits = request.Traits;
        child.RegisteredBuffer = request.RegisteredBuffer;
        child.LengthBytes = request.LengthBytes;
        child.Vectors = request.Vectors;
        child.VectorCount = request.VectorCount;
        if (operation is null)
        {
            child.Parent = request;
        }
        else
        {
            child.Context = operation;
        }
    }

    /// <summary>Sends a child to a member.</summary>
    protected void Send(BlockRequest child, int member, long memberOffset)
    {
        child.Tag = member;
        child.OffsetBytes = memberOffset;
        MemberQueues[member]!.Submit(child);
    }

    /// <summary>Starts a child of this queue that came back and needs an operation of its own; levels override it.</summary>
    protected virtual bool StartChild(BlockRequest child) => throw new InvalidOperationException("This level sends no child on.");

    /// <summary>Returns 0 when the request is right, 1 when there is nothing to do, or a negative errno.</summary>
    private int Check(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Flush)
        {
            // Where nothing is written there is nothing to make durable.
            return Array.Limits.ReadOnly ? 1 : 0;
        }

        if (_isOwn)
        {
            // What the array does for itself may go beyond what it shows.
            return 0;
        }

        long size = Array.OwnSizeBytes + _bias;
        if ((ulong)request.OffsetBytes > (ulong)size || (ulong)request.LengthBytes > (ulong)(size - request.OffsetBytes)
            || ((request.OffsetBytes | request.LengthBytes) & BlockMask) != 0)
        {
            return -Errno.EINVAL;
        }

        if (request.Operation != BlockOperation.Read && Array.Limits.ReadOnly)
        {
            return -Errno.EROFS;
        }

        return request.LengthBytes == 0 ? 1 : 0;
    }

    private bool Start(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Read)
        {
            return StartRead(request);
        }

        if (State.IsBroken)
        {
            request.Complete(-Errno.EIO);
            return true;
        }

        if (_intent is not null && request.Operation != BlockOperation.Flush
            && !(_writesOpen && _intent.Covers(request.OffsetBytes - _bias, request.LengthBytes)))
        {
            // Set apart: reads behind it need not wait for superblocks.
            _gated.Append(request);
            _intent.Want(request.OffsetBytes - _bias, request.LengthBytes);
            Array.Control.RequestWrites();
            return true;
        }

        // Counted first: it may complete inside.
        WritesInFlight++;
        _writesStarted++;
        if (request.Operation == BlockOperation.Flush ? StartOperation(request) : StartWrite(request))
        {
            return true;
        }

        WritesInFlight--;
        _writesStarted--;
        return false;
    }

    /// <summary>Children tell this queue when they are done; that is set once and for all.</summary>
    private RequestPool MakeChildren()
    {
        var pool = new RequestPool(ChildCount, _maxSegments);
        var all = new BlockRequest[ChildCount];
        for (int i = 0; i < all.Length; i++)
        {
            all[i] = pool.TryRent()!;
            all[i].Completion = this;
        }

        foreach (BlockRequest child in all)
        {
            pool.Return(child);
        }

        return pool;
    }

    /// <summary>Goes by another map from now on. On the reactor's thread.</summary>
    /// <exception cref="IOException">A new drive cannot be opened here: the queue goes by the old map.</exception>
    internal void Adopt(ArrayMap map)
    {
        if (map.Epoch <= Map.Epoch || _closed.Task.IsCompleted)
        {
            return;
        }

        for (int role = 0; role < MemberQueues.Length; role++)
        {
            if ((Map.ReplacementOf(role) ?? map.ReplacementOf(role)) is not null)
            {
                AdoptReplacement(role, map);
            }
            else if (!ReferenceEquals(Map.Members[role], map.Members[role]))
            {
                MemberPort? old = MemberQueues[role];
                MemberQueues[role] = OpenPort(map, role, State, Reactor);
                ClosePort(old);
                MemberChanged(role);
            }
        }

        Map = map;
    }

    /// <summary>The way to a member is another one, or there is none any more.</summary>
    protected virtual void MemberChanged(int role)
    {
    }

    private static MemberPort?[] OpenMembers(ArrayMap map, ArrayState state, Reactor reactor)
    {
        var ports = new MemberPort?[map.Members.Length];
        try
        {
            for (int i = 0; i < ports.Length; i++)
            {
                bool isOut = ((state.FailedMask >> i) & 1) != 0;
                ports[i] = isOut ? null : OpenPort(map, i, state, reactor);
            }
        }
        catch
        {
            foreach (MemberPort? port in ports)
            {
                ClosePort(port);
            }

            throw;
        }

        return ports;
    }

    private sealed class CloseWork(RaidQueue queue) : ReactorWork
    {
        public override void Run() => queue.Close();
    }
}
