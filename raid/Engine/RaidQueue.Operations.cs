// Operations: requests that need more than one child, or a lock. An operation walks over its request, segment by segment; of each
// segment it issues the parts, and when all of them are done it goes on with the next one or completes the request.

using Polyblk.Core.Block;

namespace Polyblk.Raid.Engine;

internal abstract unsafe partial class RaidQueue
{
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

    /// <summary>Takes an operation for a request and begins it. Returns false when all are in use.</summary>
    /// <param name="request">The request.</param>
    /// <param name="unreadable">Members that could not be read.</param>
    /// <param name="gone">Those of them that are gone.</param>
    protected bool StartOperation(BlockRequest request, ulong unreadable = 0, ulong gone = 0)
    {
        if (RentOperation(request) is not { } operation)
        {
            return false;
        }

        bool flush = request.Operation == BlockOperation.Flush;
        operation.Next = flush ? 0 : request.OffsetBytes;
        operation.RowsBefore = State.WholeRows;
        operation.End = flush ? Geometry.MemberCount : request.OffsetBytes + request.LengthBytes;
        operation.Cursor = new IoVecCursor(request.Vectors, request.HasData ? request.VectorCount : 0);
        operation.Unreadable = unreadable;
        operation.Refusals.Gone = gone;
        Begin(operation);
        return true;
    }

    /// <summary>Takes an operation for a request, or returns null when all are in use.</summary>
    protected TransferOp? RentOperation(BlockRequest request)
    {
        if (_freeOperations.Count <= (IsOfChild(request) ? 0 : ReservedOperations))
        {
            return null;
        }

        TransferOp operation = _operations[_freeOperations.Take()];
        operation.Parent = request;
        operation.Status = 0;
        operation.IsFlushing = false;
        operation.Unreadable = 0;
        operation.InDoubt = false;
        operation.DoubtSource = TransferOp.NoSource;
        operation.Refusals = default;
        operation.RowInStripe = 0;
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
    /// Sets up a child for the next bytes of an operation. May shorten <paramref name="length"/> when the child's list is too
    /// small. Returns false, with the child unused, when not even one block fits.
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

    private bool Advance(TransferOp operation) =>
        operation.IsFlush ? AdvanceFlush(operation) : AdvanceData(operation);

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

            child.Prepare(BlockOperation.Flush, 0, 0, null, 0);
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
        if (operation.Refusals.Any)
        {
            JudgeRefusals(operation);
        }

        if (operation.Locked)
        {
            operation.Locked = false;
            Locks.Unlock(operation.FirstUnit, operation.UnitCount);
        }

        if (operation.Next < operation.End && operation.Status == 0 && !operation.InDoubt)
        {
            return LockSegment(operation);
        }

        if (operation is { IsFlush: true, Status: 0 } && Geometry.MemberCount == Array.Members.Length)
        {
            // That of the old geometry of a reshape leaves the drives out that were added.
            State.NoteRowsFlushed(operation.RowsBefore);
        }

        if (FlushesAfterFua && (operation.Parent.Flags & BlockFlags.Fua) != 0 && operation is { IsFlush: false, Status: 0, InDoubt: false })
        {
            operation.IsFlushing = true;
            operation.RowsBefore = State.WholeRows;
            operation.Next = 0;
            operation.SegmentEnd = operation.End = Geometry.MemberCount;
            return true;
        }

        // A discard that was refused may end here: it is advice.
        if (operation.InDoubt)
        {
            MakeAgree(operation);
        }
        else
        {
            Finish(operation);
        }

        return false;
    }

    /// <summary>All is done: the operation goes back, and its request is answered.</summary>
    protected void Finish(TransferOp operation)
    {
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
    }

    private void ReturnOperation(TransferOp operation)
    {
        operation.Parent = null!;
        _freeOperations.Return(operation.Index);
    }
}
