// One reactor's queue of a simulated drive: a heap of requests by due time, and a timer for the first of them. In virtual time
// there is no timer: each turn does the first request and moves the queue's clock to its due time.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Simulated;

/// <summary>A queue of a <see cref="SimulatedDrive"/>.</summary>
internal sealed class SimulatedQueue : ReactorWork, IBlockQueue
{
    private readonly SimulatedDrive _drive;
    private readonly PriorityQueue<Entry, (long DueNs, long Order)> _entries = new();
    private readonly DueTimer _timer;
    private readonly long _blockMask;
    private readonly bool _readOnly, _virtualTime;
    private BlockRequest? _stuck;
    private long _order, _virtualNowNs;
    private bool _scheduled;

    public SimulatedQueue(SimulatedDrive drive, Reactor reactor)
    {
        _drive = drive;
        Reactor = reactor;
        _timer = new DueTimer(this);
        _blockMask = drive.Limits.LogicalBlockSize - 1;
        _readOnly = drive.Limits.ReadOnly;
        _virtualTime = drive.Options.VirtualTime;
    }

    public Reactor Reactor { get; }

    private long NowNs => _virtualTime ? _virtualNowNs : Reactor.NowNs;

    public void Submit(BlockRequest request)
    {
        int status = RequestCheck.Validate(request, _drive.SizeBytes, _blockMask, _readOnly);
        status = status == 0 ? -_drive.GoneErrno : status;
        if (status == 0 && request.HasData && (request.Traits & BufferTraits.CpuAccessible) == 0)
        {
            status = -Errno.EFAULT;
        }

        if (status != 0)
        {
            request.Complete(status);
            return;
        }

        _drive.Count(request);
        _drive.Observer?.Invoke(_drive, SimulatedStep.Taken, request);
        SeededRandom random = _drive.NextRandom();
        DriveFault? fault = _drive.FindFault(request, ref random);
        if (fault is { Stuck: true })
        {
            request.NextWaiting = _stuck;
            _stuck = request;
            return;
        }

        Add(request, fault is null ? 0 : -fault.Errno, ref random);
    }

    /// <summary>A turn: what is due now.</summary>
    public override void Run()
    {
        _scheduled = false;
        if (_virtualTime)
        {
            if (_entries.TryDequeue(out Entry entry, out (long DueNs, long) priority))
            {
                _virtualNowNs = Math.Max(_virtualNowNs, priority.DueNs);
                Finish(entry);
            }
        }
        else
        {
            // Bounded: a completion may submit a request that is due at once.
            for (int left = _entries.Count; left > 0 && IsDue(); left--)
            {
                Finish(_entries.Dequeue());
            }
        }

        Schedule();
    }

    public void ReleaseStuck()
    {
        // Oldest first: the list is a stack.
        BlockRequest? oldest = null;
        while (_stuck is BlockRequest request)
        {
            _stuck = request.NextWaiting;
            request.NextWaiting = oldest;
            oldest = request;
        }

        while (oldest is BlockRequest request)
        {
            oldest = request.NextWaiting;
            request.NextWaiting = null;
            SeededRandom random = _drive.NextRandom();
            Add(request, 0, ref random);
        }
    }

    /// <summary>
    /// The drive is gone: everything in flight fails. In a crash the medium first hears of the writes among it.
    /// </summary>
    public void FailAll(bool collect)
    {
        // In the order of their due times; a completion that submits again meets a drive that is gone.
        ReleaseStuck();
        while (_entries.TryDequeue(out Entry entry, out _))
        {
            if (collect)
            {
                _drive.Medium.AddInFlight(entry.Request);
            }

            entry.Request.Complete(-_drive.GoneErrno);
        }
    }

    /// <summary>
    /// Power is gone: the medium hears of the writes in flight, in the order of their due times. They are answered later.
    /// </summary>
    public void CollectInFlight()
    {
        ReleaseStuck();
        foreach (Entry entry in InOrder())
        {
            _drive.Medium.AddInFlight(entry.Request);
        }
    }

    /// <summary>
    /// Nobody waits for the requests in flight any more: the drive does some of the writes. They are answered later.
    /// </summary>
    public void Orphan(ref SeededRandom random)
    {
        ReleaseStuck();
        foreach (Entry entry in InOrder())
        {
            if (entry.Status == 0 && entry.Request.Operation is not (BlockOperation.Read or BlockOperation.Flush) && random.Next(2) == 0)
            {
                _drive.Medium.Apply(entry.Request, 0);
            }
        }
    }

    public void Dispose()
    {
        if (_entries.Count != 0 || _stuck is not null)
        {
            throw new InvalidOperationException($"Requests to {_drive.Name} are in flight.");
        }

        Reactor.Cancel(_timer);
        _drive.Remove(this);
    }

    private void Add(BlockRequest request, int status, ref SeededRandom random)
    {
        long mark = request.Operation == BlockOperation.Flush ? _drive.Medium.FlushMark : 0;
        long dueNs = _drive.DueNs(request, NowNs, ref random);
        _entries.Enqueue(new Entry(request, status, mark), (dueNs, _order++));
        Schedule();
    }

    private IEnumerable<Entry> InOrder() => _entries.UnorderedItems.OrderBy(item => item.Priority).Select(item => item.Element);

    private bool IsDue() => _entries.TryPeek(out _, out (long DueNs, long) first) && first.DueNs <= Reactor.NowNs;

    private void Finish(in Entry entry)
    {
        int status = _drive.IsGone ? -_drive.GoneErrno : entry.Status;
        if (status == 0)
        {
            _drive.Medium.Apply(entry.Request, entry.FlushMark);
        }

        if (_drive.Observer is { } observer)
        {
            entry.Request.Status = status;
            observer(_drive, SimulatedStep.Done, entry.Request);
        }

        entry.Request.Complete(status);
    }

    private void Schedule()
    {
        if (_scheduled || !_entries.TryPeek(out _, out (long DueNs, long) first))
        {
            return;
        }

        if (_virtualTime || first.DueNs <= Reactor.NowNs)
        {
            _scheduled = true;
            Reactor.Defer(this);
        }
        else if (!_timer.IsScheduled || _timer.DueNs > first.DueNs)
        {
            Reactor.Schedule(_timer, first.DueNs);
        }
    }

    private readonly record struct Entry(BlockRequest Request, int Status, long FlushMark);

    private sealed class DueTimer(SimulatedQueue queue) : ReactorTimer
    {
        protected internal override void OnDue()
        {
            if (!queue._scheduled)
            {
                queue.Run();
            }
        }
    }
}
