// One row of a stripe under way: the same columns (at most 64 KiB) of every member, with their lock and their buffers.
//
// Theory of operation. Blocks are numbered as the parity kernels want them: data in order, then P, Q and what comes after. Every
// block has a staging buffer; drives read into staging and write from it. The memory of a submitter is read exactly once, into
// staging and parity in the same pass (the kernels see to it): a guest that changes its buffer meanwhile changes what it wrote,
// but never makes parity disagree with it, which would destroy the data of others at the next reconstruction. A member that is
// memory of this process (IMemoryQueue) is its own staging: its blocks are read and written in place, under the row's lock.
//
//   lock -> plan -> read what the plan needs -> compute -> record -> write -> unlock
//
// Staging begins with the first column that is touched (to the page): small writes, wherever they are, use the same few pages,
// and memory is taken as it is touched. What all rows of a queue use at a time is bounded by its RowBudget.
//
// The plan of a write covers the columns [lo, hi) in which anything is written:
//   Full         every data block is written over all columns: nothing is read.
//   Modify       reads the old data under the write and the parities, and adds the difference to them.
//   Reconstruct  reads the data that is not written, and computes the parities anew.
//   Recover      reads everything there is, makes the lost data, then goes on like Reconstruct: for a lost block that is not written
//                over all columns while no difference can be taken of it.
// Modify and Reconstruct are chosen by the bytes to read. Modify trusts the old parity, so it is avoided while the row is not
// resynced; when as many data blocks are lost as parities are there it is right all the same, because it keeps what they say
// about the lost blocks. With more parities than that, in such a row, they may say different things: Recover.
//
// All of it holds for any number of parities, 1 to 8, because each parity is a sum of the data blocks with coefficients, and any
// k of them have one solution for k lost blocks (StripeCode). So a row can lack as many blocks as it has parities, and which
// parities are taken to make some makes no difference, as long as all that are there fit the data: P is taken first, for it
// is the cheapest. Modify adds to every parity that is left what the difference makes in it, so that each still says of the lost
// blocks what it said before; a parity that cannot be read is not left out of that but made anew, by another plan. Full,
// Reconstruct and Recover make all parities from all data.
//
// A read that fails adds its block to the lost ones, and the plan is made again. What could be made from the others is written
// back with the rest: the block is repaired. A write that fails costs the member, not the row. The failed mask is read after the
// lock is taken and set before it is given back, so rows of other reactors never trust a block whose write failed.
//
// Nothing is made from a parity that may not fit: of columns in doubt (DoubtSet), of a row that a resync has yet to come to (a
// block that cannot be read there is unknown; only for a lost member it is made all the same, with the array's warning), from a
// distrusted member.
//
// A drive that does not answer and is out may keep a block's request, and its memory: ParityRow.Late.cs.
//
// ParityRow.Plans.cs chooses the plan, ParityRow.Fold.cs holds the arithmetic, ParityRow.Journal.cs what is recorded before a row
// is written, ParityRow.Refusals.cs what follows when members refuse a write.

using System.Diagnostics;
using System.Numerics;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Levels;

/// <summary>See the top of the file. Belongs to one reactor's queue.</summary>
internal sealed unsafe partial class ParityRow : RangeWaiter, IBlockCompletion, IDisposable
{
    private const int PageBytes = 4096;

    /// <summary>A page, so that blocks stay aligned for direct I/O.</summary>
    private const int StagingGapBytes = PageBytes;

    private enum Job : byte
    {
        Read,
        Write,
        Zero,
        Resync,
        Rebuild,
        Scrub,
        Settle,
    }

    private enum Plan : byte
    {
        Full,
        Modify,
        Reconstruct,
        Recover,
    }

    private struct Piece
    {
        public int From, To;
        public IoVecCursor Source;
    }

    private readonly ParityQueue _queue;
    private readonly RaidArray _array;
    private readonly RaidGeometry _geometry;
    private readonly int _rowBytes;
    private readonly int _rowsPerChunk;
    private readonly int _dataCount, _parityCount, _blockCount;
    private readonly ulong _dataMask;
    private readonly long _alignmentMask;
    private readonly RequestPool _pool;
    private readonly BlockRequest[] _requests;
    private readonly Piece[] _pieces;
    private PagedMemory? _ownMemory;
    private PagedMemory? _freshMemory;
    private byte* _staging;
    private readonly byte** _blocks;
    private readonly long _stagingStride;
    private readonly BlockFlags _durably;

