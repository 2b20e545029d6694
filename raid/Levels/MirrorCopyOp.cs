// Makes copies agree: reads a range from one copy and writes it to others, with the range locked. Users: the repair of a block
// that could not be read (the good copy is written over it), the mending of one that could not be written, the resync (the first
// copy is written to all others), the rebuild
// (to a new member), and the agreement after a write or discard that some copies have and others do not. An agreement compares first and writes what differs
// only: on a file system that is full, writing what is there already may need room that is not there. It costs no member: what it
// cannot do stays in doubt.
//
// The data goes through a buffer of its own, never through a guest's: a guest could change it between the read and the write.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Levels;

/// <summary>One copy under way. Belongs to one reactor's queue.</summary>
internal sealed unsafe class MirrorCopyOp : RangeWaiter, IBlockCompletion, IDisposable
{
    /// <summary>The longest range that is copied at once.</summary>
    public const int MaxBytes = 64 << 10;

    private const int LockShift = 12;
    private const int NoMember = -1;

    private enum Job : byte
    {
        Repair,
        Resync,
        Rebuild,
        Check,
        Scrub,
        Agreement,
        Mend,
    }

    private readonly MirrorQueue _queue;
    private readonly RaidArray _array;
    private readonly RaidGeometry _geometry;
    private readonly RequestPool _children;
    private readonly BlockRequest[] _requests;
    private PagedMemory _memory = new(2 * MaxBytes);
    private PagedMemory? _fresh;    // takes its place, because a drive that is out may still use what is there
    private byte* _buffer;
    private readonly int _rowBytes;
    private readonly BlockFlags _durably;
    private IRowCompletion? _completion;
    private Job _job;
    private bool _compares;
    private bool _comparing;
    private bool _isPreferred;
    private int _target;
    private int _sourceMember;
    private long _offset, _length, _end;
    private int _badMember;
    private int _source;
    private int _pending;
    private int _status;
    private int _finding;
    private ulong _bad;
    private ulong _mended;

    public MirrorCopyOp(MirrorQueue queue, RaidArray array)
    {
        _queue = queue;
        _array = array;
        _geometry = array.Geometry;
        _rowBytes = RaidUnits.RowBytes(_geometry);
        _durably = array.Limits.VolatileCache ? BlockFlags.Fua : BlockFlags.None;
        int copies = _geometry.CopyCount;
        _children = new RequestPool(copies, 1);
        _requests = new BlockRequest[copies];
        for (int i = 0; i < copies; i++)
        {
            _requests[i] = _children.TryRent()!;
        }

        _buffer = _memory.Start;
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
        Begin(Job.Repair, offset, length, badMember, TransferOp.NoSource);
    }

    /// <summary>The same, told at the end: -EIO where there is no other copy.</summary>
    public void StartMend(long offset, long length, int badMember, IRowCompletion completion)
    {
        IsBusy = true;
        _completion = completion;
        Begin(Job.Repair, offset, length, badMember, TransferOp.NoSource);
    }

    /// <summary>
    /// Copies the first usable copy of a range to all others (a rebuild: to those that are being rebuilt), in pieces of
    /// <see cref="MaxBytes"/> at most, each locked on its own. A rebuild's range is one piece, which is still locked when that has
    /// succeeded.
    /// </summary>
    public void StartJob(long offset, long length, RowJob job, IRowCompletion completion)
    {
        IsBusy = true;
        _completion = completion;
        Job its = job switch
        {
            RowJob.Rebuild => Job.Rebuild,
            RowJob.Check => Job.Check,
            RowJob.Repair => Job.Scrub,
            RowJob.Mend => Job.Mend,
            _ => Job.Resync,
        };
        Begin(its, offset, length, NoMember, TransferOp.NoSource);
    }

    /// <summary>
    /// Makes all copies of a range like one of them, in pieces, each locked on its own. Pieces with which that does not succeed
    /// are put in doubt.
    /// </summary>
    /// <param name="offset">First byte of the volume.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="source">The member to be like, or <see cref="TransferOp.NoSource"/> for the first that works.</param>
    /// <param name="completion">Told at the end, with status 0.</param>
    public void StartAgreement(long offset, long length, int source, IRowCompletion completion)
    {
        IsBusy = true;
        _completion = completion;
        Begin(Job.Agreement, offset, length, NoMember, source);
    }

