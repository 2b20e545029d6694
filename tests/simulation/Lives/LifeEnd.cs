// An end that nobody asked for: power is cut, or the target's process is killed. It comes in the place of some event, wherever
// the generation is by then. What is left of the old target is wound down with its drives gone, as objects alone; nothing of that
// reaches the drives, nor, after a kill, the guest.

using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;
using Polyblk.Raid;
using Polyblk.Virtio;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>See the top of the file.</summary>
internal sealed class LifeEnd(LifeScene scene)
{
    /// <summary>In the place of an event: the end.</summary>
    public void Interrupt()
    {
        scene.IsInterrupted = true;
        scene.WasInDoubt |= scene.Array?.State is { TrustsUnsynced: false } or { PersistedTrust: false };
        scene.World.Note("end", (long)scene.Ending);
        bool isPowerCut = scene.Ending == Ending.PowerCut;
        scene.Counts += Count(isPowerCut);
        foreach (SimulatedDrive drive in scene.Drives.All)
        {
            if (isPowerCut)
            {
                drive.CutPower();
            }
            else
            {
                drive.LoseUser();
            }
        }

        if (isPowerCut)
        {
            scene.Guest?.Die();
            scene.Model?.LosePower(scene.OpenBlocks);
            scene.PowerWasLost |= scene.Model is not null;
        }
        else
        {
            DropQueues();
            scene.Guest?.ForgetAsked();
            scene.Model?.AddInFlight(scene.OpenBlocks);
        }

        foreach (Reactor reactor in scene.World.Reactors)
        {
            scene.World.RunOn(reactor, () => scene.Drives.FailInFlight(reactor));
        }
    }

    /// <summary>What this end is, and what it comes into.</summary>
    private LifeCounts Count(bool isPowerCut)
    {
        ArrayStatus? status = scene.Array?.GetStatus();
        return new LifeCounts
        {
            PowerCuts = isPowerCut ? 1 : 0,
            Kills = isPowerCut ? 0 : 1,
            InResync = status?.Resync is null ? 0 : 1,
            InRebuild = status?.Rebuild is null ? 0 : 1,
            InReplacement = status?.Replacement is null ? 0 : 1,
            InReshape = status?.Reshape is null ? 0 : 1,
            InScrub = status?.Scrub is { EndedAt: null } ? 1 : 0,
        };
    }

    /// <summary>
    /// The target is gone; what is left of it in memory is put away, and the drives are what the next one finds.
    /// </summary>
    public async Task WindDownAsync(Task generation)
    {
        try
        {
            await generation;
        }
        catch (Exception) when (scene.IsInterrupted)
        {
            // The ground was pulled from under it.
        }

        foreach (GuestQueue queue in scene.Guest?.Queues ?? [])
        {
            if (queue.Served is { } served)
            {
                queue.Served = null;
                await served.StopAsync(VirtqueueStop.Abandon);
            }
        }

        if (scene.Array is { } array)
        {
            scene.Array = null;
            await PutAwayAsync(array);
        }

        scene.Drives.Restart();
        if (scene.Ending == Ending.PowerCut)
        {
            scene.Guest?.Dispose();
            scene.Guest = null;
        }
    }

    private async Task PutAwayAsync(RaidArray array)
    {
        while (array.Queues.Length != 0)
        {
            // A killed queue is let go when the last of its requests has come back.
            await Task.Delay(TimeSpan.FromMilliseconds(1), scene.World.Clock);
        }

        await array.AbandonAsync();
    }

    private void DropQueues()
    {
        foreach (GuestQueue queue in scene.Guest?.Queues ?? [])
        {
            if (queue.Served is { } served)
            {
                scene.World.RunOn(served.Setup.Reactor, () => served.Setup.Reactor.Drop(served, new LifeException("killed")));
            }
        }
    }
}
