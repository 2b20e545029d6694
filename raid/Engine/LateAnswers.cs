// Requests of a queue that are at a drive which is out, and for whose answers nobody waits any more.
//
// Theory of operation. The drive keeps the object that it was given: its buffers, its segment list and itself stay untouched
// until it is back. Whoever had sent it gets another object in its place (RequestPool.Replace), which is answered with an error
// at once, as if the drive had gone. So nothing of the old one is used again before its time: it is told to come here, on the
// thread on which a device answers anyway.
//
// What the drive may still read or write is kept (Keep), and let go when the last of a queue's late requests is back; it is not
// told apart which of them needed what. The way to the drive counts them until then (MemberPort), so the drive owes something,
// its role does not change hands, and the queue does not close.

using Polyblk.Core.Block;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Engine;

/// <summary>See the top of the file. One reactor's.</summary>
/// <param name="allBack">Called when the last one is back.</param>
internal sealed class LateAnswers(Action allBack) : IBlockCompletion
{
    private readonly List<IDisposable> _kept = [];
    private int _count;

    /// <summary>How many are at their drives. Any thread.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>
    /// A request that is at the port's drive is left to it. Returns the one that takes its place, which its owner gets back as if
    /// the drive had gone.
    /// </summary>
    public BlockRequest Leave(RequestPool pool, BlockRequest request, MemberPort port)
    {
        BlockRequest next = pool.Replace(request);
        request.Completion = this;
        request.Context = port;
        request.Parent = null;
        _count++;
        return next;
    }

    /// <summary>Something is disposed when the last late request is back: at once where there is none.</summary>
    public void Keep(IDisposable memory)
    {
        if (_count == 0)
        {
            memory.Dispose();
        }
        else
        {
            _kept.Add(memory);
        }
    }

    /// <inheritdoc/>
    public void OnCompleted(BlockRequest request)
    {
        ((MemberPort)request.Context!).TakeBackLate(request);
        request.Context = null;
        if (--_count != 0)
        {
            return;
        }

        foreach (IDisposable memory in _kept)
        {
            memory.Dispose();
        }

        _kept.Clear();
        allBack();
    }
}