    public void Dispose()
    {
        foreach (BlockRequest request in _requests)
        {
            _children.Return(request);
        }

        _children.Dispose();
        _memory.Dispose();
        _fresh?.Dispose();
    }

    /// <summary>Leaves what is in flight at a port, if it is this copy's, to its drive (<see cref="LateAnswers"/>).</summary>
    public void LeaveRequest(MemberPort port, List<BlockRequest> answers)
    {
        for (int i = 0; i < _requests.Length; i++)
        {
            bool isThere = _requests[i].SentPeriod != 0 && _requests[i].Tag == port.Member.Role;
            if (isThere && (_fresh ??= PagedMemory.TryMake(2 * MaxBytes)) is not null)
            {
                _requests[i] = _queue.LeaveOne(_children, _requests[i], port);
                answers.Add(_requests[i]);
            }
        }
    }

    /// <summary>
    /// Nothing of the copy is in flight but at drives that are out: these keep the memory that they have. The first half of what
    /// it holds is in the new one, too.
    /// </summary>
    private void ExchangeMemory()
    {
        if (_fresh is null)
        {
            return;
        }

        Buffer.MemoryCopy(_buffer, _fresh.Start, MaxBytes, MaxBytes);
        _queue.Late.Keep(_memory);
        _memory = _fresh;
        _fresh = null;
        _buffer = _memory.Start;
    }

    /// <summary>A read or a write of the copy is done.</summary>
    public void OnCompleted(BlockRequest request)
    {
        int member = (int)request.Tag;
        if (_queue.ComesAgain(_queue.MemberQueues[member]!, request))
        {
            return;
        }

        bool isWrite = request.Operation == BlockOperation.Write;
        if (isWrite && _mended != 0 && request.Status == 0 && request.Flags != _durably)
        {
            // A second time, durably, before it counts. Not the first time: what refuses that may be the flush.
            Send(request, BlockOperation.Write, new MemberPlace(member, request.OffsetBytes), _buffer, _durably);
        }
        else if (isWrite)
        {
            OnWritten(member, request.Status);
        }
        else if (_comparing)
        {
            OnCompared(member, request.Status);
        }
        else if (request.Status == 0)
        {
            WriteOthers();
        }
        else
        {
            _array.Members[member].CountReadError();
            if (_job is Job.Check or Job.Scrub)
            {
                // The copy that cannot be read: found, and with a repair written from the next.
                _finding = _job == Job.Check ? RowFinding.Unread : RowFinding.Repaired;
            }

            int next = _isPreferred ? 0 : _source + 1;
            _isPreferred = false;
            ReadFrom(next);
        }
    }

    protected override void OnLocked() => ReadPiece();

    private void Begin(Job job, long offset, long length, int badMember, int sourceMember)
    {
        _job = job;
        _badMember = badMember;
        _sourceMember = sourceMember;
        _offset = offset;
        _end = offset + length;
        _status = 0;
        _finding = 0;
        BeginPiece();
    }

    private void BeginPiece()
    {
        ExchangeMemory();
        _length = Math.Min(_end - _offset, MaxBytes);
        if (_geometry.Level == RaidLevel.Raid10)
        {
            _length = Math.Min(_length, _geometry.ChunkSize - (_offset & (_geometry.ChunkSize - 1)));
        }

        // The grid of what is bad.
        _length = Math.Min(_length, _rowBytes - (_offset % _rowBytes));

        FirstUnit = _offset >> LockShift;
        UnitCount = (int)(((_offset + _length - 1) >> LockShift) - FirstUnit + 1);
        if (Locks.LockOrWait(this))
        {
            ReadPiece();
        }
    }

