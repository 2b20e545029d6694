using Polyblk.Raid.Engine;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Jobs;

/// <summary>
/// Tries once more what members could not write (<see cref="ArrayState.Bad"/>): makes it from the others, and writes it, row by
/// row. What they take is bad no more; what they refuse stays as it is.
/// </summary>
internal sealed class MendJob(RaidArray array) : ArrayJob
{
    private readonly int _rowShift = RaidUnits.RowShift(array.Geometry);
    private long[] _rows = [];
    private int _next;

    public override RowJob Kind => RowJob.Mend;

    public override bool HasNext => _next < _rows.Length;

    public override void Begin() => _rows =
    [
        .. array.State.Bad.Entries
            .Where(e => array.IsUsable(e.Role))
            .SelectMany(e => Enumerable.Range(0, e.Rows).Select(i => UnitOf(e.Role, e.Row + i)))
            .Distinct()
            .Order(),
    ];

    public override long TakeNext(IRowQueue queue) => _rows[_next++];

    public override void OnRowDone(long unit, int status, JobRows rows)
    {
    }

    public override void GiveUp() => _next = _rows.Length;

    private long UnitOf(int role, long row) =>
        array.Geometry.HasParity ? RaidUnits.OfMemberRow(array.Geometry, role, row) : row << _rowShift;
}
