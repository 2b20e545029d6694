// A request of the data under way.
//
// A read goes to the drive at once, into the submitter's memory, beside whatever is being written: it takes its pages of sums and
// no lock. When its blocks are what their sums say, that is all. When one is not, a write may have been under way there, or the
// submitter may have changed its memory: the read begins anew, under the lock of its blocks, into memory of its own. What differs
// then is an error of the drive.
//
// A change locks its blocks, so that sums change in the order in which the drive is written, and takes its pages and regions
// (ChecksumKeeper.cs). The new sums are entered, then the drive is written; a read that meets the two apart waits for the lock.
// What is written is what was summed: memory that somebody else may change is copied first. A change that fails leaves its blocks
// without sums: nobody knows what they hold.
//
// Of a block that is changed in part the rest is read first. Where that is not what its sum says, the new sum is none that the
// block could have: that it is wrong stays found, and the whole block is what has to be mended.
//
// Locks come before pages, so nobody has pages while he waits for a lock; and pages are given all at once, or none.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Checksums;

/// <summary>See the top of the file. One reactor's; of its queue's pool.</summary>
internal sealed unsafe class ChecksumOp : RangeWaiter, IBlockCompletion
{
    /// <summary>The longest read or write in bytes.</summary>
    public const int MaxBytes = 256 << 10;

    /// <summary>The longest discard or zeroing in bytes: no longer than that a request touches two pages at most.</summary>
    public const int MaxRangeBytes = 2 << 20;

    /// <summary>Memory of an operation: the longest request, in whole blocks wherever it begins.</summary>
    public const int ImageBytes = MaxBytes + (2 * Block);

    private const int Block = ChecksumLayout.BlockBytes;

    private enum Stage : byte
    {
        Read,
        Head,
        Tail,
        Change,
        Flush,
    }

    private readonly ChecksumQueue _queue;
    private readonly ChecksumPages _pages;
    private readonly ChecksumRegions _regions;
    private readonly ChecksumLayout _layout;
    private readonly byte* _image;
    private readonly IoVec* _vector;
    private readonly BlockRequest _inner = new();
    private readonly GrantedWork _granted;
    private BlockRequest? _request;
    private Stage _stage;
    private bool _isLocked, _isPrivate, _hasPages;
    private bool _headIsKnown, _tailIsKnown, _headIsWrong, _tailIsWrong;
    private long _offset, _end;
    private int _status;

    public ChecksumOp(ChecksumQueue queue, int index, byte* image)
    {
        _queue = queue;
        _pages = queue.Owner.Keeper.Pages;
        _regions = queue.Owner.Keeper.Regions;
        _layout = queue.Owner.Layout;
        _image = image;
        _inner.Completion = this;
        _granted = new GrantedWork(this);
        Index = index;
        _vector = queue.VectorOf(index);
    }

    /// <summary>Its number in the pool.</summary>
    public int Index { get; }

    /// <summary>The link of the list of those that ask the keeper.</summary>
    public ChecksumOp? NextAsked { get; set; }

    /// <summary>The first page of sums.</summary>
    public int FirstPage { get; private set; }

    /// <summary>The last one: the same, or the next.</summary>
    public int LastPage { get; private set; }

    /// <summary>Whether it enters sums, and so needs the regions.</summary>
    public bool Changes { get; private set; }

    /// <summary>For the keeper: which of the two pages it has pinned.</summary>
    public int Pinned { get; set; }

    internal override Reactor Home => _queue.Reactor;

    internal override RangeLocks Locks => _queue.Owner.Locks;

    private long DataFirst => FirstUnit * Block;

    private bool IsWhole => ((_offset | _end) & (Block - 1)) == 0;

    /// <summary>Carries a request out.</summary>
    public void Start(BlockRequest request)
    {
        _request = request;
        _isLocked = _isPrivate = _hasPages = false;
        _headIsKnown = _tailIsKnown = _headIsWrong = _tailIsWrong = false;
        if (request.Operation == BlockOperation.Flush)
        {
            _stage = Stage.Flush;
            _inner.Prepare(BlockOperation.Flush, 0, 0, null, 0);
            _queue.Inner.Submit(_inner);
            return;
        }

        _offset = request.OffsetBytes - _layout.DataOffset;
        _end = _offset + request.LengthBytes;
        if (request.Operation == BlockOperation.Discard)
        {
            // Of a block that is discarded in part the rest stays: so does all of it.
            _offset = (_offset + Block - 1) & ~(Block - 1L);
            _end &= ~(Block - 1L);
            if (_offset >= _end)
            {
                Finish(0);
                return;
            }
        }

        FirstUnit = _offset / Block;
        UnitCount = (int)(((_end + Block - 1) / Block) - FirstUnit);
        FirstPage = (int)(FirstUnit / ChecksumLayout.SumsInPage);
        LastPage = (int)((FirstUnit + UnitCount - 1) / ChecksumLayout.SumsInPage);
        Changes = request.Operation != BlockOperation.Read || _queue.Learns;
        if (Changes)
        {
            Lock();
        }
        else
        {
            TakePages();
        }
    }

