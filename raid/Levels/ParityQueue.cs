// RAID 5, RAID 6 and stripes with up to eight parities: striping with rotating parities.
//
// Theory of operation. Healthy reads go the way of RAID 0. Everything that touches parity is done in rows (ParityRow): the same
// columns, up to 64 KiB, of every member. A write is cut into its rows; a read of a member that failed, or that answered with an
// error, becomes rows that make the block from the others. Rows come from a bounded pool with their buffers; when it is empty the
// operation stalls.
//
// Zeroing whole stripes needs no parity arithmetic: the parities of zeroes are zero, so every member zeroes its part. A discard
// is such a zeroing, with leave to deallocate, of the whole stripes inside its range; what it leaves at the ends stays as it was.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Map;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Levels;

/// <summary>A queue of an array with parity.</summary>
internal sealed unsafe class ParityQueue : StripedQueue, IRowQueue
{
    // An array of many drives needs dozens of writes in flight to keep them busy, and one reactor may serve all of it.
    private const int MinRows = 4;
    private const int MaxRows = 256;
    private const int LeastColumns = 4096;
    private const int MaxZeroRows = 256;
    private const long Rebuilt = 0x100;
    private const long WasGone = 0x200;
    private const int NotPooled = -1;

    private readonly ParityRow[] _allRows;
    private readonly PagedMemory _staging;
    private readonly int _rowBytes;
    private readonly int _rowsPerChunk;
    private readonly List<ParityRow> _waitingRows;
    private readonly List<ParityRow> _jobRows = [];
    private FreeIndices _freeRows;

    public ParityQueue(RaidArray array, Reactor reactor, QueueShape shape)
        : base(array, reactor, shape)
    {
        _rowBytes = RaidUnits.RowBytes(Geometry);
        _rowsPerChunk = Geometry.ChunkSize / _rowBytes;
        MemberMemory = [.. MemberQueues.Select(MemoryOf)];
        HasMemoryMembers = MemberMemory.Any(memory => memory != 0);
        Zeroes = (byte*)NativeMemory.AlignedAlloc((nuint)_rowBytes, 4096);
        NativeMemory.Clear(Zeroes, (nuint)_rowBytes);
        Budget = new RowBudget(array.Options.RowMemoryBytes, MinRows, MaxRows);
        long leastPerRow = (long)Math.Min(_rowBytes, LeastColumns) * (Geometry.GroupSize + Geometry.ParityCount);
        _allRows = new ParityRow[(int)Math.Clamp(array.Options.RowMemoryBytes / leastPerRow, MinRows, MaxRows)];
        long stagingBytes = ParityRow.StagingBytesOf(Geometry);
        _staging = new PagedMemory(stagingBytes * _allRows.Length);
        _freeRows = new FreeIndices(_allRows.Length);
        _waitingRows = new List<ParityRow>(_allRows.Length);
        JournalWriter = Journal is { } journal ? new JournalWriter(journal) : null;
        if (Geometry.ParityCount > 2)
        {
            Solver = new StripeSolver(ParityKernels.Best, Geometry.DataCount, Geometry.ParityCount);
            ParityKernels.Best.Prepare();
        }

        for (int i = 0; i < _allRows.Length; i++)
        {
            _allRows[i] = new ParityRow(this, array, i, _staging.Start + (i * stagingBytes));
        }
    }

    /// <summary>By role, where a member that is memory begins; 0 for all others.</summary>
    internal nint[] MemberMemory { get; }

    /// <summary>Whether there is such a member, or was one.</summary>
    internal bool HasMemoryMembers { get; private set; }

    /// <summary>A row of zeroes: the source of write-zeroes.</summary>
    internal byte* Zeroes { get; }

    /// <summary>What its rows use of memory.</summary>
    internal RowBudget Budget { get; }

    /// <summary>
    /// Makes lost blocks where there are more than two parities; null where there are not. All rows' on the reactor.
    /// </summary>
    internal StripeSolver? Solver { get; }

