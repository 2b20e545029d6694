// One reactor's way to an array: what all levels share.
//
// Theory of operation. A request that fits one child goes down at once: the child borrows the parent's own vectors, and its completion
// completes the parent (StartRead of the levels). Every other request gets a TransferOp, which walks over the request and issues
// parts: children of the pool, or rows of stripes (ParityQueue). When the pool is empty the operation stalls in a list and goes
// on when children come back; when the operations are used up, requests wait in a list of their own. Both lists are served by
// a pump that is deferred, so that completions inside Submit never nest.
//
// Writes pass two gates. They start only while the superblocks say dirty: _writesOpen is this queue's own flag, opened and
// closed by the control task on this reactor's thread, so that it costs no fence. And they, like flushes, are acknowledged only
// while the superblocks know of every failed member; until then they are held in a third list.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Engine;

/// <summary>Base of the queues of all levels. Everything runs on one reactor's thread unless it says otherwise.</summary>
internal abstract unsafe class RaidQueue : IBlockQueue, IBlockCompletion
{
    private const int ChildCount = 512;
    private const int OperationCount = 256;
    private const int PumpBatch = 256;

    /// <summary>Ranges of mirrored writes that are locked at once; a longer request goes in segments.</summary>
    protected const long MaxSegmentBytes = 4L << 20;

    private readonly PumpWork _pump;
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly int _maxSegments;
    private TransferOp? _freeOperations;
    private TransferOp? _stalledFirst, _stalledLast;
    private BlockRequest? _waitingFirst, _waitingLast;
    private BlockRequest? _heldFirst, _heldLast;
    private bool _pumpScheduled;
    private bool _writesOpen;
    private int _references = 1;
    private long _writesStarted;
    private long _requestsTaken;

    protected RaidQueue(RaidArray array, Reactor reactor)
    {
        Array = array;
        Reactor = reactor;
        State = array.State;
        Locks = array.Locks;
        Geometry = array.Geometry;
        BlockMask = array.Limits.LogicalBlockSize - 1;
        _maxSegments = Math.Max(1, array.Limits.MaxSegments);
        _pump = new PumpWork(this);
        _writesOpen = !array.TracksDirt;
        MemberQueues = OpenMembers(array, reactor);
        Children = MakeChildren();
        for (int i = 0; i < OperationCount; i++)
        {
            ReturnOperation(new TransferOp(this));
        }
    }

    /// <summary>The reactor.</summary>
    internal Reactor Reactor { get; }

    /// <summary>The array's locks.</summary>
    internal RangeLocks Locks { get; }

    /// <summary>The members' queues by role; null for a member that was missing when this queue was opened.</summary>
    internal IBlockQueue?[] MemberQueues { get; }

    /// <summary>Completes when the queue is disposed.</summary>
    internal Task Closed => _closed.Task;

    /// <summary>Writes taken and not yet acknowledged.</summary>
    internal long WritesInFlight { get; private set; }

    /// <summary>Writes taken since the queue was opened. Any thread.</summary>
    internal long WritesStarted => Volatile.Read(ref _writesStarted);

    /// <summary>Requests taken since the queue was opened. Any thread.</summary>
    internal long RequestsTaken => Volatile.Read(ref _requestsTaken);

    protected RaidArray Array { get; }

    protected ArrayState State { get; }

    protected RaidGeometry Geometry { get; }

    protected RequestPool Children { get; }

    /// <summary>The logical block size - 1.</summary>
    protected long BlockMask { get; }

    /// <summary>Log2 of the bytes of the volume in a unit of the locks; only levels that lock in <see cref="Begin"/> use it.</summary>
    protected virtual int LockShift => 12;

    /// <summary>Whether anything waits for room, so that new requests must line up.</summary>
    protected bool HasBacklog => _waitingFirst is not null || _stalledFirst is not null;