    private TransferOp? _operation;
    private IRowCompletion? _completion;
    private Job _job;
    private Plan _plan;
    private BlockFlags _flags;
    private long _stripe;
    private long _row;              // its number: the unit of locks, of the resync and of doubts
    private long _memberOffset;
    private int _target;            // Read: the block that is wanted
    private int _lo, _hi;           // columns that the row touches
    private int _base;              // the column with which staging begins: that of _lo, down to a page
    private ulong _written;         // data blocks with new content
    private ulong _unreadable;      // blocks that could not be read
    private ulong _absent;          // those of them whose members are gone
    private ulong _lost;            // blocks of failed members, and the unreadable ones
    private ulong _failed;          // blocks of members that are out, or have not been rebuilt here
    private ulong _reading;
    private ulong _inPlace;         // blocks that lie in the members' own memory
    private int _pending;
    private int _status;
    private bool _isReading;
    private bool _isByRole;         // what is in flight is that of members by their role, not of blocks: zeroing over groups
    private bool _mends;            // Resync: what is bad is made and written as what cannot be read
    private ulong _mended;          // members of which it is

    /// <param name="queue">The queue.</param>
    /// <param name="array">Its array.</param>
    /// <param name="index">The row's number in the queue's pool, or -1.</param>
    /// <param name="staging">Its part of the queue's memory: <see cref="StagingBytesOf"/>; null where it is to have its own.</param>
    /// <exception cref="IOException">There is no address space for its own.</exception>
    public ParityRow(ParityQueue queue, RaidArray array, int index, byte* staging)
    {
        Index = index;
        _queue = queue;
        _array = array;
        _geometry = queue.Geometry;
        _kernels = ParityKernels.Best;
        _rowBytes = RaidUnits.RowBytes(_geometry);
        _rowsPerChunk = _geometry.ChunkSize / _rowBytes;

        // The same column of every block is used together. At a power of two apart they would all fall into the same few sets of
        // the caches.
        _stagingStride = StrideOf(_rowBytes);
        _dataCount = _geometry.DataCount;
        _parityCount = _geometry.ParityCount;
        _blockCount = _dataCount + _parityCount;
        _dataMask = (1UL << _dataCount) - 1;
        _alignmentMask = array.Limits.BufferAlignment - 1;
        _pool = new RequestPool(_geometry.MemberCount, 1);
        _requests = new BlockRequest[_geometry.MemberCount];
        _pieces = new Piece[_dataCount];
        for (int i = 0; i < _requests.Length; i++)
        {
            _requests[i] = _pool.TryRent()!;
            _requests[i].Tag = i;
            _requests[i].Completion = this;
        }

        StagingBytes = StagingBytesOf(_geometry);
        _ownMemory = staging is null ? new PagedMemory(StagingBytes) : null;
        _staging = _ownMemory is null ? staging : _ownMemory.Start;
        _blocks = (byte**)NativeMemory.Alloc((nuint)_blockCount, (nuint)sizeof(byte*));
        for (int i = 0; i < _blockCount; i++)
        {
            _blocks[i] = StagingOf(i);
        }

        _pointers = (byte**)NativeMemory.Alloc((nuint)(3 * _blockCount), (nuint)sizeof(byte*));
        _sources = _pointers + _blockCount;
        _copies = _sources + _blockCount;
        _runs = (IoVec*)NativeMemory.Alloc((nuint)_dataCount, (nuint)sizeof(IoVec));
        _durably = array.Limits.VolatileCache ? BlockFlags.Fua : BlockFlags.None;
        _slot = queue.Journal is { } journal ? new SlotLock(this, journal) : null;
    }

    /// <summary>Its number in the queue's pool.</summary>
    public int Index { get; }

    /// <summary>Bytes of its staging.</summary>
    public long StagingBytes { get; }

    /// <summary>Bytes of staging that it uses for what it does, at most.</summary>
    public long BytesInUse { get; private set; }

    internal override Reactor Home => _queue.Reactor;

    internal override RangeLocks Locks => _array.Locks;

    /// <summary>Makes a range of a data block from the others and copies it to the submitter's memory.</summary>
    public void StartRead(TransferOp operation, long row, int dataIndex, int from, int to, IoVecCursor destination)
    {
        Prepare(operation, row / _rowsPerChunk, (int)(row % _rowsPerChunk));
        _job = Job.Read;
        _target = dataIndex;
        _lo = from;
        _hi = to;
        _pieces[dataIndex].Source = destination;
        Lock(1);
    }

