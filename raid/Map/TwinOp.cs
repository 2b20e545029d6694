// A write to two drives under way: lock, both halves, answer. See TwinQueue.cs and, for what is answered when, Replacement.cs.
//
// A range that is longer than the locks take at once (zeroing) goes in pieces, one after the other.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Map;

/// <summary>See the top of the file. One reactor's; of its twin's pool.</summary>
internal sealed unsafe class TwinOp : RangeWaiter, IBlockCompletion
{
    /// <summary>Log2 of the units of the locks in bytes of the drives.</summary>
    public const int LockShift = 12;

    private const long MaxPieceBytes = (long)(RangeLocks.MaxUnits - 1) << LockShift;

    private readonly TwinQueue _twin;
    private readonly Replacement _replacement;
    private readonly BlockRequest _old = new(), _new = new();
    private BlockRequest? _request;
    private long _next, _end;
    private long _length;
    private int _pending;
    private int _oldStatus, _newStatus;

    public TwinOp(TwinQueue twin, int index)
    {
        _twin = twin;
        _replacement = twin.Replacement;
        Index = index;
        _old.Completion = _new.Completion = this;
    }

    /// <summary>Its number in the pool.</summary>
    public int Index { get; }

    /// <summary>The link of the list of those that wait for the outcome.</summary>
    public TwinOp? NextParked { get; set; }

    internal override Reactor Home => _twin.Reactor;

    internal override RangeLocks Locks => _replacement.Locks;

    private bool IsFlush => _request!.Operation == BlockOperation.Flush;

    /// <summary>Carries a request out.</summary>
    public void Start(BlockRequest request)
    {
        _request = request;
        _next = request.OffsetBytes;
        _end = request.OffsetBytes + request.LengthBytes;
        _oldStatus = _newStatus = 0;
        if (IsFlush)
        {
            _length = 0;
            Send();
        }
        else
        {
            LockPiece();
        }
    }

    /// <summary>A half is back.</summary>
    public void OnCompleted(BlockRequest half)
    {
        if (ReferenceEquals(half, _new))
        {
            if (_twin.Patience.ComesAgain(half))
            {
                return;
            }

            _newStatus = half.Status;
        }
        else
        {
            _oldStatus = half.Status;
        }

        PartDone();
    }

    /// <summary>Both halves are back, and what is done about one that failed is known: lets the range go and answers.</summary>
    public void Answer()
    {
        if ((_oldStatus | _newStatus) != 0 && !Judge())
        {
            _twin.Park(this);
            return;
        }

        int status = _replacement.Phase == ReplacementPhase.Done ? _newStatus : _oldStatus;
        if (!IsFlush)
        {
            Locks.Unlock(FirstUnit, UnitCount);
            _next += _length;
            if (_next < _end && status == 0)
            {
                _oldStatus = _newStatus = 0;
                LockPiece();
                return;
            }
        }

        BlockRequest request = _request!;
        _request = null;
        _twin.Return(this);
        request.Complete(status);
    }

    protected override void OnLocked() => Send();

    private void LockPiece()
    {
        _length = Math.Min(_end - _next, MaxPieceBytes);
        FirstUnit = _next >> LockShift;
        UnitCount = (int)(((_next + _length - 1) >> LockShift) - FirstUnit + 1);
        if (Locks.LockOrWait(this))
        {
            Send();
        }
    }

    private void Send()
    {
        bool isDiscard = _request!.Operation == BlockOperation.Discard;
        if (isDiscard && !_replacement.Old.Drive!.Limits.Discard)
        {
            // Whatever the new drive would make of it, the old one keeps what it has: so must both.
            Answer();
            return;
        }

        _pending = 3;
        SetUp(_old);
        SetUp(_new);
        if (isDiscard && !_replacement.New.Drive!.Limits.Discard)
        {
            // Both must read the same afterwards.
            _new.Operation = BlockOperation.WriteZeroes;
            _new.Flags |= BlockFlags.Unmap;
        }

        _twin.Old.Submit(_old);
        _twin.Patience.Submit(_new);
        PartDone();
    }

    private void SetUp(BlockRequest half)
    {
        BlockRequest request = _request!;
        half.Prepare(request.Operation, _next, _length, request.Vectors, request.VectorCount);
        half.Flags = request.Flags;
        half.Traits = request.Traits;
        half.RegisteredBuffer = request.RegisteredBuffer;
    }

    private void PartDone()
    {
        if (--_pending == 0)
        {
            Answer();
        }
    }

    /// <summary>
    /// A half has failed. Returns false when nobody may be answered before the outcome is known.
    /// </summary>
    private bool Judge()
    {
        ReplacementPhase before = _replacement.Phase;
        if (before == ReplacementPhase.Copying)
        {
            Remember();
        }

        // After what was remembered (a full fence): see the top of Replacement.cs.
        Interlocked.MemoryBarrier();
        return _replacement.Phase != ReplacementPhase.Deciding;
    }

    private void Remember()
    {
        bool isGone = BlockErrors.KindOf(_oldStatus) == BlockErrorKind.Gone;
        if (_oldStatus != 0 && _newStatus == 0 && !isGone && _replacement.IsMending(_request!))
        {
            // It could not be read before, and the new drive has it now.
            _oldStatus = 0;
            return;
        }

        bool isFault = _newStatus != 0 && BlockErrors.KindOf(_newStatus) != BlockErrorKind.Memory;
        if (isFault && _request!.Operation != BlockOperation.Discard)
        {
            _replacement.GiveUp(_newStatus);
        }

        if (!IsFlush)
        {
            _replacement.Copies.Mark(_next, _length);
        }
    }
}