    /// <summary>The piece is locked: reads the copy that the others shall be like.</summary>
    private void ReadPiece()
    {
        _bad = _array.State.BadAt(FirstUnit);
        if (_job == Job.Scrub && _bad != 0)
        {
            // One row, and all of it is locked.
            _job = Job.Mend;
            _finding = RowFinding.Repaired;
        }

        _mended = _job == Job.Mend ? ForgetWhereNothingIs(_bad & ~_array.State.LostMask) : 0;
        if (_job == Job.Mend && _mended == 0)
        {
            _finding = RowFinding.Skipped;
            Finish(0);
            return;
        }

        // Looked at under the lock: a write marks before it locks.
        bool wasMissed = _job != Job.Rebuild || !_array.State.RebuildsMarked || _array.Intent!.IsMarked(_offset, _length);
        if (_job == Job.Rebuild && !(wasMissed && HasTarget()))
        {
            Finish(0);
            return;
        }

        if (_job is Job.Check or Job.Scrub && !IsComparable())
        {
            _finding = RowFinding.Skipped;
            Finish(0);
            return;
        }

        _comparing = _isPreferred = false;
        _compares = _job is Job.Agreement or Job.Check or Job.Scrub || (_job == Job.Resync && _queue.IsInDoubt(_offset, _length));
        for (int copy = 0; _sourceMember >= 0 && copy < _geometry.CopyCount; copy++)
        {
            MemberPlace place = _geometry.Copy(_offset, copy);
            if (place.Member == _sourceMember && IsReadable(place.Member))
            {
                // When it cannot be read, the first one that can is as good: the write has failed, and may have happened or not.
                _source = copy;
                _isPreferred = true;
                Read(copy, place);
                return;
            }
        }

        ReadFrom(0);
    }

    /// <summary>
    /// A refused write is recorded from the first to the last of its rows that were refused: of a member that has no copy of one
    /// in between, nothing is bad there. Returns the members that have one.
    /// </summary>
    private ulong ForgetWhereNothingIs(ulong bad)
    {
        ulong holders = 0;
        for (int copy = 0; copy < _geometry.CopyCount; copy++)
        {
            holders |= 1UL << _geometry.Copy(_offset, copy).Member;
        }

        if ((bad & ~holders) != 0)
        {
            _array.State.RemoveBad(FirstUnit, bad & ~holders);
            _array.Control.Kick();
        }

        return bad & holders;
    }

    /// <summary>Reads the first usable copy from the given one on.</summary>
    private void ReadFrom(int copy)
    {
        ExchangeMemory();
        for (; copy < _geometry.CopyCount; copy++)
        {
            MemberPlace place = _geometry.Copy(_offset, copy);
            if (IsReadable(place.Member) && place.Member != _badMember)
            {
                _source = copy;
                Read(copy, place);
                return;
            }
        }

        Finish(-Errno.EIO);
    }

    private void Read(int copy, MemberPlace place) => Send(_requests[copy], BlockOperation.Read, place, _buffer);

    private void WriteOthers()
    {
        _pending = 1;
        if (_compares)
        {
            _target = -1;
            CompareNext();
            return;
        }

        for (int copy = 0; copy < _geometry.CopyCount; copy++)
        {
            MemberPlace place = _geometry.Copy(_offset, copy);
            bool wanted = _mended != 0 ? ((_mended >> place.Member) & 1) != 0
                : _badMember >= 0 ? place.Member == _badMember
                : copy != _source;
            if (wanted && IsTarget(place.Member))
            {
                _pending++;
                Send(_requests[copy], BlockOperation.Write, place, _buffer);
            }
        }

        PartDone();
    }

    /// <summary>Reads the next of the other copies, to write it only where it differs.</summary>
    private void CompareNext()
    {
        ExchangeMemory();
        while (++_target < _geometry.CopyCount)
        {
            MemberPlace place = _geometry.Copy(_offset, _target);
            if (_target != _source && IsTarget(place.Member))
            {
                _comparing = true;
                Send(_requests[_target], BlockOperation.Read, place, _buffer + MaxBytes);
                return;
            }
        }

        PartDone();
    }

    private void OnCompared(int member, int status)
    {
        if (status != 0)
        {
            _array.Members[member].CountReadError();
        }

        int length = (int)_length;
        var wanted = new ReadOnlySpan<byte>(_buffer, length);
        bool isEqual = status == 0 && wanted.SequenceEqual(new ReadOnlySpan<byte>(_buffer + MaxBytes, length));
        if (!isEqual && _job is Job.Check or Job.Scrub)
        {
            _finding = _job == Job.Check ? (status != 0 ? RowFinding.Unread : RowFinding.Differs)
                : status != 0 && _finding != RowFinding.MadeToAgree ? RowFinding.Repaired
                : RowFinding.MadeToAgree;
        }

        if (isEqual || _job == Job.Check)
        {
            CompareNext();
            return;
        }

        Send(_requests[_target], BlockOperation.Write, _geometry.Copy(_offset, _target), _buffer);
    }

