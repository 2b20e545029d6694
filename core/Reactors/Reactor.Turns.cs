// A turn. It knows no thread, no epoll and no clock: whoever runs it, the thread (Reactor.Loop.cs) or a test
// (Reactor.Stepping.cs), it is the same.

using Polyblk.Core.Uring;

namespace Polyblk.Core.Reactors;

public sealed unsafe partial class Reactor
{
    private int RunTurn()
    {
        int work = RunMail() + RunDeferred();
        foreach (IoUring ring in _rings)
        {
            work += ring.Reap();
        }

        IPoller[] pollers = _pollers;
        int polled = 0;
        for (int i = 0; i < pollers.Length; i++)
        {
            _running = pollers[i];
            polled += pollers[i].Poll();
        }

        _running = null;
        TakenLastTurn = polled;
        _requests += polled;
        work += polled + RunDeferred() + RunBulk();
        if (_endings is not null && HasUnsubmitted())
        {
            RunEndings(ReadNs());
        }

        foreach (IoUring ring in _rings)
        {
            ring.Submit();
        }

        TurnNs = ReadNs();
        if (_endings is not null)
        {
            RunEndings(TurnNs);
        }

        return work;
    }

    private bool HasUnsubmitted()
    {
        foreach (IoUring ring in _rings)
        {
            if (ring.HasUnsubmitted)
            {
                return true;
            }
        }

        return false;
    }

    private void RunEndings(long nowNs)
    {
        TurnEnding? ending = _endings;
        _endings = null;
        while (ending is not null)
        {
            TurnEnding? next = ending.NextEnding;
            ending.NextEnding = null;
            ending.IsAskedFor = false;
            ending.OnTurnEnded(nowNs);
            ending = next;
        }
    }

    private int RunMail()
    {
        int count = 0;
        ReactorWork? work = _mailbox.TakeAll();
        while (work is not null)
        {
            // Read the link first: once it runs, the work may be posted again.
            ReactorWork? next = work.NextWork;
            Defer(work);
            work = next;
            count++;
        }

        return count;
    }

    private int RunDeferred()
    {
        // Only what is queued now: work that defers itself again must not hold the turn.
        ReactorWork? work = _deferredFirst;
        ReactorWork? last = _deferredLast;
        int count = 0;
        while (work is not null)
        {
            _deferredFirst = work.NextWork;
            if (_deferredFirst is null)
            {
                _deferredLast = null;
            }

            bool isLast = ReferenceEquals(work, last);
            _running = work;
            work.Run();
            count++;
            work = isLast ? null : _deferredFirst;
        }

        _running = null;
        return count;
    }

    private int RunBulk()
    {
        // Nothing that was deferred meanwhile: a piece that goes on is at the end of the list.
        ReactorWork? last = _bulkLast;
        int count = 0;
        bool isLast = false;
        while (_bulkFirst is { } work && count < BulkPieces && !isLast)
        {
            isLast = ReferenceEquals(work, last);
            _bulkFirst = work.NextWork;
            if (_bulkFirst is null)
            {
                _bulkLast = null;
            }

            _running = work;
            work.Run();
            count++;
        }

        _running = null;
        return count;
    }
}