    /// <inheritdoc/>
    public void Submit(BlockRequest request)
    {
        _requestsTaken++;
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
        if (request.Status != 0 && !SettleFailure(request))
        {
            return;
        }

        var operation = Unsafe.As<TransferOp?>(request.Context);
        BlockRequest parent = request.Parent!;
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
        else if (parent.Operation == BlockOperation.Read)
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

        if (_closed.Task.IsCompleted)
        {
            return;
        }

        if (WritesInFlight != 0 || HasBacklog || !IsIdle)
        {
            throw new InvalidOperationException($"Requests of {Array.Name} are still in flight on {Reactor.Name}.");
        }

        Array.Forget(this);
        DisposeCore();
        Children.Dispose();
        foreach (IBlockQueue? queue in MemberQueues)
        {
            queue?.Dispose();
        }

        _closed.SetResult();
    }

    /// <summary>The control task: the superblocks say dirty, writes may start.</summary>
    internal void OpenWrites()
    {
        _writesOpen = true;
        SchedulePump();
    }

    /// <summary>The control task wants to mark the array clean. Returns whether this queue is idle; its writes are then closed.</summary>
    internal bool TryCloseWrites()
    {
        if (WritesInFlight != 0 || _waitingFirst is not null)
        {
            return false;
        }

        _writesOpen = false;
        return true;
    }

    /// <summary>The control task: the superblocks changed; acknowledge what was held back.</summary>
    internal void ReleaseHeld()
    {
        BlockRequest? request = _heldFirst;
        _heldFirst = _heldLast = null;
        while (request is not null)
        {
            BlockRequest? next = request.NextWaiting;
            request.NextWaiting = null;
            Acknowledge(request, request.Status);
            request = next;
        }
    }

    /// <summary>Goes on with an operation that has just got its lock, or room.</summary>
    internal void Continue(TransferOp operation)
    {
        while (true)
        {
            operation.Pending++;
            bool issued = Advance(operation);
            if (!issued)
            {
                Stall(operation);
            }

            if (--operation.Pending != 0 || !issued || !FinishSegment(operation))
            {
                return;
            }
        }
    }

    /// <summary>A part of an operation is done.</summary>
    internal void PartDone(TransferOp operation, int status)
    {
        if (status < 0 && operation.Status == 0)
        {
            operation.Status = status;
        }

        if (--operation.Pending == 0 && operation.Next == operation.SegmentEnd && FinishSegment(operation))
        {
            Continue(operation);
        }
    }

    /// <summary>Whether a member was given up.</summary>
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

    /// <summary>Whether a stalled operation has a chance now.</summary>
    protected virtual bool HasRoom => Children.Available >= Geometry.CopyCount;

    /// <summary>Whether everything of the level is at rest.</summary>
    protected virtual bool IsIdle => Children.Available == Children.Capacity;

    /// <summary>Disposes what the level has.</summary>
    protected virtual void DisposeCore()
    {
    }

    /// <summary>Takes an operation for a request and begins it. Returns false when all are in use.</summary>
    protected bool StartOperation(BlockRequest request, ulong unreadable = 0)
    {
        if (RentOperation(request) is not { } operation)
        {
            return false;
        }

        bool flush = request.Operation == BlockOperation.Flush;
        operation.Next = flush ? 0 : request.OffsetBytes;
        operation.End = flush ? Geometry.MemberCount : request.OffsetBytes + request.LengthBytes;
        operation.Cursor = new IoVecCursor(request.Vectors, request.HasData ? request.VectorCount : 0);
        operation.Unreadable = unreadable;
        Begin(operation);
        return true;
    }

    /// <summary>Takes an operation for a request, or returns null when all are in use.</summary>
    protected TransferOp? RentOperation(BlockRequest request)
    {
        TransferOp? operation = _freeOperations;
        if (operation is not null)
        {
            _freeOperations = operation.NextOp;
            operation.NextOp = null;
            operation.Parent = request;
            operation.Status = 0;
            operation.Unreadable = 0;
            operation.RowInStripe = 0;
        }

        return operation;
    }

    /// <summary>Begins an operation whose fields are set.</summary>
    protected void Begin(TransferOp operation)
    {
        if (LockSegment(operation))
        {
            Continue(operation);
        }
    }

