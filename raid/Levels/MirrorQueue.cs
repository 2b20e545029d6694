// RAID 1 and RAID 10: every block has copies.
//
// Theory of operation. A read goes to one copy: neighbouring requests to the same one, distant ones spread over all. Where copies
// may differ because a resync has not come by yet, all reads go to the first copy that works, so that two reads never differ.
// A read that fails is sent on to the next copy, and the bad block is rewritten from a good one (MirrorCopyOp).
//
// A write goes to all copies at once, from the submitter's own memory. Its range is locked: two writes to the same blocks in
// flight together could reach the copies in different orders, and the copies would differ for good. A write whose memory vanishes
// on the way (a front-end took it away), or that found no room on one member, may have reached some copies and not others while
// all members work: before it is answered with its error, the copies of its range are made to agree: with the first one, or with
// the one that had no room, because the others have room for what it holds. A discard that a member refuses is settled likewise.
//
// A member that is being rebuilt takes every write, and is read up to where the rebuild is: what it takes beyond that place is
// written once more when the rebuild comes by.
//
// Where that does not succeed the range is in doubt (DoubtSet): its first copy is read until the resync has come by.
//
// A member that could not write a range is lost there (ArrayState.Bad), in whole ranges of a grid (RaidUnits.RowShift). A request
// that touches such a range goes by an operation, which cuts it at the grid: no piece has a copy that is right in a part only.

using System.Numerics;
using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Levels;

/// <summary>A queue of a RAID 1 or RAID 10 array.</summary>
internal sealed unsafe class MirrorQueue : RaidQueue, IRowQueue, IRowCompletion
{
    private const int SpreadShift = 17;
    private const int TriesShift = 8;
    private const long IsSplit = 1L << 40;
    private const int BlockBytes = 4096;

    /// <summary>Children that are kept for the pieces of reads that are split.</summary>
    private const int KeptForPieces = 256;

    private readonly int _copies;
    private readonly bool _striped;
    private readonly long _chunkMask;
    private readonly long _maxPieceBytes;
    private readonly int _rangeBytes;
    private readonly MirrorCopyOp _repair;
    private readonly MirrorCopyOp _agreement;
    private readonly List<MirrorCopyOp> _jobRows = [];
    private TransferOp? _inDoubtFirst, _inDoubtLast;

    public MirrorQueue(RaidArray array, Reactor reactor, QueueShape shape)
        : base(array, reactor, shape)
    {
        _copies = Geometry.CopyCount;
        _striped = Geometry.Level == RaidLevel.Raid10;
        _chunkMask = Geometry.ChunkSize - 1;
        _maxPieceBytes = array.MaxPieceBytes(BlockOperation.Read);
        _rangeBytes = Math.Min(MirrorCopyOp.MaxBytes, Geometry.ChunkSize);
        _repair = new MirrorCopyOp(this, array);
        _agreement = new MirrorCopyOp(this, array);
    }

    /// <inheritdoc/>
    public RangeWaiter CreateRow()
    {
        var row = new MirrorCopyOp(this, Array);
        _jobRows.Add(row);
        return row;
    }

    /// <inheritdoc/>
    public long RowBytes => _rangeBytes;

    /// <inheritdoc/>
    public int RowsAbreast => Math.Max(1, Geometry.MemberCount / _copies);

    /// <inheritdoc/>
    public int UnitsAt(long unit)
    {
        long bytes = Math.Min(_rangeBytes, Geometry.Capacity - (unit << LockShift));
        return (int)(bytes >> LockShift);
    }

    /// <inheritdoc/>
    public void StartRow(RangeWaiter row, long unit, RowJob job, IRowCompletion completion) =>
        ((MirrorCopyOp)row).StartJob(unit << LockShift, UnitsAt(unit) << LockShift, job, completion);

    /// <inheritdoc/>
    public void StartMend(RangeWaiter row, int member, long memberOffset, IRowCompletion completion) =>
        ((MirrorCopyOp)row).StartMend(Geometry.Unmap(member, memberOffset), _rangeBytes, member, completion);

    /// <inheritdoc/>
    public void ReleaseRow(RangeWaiter row) => Locks.Unlock(row.FirstUnit, row.UnitCount);

    /// <inheritdoc/>
    public void DisposeRow(RangeWaiter row)
    {
        _jobRows.Remove((MirrorCopyOp)row);
        Late.Keep((MirrorCopyOp)row);
    }

