// The engine of background work: walks over the units of an array for a job (resync, rebuild), a row at a time.
//
// Theory of operation. It runs on the home reactor, over a queue of its own, one job at a time. As many rows are in flight at
// once as drives with some latency need to be kept busy (2 MiB of each), within a bound of memory; each locks its range, so
// writers wait for a row at most. Rows are started from deferred work, one batch a turn: everything else on the reactor gets its
// turn in between. While consumers are busy only as much is in flight as one row of the usual size has, 64 KiB; where the speed
// is bounded, what is due in a fiftieth of a second.
//
// What is done next, and what follows from a row that is done, is the job's (ArrayJob). It is told of the rows that are under
// way, so that it can say up to where everything is done: rows end in any order.

using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Jobs;

/// <summary>What is done to a row in the background.</summary>
internal enum RowJob : byte
{
    /// <summary>Makes copies equal, or the parities anew.</summary>
    Resync,

    /// <summary>Makes the blocks of the members that are being rebuilt. The row stays locked when that has succeeded.</summary>
    Rebuild,

    /// <summary>Compares copies, or parities with data.</summary>
    Check,

    /// <summary>The same, and makes them agree where they do not.</summary>
    Repair,

    /// <summary>Copies a region of a drive that works to the one that replaces it.</summary>
    Copy,

    /// <summary>Writes what members could not write, once more.</summary>
    Mend,
}

/// <summary>What became of a row of a scrub, instead of an error number.</summary>
internal static class RowFinding
{
    /// <summary>All agrees.</summary>
    public const int Sound = 0;

    /// <summary>Members differ, which was left.</summary>
    public const int Differs = 1;

    /// <summary>Something differed, or could not be read, and was made right: it was known which block was wrong.</summary>
    public const int Repaired = 2;

    /// <summary>Members differed, and were made to agree; nobody knows which of them was right.</summary>
    public const int MadeToAgree = 3;

    /// <summary>Nothing to compare: a member is lost there, or a resync has yet to come.</summary>
    public const int Skipped = 4;

    /// <summary>A member could not be read, which was left.</summary>
    public const int Unread = 5;
}

/// <summary>Told when a row is done, on its reactor.</summary>
internal interface IRowCompletion
{
    /// <summary>The row is done.</summary>
    /// <param name="row">The object that carried it out; it can be started again.</param>
    /// <param name="status">0 or a negative errno; of a scrub a <see cref="RowFinding"/>.</param>
    void OnRowDone(RangeWaiter row, int status);
}

/// <summary>A queue that can carry out rows of background jobs.</summary>
internal interface IRowQueue : IDisposable
{
    /// <summary>Makes an object that carries out one row at a time. The queue disposes it.</summary>
    RangeWaiter CreateRow();

    /// <summary>Bytes of each member that is in a row, at most.</summary>
    long RowBytes { get; }

    /// <summary>How many neighbouring rows it takes until each member is in one.</summary>
    int RowsAbreast { get; }

    /// <summary>How many units the row at a unit covers.</summary>
    int UnitsAt(long unit);

    /// <summary>Starts the row at a unit.</summary>
    void StartRow(RangeWaiter row, long unit, RowJob job, IRowCompletion completion);

    /// <summary>
    /// Makes what a member holds in a row from the other members, and writes it there: it cannot be read.
    /// </summary>
    /// <param name="row">Made by <see cref="CreateRow"/>.</param>
    /// <param name="member">The member.</param>
    /// <param name="memberOffset">Where the row begins on it, in bytes of the drive.</param>
    /// <param name="completion">Told at the end.</param>
    void StartMend(RangeWaiter row, int member, long memberOffset, IRowCompletion completion);

    /// <summary>Unlocks a row that was left locked (<see cref="RowJob.Rebuild"/>).</summary>
    void ReleaseRow(RangeWaiter row);

    /// <summary>Disposes what <see cref="CreateRow"/> made; it is at rest.</summary>
    void DisposeRow(RangeWaiter row);
}

/// <summary>See the top of the file.</summary>
internal sealed class JobRunner : ReactorWork, IRowCompletion
{
    private const int MinDepth = 4;
    internal const int MaxDepth = 512;
    private const long BytesInFlight = 2 << 20;
    private const long BusyBytesInFlight = 64 << 10;
    private const long MemoryInFlight = 64 << 20;

    /// <summary>With a bound of the speed, no more is begun at once than is due in this part of a second.</summary>
    private const int BurstsPerSecond = 50;

    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(1);

