using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;

namespace Polyblk.Raid.Jobs;

/// <summary>
/// A walk over an array's units in the background: what is next, and what follows from what is done. Everything happens on the
/// runner's reactor.
/// </summary>
internal abstract class ArrayJob
{
    /// <summary>What is done to each row.</summary>
    public abstract RowJob Kind { get; }

    /// <summary>What carries out its rows: a queue of the array for itself. On the reactor's thread.</summary>
    public virtual IRowQueue Open(RaidArray array, Reactor home) =>
        array.Reshaping is { } run ? new ReshapeRows(array, run, home) : (IRowQueue)array.OpenUnregistered(home, array.Shape);

    /// <summary>How many of its rows that follow each other it takes until each member that is concerned is in one.</summary>
    public virtual int RowsAbreast(IRowQueue queue) => queue.RowsAbreast;

    /// <summary>Bytes of every member that is concerned in one of its units.</summary>
    public virtual double BytesPerUnit(RaidGeometry geometry) =>
        geometry.MemberDataSize / (double)Math.Max(1, RaidUnits.Count(geometry));

    /// <summary>The most units that it can have: those of both shapes of an array that is being reshaped.</summary>
    public virtual long MostUnits(RaidArray array) =>
        RaidUnits.Count(array.Geometry) + (array.Reshaping is { } run ? RaidUnits.Count(run.Map.Old) : 0);

    /// <summary>Whether a row is left that was not started.</summary>
    public abstract bool HasNext { get; }

    /// <summary>It starts.</summary>
    public abstract void Begin();

    /// <summary>
    /// The unit of the next row, which is started now; -1 when it turns out that there is none, and <see cref="HasNext"/> is
    /// false.
    /// </summary>
    public abstract long TakeNext(IRowQueue queue);

    /// <summary>A row is done.</summary>
    /// <param name="unit">Its first unit.</param>
    /// <param name="status">0 or a negative errno.</param>
    /// <param name="rows">The rows that are under way.</param>
    public abstract void OnRowDone(long unit, int status, JobRows rows);

    /// <summary>No row is under way, and no further one is started.</summary>
    public virtual void OnAtRest(JobRows rows)
    {
    }

    /// <summary>Whether a row that is done and still locked is to be unlocked now.</summary>
    public virtual bool IsReleased(long unit) => true;

    /// <summary>Nothing more can be done: what was not reached stays as it is.</summary>
    public abstract void GiveUp();
}
