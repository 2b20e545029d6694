// What waits: operations for children, requests for operations, writes for the superblocks to say dirty, and finished writes for
// the superblocks to know of every failure. The pump serves the first two kinds; the control task opens the gates of the others.
//
// A child that came back with an error may need an operation of its own (ParityQueue), while its parent holds one and other
// parents hold all the children. So such children, and their operations, have lists of their own that go first, and a few
// operations that only they may take; what they need besides (rows) is never held by somebody who waits for them.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Engine;

internal abstract unsafe partial class RaidQueue
{
    /// <summary>Whether anything waits for room, so that new requests must line up.</summary>
    protected bool HasBacklog => !_waiting.IsEmpty || !_stalled.IsEmpty || HasReturnedWork;

    /// <summary>Whether children that came back wait for an operation of their own, or such operations for room.</summary>
    private bool HasReturnedWork => !_returned.IsEmpty || !_stalledReturned.IsEmpty;

    /// <summary>The control task: the superblocks say dirty, writes may start.</summary>
    internal void OpenWrites()
    {
        _writesOpen = true;
        while (_gated.TakeFirst() is { } request)
        {
            _waiting.Append(request);
        }

        SchedulePump();
    }

    /// <summary>
    /// The control task wants to mark the array clean. Returns whether this queue is idle; its writes are then closed.
    /// </summary>
    internal bool TryCloseWrites()
    {
        if (_isOwn)
        {
            return true;
        }

        if (WritesInFlight != 0 || !_waiting.IsEmpty || !_gated.IsEmpty)
        {
            return false;
        }

        _writesOpen = false;
        return true;
    }

    /// <summary>The control task: the superblocks changed; acknowledge what was held back.</summary>
    internal void ReleaseHeld()
    {
        if (State.MetadataPending && !State.IsBroken)
        {
            // Another member has failed since, and the superblocks do not know: the update for it releases.
            return;
        }

        // What is held back meanwhile waits for the next time.
        RequestList held = _held;
        _held = default;
        while (held.TakeFirst() is { } request)
        {
            Acknowledge(request, request.Status);
        }

        OnSuperblocksKnown();
    }

    /// <summary>The superblocks know of every failure, or never will: what waits for that goes on.</summary>
    protected virtual void OnSuperblocksKnown()
    {
    }

    /// <summary>Runs the pump in this turn or the next.</summary>
    protected void SchedulePump()
    {
        if (!_pumpScheduled)
        {
            _pumpScheduled = true;
            Reactor.Defer(_pump);
        }
    }

    /// <summary>Puts a request at the end of the waiting list.</summary>
    protected void Enqueue(BlockRequest request) => _waiting.Append(request);

    /// <summary>Acknowledges a write, or holds it back while the superblocks do not know of a failure.</summary>
    protected void FinishWrite(BlockRequest request, int status)
    {
        if (!State.MetadataPending)
        {
            Acknowledge(request, status);
            return;
        }

        request.Status = status;
        _held.Append(request);
    }

    private void Acknowledge(BlockRequest request, int status)
    {
        WritesInFlight--;

        // When the survivors could not be told of a failure, nothing that was held back is safe.
        request.Complete(status == 0 && State.IsBroken ? -Errno.EIO : status);
    }

    /// <summary>
    /// A child of this queue came back and needs an operation of its own. It goes before everything else that waits, for what
    /// waits may wait for what it holds; operations are kept for it.
    /// </summary>
    protected void ContinueWithOperation(BlockRequest child)
    {
        if (!_returned.IsEmpty || !StartChild(child))
        {
            _returned.Append(child);
            SchedulePump();
        }
    }

    /// <summary>Whether a request is a child of this queue that came back.</summary>
    protected bool IsOfChild(BlockRequest request) => ReferenceEquals(request.Completion, this);

    private void Stall(TransferOp operation)
    {
        if (IsOfChild(operation.Parent))
        {
            _stalledReturned.Append(operation);
        }
        else
        {
            _stalled.Append(operation);
        }
    }

    private void Pump()
    {
        _pumpScheduled = false;
        for (int i = 0; i < PumpBatch; i++)
        {
            if (!PumpOne())
            {
                return;
            }
        }

        SchedulePump();
    }

    /// <summary>
    /// Goes on with the first that has room, in the order of who waits for whom. Returns false when there is none.
    /// </summary>
    private bool PumpOne()
    {
        if (!_stalledReturned.IsEmpty && HasRoomForReturned)
        {
            Continue(_stalledReturned.TakeFirst());
            return true;
        }

        if (_stalledReturned.IsEmpty && _returned.TakeFirst() is { } child)
        {
            if (StartChild(child))
            {
                return true;
            }

            _returned.PutBack(child);
        }

        if (!_stalled.IsEmpty)
        {
            if (!HasRoom)
            {
                return false;
            }

            Continue(_stalled.TakeFirst());
            return true;
        }

        if (_waiting.TakeFirst() is not { } request)
        {
            return false;
        }

        if (!Start(request))
        {
            _waiting.PutBack(request);
            return false;
        }

        return true;
    }

    private sealed class PumpWork(RaidQueue queue) : ReactorWork
    {
        public override void Run() => queue.Pump();
    }
}