    private readonly RaidArray _array;
    private readonly Reactor _home;
    private readonly int _depth;
    private RangeWaiter[] _rows = [];
    private JobRows _inFlight = new(0);
    private int _busyDepth;
    private readonly RateTimer _timer;
    private double _bytesPerUnit;
    private ArrayJob? _job;
    private long _unitsStarted;
    private IRowQueue? _queue;
    private Action? _finished;
    private TaskCompletionSource? _stopped;
    private long _started;
    private long _activity;
    private int _state; // 0 not running, 1 running, 2 finished and not yet taken
    private bool _scheduled;
    private bool _stopping;
    private long _bytesPerSecond;
    private long _maxBytesPerSecond;

    public JobRunner(RaidArray array, Reactor home, ArrayRunOptions options)
    {
        _array = array;
        _home = home;
        _depth = options.ResyncDepth;
        _timer = new RateTimer(this);
        _maxBytesPerSecond = options.ResyncMaxBytesPerSecond;
    }

    /// <summary>The speed of late in bytes a second of every member.</summary>
    public long BytesPerSecond => Volatile.Read(ref _bytesPerSecond);

    /// <summary>The most of it; 0 sets no bound. Any thread, at any time.</summary>
    public long MaxBytesPerSecond
    {
        get => Volatile.Read(ref _maxBytesPerSecond);
        set
        {
            // What waits by the old bound may have very long to wait.
            Volatile.Write(ref _maxBytesPerSecond, value);
            _home.InvokeAsync(() =>
            {
                _home.Cancel(_timer);
                Schedule();
            });
        }
    }

    /// <summary>The job that was started last, whether or not it is over.</summary>
    public ArrayJob? Current => Volatile.Read(ref _job);

    /// <summary>Whether a job is under way, or has come to its end and nobody has taken note yet.</summary>
    public bool IsBusy => Volatile.Read(ref _state) != 0;

    /// <summary>Starts a job; none is under way. <paramref name="finished"/> is called on the home reactor.</summary>
    public Task StartAsync(ArrayJob job, Action finished) => _home.InvokeAsync(() =>
    {
        _job = job;
        _finished = finished;
        _queue = job.Open(_array, _home);
        int abreast = job.RowsAbreast(_queue);
        long all = BytesInFlight / _queue.RowBytes * abreast;
        long most = MemoryInFlight / (_queue.RowBytes * _array.Geometry.MemberCount) * abreast;
        _busyDepth = (int)Math.Max(1, BusyBytesInFlight / _queue.RowBytes);
        int depth = _depth > 0 ? Math.Min(_depth, MaxDepth) : (int)Math.Clamp(Math.Min(all, most), MinDepth, MaxDepth);

        // Each row has memory of its own: of a small array there are fewer than drives could do at once.
        long unitsInRow = Math.Max(1, _queue.UnitsAt(0));
        _rows = new RangeWaiter[(int)Math.Clamp((job.MostUnits(_array) + unitsInRow - 1) / unitsInRow, 1, depth)];
        _inFlight = new JobRows(_rows.Length);
        for (int i = 0; i < _rows.Length; i++)
        {
            _rows[i] = _queue.CreateRow();
        }

        _stopping = false;
        _unitsStarted = 0;
        _bytesPerUnit = job.BytesPerUnit(_array.Geometry);
        _started = _home.ReadNs();
        job.Begin();
        Volatile.Write(ref _state, 1);
        Schedule();
    });

    /// <summary>The job that has come to its end since the last call, or null.</summary>
    public ArrayJob? TakeFinished() => Interlocked.CompareExchange(ref _state, 0, 2) == 2 ? _job : null;

    /// <summary>
    /// Ends the job, finished or not, when the rows in flight are done; another one can be started then. An end of which nobody
    /// has taken note is forgotten: it says nothing of what comes after.
    /// </summary>
    /// <param name="meanwhile">
    /// What is done again and again until then: rows of the job may wait for rows that wait for superblocks. Null where none can.
    /// </param>
    public async Task StopAsync(Func<Task>? meanwhile = null)
    {
        Task stopped = await _home.InvokeAsync(() =>
        {
            if (_queue is null)
            {
                Volatile.Write(ref _state, 0);
                return Task.CompletedTask;
            }

            _stopping = true;
            _home.Cancel(_timer);
            _stopped = _home.MakePromise();
            Schedule();
            return _stopped.Task;
        });
        while (meanwhile is not null && !stopped.IsCompleted)
        {
            await Task.WhenAny(stopped, Task.Delay(s_look, _array.Options.Clock));
            _array.Control.LookAtMembers();
            await meanwhile();
        }

        await stopped;
    }

