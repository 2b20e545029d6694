// The resync: makes mirrors equal, or parity right.
//
// Its invariant: ArrayState.SyncedUnits only moves over rows that are all done. First it does the ranges that are in doubt below
// that, then it walks on from there to the end. A row that could not be made right (too many members did not answer a read, or a
// block that cannot be read and whose parity is not known to fit) puts itself in doubt, and the walk goes on: the next run tries it
// again. Where there is no room to remember it, the row lowers SyncedUnits, and the walk moves it no more.

using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Jobs;

/// <summary>See the top of the file.</summary>
internal sealed class ResyncJob(RaidArray array) : ArrayJob
{
    private readonly long _total = RaidUnits.Count(array.Geometry);
    private readonly long[] _todo = new long[DoubtSet.Capacity];
    private int _todoCount, _todoNext;
    private long _walkedFrom;
    private long _next;
    private long _synced;
    private bool _movesSynced;
    private int _lowered;

    public override RowJob Kind => RowJob.Resync;

    public override bool HasNext => _todoNext < _todoCount || _next < _total;

    public override void Begin()
    {
        _lowered = array.State.Lowered;
        _synced = array.State.SyncedUnits;
        _movesSynced = _synced != long.MaxValue;
        _walkedFrom = _next = Math.Min(_synced, _total);
        _todoCount = array.State.Doubts.CopyTo(_todo);
        Array.Sort(_todo, 0, _todoCount);
        while (_todoCount > 0 && _todo[_todoCount - 1] >= _walkedFrom)
        {
            _todoCount--;
        }
    }

    public override long TakeNext(IRowQueue queue)
    {
        long unit = _todoNext < _todoCount ? _todo[_todoNext++] : _next;
        _next = unit >= _walkedFrom ? unit + queue.UnitsAt(unit) : _next;
        return unit;
    }

    public override void OnRowDone(long unit, int status, JobRows rows)
    {
        // What it could not do has put itself in doubt.
        long synced = Math.Min(rows.FirstRunning(_walkedFrom, _next), _total);
        if (!_movesSynced || synced <= _synced)
        {
            return;
        }

        _movesSynced = array.State.Lowered == _lowered && array.State.TryAdvanceSynced(_synced, synced);
        if (_movesSynced && array.State.Lowered != _lowered)
        {
            // Lowered between the two looks, to a place that may be beyond what was in sync then.
            array.State.LowerSynced(_synced);
            _movesSynced = false;
        }

        _synced = synced;
    }

    public override void GiveUp()
    {
        _movesSynced = false;
        _next = _total;
        _todoNext = _todoCount;
    }
}
