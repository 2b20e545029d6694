// The rebuild: fills the members that have taken the place of lost ones.
//
// Its invariant: ArrayState.RebuiltUnits only moves over rows that are made, and while their locks are held. A row that is done
// before the one in front of it therefore keeps its lock until RebuiltUnits has passed both: a write that comes to it finds it
// either not begun (the member is lost there, and the row reads what was written when its turn comes) or in step (the member
// takes part). Rows wait for rows in front of them only, and writers hold no lock while they wait for another: nobody waits for
// ever.
//
// Of members in groups, the rows of groups without one to be filled are passed over: such a member has nothing in them, and so
// RebuiltUnits moves over them without their locks.
//
// A row that cannot be made ends the walk there: what it would leave on the new member could not be told from data. Nothing
// behind it counts as done; it is tried again after a while, or when a consumer has written the block that could not be read.

using System.Numerics;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Jobs;

/// <summary>See the top of the file.</summary>
internal sealed class RebuildJob(RaidArray array) : ArrayJob
{
    private readonly long _total = RaidUnits.Count(array.Geometry);
    private long _next;
    private long _rebuilt;

    public override RowJob Kind => RowJob.Rebuild;

    public override bool HasNext => _next < _total && FailedAt is null && array.State.FilledMask != 0;

    /// <summary>The first unit that could not be made; null when there is none.</summary>
    public long? FailedAt { get; private set; }

    /// <summary>Why it could not be made: a negative errno.</summary>
    public int FailedStatus { get; private set; }

    /// <summary>The groups of the members that are filled, one bit each.</summary>
    private ulong Groups => array.Geometry.GroupsWith(array.State.FilledMask);

    public override int RowsAbreast(IRowQueue queue) =>
        array.Geometry.GroupCount == 1 ? queue.RowsAbreast : Math.Max(1, BitOperations.PopCount(Groups));

    /// <inheritdoc/>
    /// <remarks>The members of a group that is filled have all the work.</remarks>
    public override double BytesPerUnit(RaidGeometry geometry) =>
        base.BytesPerUnit(geometry) * geometry.GroupCount / Math.Max(1, BitOperations.PopCount(Groups));

    public override void Begin()
    {
        _next = _rebuilt = Math.Min(array.State.RebuiltUnits, _total);
        PassOver();
    }

    public override long TakeNext(IRowQueue queue)
    {
        long unit = _next;
        _next += queue.UnitsAt(unit);
        PassOver();
        return unit;
    }

    public override void OnRowDone(long unit, int status, JobRows rows)
    {
        if (status < 0 && unit < (FailedAt ?? long.MaxValue))
        {
            FailedAt = unit;
            FailedStatus = status;
        }

        Advance(rows);
    }

    public override void OnAtRest(JobRows rows) => Advance(rows);

    public override bool IsReleased(long unit) => unit < _rebuilt || FailedAt is not null;

    public override void GiveUp()
    {
        FailedAt ??= _rebuilt;
        FailedStatus = FailedStatus == 0 ? -Core.Block.Errno.EIO : FailedStatus;
    }

    private void Advance(JobRows rows)
    {
        long rebuilt = Math.Min(rows.FirstRunning(_rebuilt, _next), FailedAt ?? long.MaxValue);
        if (rebuilt > _rebuilt)
        {
            _rebuilt = rebuilt;
            array.State.AdvanceRebuilt(rebuilt);
        }
    }

    /// <summary>Goes on to the next row of a group that has a member to be filled, or to the end.</summary>
    private void PassOver()
    {
        RaidGeometry geometry = array.Geometry;
        ulong groups = geometry.GroupCount == 1 ? 0 : Groups;
        if (groups == 0)
        {
            return;
        }

        int inChunk = geometry.ChunkSize / RaidUnits.RowBytes(geometry);
        while (_next < _total && ((groups >> (int)(_next / inChunk % geometry.GroupCount)) & 1) == 0)
        {
            _next = ((_next / inChunk) + 1) * inChunk;
        }
    }
}
