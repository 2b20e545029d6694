// How a queue that consumers hold goes over to the next run of its array (RaidArray.Succession.cs): it takes no request any more,
// what it has taken ends, and from then on it hands everything on to a queue of the next run. All on the reactor's thread.

using Polyblk.Core.Block;

namespace Polyblk.Raid.Engine;

internal abstract unsafe partial class RaidQueue
{
    private RequestList _parked;
    private IBlockQueue? _successor;
    private bool _isDiverted;

    /// <summary>Whether nothing of it is in flight or waits.</summary>
    internal bool IsAtRest =>
        WritesInFlight == 0 && !HasBacklog && _gated.IsEmpty && _held.IsEmpty && IsIdle && !HasOwnWork
        && Late.Count == 0 && _freeOperations.IsFull;

    /// <summary>Requests wait from now on.</summary>
    internal void Park() => _isDiverted = true;

    /// <summary>Requests are taken again, those first that have waited.</summary>
    internal void Unpark()
    {
        _isDiverted = false;
        RequestList parked = _parked;
        _parked = default;
        while (parked.TakeFirst() is { } request)
        {
            Submit(request);
        }
    }

    /// <summary>
    /// Another queue does all from now on; this one is at rest (<see cref="IsAtRest"/>), and gives back what it has.
    /// </summary>
    internal void HandOver(IBlockQueue successor)
    {
        _successor = successor;
        Close();
        while (_parked.TakeFirst() is { } request)
        {
            successor.Submit(request);
        }
    }

    private void Divert(BlockRequest request)
    {
        if (_successor is { } successor)
        {
            successor.Submit(request);
        }
        else
        {
            _parked.Append(request);
        }
    }

    /// <summary>The last opener is gone: closes the queue that does the work. Returns false where there is none.</summary>
    private bool DisposeSuccessor()
    {
        if (_successor is not { } successor)
        {
            return false;
        }

        successor.Dispose();
        _successor = null;
        Array.Forget(this);
        return true;
    }
}