    /// <summary>Its part in the journal; null where there is none.</summary>
    internal JournalWriter? JournalWriter { get; }

    /// <summary>
    /// A start without a member makes its block from the others of the row, and those may have been written as a whole before,
    /// without a record, and be in the caches still.
    /// </summary>
    internal override bool FlushesAfterFua => Array.Limits.VolatileCache && Journal is { IsOn: true } && State.HasUnflushedRows;

    protected override bool HasRoom => base.HasRoom && HasRow;

    protected override bool HasRoomForReturned => HasRow;

    protected override bool IsIdle => base.IsIdle && _freeRows.IsFull;

    /// <inheritdoc/>
    public RangeWaiter CreateRow()
    {
        var row = new ParityRow(this, Array, NotPooled, staging: null);
        _jobRows.Add(row);
        return row;
    }

    /// <inheritdoc/>
    public long RowBytes => _rowBytes;

    /// <inheritdoc/>
    public int RowsAbreast => Geometry.GroupCount;

    /// <inheritdoc/>
    public int UnitsAt(long unit) => 1;

    /// <inheritdoc/>
    public void StartRow(RangeWaiter row, long unit, RowJob job, IRowCompletion completion) =>
        ((ParityRow)row).StartJob(unit, job, completion);

    /// <inheritdoc/>
    public void StartMend(RangeWaiter row, int member, long memberOffset, IRowCompletion completion) =>
        ((ParityRow)row).StartJob(
            RaidUnits.At(Geometry, member, memberOffset), RowJob.Resync, completion, unreadable: 1UL << member);

    /// <inheritdoc/>
    public void ReleaseRow(RangeWaiter row) => Locks.Unlock(row.FirstUnit, row.UnitCount);

    /// <inheritdoc/>
    public void DisposeRow(RangeWaiter row)
    {
        _jobRows.Remove((ParityRow)row);
        Late.Keep((ParityRow)row);
    }

    /// <summary>A row of the pool is at rest again.</summary>
    internal void ReturnRow(ParityRow row)
    {
        Budget.Return(row);
        _freeRows.Return(row.Index);
        if (HasBacklog)
        {
            SchedulePump();
        }
    }

    /// <summary>
    /// A row of the pool waits until the superblocks know of every failure: <see cref="ParityRow.GoOnWhenKnown"/>.
    /// </summary>
    internal void WaitForSuperblocks(ParityRow row) => _waitingRows.Add(row);

    protected override void OnSuperblocksKnown()
    {
        // Those that come to wait meanwhile wait for the next time.
        for (int left = _waitingRows.Count; left > 0; left--)
        {
            ParityRow row = _waitingRows[0];
            _waitingRows.RemoveAt(0);
            row.GoOnWhenKnown();
        }
    }

    protected override bool StartWrite(BlockRequest request)
    {
        if (!request.HasData || (request.Traits & BufferTraits.CpuAccessible) != 0)
        {
            return StartOperation(request);
        }

        // See BlockLimits.NeedsCpuAccessForWrites: parity cannot be computed of what only the kernel can reach.
        FinishWrite(request, -Errno.EINVAL);
        return true;
    }

    protected override bool AdvanceData(TransferOp operation)
    {
        BlockOperation kind = operation.Parent.Operation;
        while (operation.Next < operation.SegmentEnd)
        {
            if (operation.Status != 0)
            {
                operation.Next = operation.SegmentEnd;
                return true;
            }

            bool issued = kind switch
            {
                BlockOperation.Read => AdvanceRead(operation),
                BlockOperation.Write => AdvanceWrite(operation),
                _ => AdvanceZero(operation),
            };
            if (!issued)
            {
                return false;
            }
        }

        return true;
    }

