// The rows of a job over an array that is being reshaped: each belongs to one of the two geometries, and is carried out by a
// queue of that one. The frontier stands still while a job runs.

using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;

namespace Polyblk.Raid.Reshape;

/// <summary>See the top of the file.</summary>
internal sealed class ReshapeRows(RaidArray array, ReshapeRun run, Reactor home) : IRowQueue
{
    private readonly RangeLocks _locks = array.Locks;
    private readonly IRowQueue _new = (IRowQueue)array.OpenUnregistered(home, array.Shape);
    private readonly IRowQueue _old = (IRowQueue)array.OpenUnregistered(home, array.OldShape);

    /// <inheritdoc/>
    public long RowBytes => _new.RowBytes;

    /// <inheritdoc/>
    public int RowsAbreast => _new.RowsAbreast;

    /// <inheritdoc/>
    public RangeWaiter CreateRow() => new PairRow(_locks, home, _new.CreateRow(), _old.CreateRow());

    /// <inheritdoc/>
    public int UnitsAt(long unit) => 1;

    /// <inheritdoc/>
    public void StartRow(RangeWaiter row, long unit, RowJob job, IRowCompletion completion)
    {
        var pair = (PairRow)row;
        bool isOld = run.IsOld(unit);
        pair.Begin(isOld, completion);
        (isOld ? _old : _new).StartRow(pair.Active, unit, job, pair);
    }

    /// <inheritdoc/>
    public void StartMend(RangeWaiter row, int member, long memberOffset, IRowCompletion completion) =>
        throw new InvalidOperationException("No drive is replaced while an array is reshaped.");

    /// <inheritdoc/>
    public void ReleaseRow(RangeWaiter row) => _new.ReleaseRow(((PairRow)row).Active);

    /// <inheritdoc/>
    public void DisposeRow(RangeWaiter row)
    {
        _new.DisposeRow(((PairRow)row).New);
        _old.DisposeRow(((PairRow)row).Old);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _new.Dispose();
        _old.Dispose();
    }

    /// <summary>A row of either.</summary>
    private sealed class PairRow(RangeLocks locks, Reactor home, RangeWaiter newRow, RangeWaiter old) : RangeWaiter, IRowCompletion
    {
        private IRowCompletion? _completion;
        private bool _isOld;

        public RangeWaiter New => newRow;

        public RangeWaiter Old => old;

        /// <summary>The one that was started last.</summary>
        public RangeWaiter Active => _isOld ? old : newRow;

        internal override Reactor Home => home;

        internal override RangeLocks Locks => locks;

        public void Begin(bool isOld, IRowCompletion completion)
        {
            _isOld = isOld;
            _completion = completion;
        }

        public void OnRowDone(RangeWaiter row, int status) => _completion!.OnRowDone(this, status);

        protected override void OnLocked() => throw new InvalidOperationException("A pair of rows locks nothing itself.");
    }
}