    /// <summary>
    /// Sets up a child for the next bytes of an operation. May shorten <paramref name="length"/> when the child's list is too small.
    /// Returns false, with the child unused, when not even one block fits.
    /// </summary>
    /// <param name="child">The child.</param>
    /// <param name="operation">The operation; its cursor is not moved.</param>
    /// <param name="length">The bytes wanted, then those covered.</param>
    /// <param name="cursor">The cursor after them.</param>
    protected bool Slice(BlockRequest child, TransferOp operation, ref long length, out IoVecCursor cursor)
    {
        BlockRequest parent = operation.Parent;
        cursor = operation.Cursor;
        child.Operation = parent.Operation;
        child.Flags = parent.Flags;
        child.Traits = parent.Traits;
        child.RegisteredBuffer = parent.RegisteredBuffer;
        child.Parent = parent;
        child.Context = operation;
        child.Vectors = null;
        child.VectorCount = 0;
        if (!parent.HasData)
        {
            child.LengthBytes = length;
            return true;
        }

        if (length == parent.LengthBytes && parent.VectorCount <= _maxSegments)
        {
            child.Vectors = parent.Vectors;
            child.VectorCount = parent.VectorCount;
        }
        else
        {
            long taken = cursor.Take(length, child.OwnVectors, child.OwnVectorCapacity, out int count);
            if (taken < length)
            {
                length = taken & ~BlockMask;
                cursor = operation.Cursor;
                cursor.Take(length, child.OwnVectors, child.OwnVectorCapacity, out count);
            }

            child.Vectors = child.OwnVectors;
            child.VectorCount = count;
            if ((((operation.Next - parent.OffsetBytes) | length) & (Array.Limits.BufferAlignment - 1)) != 0)
            {
                child.Traits &= ~BufferTraits.Aligned;
            }
        }

        child.LengthBytes = length;
        return length != 0;
    }

    /// <summary>Sends a child to a member.</summary>
    protected void Send(BlockRequest child, int member, long memberOffset)
    {
        child.Tag = member;
        child.OffsetBytes = memberOffset;
        MemberQueues[member]!.Submit(child);
    }

    /// <summary>
    /// A member failed a write, flush or repair. Returns true when the array goes on without it; the caller then treats the write as
    /// done there, and its acknowledgement waits for the superblocks.
    /// </summary>
    protected internal bool FailMember(int member)
    {
        Array.Members[member].CountWriteError();
        bool survives = State.TryFail(member);
        Array.Control.Kick();
        return survives;
    }

    /// <summary>Runs the pump in this turn or the next.</summary>
    protected void SchedulePump()
    {
        if (!_pumpScheduled)
        {
            _pumpScheduled = true;
            Reactor.Defer(_pump);
        }
    }

    /// <summary>Puts a request at the end of the waiting list.</summary>
    protected void Enqueue(BlockRequest request)
    {
        request.NextWaiting = null;
        if (_waitingFirst is null)
        {
            _waitingFirst = request;
        }
        else
        {
            _waitingLast!.NextWaiting = request;
        }

        _waitingLast = request;
    }

    /// <summary>Starts a child of this queue that came back and needs an operation of its own; levels override it.</summary>
    protected virtual bool StartChild(BlockRequest child) => throw new InvalidOperationException("This level sends no child on.");

    /// <summary>Returns 0 when the request is right, 1 when there is nothing to do, or a negative errno.</summary>
    private int Check(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Flush)
        {
            return 0;
        }

        long size = Array.SizeBytes;
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
        if (ReferenceEquals(request.Completion, this))
        {
            return StartChild(request);
        }

        if (request.Operation == BlockOperation.Read)
        {
            return StartRead(request);
        }

        if (State.IsBroken)
        {
            request.Complete(-Errno.EIO);
            return true;
        }