    protected override bool SettleFailure(BlockRequest child)
    {
        int member = (int)(child.Tag & MemberMask);
        if (child.Operation != BlockOperation.Read)
        {
            // A flush: the only other thing that goes to members as a child of the pool.
            NoteRefusal(child, member);
            return true;
        }

        if ((child.Tag & Rebuilt) != 0)
        {
            return true;
        }

        // The child becomes a request of its own: make its range from the other members, then rewrite it.
        Array.Members[member].CountReadError();
        child.Tag = (long)(uint)member | Rebuilt | (BlockErrors.KindOf(child.Status) == BlockErrorKind.Gone ? WasGone : 0);
        child.OffsetBytes = Geometry.Unmap(member, child.OffsetBytes);
        child.Status = 0;
        ContinueWithOperation(child);
        return false;
    }

    protected override bool StartChild(BlockRequest child)
    {
        ulong member = 1UL << (int)(child.Tag & MemberMask);
        return StartOperation(child, member, (child.Tag & WasGone) != 0 ? member : 0);
    }

    protected override void LeaveRequests(MemberPort port, List<BlockRequest> answers)
    {
        base.LeaveRequests(port, answers);
        foreach (ParityRow row in (ParityRow[])[.. _allRows, .. _jobRows])
        {
            row.LeaveRequest(port, answers);
        }
    }

    protected override void DisposeCore()
    {
        foreach (ParityRow row in _allRows)
        {
            row.Dispose();
        }

        _staging.Dispose();
        Solver?.Dispose();
        NativeMemory.AlignedFree(Zeroes);
    }

    protected override void MemberChanged(int role)
    {
        MemberMemory[role] = MemoryOf(MemberQueues[role]);

        // Rows that have found blocks there must find them elsewhere, also when this was the last.
        HasMemoryMembers |= MemberMemory[role] != 0;
    }

    private static nint MemoryOf(MemberPort? port) => (nint)((port?.Queue as IMemoryQueue)?.Memory);

    private bool HasRow => !_freeRows.IsEmpty && Budget.HasRoom;

    private ParityRow? RentRow() => HasRow ? _allRows[_freeRows.Take()] : null;

    private bool AdvanceRead(TransferOp operation)
    {
        long offset = operation.Next;
        Locate(offset, out long stripe, out int dataIndex);
        int member = Geometry.DataMember(stripe, dataIndex);
        long last = LastRowOfPiece(operation, stripe);
        ulong bad = State.BadIn(FirstRowOfPiece(operation, stripe), last);
        ulong avoid = State.SlowMask | operation.Unreadable | State.LostAt(last) | bad;
        if (((avoid >> member) & 1) == 0)
        {
            return SendPieceTo(operation, member, Geometry.StripeOffset(stripe) + (offset & ChunkMask));
        }

        // See BlockLimits.NeedsCpuAccessForReads: the submitter sends the request again with memory that can be computed into.
        if ((operation.Parent.Traits & BufferTraits.CpuAccessible) == 0)
        {
            operation.Status = -Errno.EFAULT;
            operation.Next = operation.SegmentEnd;
            return true;
        }

        if (RentRow() is not { } row)
        {
            return false;
        }

        int inChunk = (int)(offset & ChunkMask);
        int from = inChunk % _rowBytes;
        int length = (int)Math.Min(_rowBytes - from, operation.SegmentEnd - offset);
        IoVecCursor cursor = operation.Cursor;
        operation.Cursor.Skip(length);
        operation.Next = offset + length;
        operation.Pending++;
        row.StartRead(operation, (stripe * _rowsPerChunk) + (inChunk / _rowBytes), dataIndex, from, from + length, cursor);
        return true;
    }

    private long FirstRowOfPiece(TransferOp operation, long stripe) =>
        (stripe * _rowsPerChunk) + ((int)(operation.Next & ChunkMask) / _rowBytes);

    /// <summary>The last row that the operation touches in the present chunk: rows are rebuilt in order.</summary>
    private long LastRowOfPiece(TransferOp operation, long stripe)
    {
        int inChunk = (int)(operation.Next & ChunkMask);
        int end = (int)Math.Min(Geometry.ChunkSize, inChunk + (operation.SegmentEnd - operation.Next));
        return (stripe * _rowsPerChunk) + ((end - 1) / _rowBytes);
    }

