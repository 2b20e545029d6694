using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;
using Polyblk.Raid.Layout;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>The simulated drives of a life; whatever they do is noted.</summary>
internal sealed class LifeDrives : IDisposable
{
    /// <summary>Lives have drives of a few sizes, one after the other.</summary>
    private static readonly MediumPool s_pool = new();

    private readonly Chance _chance;
    private readonly LifePlan _plan;
    private readonly World _world;
    private readonly List<SimulatedDrive> _owned = [];
    private readonly List<(int Drive, DriveFault Fault)> _bad = [];

    public LifeDrives(Chance chance, LifePlan plan, World world)
    {
        _chance = chance;
        _plan = plan;
        _world = world;
        for (int i = 0; i < plan.Drives; i++)
        {
            Add();
        }
    }

    /// <summary>Those that are connected: the members that the array was made of, then all that came later.</summary>
    public SimulatedDrive[] All { get; private set; } = [];

    /// <summary>A new drive is plugged in.</summary>
    public SimulatedDrive Add()
    {
        var drive = new SimulatedDrive(
            RaidGeometry.DefaultDataOffset + _plan.MemberBytes + (_plan.Checksums ? 8 * 4096 : 0),
            new SimulatedDriveOptions
            {
                Seed = _chance.Seed(),
                MinimumLatencyNs = 1_000,
                MaximumLatencyNs = _plan.LatencyNs,
                TearBytes = _plan.TearBytes,
                VolatileCache = _plan.VolatileCache,
                Pool = s_pool,
            });
        All = [.. All, drive];
        Own(drive);
        return drive;
    }

    /// <summary>Whether a drive has blocks that it cannot write.</summary>
    public bool HasBad => _bad.Count != 0;

    /// <summary>A drive cannot write a range from now on, whatever happens.</summary>
    /// <param name="drive">The drive.</param>
    /// <param name="offset">The first byte.</param>
    /// <param name="length">How many.</param>
    /// <param name="alsoReads">Whether it cannot read it either.</param>
    public void MakeBad(SimulatedDrive drive, long offset, long length, bool alsoReads)
    {
        BlockOperation[] writes = [BlockOperation.Write, BlockOperation.WriteZeroes];
        BlockOperation[] refused = alsoReads ? [.. writes, BlockOperation.Read] : writes;
        foreach (BlockOperation operation in refused)
        {
            var fault = new DriveFault
            {
                Operation = operation, OffsetBytes = offset, LengthBytes = length, Errno = _chance.Of(Errno.EIO, Errno.ENODATA),
            };
            _bad.Add((Array.IndexOf(All, drive), fault));
            drive.AddFault(fault);
        }
    }

    /// <summary>All drives do what they are asked from now on.</summary>
    public void ClearFaults()
    {
        _bad.Clear();
        Array.ForEach(All, d => d.ClearFaults());
    }

    /// <summary>After an end that nobody asked for: the drives as the next generation finds them.</summary>
    public void Restart()
    {
        All = [.. All.Select(d => d.Restart())];
        Array.ForEach(All, Own);
        _bad.ForEach(b => All[b.Drive].AddFault(b.Fault));
    }

    /// <summary>What is in flight comes back with an error.</summary>
    public void FailInFlight(Reactor reactor) => Array.ForEach(All, d => d.FailInFlight(reactor));

    public void Dispose()
    {
        foreach (SimulatedDrive drive in _owned)
        {
            drive.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }

    private void Own(SimulatedDrive drive)
    {
        int index = Array.IndexOf(All, drive);
        _owned.Add(drive);
        drive.Observer = (_, step, request) => _world.Note(
            step == SimulatedStep.Taken ? "taken" : "done",
            (index << 8) | (int)request.Operation,
            request.OffsetBytes,
            (request.LengthBytes << 16) | (uint)(ushort)-request.Status,
            step == SimulatedStep.Taken && request.Operation == BlockOperation.Write ? HashOf(request) : (long)request.Flags);
    }

    private static unsafe long HashOf(BlockRequest request)
    {
        ulong hash = 0;
        for (int i = 0; i < request.VectorCount; i++)
        {
            hash = (hash * 31) ^ Trace.HashOf(new ReadOnlySpan<byte>(request.Vectors[i].Base, (int)request.Vectors[i].Length));
        }

        return (long)hash;
    }
}
