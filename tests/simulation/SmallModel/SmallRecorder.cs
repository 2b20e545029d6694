// What drives are told to write, in the order in which it happens. Time is counted in events: a write or flush is taken by a drive,
// a write or flush is done. After each of them power may go out.
//
// A write is durable when a flush of its drive that was taken after the write was done is done, or with FUA when it is done itself.
// Of those that were taken by a moment and are not durable by then, any subset may be on the drives.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>A write that a drive was told.</summary>
/// <param name="Drive">The drive.</param>
/// <param name="Offset">Where, in bytes.</param>
/// <param name="Data">What.</param>
/// <param name="TakenAt">The event with which the drive took it.</param>
internal sealed record SmallWrite(int Drive, long Offset, byte[] Data, int TakenAt)
{
    /// <summary>The event with which it was done.</summary>
    public int DoneAt { get; set; } = int.MaxValue;

    /// <summary>The event from which on it is certainly there.</summary>
    public int DurableAt { get; set; } = int.MaxValue;
}

/// <summary>See the top of the file. It acts for the drives: one request at a time is done, which one is chance.</summary>
internal sealed class SmallRecorder(World world, Chance chance) : IActor
{
    private readonly List<Pending> _pending = [];

    /// <summary>Events so far.</summary>
    public int Now { get; private set; }

    /// <summary>All writes, in the order in which they were taken.</summary>
    public List<SmallWrite> Writes { get; } = [];

    /// <inheritdoc/>
    public long NextActNs => _pending.Count == 0 ? long.MaxValue : 0;

    /// <summary>A drive takes a request that is none to read.</summary>
    public void Take(SmallDrive drive, BlockRequest request, Reactor reactor)
    {
        Now++;
        SmallWrite? write = null;
        if (request.Operation != BlockOperation.Flush)
        {
            write = new SmallWrite(drive.Index, request.OffsetBytes, SmallImage.DataOf(request), Now);
            Writes.Add(write);
        }

        _pending.Add(new Pending(drive, request, reactor, write, Now));
    }

    /// <inheritdoc/>
    public void Act()
    {
        int index = chance.Next(_pending.Count);
        Pending done = _pending[index];
        _pending.RemoveAt(index);
        Now++;
        if (done.Write is { } write)
        {
            done.Drive.Image.Write(write.Offset, write.Data);
            write.DoneAt = Now;
            write.DurableAt = (done.Request.Flags & BlockFlags.Fua) != 0 ? Now : int.MaxValue;
        }
        else
        {
            foreach (SmallWrite flushed in Writes.Where(w => w.Drive == done.Drive.Index && w.DoneAt < done.TakenAt))
            {
                flushed.DurableAt = Math.Min(flushed.DurableAt, Now);
            }
        }

        world.RunOn(done.Reactor, () => done.Request.Complete(0));
    }

    private sealed record Pending(SmallDrive Drive, BlockRequest Request, Reactor Reactor, SmallWrite? Write, int TakenAt);
}