    /// <summary>Sets up the row for a write: <see cref="Add"/> and <see cref="StartWrite"/> follow.</summary>
    public void Prepare(TransferOp operation, long stripe, int rowInChunk)
    {
        SetPlace(stripe, rowInChunk);
        _operation = operation;
        _completion = null;
        _flags = operation.Parent.Flags & BlockFlags.Fua;
        _zeroes = !operation.Parent.HasData;
    }

    /// <summary>Columns [from, to) of a data block get new content.</summary>
    public void Add(int dataIndex, int from, int to, IoVecCursor source)
    {
        ref Piece piece = ref _pieces[dataIndex];
        piece.From = from;
        piece.To = to;
        piece.Source = source;
        _lo = _written == 0 ? from : Math.Min(_lo, from);
        _hi = _written == 0 ? to : Math.Max(_hi, to);
        _written |= 1UL << dataIndex;
    }

    /// <summary>Starts the write that was set up.</summary>
    public void StartWrite()
    {
        _job = Job.Write;
        Lock(1);
    }

    /// <summary>Zeroes whole rows on every member.</summary>
    public void StartZero(int rows)
    {
        _job = Job.Zero;
        _isAdvice = _operation!.Parent.Operation == BlockOperation.Discard;
        _flags = _isAdvice ? BlockFlags.Unmap : _operation.Parent.Flags;
        _lo = 0;
        _hi = _rowBytes;
        Lock(rows);
    }

    /// <summary>
    /// Does a row of a background job. One of a rebuild that has succeeded is still locked when it is done. What members hold
    /// that are known to be unreadable is made from the others and written to them.
    /// </summary>
    public void StartJob(long row, RowJob job, IRowCompletion completion, ulong unreadable = 0)
    {
        SetPlace(row / _rowsPerChunk, (int)(row % _rowsPerChunk));
        _unreadable = BlocksOf(unreadable);
        _operation = null;
        _completion = completion;
        _flags = BlockFlags.None;
        _zeroes = false;
        _job = job switch { RowJob.Rebuild => Job.Rebuild, RowJob.Resync or RowJob.Mend => Job.Resync, _ => Job.Scrub };
        _mends = job == RowJob.Mend;
        _repairs = job == RowJob.Repair;
        _finding = 0;
        _lo = 0;
        _hi = _rowBytes;
        Lock(1);
    }

    /// <summary>A read or a write of a member is done.</summary>
    public void OnCompleted(BlockRequest request)
    {
        int block = (int)request.Tag;
        int member = MemberOf(block);
        if (_queue.ComesAgain(_queue.MemberQueues[member]!, request))
        {
            return;
        }

        if (request.Status != 0)
        {
            if (_isReading)
            {
                _array.Members[member].CountReadError();
                _unreadable |= 1UL << block;
                _absent |= BlockErrors.KindOf(request.Status) == BlockErrorKind.Gone ? 1UL << block : 0;
            }
            else
            {
                _refusals.Note(_array.Members[member], request);
            }
        }
        else if (!_isReading && _journalStep is JournalStep.None or JournalStep.Recorded && (_unreadable & (1UL << block)) != 0
            && (_mended == 0 || _flags == _durably))
        {
            _array.Members[member].CountRepair();
        }

        PartDone();
    }

    public void Dispose()
    {
        foreach (BlockRequest request in _requests)
        {
            _pool.Return(request);
        }

        _pool.Dispose();
        _ownMemory?.Dispose();
        _freshMemory?.Dispose();
        NativeMemory.Free(_pointers);
        NativeMemory.Free(_blocks);
        NativeMemory.Free(_runs);
    }

    protected override void OnLocked() => Begin();

    private void SetPlace(long stripe, int rowInChunk)
    {
        _stripe = stripe;
        _memberOffset = _geometry.StripeOffset(stripe) + ((long)rowInChunk * _rowBytes);
        _row = FirstUnit = (stripe * _rowsPerChunk) + rowInChunk;
        _written = 0;
        _unreadable = _absent = 0;
        _status = 0;
        _refusals = default;
        _mends = false;
        _mended = 0;
        _isAdvice = false;
        _finding = 0;
        _voided = 0;
    }

    /// <summary>Goes to another one of the rows that are locked.</summary>
    private void SetRow(long row)
    {
        _row = row;
        _stripe = row / _rowsPerChunk;
        _memberOffset = _geometry.StripeOffset(_stripe) + (row % _rowsPerChunk * _rowBytes);
    }

    /// <summary>Staging begins with the columns that are touched.</summary>
    private void PlaceStaging()
    {
        int first = _lo & ~(PageBytes - 1);
        if (first != _base)
        {
            _base = first;
            for (int i = 0; i < _blockCount; i++)
            {
                _blocks[i] = StagingOf(i);
            }
        }
    }

