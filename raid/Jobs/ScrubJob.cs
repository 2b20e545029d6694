// The scrub: reads everything, compares copies, or parities with data, and says where they do not agree; a repair makes them.
//
// It changes nothing that anybody relies on: rows are looked at one by one under their locks, and what is lost, in doubt or not yet
// resynced is passed over. Which block of a row is wrong can be told on levels with two parities (ParityRow.Scrub.cs); on the others
// the data, and of a mirror the first copy, counts as right, as Linux md does.

using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Jobs;

/// <summary>See the top of the file. Its counts may be read by any thread.</summary>
internal sealed class ScrubJob(RaidArray array, bool repair) : ArrayJob
{
    private readonly long _total = RaidUnits.Count(array.Geometry);
    private readonly long[] _found = new long[RowFinding.Unread + 1];
    private long _next;
    private long _failed;
    private long _firstOffset = -1;

    public override RowJob Kind => repair ? RowJob.Repair : RowJob.Check;

    public override bool HasNext => _next < _total;

    /// <summary>Whether it makes members agree.</summary>
    public bool IsRepair => repair;

    /// <summary>The units that were looked at.</summary>
    public long Done => Volatile.Read(ref _next);

    /// <summary>The first byte of the volume, or of the stripe, where something was found; -1 when nothing was.</summary>
    public long FirstOffset => Volatile.Read(ref _firstOffset);

    /// <summary>Rows that could not be read from enough members, or not be written.</summary>
    public long Failed => Volatile.Read(ref _failed);

    /// <summary>Rows of which something was found.</summary>
    /// <param name="finding">One of <see cref="RowFinding"/>.</param>
    public long Count(int finding) => Volatile.Read(ref _found[finding]);

    /// <summary>It goes on where it was: a rebuild or a resync may have come in between.</summary>
    public override void Begin()
    {
    }

    public override long TakeNext(IRowQueue queue)
    {
        long unit = _next;
        Volatile.Write(ref _next, unit + queue.UnitsAt(unit));
        return unit;
    }

    public override void OnRowDone(long unit, int status, JobRows rows)
    {
        if (status < 0)
        {
            Volatile.Write(ref _failed, _failed + 1);
        }
        else
        {
            Volatile.Write(ref _found[status], _found[status] + 1);
        }

        if (status is not (RowFinding.Sound or RowFinding.Skipped) && _firstOffset < 0)
        {
            Volatile.Write(ref _firstOffset, RaidUnits.VolumeOffset(array.Geometry, unit));
        }
    }

    public override void GiveUp() => _next = _total;
}