    /// <summary>The keeper has pinned the pages and entered the regions, or cannot. Any thread.</summary>
    /// <param name="status">0, or a negative errno.</param>
    public void Grant(int status)
    {
        _status = status;
        Home.Post(_granted);
    }

    /// <summary>The drive has answered.</summary>
    public void OnCompleted(BlockRequest inner)
    {
        int status = inner.Status;
        switch (_stage)
        {
            case Stage.Flush:
                if (status is not (0 or -Errno.EAGAIN or -Errno.EINTR))
                {
                    _queue.Owner.Keeper.NoteFailedFlush();
                }

                Finish(status);
                break;
            case Stage.Read:
                EndRead(status);
                break;
            case Stage.Head or Stage.Tail:
                EndEdge(status);
                break;
            default:
                if (status != 0)
                {
                    EnterNone();
                }

                Finish(status);
                break;
        }
    }

    protected override void OnLocked()
    {
        _isLocked = true;
        TakePages();
    }

    private void Lock()
    {
        if (Locks.LockOrWait(this))
        {
            OnLocked();
        }
    }

    private void TakePages()
    {
        if (TryTakePages())
        {
            Proceed();
        }
        else
        {
            _queue.Owner.Keeper.Ask(this);
        }
    }

    private bool TryTakePages()
    {
        for (int page = FirstPage; page <= LastPage; page++)
        {
            if (!_pages.TryPin(page))
            {
                GivePages(page, page);
                return false;
            }

            if (Changes && !_regions.TryEnter(_layout.RegionOf(page)))
            {
                GivePages(page + 1, page);
                return false;
            }
        }

        _hasPages = true;
        return true;
    }

    /// <summary>Gives back the pages, and the regions, before those.</summary>
    private void GivePages(int endOfPages, int endOfRegions)
    {
        for (int page = FirstPage; page < endOfPages; page++)
        {
            if (Changes && page < endOfRegions)
            {
                _regions.Exit(_layout.RegionOf(page));
            }

            _pages.Unpin(page);
        }
    }

    private void OnGranted()
    {
        if (_status != 0)
        {
            Finish(_status);
            return;
        }

        _hasPages = true;
        Proceed();
    }

    private void Proceed()
    {
        BlockRequest request = _request!;
        switch (request.Operation)
        {
            case BlockOperation.Read:
                SubmitRead(request);
                break;
            case BlockOperation.Discard:
                EnterNone();
                Submit(Stage.Change, BlockOperation.Discard, _offset, _end - _offset);
                break;
            default:
                _isPrivate = request.HasData && !(IsWhole && (request.Traits & BufferTraits.Stable) != 0);
                ReadEdges(Stage.Head);
                break;
        }
    }

    private void SubmitRead(BlockRequest request)
    {
        _isPrivate |= !IsWhole;
        if (_isPrivate)
        {
            Submit(Stage.Read, BlockOperation.Read, DataFirst, (long)UnitCount * Block);
        }
        else
        {
            SubmitOwn(Stage.Read, request);
        }
    }

    private void EndRead(int status)
    {
        BlockRequest request = _request!;
        long bad = status != 0 ? -1
            : Compare(_isPrivate ? new IoVecCursor(_vector, 1) : new IoVecCursor(request.Vectors, request.VectorCount));
        if (bad >= 0 && !(_isLocked && _isPrivate))
        {
            _isPrivate = true;
            if (_isLocked)
            {
                SubmitRead(request);
                return;
            }

            // No pages while it waits for the lock.
            GivePages(LastPage + 1, LastPage + 1);
            _hasPages = false;
            Lock();
            return;
        }

        if (bad >= 0)
        {
            _queue.Owner.NoteError(_layout.DataOffset + (bad * Block));
            status = -Errno.EILSEQ;
        }
        else if (status == 0 && _isPrivate)
        {
            Copy(request, toRequest: true);
        }

        Finish(status);
    }