    private void Lock(int rows)
    {
        UnitCount = rows;
        BytesInUse = (((_hi + PageBytes - 1) & ~(PageBytes - 1)) - (_lo & ~(PageBytes - 1))) * (long)(_blockCount + _parityCount);
        if (Index >= 0)
        {
            _queue.Budget.Take(this);
        }

        if (Locks.LockOrWait(this))
        {
            Begin();
        }
    }

    /// <summary>The lock is held: begins.</summary>
    private void Begin()
    {
        PlaceStaging();
        if (_operation is { Unreadable: not 0 } operation)
        {
            _unreadable = BlocksOf(operation.Unreadable);
            _absent = BlocksOf(operation.Unreadable & operation.Refusals.Gone);
        }

        if (_job == Job.Zero)
        {
            VoidThenZero();
        }
        else if (_job == Job.Rebuild && _array.State.RebuildsMarked
            && !_array.Intent!.IsMarked(_stripe * _geometry.StripeDataSize, _geometry.StripeDataSize))
        {
            // Nothing was written here while the member was away. Looked at under the lock: a write marks before it locks.
            Finish(0);
        }
        else if (_job == Job.Scrub)
        {
            ReadForScrub();
        }
        else
        {
            ReadForPlan();
        }
    }

    /// <summary>
    /// Chooses for each block whether it lies in staging or, as far as it is among the given, in its member's memory.
    /// </summary>
    private void PlaceBlocks(ulong usable)
    {
        _inPlace = 0;
        for (int block = 0; block < _blockCount; block++)
        {
            nint memory = _queue.MemberMemory[_geometry.BlockMember(_stripe, block)];
            if (memory != 0 && ((usable >> block) & 1) != 0)
            {
                _inPlace |= 1UL << block;
                _blocks[block] = (byte*)memory + _memberOffset;
            }
            else
            {
                _blocks[block] = StagingOf(block);
            }
        }
    }

    private void PartDone()
    {
        if (--_pending != 0)
        {
            return;
        }

        _isByRole = false;
        if (_freshMemory is not null)
        {
            ExchangeStaging();
        }

        if (_journalStep is JournalStep.Recording or JournalStep.Voiding)
        {
            AfterRecords();
        }
        else if (!_isReading)
        {
            AfterWrites();
        }
        else if (_job == Job.Settle)
        {
            AfterSettleReads();
        }
        else if (_job == Job.Scrub)
        {
            AfterScrubReads();
        }
        else if ((_unreadable & _reading) != 0)
        {
            ReadForPlan();
        }
        else
        {
            Compute();
            RecordThenWrite();
        }
    }

    /// <summary>Writes what changed, and what was repaired, to every member that has not failed.</summary>
    private void WriteBack()
    {
        _isReading = false;
        _pending = 1;

        if (_job == Job.Write && _array.State.IsBroken)
        {
            // Nothing more is written; what lies in members' own memory has been changed already.
            if (_inPlace != 0)
            {
                PutInDoubt();
            }

            Finish(-Errno.EIO);
            return;
        }

        // Whoever failed since the plan was made is not written to: it stays lost here for as long as the row is locked.
        ulong failed = BlocksOf(_job == Job.Rebuild ? _array.State.FailedMask | _array.State.BadAt(_row) : LostHere);
        ulong wide = _job != Job.Read ? _unreadable : _array.Limits.ReadOnly ? 0 : _unreadable & (1UL << _target);
        if (_job == Job.Rebuild)
        {
            wide |= BlocksOf(_array.State.RebuildingMask);
        }

        if (_job != Job.Read && !(_job == Job.Rebuild && _synced))
        {
            wide |= AllBlocks & ~_dataMask;
        }

        ulong written = _job == Job.Write ? _written : 0;
        bool recovered = _job != Job.Write || _plan == Plan.Recover;
        if (!recovered)
        {
            // Only Recover fills the columns around the new content.
            wide &= ~_dataMask;
        }

        for (ulong left = (wide | written) & ~(failed | _inPlace); left != 0 && _lo != _hi; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            bool whole = (wide & (1UL << block)) != 0;
            Send(BlockOperation.Write, block, whole ? _lo : _pieces[block].From, whole ? _hi : _pieces[block].To);
        }

        PartDone();
    }