    /// <inheritdoc/>
    protected override void LeaveRequests(MemberPort port, List<BlockRequest> answers)
    {
        base.LeaveRequests(port, answers);
        foreach (MirrorCopyOp copy in (MirrorCopyOp[])[_repair, _agreement, .. _jobRows])
        {
            copy.LeaveRequest(port, answers);
        }
    }

    /// <inheritdoc/>
    protected override bool HasOwnWork => _repair.IsBusy;

    /// <inheritdoc/>
    protected override void DisposeCore()
    {
        _repair.Dispose();
        _agreement.Dispose();
    }

    /// <inheritdoc/>
    protected override bool LocksRange(TransferOp operation) => operation.Parent.Operation != BlockOperation.Read;

    /// <inheritdoc/>
    protected override bool StartRead(BlockRequest request)
    {
        long offset = request.OffsetBytes;
        long length = request.LengthBytes;
        if (length > _maxPieceBytes || (_striped && (offset & _chunkMask) + length > _chunkMask + 1)
            || request.VectorCount > Array.Limits.MaxSegments || BadIn(offset, length) != 0
            || ToFrontier(offset, length) != length)
        {
            return StartOperation(request);
        }

        BlockRequest? child = Children.TryRent();
        if (child is null)
        {
            return false;
        }

        Borrow(child, request, operation: null);
        MemberPlace place = ChooseCopy(offset, length);
        Send(child, place.Member, place.Offset);
        return true;
    }

    /// <summary>
    /// The way of nearly every write: one piece, so that every copy takes the submitter's own vectors. The operation only counts
    /// the copies.
    /// </summary>
    protected override bool StartWrite(BlockRequest request)
    {
        long offset = request.OffsetBytes;
        long length = request.LengthBytes;
        if (!request.HasData || length > _maxPieceBytes || length > MaxSegmentBytes || Children.Available < _copies
            || (_striped && (offset & _chunkMask) + length > _chunkMask + 1) || request.VectorCount > Array.Limits.MaxSegments)
        {
            return StartOperation(request);
        }

        if (RentOperation(request) is not { } operation)
        {
            return false;
        }

        operation.Next = offset;
        operation.End = operation.SegmentEnd = offset + length;
        operation.FirstUnit = offset >> LockShift;
        operation.UnitCount = (int)(((offset + length - 1) >> LockShift) - operation.FirstUnit) + 1;
        operation.Cursor = new IoVecCursor(request.Vectors, request.VectorCount);
        operation.Locked = true;
        if (Locks.LockOrWait(operation))
        {
            SendWhole(operation, request);
        }

        return true;
    }

    /// <inheritdoc/>
    protected override bool AdvanceData(TransferOp operation)
    {
        int copies = operation.Parent.Operation == BlockOperation.Read ? 1 : _copies;
        long most = Array.MaxPieceBytes(operation.Parent.Operation);
        while (operation.Next < operation.SegmentEnd)
        {
            if (Children.Available < copies)
            {
                return false;
            }

            long length = Math.Min(operation.SegmentEnd - operation.Next, most);
            if (copies == 1 && IsOfChild(operation.Parent))
            {
                length = Math.Min(length, BlockBytes - (operation.Next & (BlockBytes - 1)));
            }

            if (_striped)
            {
                length = Math.Min(length, _chunkMask + 1 - (operation.Next & _chunkMask));
            }

            // Looked at once for a piece: what is bad is so for the whole of it. What becomes bad meanwhile is written there,
            // too.
            ulong bad = BadIn(operation.Next, length);
            if (bad != 0)
            {
                length = Math.Min(length, _rangeBytes - (operation.Next % _rangeBytes));
                bad = BadIn(operation.Next, length);
            }

            length = copies == 1 ? ToFrontier(operation.Next, length) : length;
            if (operation.Status == 0
                && (copies == 1 ? SendRead(operation, ref length, bad) : SendCopies(operation, ref length, bad)))
            {
                continue;
            }

            operation.Next = operation.SegmentEnd;
        }

        return true;
    }

    /// <inheritdoc/>
    protected override bool SettleFailure(BlockRequest child)
    {
        int member = (int)(child.Tag & MemberMask);
        if (child.Operation == BlockOperation.Read)
        {
            return SettleRead(child, member);
        }

        if (child.Operation == BlockOperation.Discard)
        {
            // Advice: whoever does not take it costs nothing. The others may have taken it, and must read the same.
            var operation = Unsafe.As<TransferOp>(child.Context!);
            bool canBeSource = BlockErrors.KindOf(child.Status) != BlockErrorKind.Gone
                && operation.DoubtSource == TransferOp.NoSource;
            operation.DoubtSource = canBeSource ? member : operation.DoubtSource;
            operation.InDoubt = true;
            child.Status = 0;
        }
        else
        {
            long from = Geometry.Unmap(member, child.OffsetBytes);
            var operation = Unsafe.As<TransferOp>(child.Context!);
            operation.RefusedFrom = Math.Min(operation.RefusedFrom, from);
            operation.RefusedTo = Math.Max(operation.RefusedTo, from + child.LengthBytes);
            NoteRefusal(child, member);
        }

        return true;
    }

