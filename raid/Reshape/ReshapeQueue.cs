// One reactor's way to an array that is being reshaped: a router over two queues of the array, one for each geometry.
//
// Theory of operation. What lies below the frontier goes to the new queue as it is. What lies beyond goes to the old one, as one
// child or, where it crosses the frontier, or has too many segments, as several; while it is under way it is known by its
// operation, so that a window can be closed: what touches the window waits, and when what was sent before has come back, the
// control task is told (ReshapeRun.cs). Nothing below the frontier can touch a window. A flush goes to the new queue, which has
// all members.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Reshape;

/// <summary>See the top of the file. One reactor's.</summary>
internal sealed unsafe class ReshapeQueue : IBlockQueue, IBlockCompletion
{
    private const int ChildCount = 512;
    private const int OperationCount = 256;

    private readonly RaidArray _array;
    private readonly ReshapeMap _map;
    private readonly RequestPool _children;
    private readonly Operation[] _operations = new Operation[OperationCount];
    private readonly PumpWork _pump;
    private FreeIndices _free = new(OperationCount);
    private RequestList _waiting;   // for an operation or children
    private RequestList _closedOut; // for the window to open
    private ReshapeWindow _window = ReshapeWindow.None;
    private TaskCompletionSource? _quiet;
    private long _frontier;
    private int _inWindow;
    private int _references = 1;
    private bool _pumpScheduled;

    public ReshapeQueue(RaidArray array, ReshapeRun run, RaidQueue newQueue, RaidQueue oldQueue)
    {
        _array = array;
        _map = run.Map;
        New = newQueue;
        Old = oldQueue;
        _pump = new PumpWork(this);
        _children = new RequestPool(ChildCount, Math.Max(1, array.Limits.MaxSegments));
        for (int i = 0; i < OperationCount; i++)
        {
            _operations[i] = new Operation { Index = i };
        }

        Adopt(run);
    }

    public Reactor Reactor => New.Reactor;

    /// <summary>The queue of the new geometry.</summary>
    public RaidQueue New { get; }

    /// <summary>The queue of the old one.</summary>
    public RaidQueue Old { get; }

    /// <inheritdoc/>
    public void Submit(BlockRequest request)
    {
        if (!Start(request))
        {
            _waiting.Append(request);
        }
    }

    public void AddReference() => _references++;

    /// <summary>Goes by what the run says now, and completes when nothing is under way that touches its window.</summary>
    public Task Adopt(ReshapeRun run)
    {
        _frontier = run.Frontier;
        _window = run.Window;
        _inWindow = 0;
        foreach (Operation operation in _operations)
        {
            operation.IsInWindow = operation.Parent is { } parent && Touches(parent);
            _inWindow += operation.IsInWindow ? 1 : 0;
        }

        _quiet = _inWindow == 0 ? null : Reactor.MakePromise();
        if (_window == ReshapeWindow.None)
        {
            while (_closedOut.TakeFirst() is { } request)
            {
                _waiting.Append(request);
            }

            SchedulePump();
        }

        return _quiet?.Task ?? Task.CompletedTask;
    }

