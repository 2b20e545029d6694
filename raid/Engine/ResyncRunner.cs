// The resync: walks over all units of an array and makes mirrors equal, or parity right, a row at a time.
//
// Theory of operation. It runs on the home reactor, over a queue of its own. A few rows are in flight at once; each locks its
// range, so writers wait for a row at most. Rows are started from deferred work, one batch a turn: everything else on the reactor
// gets its turn in between. While consumers are busy only one row is in flight.
//
// First it does the ranges that are in doubt below ArrayState.SyncedUnits, then it walks on from there to the end. A row may end
// before the one in front of it; SyncedUnits only moves over rows that are all done. A row that could not be made right (too many
// members did not answer a read, or a block that cannot be read and whose parity is not known to fit) puts itself in doubt, and
// the walk goes on: the next run tries it again. Where there is no room to remember it, the row lowers SyncedUnits, and the walk
// moves it no more.

using Polyblk.Core.Reactors;
using Polyblk.Raid.Levels;

namespace Polyblk.Raid.Engine;

/// <summary>A queue that can carry out rows of a resync.</summary>
internal interface IResyncQueue
{
    /// <summary>Makes an object that carries out one row at a time. The queue disposes it.</summary>
    RangeWaiter CreateRow();

    /// <summary>How many units the row at a unit covers.</summary>
    int UnitsAt(long unit);

    /// <summary>Starts the row at a unit.</summary>
    void StartRow(RangeWaiter row, long unit, IRowCompletion completion);

    /// <summary>Disposes what <see cref="CreateRow"/> made; it is at rest.</summary>
    void DisposeRow(RangeWaiter row);
}

/// <summary>See the top of the file.</summary>
internal sealed class ResyncRunner : ReactorWork, IRowCompletion
{
    private const int MaxDepth = 16;

    private readonly RaidArray _array;
    private readonly Reactor _home;
    private readonly ArrayRunOptions _options;
    private readonly RangeWaiter[] _rows;
    private readonly long[] _rowUnits;
    private readonly bool[] _busy;
    private readonly RateTimer _timer;
    private readonly long _total;
    private readonly double _bytesPerUnit;
    private readonly long[] _todo = new long[DoubtSet.Capacity];
    private int _todoCount, _todoNext;
    private long _walkedFrom;
    private long _synced;
    private bool _movesSynced;
    private int _lowered;
    private long _unitsStarted;
    private RaidQueue? _queue;
    private Action? _finished;
    private TaskCompletionSource? _stopped;
    private long _next;
    private long _started;
    private long _activity;
    private int _inFlight;
    private int _state; // 0 not running, 1 running, 2 finished and not yet taken
    private bool _scheduled;
    private bool _stopping;
    private long _bytesPerSecond;

    public ResyncRunner(RaidArray array, Reactor home, ArrayRunOptions options)
    {
        _array = array;
        _home = home;
        _options = options;
        int depth = Math.Clamp(options.ResyncDepth, 1, MaxDepth);
        _rows = new RangeWaiter[depth];
        _rowUnits = new long[depth];
        _busy = new bool[depth];
        _timer = new RateTimer(this);
        _total = RaidUnits.Count(array.Geometry);
        _bytesPerUnit = array.Geometry.MemberDataSize / (double)Math.Max(1, _total);
    }

    /// <summary>The speed of late in bytes a second of every member.</summary>
    public long BytesPerSecond => Volatile.Read(ref _bytesPerSecond);

    /// <summary>
    /// Starts with what is in doubt, then from <see cref="ArrayState.SyncedUnits"/> on. <paramref name="finished"/> is called on
    /// the home reactor.
    /// </summary>
    public Task StartAsync(Action finished) => _home.InvokeAsync(() =>
    {
        _finished = finished;
        _queue = _array.OpenUnregistered(_home);
        for (int i = 0; i < _rows.Length; i++)
        {
            _rows[i] = ((IResyncQueue)_queue).CreateRow();
        }

        _lowered = _array.State.Lowered;
        _synced = _array.State.SyncedUnits;
        _movesSynced = _synced != long.MaxValue;
        _walkedFrom = _next = Math.Min(_synced, _total);
        _todoCount = _array.State.Doubts.CopyTo(_todo);
        Array.Sort(_todo, 0, _todoCount);
        while (_todoCount > 0 && _todo[_todoCount - 1] >= _walkedFrom)
        {
            _todoCount--;
        }

        _todoNext = 0;
        _unitsStarted = 0;
        _started = _home.ReadNs();
        Volatile.Write(ref _state, 1);
        Schedule();
    });