    private void OnWritten(int member, int status)
    {
        if (status == 0)
        {
            if (_badMember >= 0 || _mended != 0)
            {
                _array.Members[member].CountRepair();
            }

            if (_mended != 0)
            {
                _array.State.RemoveBad(FirstUnit, 1UL << member);
                _array.Control.Kick();
            }
        }
        else
        {
            BlockErrorKind kind = BlockErrors.KindOf(status);
            _array.Members[member].NoteWriteError(kind);
            Refuse(member, kind, status);
        }

        if (_compares)
        {
            CompareNext();
        }
        else
        {
            PartDone();
        }
    }

    /// <summary>A copy could not be written.</summary>
    private void Refuse(int member, BlockErrorKind kind, int status)
    {
        ulong bit = 1UL << member;
        bool isGone = kind == BlockErrorKind.Gone;
        bool isCostly = isGone || (kind != BlockErrorKind.NoSpace && _job != Job.Agreement);
        bool isOut = isCostly && _queue.GiveUpAt(
            FirstUnit, FirstUnit + UnitCount - 1, bit, isGone ? bit : 0, BlockErrors.MayBeOfPlace(status) ? bit : 0);
        _finding = _mended != 0 ? RowFinding.Unread : _finding;
        if (!isOut)
        {
            _status = kind == BlockErrorKind.NoSpace ? -Errno.ENOSPC : -Errno.EIO;
        }
    }

    private void PartDone()
    {
        if (--_pending == 0)
        {
            Finish(_status);
        }
    }

    private void Send(
        BlockRequest request, BlockOperation operation, MemberPlace place, byte* buffer, BlockFlags flags = BlockFlags.None)
    {
        *request.OwnVectors = new IoVec(buffer, (nuint)_length);
        request.Prepare(operation, place.Offset, _length, request.OwnVectors, 1, this);
        request.Flags = flags;
        request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
        request.Tag = place.Member;
        _queue.MemberQueues[place.Member]!.Submit(request);
    }

    private bool IsReadable(int member) => ((_array.State.LostAt(FirstUnit + UnitCount - 1) >> member) & 1) == 0;

    private bool IsTarget(int member)
    {
        ulong targets = _job == Job.Rebuild ? _array.State.RebuildingMask : ulong.MaxValue;
        ulong bad = _job == Job.Mend ? 0 : _bad;
        return (((targets & ~(_array.State.FailedMask | bad)) >> member) & 1) != 0;
    }

    /// <summary>Whether all copies of the range should be equal.</summary>
    private bool IsComparable()
    {
        ulong lost = _array.State.LostAt(FirstUnit + UnitCount - 1);
        bool isWhole = FirstUnit + UnitCount <= _array.State.SyncedUnits && !_queue.IsInDoubt(_offset, _length) && !_array.State.IsBroken;
        for (int copy = 0; copy < _geometry.CopyCount; copy++)
        {
            isWhole &= ((lost >> _geometry.Copy(_offset, copy).Member) & 1) == 0;
        }

        return isWhole;
    }

    /// <summary>Whether the range has a copy on a member that is being rebuilt.</summary>
    private bool HasTarget()
    {
        for (int copy = 0; copy < _geometry.CopyCount; copy++)
        {
            if (IsTarget(_geometry.Copy(_offset, copy).Member))
            {
                return true;
            }
        }

        return false;
    }

    private void Finish(int status)
    {
        if (_job == Job.Agreement && status != 0)
        {
            _queue.SetDoubt(_offset, _length, inDoubt: true);
            _array.Control.Kick();
            status = 0;
        }
        else if (_job == Job.Resync && status == 0)
        {
            _queue.SetDoubt(_offset, _length, inDoubt: false);
        }
        else if (_job == Job.Resync)
        {
            _array.State.NoteNotSynced(FirstUnit, (int)_length);
        }

        if (_job != Job.Rebuild || status != 0)
        {
            Locks.Unlock(FirstUnit, UnitCount);
        }

        _status = status;
        _offset += _length;
        if (_offset < _end && status == 0)
        {
            BeginPiece();
            return;
        }

        IsBusy = false;
        if (_completion is null)
        {
            _queue.OwnWorkDone();
            return;
        }

        _completion.OnRowDone(this, _status == 0 ? _finding : _status);
    }
}
