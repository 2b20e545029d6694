// What waits: operations for children, requests for operations or for the superblocks to say dirty, and finished writes for the superblocks
// to know of every failure. The pump serves the first two lists; the control task opens the gates.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Engine;

internal abstract unsafe partial class RaidQueue
{
    /// <summary>Whether anything waits for room, so that new requests must line up.</summary>
    protected bool HasBacklog => !_waiting.IsEmpty || _stalledFirst is not null;

    /// <summary>The control task: the superblocks say dirty, writes may start.</summary>
    internal void OpenWrites()
    {
        _writesOpen = true;
        SchedulePump();
    }

    /// <summary>The control task wants to mark the array clean. Returns whether this queue is idle; its writes are then closed.</summary>
    internal bool TryCloseWrites()
    {
        if (WritesInFlight != 0 || !_waiting.IsEmpty)
        {
            return false;
        }

        _writesOpen = false;
        return true;
    }

    /// <summary>The control task: the superblocks changed; acknowledge what was held back.</summary>
    internal void ReleaseHeld()
    {
        // What is held back meanwhile waits for the next time.
        RequestList held = _held;
        _held = default;
        while (held.TakeFirst() is { } request)
        {
            Acknowledge(request, request.Status);
        }
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

    private void Stall(TransferOp operation)
    {
        operation.NextOp = null;
        if (_stalledFirst is null)
        {
            _stalledFirst = operation;
        }
        else
        {
            _stalledLast!.NextOp = operation;
        }

        _stalledLast = operation;
    }

    private void Pump()
    {
        _pumpScheduled = false;
        for (int i = 0; i < PumpBatch; i++)
        {
            if (_stalledFirst is { } operation)
            {
                if (!HasRoom)
                {
                    return;
                }

                _stalledFirst = operation.NextOp;
                operation.NextOp = null;
                Continue(operation);
            }
            else if (_waiting.TakeFirst() is { } request)
            {
                if (!Start(request))
                {
                    _waiting.PutBack(request);
                    return;
                }
            }
            else
            {
                return;
            }
        }

        SchedulePump();
    }

    private sealed class PumpWork(RaidQueue queue) : ReactorWork
    {
        public override void Run() => queue.Pump();
    }
}
