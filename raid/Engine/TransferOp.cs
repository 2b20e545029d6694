using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Engine;

/// <summary>
/// The progress of one request that needs more than a single child: several pieces, several copies, a lock. Pooled by its queue;
/// <see cref="RaidQueue"/> has the theory.
/// </summary>
/// <param name="queue">The queue.</param>
/// <param name="index">Its number in the queue's pool.</param>
internal sealed class TransferOp(RaidQueue queue, int index) : RangeWaiter
{
    /// <summary>See <see cref="DoubtSource"/>.</summary>
    public const int NoSource = -1;

    /// <summary>The request that is carried out.</summary>
    public BlockRequest Parent = null!;

    /// <summary>The first byte of the volume that is not issued yet (for a flush: the next member).</summary>
    public long Next;

    /// <summary>Where the locked segment ends.</summary>
    public long SegmentEnd;

    /// <summary>Where the request ends.</summary>
    public long End;

    /// <summary>Where <see cref="Next"/> lies in the parent's vectors.</summary>
    public IoVecCursor Cursor;

    /// <summary>Parity levels: the next row of the chunks of the present stripe.</summary>
    public int RowInStripe;

    /// <summary>Parts in flight, and one while pieces are being issued.</summary>
    public int Pending;

    /// <summary>0, or the first error.</summary>
    public int Status;

    /// <summary>Whether its data is written, and members are being flushed (<see cref="RaidQueue.FlushesAfterFua"/>).</summary>
    public bool IsFlushing;

    /// <summary>When members are flushed: <see cref="ArrayState.WholeRows"/> before that.</summary>
    public long RowsBefore;

    /// <summary>Whether the segment's range is locked.</summary>
    public bool Locked;

    /// <summary>Members whose blocks in this range could not be read: they are made from the others and rewritten.</summary>
    public ulong Unreadable;

    /// <summary>
    /// Whether the copies of the segment may differ: some were written and others were not, though all members work.
    /// </summary>
    public bool InDoubt;

    /// <summary>
    /// With <see cref="InDoubt"/>: the member whose copy the others are made like, or <see cref="NoSource"/> for the first that
    /// works.
    /// </summary>
    public int DoubtSource = NoSource;

    /// <summary>Who refused a part of the present segment; in a read, who of <see cref="Unreadable"/> is gone.</summary>
    public Refusals Refusals;

    /// <summary>The part of the segment that was refused, in bytes of the volume; nothing while none was.</summary>
    public long RefusedFrom = long.MaxValue, RefusedTo;

    /// <summary>The link of the lists of stalled operations and of those in doubt.</summary>
    public TransferOp? NextOp;

    /// <summary>Its number in the queue's pool.</summary>
    public int Index { get; } = index;

    /// <summary>Whether members are flushed: the whole operation does that, or its end.</summary>
    public bool IsFlush => IsFlushing || Parent.Operation == BlockOperation.Flush;

    /// <inheritdoc/>
    internal override Reactor Home => queue.Reactor;

    /// <inheritdoc/>
    internal override RangeLocks Locks => queue.Locks;

    /// <inheritdoc/>
    protected override void OnLocked() => queue.Continue(this);
}

/// <summary>A list of operations that wait, first come first served.</summary>
internal struct OperationList
{
    private TransferOp? _first, _last;

    /// <summary>Whether nothing waits.</summary>
    public readonly bool IsEmpty => _first is null;

    /// <summary>Puts an operation at the end.</summary>
    public void Append(TransferOp operation)
    {
        operation.NextOp = null;
        if (_first is null)
        {
            _first = operation;
        }
        else
        {
            _last!.NextOp = operation;
        }

        _last = operation;
    }

    /// <summary>Takes the first; there is one.</summary>
    public TransferOp TakeFirst()
    {
        TransferOp operation = _first!;
        _first = operation.NextOp;
        operation.NextOp = null;
        return operation;
    }
}
