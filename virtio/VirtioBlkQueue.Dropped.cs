// One virtqueue of a virtio-blk device on one reactor: its end by an error of ours.
//
// A queue that throws is dropped by its reactor. Its state may be half done, so nothing of it is used any more: no answer is
// pushed or published, the inflight log keeps what was taken, and the session is told, which ends with the reason. Nobody waits
// for the queue: a drain or a stop of it returns at once. What the device still holds points into the guest's memory and our
// lists, so these are let go when the last of it has come back, and never if it does not.

namespace Polyblk.Virtio;

public sealed partial class VirtioBlkQueue
{
    private bool _isDropped;

    /// <inheritdoc/>
    public void OnDropped(Exception error)
    {
        ArgumentNullException.ThrowIfNull(error);
        if (_isDropped)
        {
            return;
        }

        _isDropped = true;
        _ring.Pushed = 0;
        ForgetWaiting();
        try
        {
            OnBroken(VirtqueueFault.InternalError, $"An error of ours ended the queue ({error.GetType().Name}: {error.Message})");
        }
        finally
        {
            TellDrained();
        }
    }

    /// <summary>What waits for its part of a turn is not sent any more, and nothing of it is at the device.</summary>
    private void ForgetWaiting()
    {
        while (!_waitingTransfers.IsEmpty)
        {
            _ = _waitingTransfers.TakeFirst();
            _inFlight--;
        }

        while (!_waitingRanges.IsEmpty)
        {
            _ = _waitingRanges.TakeFirst();
            _inFlight--;
        }
    }

    private void OnCompletedAfterDrop()
    {
        if (--_inFlight == 0 && _stopped)
        {
            LetGo();
        }
    }
}
