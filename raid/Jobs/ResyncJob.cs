// The resync: makes mirrors equal, or parity right.
//
// Only what is marked (WriteIntent) can need it: elsewhere nothing was written since members were known to agree.
//
// Its invariant: ArrayState.SyncedUnits only moves over rows that are all done or not marked. First it does the ranges that are in doubt below
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
        if (_todoNext < _todoCount)
        {
            return _todo[_todoNext++];
        }

        long unit = array.Reshaping is { } run ? run.NextMarked(array.Intent!, _next) : NextMarked();
        if (unit >= _total)
        {
            _next = _total;
            return -1;
        }

        _next = unit + queue.UnitsAt(unit);
        return unit;
    }

    // What a row could not do has put itself in doubt.
    public override void OnRowDone(long unit, int status, JobRows rows) => Advance(rows);

    public override void OnAtRest(JobRows rows) => Advance(rows);

    private long NextMarked()
    {
        long marked = array.Intent!.NextMarked(RaidUnits.VolumeOffset(array.Geometry, _next));
        return marked == long.MaxValue ? _total : Math.Max(_next, RaidUnits.FromVolumeOffset(array.Geometry, marked));
    }

    private void Advance(JobRows rows)
    {
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