    /// <summary>Reads the blocks that are changed in part, one after the other, and then changes.</summary>
    private void ReadEdges(Stage first)
    {
        bool hasHead = (_offset & (Block - 1)) != 0 || UnitCount == 1;
        bool hasTail = (_end & (Block - 1)) != 0 && UnitCount > 1;
        if (!IsWhole && hasHead && first == Stage.Head)
        {
            SubmitEdge(Stage.Head, DataFirst, _image);
        }
        else if (!IsWhole && hasTail)
        {
            SubmitEdge(Stage.Tail, DataFirst + ((UnitCount - 1L) * Block), TailImage);
        }
        else
        {
            Change();
        }
    }

    /// <summary>
    /// Where the last block is in memory: in its place, or, of a zeroing, which has no other, behind the first.
    /// </summary>
    private byte* TailImage => _image + (_request!.HasData ? (UnitCount - 1L) * Block : Block);

    private void SubmitEdge(Stage stage, long dataOffset, byte* to)
    {
        _stage = stage;
        *_vector = new IoVec(to, Block);
        _inner.Prepare(BlockOperation.Read, _layout.DataOffset + dataOffset, Block, _vector, 1);
        _inner.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
        _queue.Inner.Submit(_inner);
    }

    private void EndEdge(int status)
    {
        if (BlockErrors.KindOf(status) is BlockErrorKind.Passing or BlockErrorKind.Gone)
        {
            Finish(status);
            return;
        }

        bool isHead = _stage == Stage.Head;
        long block = isHead ? FirstUnit : FirstUnit + UnitCount - 1;
        uint sum = *SumOf(block);
        bool isKnown = status == 0 && sum != 0;
        bool isWrong = isKnown && sum != ChecksumPage.Sum(new ReadOnlySpan<byte>(isHead ? _image : TailImage, Block));
        if (isWrong)
        {
            _queue.Owner.NoteError(_layout.DataOffset + (block * Block));
        }

        if (isHead)
        {
            (_headIsKnown, _headIsWrong) = (isKnown, isWrong);
            ReadEdges(Stage.Tail);
        }
        else
        {
            (_tailIsKnown, _tailIsWrong) = (isKnown, isWrong);
            Change();
        }
    }

    /// <summary>Enters the sums of what is going to be there, and writes it.</summary>
    private void Change()
    {
        BlockRequest request = _request!;
        if (!request.HasData)
        {
            ChangeToZeroes();
            return;
        }

        if (_isPrivate)
        {
            Copy(request, toRequest: false);
            *_vector = new IoVec(_image, (nuint)(UnitCount * Block));
            Enter(new IoVecCursor(_vector, 1));
            MarkEdges();
            *_vector = new IoVec(_image + (_offset - DataFirst), (nuint)request.LengthBytes);
            _stage = Stage.Change;
            _inner.Prepare(BlockOperation.Write, request.OffsetBytes, request.LengthBytes, _vector, 1);
            _inner.Flags = request.Flags;
            _inner.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
            _queue.Inner.Submit(_inner);
        }
        else
        {
            Enter(new IoVecCursor(request.Vectors, request.VectorCount));
            SubmitOwn(Stage.Change, request);
        }
    }

    private void ChangeToZeroes()
    {
        for (int i = 0; i < UnitCount; i++)
        {
            *SumOf(FirstUnit + i) = ChecksumPage.OfZeroes;
        }

        if (!IsWhole)
        {
            // Zeroes go over what was read of the first and the last block.
            long first = DataFirst, last = DataFirst + ((UnitCount - 1L) * Block);
            if ((_offset & (Block - 1)) != 0 || UnitCount == 1)
            {
                new Span<byte>(_image + (_offset - first), (int)(Math.Min(_end, first + Block) - _offset)).Clear();
                *SumOf(FirstUnit) = ChecksumPage.Sum(new ReadOnlySpan<byte>(_image, Block));
            }

            if ((_end & (Block - 1)) != 0 && UnitCount > 1)
            {
                new Span<byte>(TailImage, (int)(_end - last)).Clear();
                *SumOf(FirstUnit + UnitCount - 1) = ChecksumPage.Sum(new ReadOnlySpan<byte>(TailImage, Block));
            }

            MarkEdges();
        }

        MarkDirty();
        Submit(Stage.Change, BlockOperation.WriteZeroes, _offset, _end - _offset);
    }