    /// <summary>Members that a range of the volume is not to be read from, nor written to.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong BadIn(long offset, long length) => State.BadIn(offset >> LockShift, (offset + length - 1) >> LockShift);

    /// <inheritdoc/>
    protected override void PutInDoubt(TransferOp operation, ulong refused)
    {
        operation.InDoubt = true;
        operation.DoubtSource = BitOperations.TrailingZeroCount(refused);
    }

    /// <inheritdoc/>
    protected override void SettleLostMemory(BlockRequest child)
    {
        if (child.Operation == BlockOperation.Write)
        {
            Unsafe.As<TransferOp>(child.Context!).InDoubt = true;
        }
    }

    /// <inheritdoc/>
    protected override void MakeAgree(TransferOp operation)
    {
        operation.NextOp = null;
        if (_inDoubtFirst is null)
        {
            _inDoubtFirst = _inDoubtLast = operation;
            StartAgreement(operation);
        }
        else
        {
            _inDoubtLast!.NextOp = operation;
            _inDoubtLast = operation;
        }
    }

    /// <summary>The copies of the first range in doubt agree.</summary>
    void IRowCompletion.OnRowDone(RangeWaiter row, int status)
    {
        TransferOp operation = _inDoubtFirst!;
        _inDoubtFirst = operation.NextOp;
        if (_inDoubtFirst is not null)
        {
            StartAgreement(_inDoubtFirst);
        }

        Finish(operation);
    }

    private void StartAgreement(TransferOp operation) =>
        _agreement.StartAgreement(
            operation.FirstUnit << LockShift, (long)operation.UnitCount << LockShift, operation.DoubtSource, this);

    /// <summary>The copies of a range could not be made to agree, or now do. It is locked.</summary>
    internal void SetDoubt(long offset, long length, bool inDoubt)
    {
        for (long at = offset / _rangeBytes * _rangeBytes; at < offset + length; at += _rangeBytes)
        {
            if (inDoubt)
            {
                State.PutInDoubt(at >> LockShift, 0, _rangeBytes);
            }
            else
            {
                State.Doubts.Remove(at >> LockShift, 0, _rangeBytes);
            }
        }
    }

