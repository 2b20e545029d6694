// The queues of an array that is being reshaped: consumers have routers (Reshape/ReshapeQueue.cs), each over two queues, and the
// array has two of its own, with which it moves what is there (Reshape/WindowMover.cs).

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

public sealed partial class RaidArray
{
    private ReshapeQueue[] _routers = [];
    private RaidQueue[] _ownQueues = [];

    /// <summary>The reshape that this run has begun with, also when it is over; null without one.</summary>
    internal ReshapeRun? Reshape { get; }

    /// <summary>The reshape as long as it is not over.</summary>
    internal ReshapeRun? Reshaping => Reshape is { IsComplete: false } run ? run : null;

    /// <summary>The shape; that of the new geometry when there are two.</summary>
    internal QueueShape Shape => new(Geometry, Journal, Intent);

    /// <summary>The shape of the old geometry.</summary>
    internal QueueShape OldShape => new(Reshape!.Map.Old, Reshape.OldJournal, Intent, Reshape.Map.Bias);

    /// <summary>The most that it can show now.</summary>
    private long MaxSizeBytes => Reshaping?.Map.OldCapacity ?? Geometry.Capacity;

    /// <summary>
    /// Adds drives to a raid0 or an array with parity, changes its number of parities, or both. Returns when the superblocks
    /// speak of it; what the volume holds is moved in the background, over stops and crashes
    /// (<see cref="ArrayStatus.Reshape"/>), and the volume is as large as before until the end. Until then the array survives
    /// what both shapes do.
    /// </summary>
    /// <param name="level">The level that it gets; null to keep its own.</param>
    /// <param name="drives">The drives that come in; they stay the caller's, and must outlive the array.</param>
    /// <param name="force">Overwrite whatever the drives hold.</param>
    /// <exception cref="ArrayException">It cannot; the message says why and what to do.</exception>
    public Task ReshapeAsync(RaidLevel? level, IReadOnlyList<IBlockDevice> drives, bool force = false) =>
        ArrayReshape.BeginAsync(Live, level, drives, force);

    /// <summary>The same with more drives and the level that it has.</summary>
    /// <param name="drives">The drives.</param>
    /// <param name="force">Overwrite whatever they hold.</param>
    /// <exception cref="ArrayException">It cannot; the message says why and what to do.</exception>
    public Task AddDrivesAsync(IReadOnlyList<IBlockDevice> drives, bool force = false) => ReshapeAsync(null, drives, force);

    /// <summary>Every router goes by what the run says now. Returns what completes when nothing touches its window.</summary>
    internal async Task<Task[]> AdoptReshapeAsync()
    {
        var quiet = new List<Task>();
        foreach (ReshapeQueue router in Volatile.Read(ref _routers))
        {
            Task told = router.Reactor.InvokeAsync(() =>
            {
                if (!router.New.Closed.IsCompleted)
                {
                    Task its = router.Adopt(Reshape!);
                    lock (quiet)
                    {
                        quiet.Add(its);
                    }
                }
            });
            await (await Task.WhenAny(told, router.New.Closed));
        }

        return [.. quiet];
    }

    /// <summary>Opens what moves the volume.</summary>
    /// <exception cref="IOException">A drive cannot be opened.</exception>
    internal Task<WindowMover> OpenMoverAsync(long mostBytes, Action done) => Control.Home.InvokeAsync(() =>
    {
        RaidQueue newQueue = OpenUnregistered(Control.Home, Shape with { Intent = null, IsOwn = true });
        RaidQueue old;
        try
        {
            old = OpenUnregistered(Control.Home, OldShape with { Intent = null, IsOwn = true });
        }
        catch
        {
            newQueue.Dispose();
            throw;
        }

        Volatile.Write(ref _ownQueues, [newQueue, old]);
        newQueue.Adopt(Map);
        old.Adopt(Map);
        return new WindowMover(Reshape!.Map, newQueue, old, mostBytes, done);
    });

    /// <summary>What moved the volume is about to be disposed.</summary>
    internal void ForgetMover() => Volatile.Write(ref _ownQueues, []);

    /// <summary>A router was disposed, and its queues are about to be.</summary>
    internal void Forget(ReshapeQueue router)
    {
        lock (_lock)
        {
            _routers = [.. _routers.Where(r => !ReferenceEquals(r, router))];
        }
    }

    /// <summary>Another size, of which the superblocks know.</summary>
    internal void ShowSize(long sizeBytes)
    {
        Volatile.Write(ref _sizeBytes, sizeBytes);
        Resized?.Invoke(this);
    }

    /// <summary>All openers of one reactor share one router; each disposes it once.</summary>
    private ReshapeQueue OpenRouter(Reactor reactor, ReshapeRun run)
    {
        lock (_lock)
        {
            if (Array.Find(_routers, r => ReferenceEquals(r.Reactor, reactor)) is { } open)
            {
                open.AddReference();
                return open;
            }
        }

        RaidQueue newQueue = OpenUnregistered(reactor, Shape);
        RaidQueue old;
        try
        {
            old = OpenUnregistered(reactor, OldShape);
        }
        catch
        {
            newQueue.Dispose();
            throw;
        }

        var router = new ReshapeQueue(this, run, newQueue, old);
        bool stopped;
        lock (_lock)
        {
            stopped = _stopped;
            if (!stopped)
            {
                _queues = [.. _queues, newQueue, old];
                _routers = [.. _routers, router];
            }
        }

        // Published meanwhile to all but these, which nobody knew.
        newQueue.Adopt(Map);
        old.Adopt(Map);
        router.Adopt(run);
        if (stopped)
        {
            router.Dispose();
            throw new ArrayException($"Array {Name} has been stopped: start it again.");
        }

        return router;
    }
}