    /// <summary>Whether it is under way, or has come to its end and nobody has taken note yet.</summary>
    public bool IsBusy => Volatile.Read(ref _state) != 0;

    /// <summary>Whether the resync has come to its end since the last call.</summary>
    public bool TakeFinished() => Interlocked.CompareExchange(ref _state, 0, 2) == 2;

    /// <summary>Ends it, finished or not, when the rows in flight are done.</summary>
    public async Task StopAsync()
    {
        Task stopped = await _home.InvokeAsync(() =>
        {
            if (_queue is null)
            {
                return Task.CompletedTask;
            }

            _stopping = true;
            _home.Cancel(_timer);
            _stopped = _home.MakePromise();
            Schedule();
            return _stopped.Task;
        });
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
            // No row can be done any more; what was not reached is not in sync.
            _movesSynced = false;
            _next = _total;
            _todoNext = _todoCount;
        }

        int depth = Depth();
        for (int i = 0; i < _rows.Length && _inFlight < depth && !_stopping && HasNext; i++)
        {
            if (!_busy[i])
            {
                StartRow(i);
            }
        }

        if (_inFlight == 0 && (_stopping || !HasNext))
        {
            Close();
        }
    }

    /// <inheritdoc/>
    public void OnRowDone(RangeWaiter row, int status)
    {
        // What it could not do has put itself in doubt.
        int index = Array.IndexOf(_rows, row);
        _busy[index] = false;
        _inFlight--;
        Advance();
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

    private bool HasNext => _todoNext < _todoCount || _next < _total;

    private void StartRow(int index)
    {
        _busy[index] = true;
        _inFlight++;
        long unit = _todoNext < _todoCount ? _todo[_todoNext++] : _next;
        _rowUnits[index] = unit;

        // Moved first: the row may be done inside the call.
        int units = ((IResyncQueue)_queue!).UnitsAt(unit);
        _unitsStarted += units;
        _next = unit >= _walkedFrom ? unit + units : _next;
        ((IResyncQueue)_queue).StartRow(_rows[index], unit, this);
    }

    private void Advance()
    {
        long synced = Math.Min(_next, _total);
        for (int i = 0; i < _rows.Length; i++)
        {
            synced = _busy[i] && _rowUnits[i] >= _walkedFrom ? Math.Min(synced, _rowUnits[i]) : synced;
        }

        if (_movesSynced && synced > _synced)
        {
            _movesSynced = _array.State.Lowered == _lowered && _array.State.TryAdvanceSynced(_synced, synced);
            if (_movesSynced && _array.State.Lowered != _lowered)
            {
                // Lowered between the two looks, to a place that may be beyond what was in sync then.
                _array.State.LowerSynced(_synced);
                _movesSynced = false;
            }

            _synced = synced;
        }

        long elapsed = _home.ReadNs() - _started;
        if (elapsed > 0)
        {
            Volatile.Write(ref _bytesPerSecond, (long)(_unitsStarted * _bytesPerUnit / elapsed * 1e9));
        }
    }

    /// <summary>One row while consumers are busy.</summary>
    private int Depth()
    {
        long activity = 0;
        foreach (RaidQueue queue in _array.Queues)
        {
            activity += queue.RequestsTaken;
        }

        bool busy = activity != _activity;
        _activity = activity;
        return busy ? 1 : _rows.Length;
    }

    private long ThrottleNs()
    {
        long limit = _options.ResyncMaxBytesPerSecond;
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
            ((IResyncQueue)_queue!).DisposeRow(row);
        }

        _queue!.Dispose();
        _queue = null;
        bool complete = !HasNext;
        Volatile.Write(ref _state, complete ? 2 : 0);
        _stopped?.SetResult();
        if (complete)
        {
            _finished!();
        }
    }

    private sealed class RateTimer(ResyncRunner runner) : ReactorTimer
    {
        protected override void OnDue() => runner.Schedule();
    }
}