    /// <summary>Whether copies in a range may differ.</summary>
    internal bool IsInDoubt(long offset, long length)
    {
        for (long at = offset / _rangeBytes * _rangeBytes; State.Doubts.Count != 0 && at < offset + length; at += _rangeBytes)
        {
            if (State.Doubts.Touches(at >> LockShift, 0, _rangeBytes))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// How much of a read lies before the place where a rebuild is; all of it where none is in it. Before that place the copy of
    /// the new member counts like any other, and where a resync is still to come the first one must be read, which it may be.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private long ToFrontier(long offset, long length)
    {
        long rebuilt = State.RebuiltUnits;
        bool isIn = rebuilt > offset >> LockShift && rebuilt <= (offset + length - 1) >> LockShift;
        return isIn ? (rebuilt << LockShift) - offset : length;
    }

    /// <summary>The copy that a read of this range should use; some failed member's when none is left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private MemberPlace ChooseCopy(long offset, long length)
    {
        long lastUnit = (offset + length - 1) >> LockShift;
        ulong lost = State.LostAt(lastUnit);
        if (lastUnit >= State.SyncedUnits || (State.Doubts.Count != 0 && IsInDoubt(offset, length)))
        {
            MemberPlace first = Geometry.Copy(offset, 0);
            return ((lost >> first.Member) & 1) == 0 ? first : FindCopy(offset, 0, lost, first);
        }

        int copy = (int)((uint)(offset >> SpreadShift) % (uint)_copies);
        MemberPlace place = Geometry.Copy(offset, copy);
        ulong avoid = lost | State.SlowMask;
        if (((avoid >> place.Member) & 1) == 0)
        {
            return place;
        }

        // Rather one that is slow than none.
        bool isLost = ((lost >> place.Member) & 1) != 0;
        return FindCopy(offset, copy, avoid, isLost ? FindCopy(offset, copy, lost, place) : place);
    }

    /// <summary>The next copy after the given one, in cyclic order, on no member of a mask.</summary>
    private MemberPlace FindCopy(long offset, int copy, ulong without, MemberPlace fallback)
    {
        for (int i = 1; i < _copies; i++)
        {
            MemberPlace place = Geometry.Copy(offset, (copy + i) % _copies);
            if (((without >> place.Member) & 1) == 0)
            {
                return place;
            }
        }

        return fallback;
    }

    private void SendWhole(TransferOp operation, BlockRequest request)
    {
        if (BadIn(request.OffsetBytes, request.LengthBytes) != 0)
        {
            operation.Pending = 0;
            Continue(operation);
            return;
        }

        int sent = 0;
        operation.Next = operation.End;
        operation.Pending = 1;
        for (int copy = 0; copy < _copies; copy++)
        {
            MemberPlace place = Geometry.Copy(request.OffsetBytes, copy);
            if (IsFailed(place.Member))
            {
                continue;
            }

            BlockRequest child = Children.TryRent()!;
            Borrow(child, request, operation);
            sent++;
            operation.Pending++;
            Send(child, place.Member, place.Offset);
        }

        PartDone(operation, sent == 0 ? -Errno.EIO : 0);
    }

    private bool SendRead(TransferOp operation, ref long length, ulong bad)
    {
        BlockRequest child = Children.TryRent()!;
        if (!Slice(child, operation, ref length, out operation.Cursor))
        {
            Children.Return(child);
            operation.Status = -Errno.EINVAL;
            return false;
        }

        MemberPlace place = ChooseCopy(operation.Next, length);
        if (bad != 0 && (((bad | State.FailedMask) >> place.Member) & 1) != 0)
        {
            // None is left that holds what was written, and one that is out may have no queue.
            Children.Return(child);
            operation.Status = -Errno.EIO;
            return false;
        }

        operation.Next += length;
        operation.Pending++;
        Send(child, place.Member, place.Offset);
        return true;
    }

    private bool SendCopies(TransferOp operation, ref long length, ulong bad)
    {
        long offset = operation.Next;
        IoVecCursor after = operation.Cursor;
        ulong without = State.FailedMask | bad;
        int sent = 0;
        for (int copy = 0; copy < _copies; copy++)
        {
            MemberPlace place = Geometry.Copy(offset, copy);
            if (((without >> place.Member) & 1) != 0)
            {
                continue;
            }

            BlockRequest child = Children.TryRent()!;
            if (!Slice(child, operation, ref length, out after))
            {
                Children.Return(child);
                operation.Status = -Errno.EINVAL;
                return false;
            }

            sent++;
            operation.Pending++;
            Send(child, place.Member, place.Offset);
        }

        operation.Cursor = after;
        operation.Next = offset + length;
        if (sent == 0)
        {
            operation.Status = -Errno.EIO;
        }

        return sent != 0;
    }

    /// <summary>
    /// A read that no copy can answer as a whole, because each of them has a bad block in it somewhere: goes block by block.
    /// </summary>
    protected override bool StartChild(BlockRequest child) => StartOperation(child);

    private bool SettleRead(BlockRequest child, int member)
    {
        if ((child.Tag & IsSplit) != 0)
        {
            return true;
        }

        Array.Members[member].CountReadError();
        long tries = (child.Tag >> TriesShift) + 1;
        long offset = Geometry.Unmap(member, child.OffsetBytes);
        int copy = CopyOf(offset, member);
        ulong lost = State.LostAt((offset + child.LengthBytes - 1) >> LockShift) | BadIn(offset, child.LengthBytes);
        for (; tries < _copies; tries++)
        {
            copy = (copy + 1) % _copies;
            MemberPlace place = Geometry.Copy(offset, copy);
            if (((lost >> place.Member) & 1) != 0)
            {
                continue;
            }

            _repair.TryRepair(offset, child.LengthBytes, member);
            child.Tag = (long)(uint)place.Member | (tries << TriesShift);
            child.OffsetBytes = place.Offset;
            child.Status = 0;
            MemberQueues[place.Member]!.Submit(child);
            return false;
        }

        if (child.LengthBytes <= BlockBytes || !BlockErrors.MayBeOfPlace(child.Status) || Children.Available <= KeptForPieces)
        {
            return true;
        }

        child.Tag = (long)(uint)member | IsSplit;
        child.OffsetBytes = offset;
        child.Status = 0;
        ContinueWithOperation(child);
        return false;
    }

    private int CopyOf(long offset, int member)
    {
        int copy = 0;
        while (copy < _copies - 1 && Geometry.Copy(offset, copy).Member != member)
        {
            copy++;
        }

        return copy;
    }
}