    /// <summary>Issues the rows of the present stripe.</summary>
    private bool AdvanceWrite(TransferOp operation)
    {
        Locate(operation.Next, out long stripe, out _);
        long stripeStart = stripe * Geometry.StripeDataSize;
        long end = Math.Min(operation.SegmentEnd, stripeStart + Geometry.StripeDataSize);
        int from = (int)(operation.Next - stripeStart);
        int to = (int)(end - stripeStart);
        for (; operation.RowInStripe < _rowsPerChunk; operation.RowInStripe++)
        {
            if (!Touches(from, to, operation.RowInStripe))
            {
                continue;
            }

            if (RentRow() is not { } row)
            {
                return false;
            }

            operation.Pending++;
            row.Prepare(operation, stripe, operation.RowInStripe);
            AddPieces(row, operation, from, to);
            row.StartWrite();
        }

        operation.Cursor.Skip(end - operation.Next);
        operation.Next = end;
        operation.RowInStripe = 0;
        return true;
    }

    /// <summary>Whether a range of a stripe's data has bytes in a row of its chunks.</summary>
    private bool Touches(int from, int to, int rowInChunk)
    {
        int firstChunk = from >> ChunkShift;
        int lastChunk = (to - 1) >> ChunkShift;
        int rowStart = rowInChunk * _rowBytes;
        int rowEnd = rowStart + _rowBytes;
        int chunkMask = (int)ChunkMask;
        bool first = (from & chunkMask) < rowEnd && (firstChunk != lastChunk || ((to - 1) & chunkMask) >= rowStart);
        bool last = ((to - 1) & chunkMask) >= rowStart && (firstChunk != lastChunk || (from & chunkMask) < rowEnd);
        return first || last || lastChunk - firstChunk > 1;
    }

    /// <summary>Tells a row which columns of which data blocks are written, and where their new content is.</summary>
    private void AddPieces(ParityRow row, TransferOp operation, int from, int to)
    {
        int rowStart = operation.RowInStripe * _rowBytes;
        int lastChunk = (to - 1) >> ChunkShift;
        IoVecCursor cursor = operation.Cursor;
        int at = from;
        for (int chunk = from >> ChunkShift; chunk <= lastChunk; chunk++)
        {
            int chunkStart = chunk << ChunkShift;
            int pieceFrom = Math.Max(from, chunkStart + rowStart);
            int pieceTo = Math.Min(to, chunkStart + rowStart + _rowBytes);
            if (pieceFrom >= pieceTo)
            {
                continue;
            }

            cursor.Skip(pieceFrom - at);
            at = pieceFrom;
            row.Add(chunk, pieceFrom - chunkStart - rowStart, pieceTo - chunkStart - rowStart, cursor);
        }
    }

    private bool AdvanceZero(TransferOp operation)
    {
        long stripeBytes = Geometry.StripeDataSize;
        long inStripe = operation.Next % stripeBytes;
        long left = operation.SegmentEnd - operation.Next;
        if (inStripe == 0 && left >= stripeBytes)
        {
            return AdvanceWholeZero(operation, left / stripeBytes);
        }

        if (operation.Parent.Operation == BlockOperation.Discard)
        {
            operation.Next = Math.Min(operation.SegmentEnd, operation.Next - inStripe + stripeBytes);
            return true;
        }

        return AdvanceWrite(operation);
    }

    private bool AdvanceWholeZero(TransferOp operation, long stripes)
    {
        if (RentRow() is not { } row)
        {
            return false;
        }

        long most = Math.Min(
            MaxZeroRows / _rowsPerChunk, Array.MaxPieceBytes(BlockOperation.WriteZeroes) / Geometry.ChunkSize * Geometry.GroupCount);
        stripes = Math.Min(stripes, Math.Max(1, most));
        long stripe = operation.Next / Geometry.StripeDataSize;
        operation.Next += stripes * Geometry.StripeDataSize;
        operation.Pending++;
        row.Prepare(operation, stripe, 0);
        row.StartZero((int)stripes * _rowsPerChunk);
        return true;
    }
}