        if (!_writesOpen && request.Operation != BlockOperation.Flush)
        {
            Array.Control.RequestWrites();
            return false;
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

    private bool Advance(TransferOp operation) =>
        operation.Parent.Operation == BlockOperation.Flush ? AdvanceFlush(operation) : AdvanceData(operation);

    private bool AdvanceFlush(TransferOp operation)
    {
        while (operation.Next < operation.End)
        {
            int member = (int)operation.Next;
            if (IsFailed(member) || MemberQueues[member] is null)
            {
                operation.Next++;
                continue;
            }

            BlockRequest? child = Children.TryRent();
            if (child is null)
            {
                return false;
            }

            child.Prepare(BlockOperation.Flush, 0, 0, null, 0, this);
            child.Parent = operation.Parent;
            child.Context = operation;
            operation.Next++;
            operation.Pending++;
            Send(child, member, 0);
        }

        return true;
    }

    private bool LockSegment(TransferOp operation)
    {
        if (operation.Parent.Operation == BlockOperation.Flush || !LocksRange(operation))
        {
            operation.SegmentEnd = operation.End;
            return true;
        }

        operation.SegmentEnd = Math.Min(operation.End, operation.Next + MaxSegmentBytes);
        operation.FirstUnit = operation.Next >> LockShift;
        operation.UnitCount = (int)(((operation.SegmentEnd - 1) >> LockShift) - operation.FirstUnit + 1);
        operation.Locked = true;
        return Locks.LockOrWait(operation);
    }

    /// <summary>The segment is done. Returns true when the next one is locked and can go on.</summary>
    private bool FinishSegment(TransferOp operation)
    {
        if (operation.Locked)
        {
            operation.Locked = false;
            Locks.Unlock(operation.FirstUnit, operation.UnitCount);
        }

        if (operation.Next < operation.End && operation.Status == 0)
        {
            return LockSegment(operation);
        }

        BlockRequest parent = operation.Parent;
        int status = operation.Status;
        ReturnOperation(operation);
        if (HasBacklog)
        {
            SchedulePump();
        }

        if (parent.Operation == BlockOperation.Read)
        {
            parent.Complete(status);
        }
        else
        {
            FinishWrite(parent, status);
        }

        return false;
    }

    /// <summary>Acknowledges a write, or holds it back while the superblocks do not know of a failure.</summary>
    protected void FinishWrite(BlockRequest request, int status)
    {
        if (!State.MetadataPending)
        {
            Acknowledge(request, status);
            return;
        }

        request.Status = status;
        request.NextWaiting = null;
        if (_heldFirst is null)
        {
            _heldFirst = request;
        }
        else
        {
            _heldLast!.NextWaiting = request;
        }

        _heldLast = request;
    }

    private void Acknowledge(BlockRequest request, int status)
    {
        WritesInFlight--;

        // When the survivors could not be told of a failure, nothing that was held back is safe.
        request.Complete(status == 0 && State.IsBroken ? -Errno.EIO : status);
    }

    private void ReturnOperation(TransferOp operation)
    {
        operation.Parent = null!;
        operation.NextOp = _freeOperations;
        _freeOperations = operation;
    }

    private void Stall(TransferOp operation)
    {
        operation.NextOp = null;
        if (_stalledFirst is null)
        {
            _stalledFirst = operation;
        }
        else
        {
            _stalledLast!.NextOp = operation;
        }

        _stalledLast = operation;
    }

    private void Pump()
    {
        _pumpScheduled = false;
        for (int i = 0; i < PumpBatch; i++)
        {
            if (_stalledFirst is { } operation)
            {
                if (!HasRoom)
                {
                    return;
                }

                _stalledFirst = operation.NextOp;
                operation.NextOp = null;
                Continue(operation);
            }
            else if (_waitingFirst is { } request)
            {
                _waitingFirst = request.NextWaiting;
                if (!Start(request))
                {
                    request.NextWaiting = _waitingFirst;
                    _waitingFirst = request;
                    _waitingLast = request.NextWaiting is null ? request : _waitingLast;
                    return;
                }
            }
            else
            {
                return;
            }
        }

        SchedulePump();
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

    private static IBlockQueue?[] OpenMembers(RaidArray array, Reactor reactor)
    {
        var queues = new IBlockQueue?[array.Members.Length];
        try
        {
            for (int i = 0; i < queues.Length; i++)
            {
                queues[i] = array.IsUsable(i) ? array.Members[i].Drive!.OpenQueue(reactor) : null;
            }
        }
        catch
        {
            foreach (IBlockQueue? queue in queues)
            {
                queue?.Dispose();
            }

            throw;
        }

        return queues;
    }

    private sealed class PumpWork(RaidQueue queue) : ReactorWork
    {
        public override void Run() => queue.Pump();
    }
}