    /// <summary>Starts rows: deferred work.</summary>
    public override void Run()
    {
        _scheduled = false;
        if (_queue is null)
        {
            // Rows that end inside their start schedule this once more than needed: it is closed already.
            return;
        }

        if (_array.State.IsBroken)
        {
            _job!.GiveUp();
        }

        int depth = Depth();
        for (int i = 0; i < _rows.Length && _inFlight.Running < depth && !_stopping && _job!.HasNext; i++)
        {
            if (_inFlight.IsFree(i) && !TryStartRow(i))
            {
                break;
            }
        }

        if (_inFlight.Running == 0 && (_stopping || !_job!.HasNext))
        {
            _job!.OnAtRest(_inFlight);
            Close();
        }
    }

    /// <inheritdoc/>
    public void OnRowDone(RangeWaiter row, int status)
    {
        int index = Array.IndexOf(_rows, row);
        _inFlight.End(index, holdsLock: _job!.Kind == RowJob.Rebuild && status == 0);
        _job.OnRowDone(_inFlight.UnitOf(index), status, _inFlight);
        ReleaseRows();
        MeasureSpeed();
        ScheduleInTime();
    }

    /// <summary>When the bound allows it, which may be another one by then.</summary>
    private void ScheduleInTime()
    {
        long wait = ThrottleNs();
        if (wait > 0 && !_stopping)
        {
            _home.Schedule(_timer, _home.NowNs + wait);
        }
        else
        {
            Schedule();
        }
    }

    private bool TryStartRow(int index)
    {
        IRowQueue queue = _queue!;
        long unit = _job!.TakeNext(queue);
        if (unit < 0)
        {
            return false;
        }

        // Counted first: the row may be done inside the call.
        _inFlight.Begin(index, unit);
        _unitsStarted += queue.UnitsAt(unit);
        queue.StartRow(_rows[index], unit, _job.Kind, this);
        return true;
    }

    private void ReleaseRows()
    {
        for (int i = 0; i < _rows.Length; i++)
        {
            if (_inFlight.IsHeld(i) && _job!.IsReleased(_inFlight.UnitOf(i)))
            {
                _inFlight.Release(i);
                _queue!.ReleaseRow(_rows[i]);
            }
        }
    }

    private void MeasureSpeed()
    {
        long elapsed = _home.ReadNs() - _started;
        if (elapsed > 0)
        {
            Volatile.Write(ref _bytesPerSecond, (long)(_unitsStarted * _bytesPerUnit / elapsed * 1e9));
        }
    }

    /// <summary>How many rows may be in flight now.</summary>
    private int Depth()
    {
        long activity = 0;
        foreach (RaidQueue queue in _array.Queues)
        {
            activity += queue.RequestsTaken;
        }

        bool busy = activity != _activity;
        _activity = activity;
        int depth = busy ? Math.Min(_busyDepth, _rows.Length) : _rows.Length;
        return MaxBytesPerSecond is > 0 and var limit ? (int)Math.Clamp(limit / BurstsPerSecond / _queue!.RowBytes, 1, depth) : depth;
    }

    private long ThrottleNs()
    {
        long limit = MaxBytesPerSecond;
        if (limit <= 0)
        {
            return 0;
        }

        double dueNs = _unitsStarted * _bytesPerUnit / limit * 1e9;
        return (long)dueNs - (_home.ReadNs() - _started);
    }

    private void Schedule()
    {
        if (!_scheduled && _queue is not null)
        {
            _scheduled = true;
            _home.Defer(this);
        }
    }

    private void Close()
    {
        foreach (RangeWaiter row in _rows)
        {
            _queue!.DisposeRow(row);
        }

        _queue!.Dispose();
        _queue = null;
        bool complete = !_job!.HasNext && !_stopping;
        Volatile.Write(ref _state, complete ? 2 : 0);
        _stopped?.SetResult();
        _stopped = null;
        if (complete)
        {
            _finished!();
        }
    }

    private sealed class RateTimer(JobRunner runner) : ReactorTimer
    {
        protected override void OnDue() => runner.ScheduleInTime();
    }
}
