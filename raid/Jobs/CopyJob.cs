// The copying of a drive that works to the one that replaces it.
//
// Its invariant: a region that is neither left in the CopyMap nor under way is the same on both drives. A region leaves the map
// when it is taken, before it is locked; whoever makes the drives differ there meanwhile puts it back, and it is copied once
// more. So the order of the walk does not matter, it may be stopped and begun anew at any time, and its end is that none is left.
//
// A region that cannot be copied goes back to the map, and ends the walk: it is tried again after a while.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Jobs;

/// <summary>See the top of the file. Its units are regions of the <see cref="CopyMap"/>.</summary>
internal sealed class CopyJob(RaidArray array, Replacement replacement) : ArrayJob
{
    private long _next;

    public override RowJob Kind => RowJob.Copy;

    public override bool HasNext => FailedAt is null && replacement.Copies.Left > 0 && replacement.Fault == 0 && array.IsUsable(replacement.Role);

    /// <summary>The first byte on the drives of a region that could not be copied; null when there is none.</summary>
    public long? FailedAt { get; private set; }

    public override IRowQueue Open(RaidArray array, Reactor home) => new CopyRows(array, replacement, home);

    public override double BytesPerUnit(RaidGeometry geometry) => CopyMap.RegionBytes;

    public override long MostUnits(RaidArray array) => replacement.Copies.Count;

    public override void Begin()
    {
    }

    public override long TakeNext(IRowQueue queue)
    {
        long region = replacement.Copies.Take(_next);
        _next = region + 1;
        return region;
    }

    public override void OnRowDone(long unit, int status, JobRows rows)
    {
        if (status < 0)
        {
            long offset = CopyMap.Begin(unit);
            replacement.Copies.Mark(offset, replacement.Copies.End(unit) - offset);
            FailedAt = Math.Min(FailedAt ?? long.MaxValue, offset);
        }
    }

    public override void GiveUp() => FailedAt ??= 0;
}

/// <summary>The ways of the copying: to both drives, and to the array where a row has to be made from the others.</summary>
internal sealed class CopyRows : IRowQueue
{
    private readonly Replacement _replacement;
    private readonly MemberPort _old, _new;
    private int _made;

    /// <exception cref="IOException">A drive cannot be opened here.</exception>
    public CopyRows(RaidArray array, Replacement replacement, Reactor home)
    {
        Array = array;
        Home = home;
        _replacement = replacement;
        _old = new MemberPort(replacement.Old, array.State, replacement.Old.Way!.OpenQueue(home), home);
        _new = new MemberPort(replacement.New, array.State, replacement.New.Way!.OpenQueue(home), home);
        replacement.Old.Add(_old);
        replacement.New.Add(_new);
        Old = new PatientQueue(_old, home);
        New = new PatientQueue(_new, home);
        Mender = array.TracksDirt ? (IRowQueue)array.OpenUnregistered(home, array.Shape) : null;

        // Rows that were under way when the twins came may still write such a drive in place.
        WaitsForRows = array.Geometry.HasParity && _old.Queue is IMemoryQueue;
    }

    public RaidArray Array { get; }

    public Reactor Home { get; }

    public PatientQueue Old { get; }

    public PatientQueue New { get; }

    /// <summary>Makes what the old drive cannot read; null where there is no redundancy.</summary>
    public IRowQueue? Mender { get; }

    /// <summary>Whether each region waits for who has its rows locked at that time.</summary>
    public bool WaitsForRows { get; }

    /// <inheritdoc/>
    public RangeWaiter CreateRow() => new CopyRow(this, _replacement, _made++);

    /// <inheritdoc/>
    public long RowBytes => CopyMap.RegionBytes;

    /// <inheritdoc/>
    public int RowsAbreast => 1;

    /// <inheritdoc/>
    public int UnitsAt(long unit) => 1;

    /// <inheritdoc/>
    public void StartRow(RangeWaiter row, long unit, RowJob job, IRowCompletion completion) => ((CopyRow)row).Start(unit, completion);

    /// <inheritdoc/>
    public void StartMend(RangeWaiter row, int member, long memberOffset, IRowCompletion completion) =>
        Mender!.StartMend(row, member, memberOffset, completion);

    /// <inheritdoc/>
    public void ReleaseRow(RangeWaiter row)
    {
    }

    /// <inheritdoc/>
    public void DisposeRow(RangeWaiter row) => ((CopyRow)row).Dispose();

    /// <inheritdoc/>
    public void Dispose()
    {
        Mender?.Dispose();
        Close(_old, Old);
        Close(_new, New);
    }

    private static void Close(MemberPort port, PatientQueue patience)
    {
        patience.Dispose();
        port.Member.Remove(port);
        port.Queue.Dispose();
    }
}
