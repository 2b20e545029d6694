// Makes copies agree: reads a range from one copy and writes it to others, with the range locked. Users: the repair of a block that could
// not be read (the good copy is written over it), the resync (the first copy is written to all others), and a write that lost its memory.
//
// The data goes through a buffer of its own, never through a guest's: a guest could change it between the read and the write.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Levels;

/// <summary>Told when a row of a resync is done, on its reactor.</summary>
internal interface IRowCompletion
{
    /// <summary>The row is done.</summary>
    /// <param name="row">The object that carried it out; it can be started again.</param>
    /// <param name="status">0 or a negative errno.</param>
    void OnRowDone(RangeWaiter row, int status);
}

/// <summary>One copy under way. Belongs to one reactor's queue.</summary>
internal sealed unsafe class MirrorCopyOp : RangeWaiter, IBlockCompletion, IDisposable
{
    /// <summary>The longest range that is copied at once.</summary>
    public const int MaxBytes = 64 << 10;

    private const int LockShift = 12;

    private readonly MirrorQueue _queue;
    private readonly RaidArray _array;
    private readonly RaidGeometry _geometry;
    private readonly RequestPool _children;
    private readonly BlockRequest[] _requests;
    private readonly byte* _buffer;
    private IRowCompletion? _completion;
    private long _offset, _length, _end;
    private int _badMember;
    private int _source;
    private int _pending;
    private int _status;

    public MirrorCopyOp(MirrorQueue queue, RaidArray array)
    {
        _queue = queue;
        _array = array;
        _geometry = array.Geometry;
        int copies = _geometry.CopyCount;
        _children = new RequestPool(copies, 1);
        _requests = new BlockRequest[copies];
        for (int i = 0; i < copies; i++)
        {
            _requests[i] = _children.TryRent()!;
        }

        _buffer = (byte*)NativeMemory.AlignedAlloc(MaxBytes, 4096);
    }

    /// <summary>Whether it is under way.</summary>
    public bool IsBusy { get; private set; }

    internal override Reactor Home => _queue.Reactor;

    internal override RangeLocks Locks => _queue.Locks;

    /// <summary>
    /// Rewrites a range of a member that could not be read. Does nothing when a repair is under way: it will be found again; nor
    /// in an array that is only read.
    /// </summary>
    public void TryRepair(long offset, long length, int badMember)
    {
        if (IsBusy || _array.Limits.ReadOnly)
        {
            return;
        }

        IsBusy = true;
        _completion = null;
        _badMember = badMember;
        _offset = offset;
        _end = offset + length;
        Begin();
    }

    /// <summary>Copies the first usable copy of a range to all others, in pieces of <see cref="MaxBytes"/> at most, each locked on its own.</summary>
    public void StartResync(long offset, long length, IRowCompletion completion)
    {
        IsBusy = true;
        _completion = completion;
        _badMember = -1;
        _offset = offset;
        _end = offset + length;
        Begin();
    }

    public void Dispose()
    {
        foreach (BlockRequest request in _requests)
        {
            _children.Return(request);
        }

        _children.Dispose();
        NativeMemory.AlignedFree(_buffer);
    }

    /// <summary>A read or a write of the copy is done.</summary>
    public void OnCompleted(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Read)
        {
            if (request.Status == 0)
            {
                WriteOthers();
            }
            else
            {
                _array.Members[(int)request.Tag].CountReadError();
                ReadFrom(_source + 1);
            }

            return;
        }

        if (request.Status != 0)
        {
            _queue.FailMember((int)request.Tag);
        }
        else if (_badMember >= 0)
        {
            _array.Members[_badMember].CountRepair();
        }

        PartDone();
    }

    protected override void OnLocked() => ReadFrom(0);

    private void Begin()
    {
        _status = 0;
        _length = Math.Min(_end - _offset, MaxBytes);
        if (_geometry.Level == RaidLevel.Raid10)
        {
            _length = Math.Min(_length, _geometry.ChunkSize - (_offset & (_geometry.ChunkSize - 1)));
        }

        FirstUnit = _offset >> LockShift;
        UnitCount = (int)(((_offset + _length - 1) >> LockShift) - FirstUnit + 1);
        if (Locks.LockOrWait(this))
        {
            ReadFrom(0);
        }
    }

    /// <summary>Reads the first usable copy from the given one on.</summary>
    private void ReadFrom(int copy)
    {
        for (; copy < _geometry.CopyCount; copy++)
        {
            MemberPlace place = _geometry.Copy(_offset, copy);
            if (IsUsable(place.Member) && place.Member != _badMember)
            {
                _source = copy;
                Send(_requests[0], BlockOperation.Read, place);
                return;
            }
        }

        Finish(-Errno.EIO);
    }

    private void WriteOthers()
    {
        _pending = 1;
        for (int copy = 0; copy < _geometry.CopyCount; copy++)
        {
            MemberPlace place = _geometry.Copy(_offset, copy);
            bool wanted = _badMember >= 0 ? place.Member == _badMember : copy != _source;
            if (wanted && IsUsable(place.Member))
            {
                _pending++;
                Send(_requests[copy], BlockOperation.Write, place);
            }
        }

        PartDone();
    }

    private void PartDone()
    {
        if (--_pending == 0)
        {
            Finish(0);
        }
    }

    private void Send(BlockRequest request, BlockOperation operation, MemberPlace place)
    {
        *request.OwnVectors = new IoVec(_buffer, (nuint)_length);
        request.Prepare(operation, place.Offset, _length, request.OwnVectors, 1, this);
        request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
        request.Tag = place.Member;
        _queue.MemberQueues[place.Member]!.Submit(request);
    }

    private bool IsUsable(int member) => ((_array.State.FailedMask >> member) & 1) == 0;

    private void Finish(int status)
    {
        Locks.Unlock(FirstUnit, UnitCount);
        _status = status;
        _offset += _length;
        if (_offset < _end && status == 0)
        {
            Begin();
            return;
        }

        IsBusy = false;
        if (_completion is null)
        {
            _queue.OwnWorkDone();
            return;
        }

        _completion.OnRowDone(this, _status);
    }
}