    /// <summary>A child is back.</summary>
    public void OnCompleted(BlockRequest request)
    {
        var operation = (Operation)request.Context!;
        int status = request.Status;
        _children.Return(request);
        if (!_waiting.IsEmpty)
        {
            SchedulePump();
        }

        operation.Status = operation.Status == 0 ? status : operation.Status;
        PartDone(operation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (--_references > 0)
        {
            return;
        }

        if (!_free.IsFull || !_waiting.IsEmpty || !_closedOut.IsEmpty)
        {
            throw new InvalidOperationException($"Requests of {_array.Name} are still in flight on {Reactor.Name}.");
        }

        _array.Forget(this);
        New.Dispose();
        Old.Dispose();
        _children.Dispose();
    }

    /// <summary>Returns false when there is no room.</summary>
    private bool Start(BlockRequest request)
    {
        long end = request.OffsetBytes + request.LengthBytes;
        bool isPlain = request.Operation == BlockOperation.Flush || request.LengthBytes <= 0 || request.OffsetBytes < 0 || end < 0
            || end > _array.OwnSizeBytes;
        if (isPlain || end <= _frontier || _frontier >= _map.OldCapacity)
        {
            // The new queue says what is wrong with a bad one.
            New.Submit(request);
            return true;
        }

        if (Touches(request))
        {
            _closedOut.Append(request);
            return true;
        }

        if (_free.IsEmpty || _children.Available < 2)
        {
            return false;
        }

        Operation operation = _operations[_free.Take()];
        operation.Parent = request;
        operation.Status = 0;
        operation.Next = request.OffsetBytes;
        operation.Cursor = new IoVecCursor(request.Vectors, request.HasData ? request.VectorCount : 0);
        Advance(operation);
        return true;
    }

    private bool Touches(BlockRequest request) =>
        request.OffsetBytes < _window.To && request.OffsetBytes + request.LengthBytes > _window.From;

    /// <summary>Sends what is left of a request, as far as there are children.</summary>
    private void Advance(Operation operation)
    {
        BlockRequest parent = operation.Parent!;
        long end = parent.OffsetBytes + parent.LengthBytes;
        operation.Pending++;
        while (operation.Next < end && operation.Status == 0)
        {
            if (_children.TryRent() is not { } child)
            {
                // Others of it are under way: it goes on when one is back.
                break;
            }

            Send(operation, child, end);
        }

        PartDone(operation);
    }

    private void Send(Operation operation, BlockRequest child, long end)
    {
        BlockRequest parent = operation.Parent!;
        bool isNew = operation.Next < _frontier;
        long length = (isNew ? Math.Min(end, _frontier) : end) - operation.Next;
        child.Operation = parent.Operation;
        child.Flags = parent.Flags;
        child.Traits = parent.Traits;
        child.RegisteredBuffer = parent.RegisteredBuffer;
        child.Status = 0;
        child.Vectors = null;
        child.VectorCount = 0;
        if (length == parent.LengthBytes)
        {
            child.Vectors = parent.Vectors;
            child.VectorCount = parent.VectorCount;
        }
        else if (parent.HasData)
        {
            length = Slice(operation, child, length);
        }

        if (length == 0)
        {
            _children.Return(child);
            operation.Status = -Errno.EINVAL;
            return;
        }

        child.LengthBytes = length;
        child.OffsetBytes = isNew ? operation.Next : operation.Next + _map.Bias;
        child.Context = operation;
        child.Completion = this;
        operation.Next += length;
        operation.Pending++;
        (isNew ? New : Old).Submit(child);
    }

    /// <summary>
    /// Gives a child the next bytes of the submitter's memory; fewer, whole blocks, where its list is too short for all.
    /// </summary>
    private long Slice(Operation operation, BlockRequest child, long length)
    {
        long blockMask = _array.Limits.LogicalBlockSize - 1;
        IoVecCursor before = operation.Cursor;
        long taken = operation.Cursor.Take(length, child.OwnVectors, child.OwnVectorCapacity, out int count);
        if (taken < length)
        {
            length = taken & ~blockMask;
            operation.Cursor = before;
            operation.Cursor.Take(length, child.OwnVectors, child.OwnVectorCapacity, out count);
        }

        child.Vectors = child.OwnVectors;
        child.VectorCount = count;
        if ((((operation.Next - operation.Parent!.OffsetBytes) | length) & (_array.Limits.BufferAlignment - 1)) != 0)
        {
            child.Traits &= ~BufferTraits.Aligned;
        }

        return length;
    }

    private void PartDone(Operation operation)
    {
        if (--operation.Pending != 0)
        {
            return;
        }

        BlockRequest parent = operation.Parent!;
        if (operation.Status == 0 && operation.Next < parent.OffsetBytes + parent.LengthBytes)
        {
            Advance(operation);
            return;
        }

        int status = operation.Status;
        operation.Parent = null;
        _free.Return(operation.Index);
        if (operation.IsInWindow)
        {
            operation.IsInWindow = false;
            if (--_inWindow == 0)
            {
                _quiet!.SetResult();
            }
        }

        parent.Complete(status);
    }

    private void SchedulePump()
    {
        if (!_pumpScheduled && !_waiting.IsEmpty)
        {
            _pumpScheduled = true;
            Reactor.Defer(_pump);
        }
    }

    private void Pump()
    {
        _pumpScheduled = false;
        while (_waiting.TakeFirst() is { } request)
        {
            if (!Start(request))
            {
                _waiting.PutBack(request);
                return;
            }
        }
    }

    /// <summary>A request that has to do with the old geometry.</summary>
    private sealed class Operation
    {
        public int Index { get; init; }

        public BlockRequest? Parent { get; set; }

        public long Next { get; set; }

        public int Pending { get; set; }

        public int Status { get; set; }

        public bool IsInWindow { get; set; }

        public IoVecCursor Cursor;
    }

    private sealed class PumpWork(ReshapeQueue queue) : ReactorWork
    {
        public override void Run() => queue.Pump();
    }
}
