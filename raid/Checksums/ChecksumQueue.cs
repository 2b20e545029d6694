using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Checksums;

/// <summary>
/// One reactor's way to a drive with checksums. Each request of the data takes an operation of the pool (<see
/// cref="ChecksumOp"/>); without a free one it waits in a list, which deferred work serves, so that completions never nest.
/// </summary>
internal sealed unsafe class ChecksumQueue : ReactorWork, IBlockQueue
{
    private const int OperationCount = 128;

    private readonly ChecksumOp[] _operations = new ChecksumOp[OperationCount];
    private readonly PagedMemory _images;
    private readonly long _blockMask;
    private readonly bool _discards, _readOnly;
    private FreeIndices _free = new(OperationCount);
    private RequestList _waiting;
    private bool _scheduled;
    private int _toldFlushes;

    /// <param name="owner">The drive with checksums.</param>
    /// <param name="inner">The drive's queue, this one's from now on.</param>
    /// <param name="reactor">The reactor, whose thread this is.</param>
    /// <param name="learns">Whether reads make sums of blocks that have none.</param>
    /// <exception cref="IOException">There is no address space.</exception>
    public ChecksumQueue(ChecksummedDrive owner, IBlockQueue inner, Reactor reactor, bool learns)
    {
        _images = new PagedMemory(((long)OperationCount * ChecksumOp.ImageBytes) + (OperationCount * sizeof(IoVec)));
        Owner = owner;
        Inner = inner;
        Reactor = reactor;
        Learns = learns;
        _blockMask = owner.Limits.LogicalBlockSize - 1;
        _discards = owner.Limits.Discard;
        _readOnly = owner.Limits.ReadOnly;
        _toldFlushes = owner.Keeper.LostFlushes;
        for (int i = 0; i < OperationCount; i++)
        {
            _operations[i] = new ChecksumOp(this, i, _images.Start + ((long)i * ChecksumOp.ImageBytes));
        }
    }

    /// <summary>The drive with checksums.</summary>
    public ChecksummedDrive Owner { get; }

    /// <summary>The drive's queue.</summary>
    public IBlockQueue Inner { get; }

    /// <summary>The reactor.</summary>
    public Reactor Reactor { get; }

    /// <summary>Whether reads make sums of blocks that have none.</summary>
    public bool Learns { get; }

    /// <summary>A segment for an operation's own.</summary>
    internal IoVec* VectorOf(int index) => (IoVec*)(_images.Start + ((long)OperationCount * ChecksumOp.ImageBytes)) + index;

    /// <inheritdoc/>
    public void Submit(BlockRequest request)
    {
        ChecksumLayout layout = Owner.Layout;
        if (request.Operation != BlockOperation.Flush)
        {
            int problem = RequestCheck.Validate(request, layout.DataEnd, _blockMask, _readOnly);
            if (problem == 0 && request.OffsetBytes < layout.DataOffset)
            {
                problem = request.OffsetBytes + request.LengthBytes > layout.DataOffset ? -Errno.EINVAL : 1;
            }

            if (problem == 0 && request.HasData && (request.Traits & BufferTraits.CpuAccessible) == 0)
            {
                problem = -Errno.EFAULT;
            }

            bool isTooLong = request.LengthBytes > (request.HasData ? ChecksumOp.MaxBytes : ChecksumOp.MaxRangeBytes);
            if (problem < 0 || (problem == 0 && isTooLong))
            {
                problem = problem < 0 ? problem : -Errno.EINVAL;
                request.Complete(problem);
                return;
            }

            if (problem > 0 || (request.Operation == BlockOperation.Discard && !_discards))
            {
                Inner.Submit(request);
                return;
            }
        }
        else if (_toldFlushes != Owner.Keeper.LostFlushes)
        {
            _toldFlushes = Owner.Keeper.LostFlushes;
            request.Complete(-Errno.EIO);
            return;
        }

        if (_free.IsEmpty || !_waiting.IsEmpty)
        {
            _waiting.Append(request);
        }
        else
        {
            _operations[_free.Take()].Start(request);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Inner.Dispose();
        _images.Dispose();
        Owner.Release();
    }

    /// <summary>Starts what has waited for a free operation: deferred work.</summary>
    public override void Run()
    {
        _scheduled = false;
        while (!_free.IsEmpty && _waiting.TakeFirst() is { } request)
        {
            _operations[_free.Take()].Start(request);
        }
    }

    /// <summary>An operation is at rest again.</summary>
    internal void Return(ChecksumOp operation)
    {
        _free.Return(operation.Index);
        if (!_waiting.IsEmpty && !_scheduled)
        {
            _scheduled = true;
            Reactor.Defer(this);
        }
    }
}