    private void SendZeroes()
    {
        if (_array.State.IsBroken)
        {
            Finish(-Errno.EIO);
            return;
        }

        _isReading = false;
        _pending = 1;
        if (_geometry.GroupCount > 1)
        {
            SendZeroesToGroups();
            PartDone();
            return;
        }

        // Also to those that are being rebuilt, wherever: of so many rows some may be in step there.
        for (ulong left = AllBlocks & ~BlocksOf(_array.State.FailedMask); left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            SendZeroes(block, _geometry.BlockMember(_stripe, block), _memberOffset, (long)UnitCount * _rowBytes);
        }

        PartDone();
    }

    /// <summary>Stripes that follow each other lie in all groups: in each of them at the same offset of every member.</summary>
    private void SendZeroesToGroups()
    {
        _isByRole = true;
        ulong failed = _array.State.FailedMask;
        for (int group = 0; group < _geometry.GroupCount; group++)
        {
            (long row, long rows) = RaidUnits.OfGroup(_geometry, group, FirstUnit, FirstUnit + UnitCount - 1);
            ulong members = rows == 0 ? 0 : _geometry.MembersOf(group) & ~failed;
            for (ulong left = members; left != 0; left &= left - 1)
            {
                int role = BitOperations.TrailingZeroCount(left);
                SendZeroes(role, role, _geometry.DataOffset + (row * _rowBytes), rows * _rowBytes);
            }
        }
    }

    private void SendZeroes(int request, int member, long memberOffset, long length)
    {
        _requests[request].Prepare(BlockOperation.WriteZeroes, memberOffset, length, null, 0);
        _requests[request].Flags = _flags;
        _pending++;
        _queue.MemberQueues[member]!.Submit(_requests[request]);
    }

    private void Send(BlockOperation operation, int block, int from, int to) => Submit(
        operation, block, _blocks[block] + from, _memberOffset + from, to - from, operation == BlockOperation.Write ? _flags : BlockFlags.None);

    /// <summary>Sends a read or a write to the member of a block.</summary>
    private void Submit(BlockOperation operation, int block, byte* buffer, long memberOffset, int length, BlockFlags flags)
    {
        BlockRequest request = _requests[block];
        *request.OwnVectors = new IoVec(buffer, (nuint)length);
        request.Prepare(operation, memberOffset, length, request.OwnVectors, 1);
        request.Flags = flags;
        bool aligned = (((long)buffer | (uint)length) & _alignmentMask) == 0;
        request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable | (aligned ? BufferTraits.Aligned : BufferTraits.None);
        _pending++;
        _queue.MemberQueues[_geometry.BlockMember(_stripe, block)]!.Submit(request);
    }

    private ulong AllBlocks => _blockCount == 64 ? ulong.MaxValue : (1UL << _blockCount) - 1;

    /// <summary>The member to which a request goes, by the request's number.</summary>
    private int MemberOf(int request) => _isByRole ? request : _geometry.BlockMember(_stripe, request);

    /// <summary>
    /// The blocks that members of a mask hold in this stripe: none of those in other groups. (Zeroing spans stripes with the same
    /// mask of members.)
    /// </summary>
    private ulong BlocksOf(ulong members) => _geometry.BlocksOf(_stripe, members);

    /// <summary>Where column 0 of a block would be; only the touched ones are there.</summary>
    private byte* StagingOf(int block) => _staging + (block * _stagingStride) - _base;

    /// <summary>Gives the memory of staging back to the system. The row is at rest.</summary>
    internal void ReleaseStaging() => PagedMemory.Release(_staging, StagingBytes);

    /// <summary>Bytes of the staging of a row of an array: behind the blocks there is room for parities to be compared.</summary>
    internal static long StagingBytesOf(RaidGeometry geometry) =>
        StrideOf(RaidUnits.RowBytes(geometry)) * (geometry.GroupSize + geometry.ParityCount);

    private static long StrideOf(int rowBytes) => rowBytes + StagingGapBytes;

    private void Finish(int status)
    {
        if (!EndsLater(status))
        {
            End(status);
        }
    }

    private void End(int status)
    {
        if (_slot is not null && (_job == Job.Zero || (_job is Job.Write or Job.Settle && _durably != BlockFlags.None && (_flags & BlockFlags.Fua) == 0)))
        {
            _array.State.NoteWholeRow();
        }

        if (_job == Job.Resync && status < 0 && !_mends)
        {
            _array.State.NoteNotSynced(_row, _rowBytes);
        }

        status = status == 0 ? _finding : status;

        if (_job != Job.Rebuild || status < 0)
        {
            Locks.Unlock(FirstUnit, UnitCount);
        }

        TransferOp? operation = _operation;
        if (operation is null)
        {
            _completion!.OnRowDone(this, status);
            return;
        }

        _operation = null;
        _queue.ReturnRow(this);
        _queue.PartDone(operation, status);
    }
}