    /// <summary>
    /// Blocks that were changed in part: where the rest was wrong, their sums stay wrong; where nothing was known of it, nothing
    /// is.
    /// </summary>
    private void MarkEdges()
    {
        if ((_offset & (Block - 1)) != 0 || (UnitCount == 1 && !IsWhole))
        {
            MarkEdge(FirstUnit, _headIsKnown, _headIsWrong);
        }

        if ((_end & (Block - 1)) != 0 && UnitCount > 1)
        {
            MarkEdge(FirstUnit + UnitCount - 1, _tailIsKnown, _tailIsWrong);
        }

        void MarkEdge(long block, bool isKnown, bool isWrong)
        {
            uint* sum = SumOf(block);
            *sum = isWrong ? ChecksumPage.Spoil(*sum) : isKnown ? *sum : 0;
        }
    }

    /// <summary>
    /// Returns the first block that is not what its sum says; -1 where all are. A queue that learns enters the sums that are
    /// missing.
    /// </summary>
    private long Compare(IoVecCursor data)
    {
        bool entered = false;
        for (int i = 0; i < UnitCount; i++)
        {
            uint* known = SumOf(FirstUnit + i);
            uint expected = Volatile.Read(ref *known);
            if (expected == 0 && !_queue.Learns)
            {
                data.Skip(Block);
                continue;
            }

            uint sum = ChecksumPage.Sum(new ReadOnlySpan<byte>(Next(ref data), Block));
            if (expected == 0)
            {
                *known = sum;
                entered = true;
            }
            else if (expected != sum)
            {
                return FirstUnit + i;
            }
        }

        if (entered)
        {
            MarkDirty();
        }

        return -1;
    }

    private void Enter(IoVecCursor data)
    {
        for (int i = 0; i < UnitCount; i++)
        {
            *SumOf(FirstUnit + i) = ChecksumPage.Sum(new ReadOnlySpan<byte>(Next(ref data), Block));
        }

        MarkDirty();
    }

    private void EnterNone()
    {
        for (int i = 0; i < UnitCount; i++)
        {
            *SumOf(FirstUnit + i) = 0;
        }

        MarkDirty();
    }

    private uint* SumOf(long block)
    {
        (long page, long index) = Math.DivRem(block, ChecksumLayout.SumsInPage);
        return _pages.Sums((int)page) + index;
    }

    private void MarkDirty()
    {
        for (int page = FirstPage; page <= LastPage; page++)
        {
            _pages.MarkDirty(page);
        }
    }

    /// <summary>
    /// The next block of a list of segments, in one piece: where it is in several, in the image, which is free then.
    /// </summary>
    private byte* Next(ref IoVecCursor data)
    {
        IoVec run = data.NextRun(Block);
        if (run.Length == Block)
        {
            return run.Base;
        }

        for (nuint have = 0; run.Length != 0; run = data.NextRun(Block - (long)have))
        {
            Buffer.MemoryCopy(run.Base, _image + have, Block - (long)have, (long)run.Length);
            have += run.Length;
            if (have == Block)
            {
                break;
            }
        }

        return _image;
    }

    /// <summary>Copies what is read or written between the submitter's memory and the image.</summary>
    private void Copy(BlockRequest request, bool toRequest) =>
        RequestCopy.Copy(request, 0, _image + (_offset - DataFirst), request.LengthBytes, toRequest);

    /// <summary>Sends what needs no segments of the submitter's.</summary>
    private void Submit(Stage stage, BlockOperation operation, long dataOffset, long length)
    {
        _stage = stage;
        bool hasData = operation == BlockOperation.Read;
        *_vector = new IoVec(_image, (nuint)length);
        _inner.Prepare(operation, _layout.DataOffset + dataOffset, length, hasData ? _vector : null, hasData ? 1 : 0);
        _inner.Flags = _request!.Flags;
        _inner.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
        _queue.Inner.Submit(_inner);
    }

    /// <summary>Sends the request as it is.</summary>
    private void SubmitOwn(Stage stage, BlockRequest request)
    {
        _stage = stage;
        _inner.Prepare(request.Operation, request.OffsetBytes, request.LengthBytes, request.Vectors, request.VectorCount);
        _inner.Flags = request.Flags;
        _inner.Traits = request.Traits;
        _inner.RegisteredBuffer = request.RegisteredBuffer;
        _queue.Inner.Submit(_inner);
    }

    private void Finish(int status)
    {
        BlockRequest request = _request!;
        _request = null;
        if (_hasPages)
        {
            GivePages(LastPage + 1, LastPage + 1);
        }

        if (_isLocked)
        {
            Locks.Unlock(FirstUnit, UnitCount);
        }

        _queue.Return(this);
        request.Complete(status);
    }

    private sealed class GrantedWork(ChecksumOp operation) : ReactorWork
    {
        public override void Run() => operation.OnGranted();
    }
}
