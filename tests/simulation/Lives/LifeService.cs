// The target of a life in the order of its work: the array is made, or assembled from what the last generation left; served to
// the guest through virtqueues; stopped.

using Polyblk.Core.Reactors;
using Polyblk.Raid;
using Polyblk.Raid.Superblock;
using Polyblk.Virtio;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>See the top of the file.</summary>
internal sealed class LifeService(LifeScene scene)
{
    private const string Name = "simulated";
    private static readonly TimeSpan s_slowAfter = TimeSpan.FromMilliseconds(400);
    private static readonly TimeSpan s_driveTimeout = TimeSpan.FromSeconds(1);

    private bool _wasTried;
    private bool _wasMade;
    private bool _wasStopped;
    private bool _leftResync;

    private ArrayRunOptions RunOptions => new()
    {
        Clock = scene.World.Clock,
        Scheduler = scene.World.Scheduler,
        CleanAfter = scene.Plan.CleanAfter,
        CheckpointEvery = TimeSpan.FromMilliseconds(50),
        ResyncDepth = scene.Plan.ResyncDepth,
        RowMemoryBytes = scene.Plan.RowMemoryBytes,
        ResyncRetryAfter = TimeSpan.FromMilliseconds(300),
        ResyncMaxBytesPerSecond = scene.Plan.JobBytesPerSecond,
        NewUuid = scene.Chance.Uuid,
        ReshapeWindowBytes = scene.Plan.WindowBytes,
        SlowAfter = s_slowAfter,
        DriveTimeout = scene.Plan.TimesOut ? s_driveTimeout : TimeSpan.Zero,
        OnEvent = e =>
        {
            scene.World.Note("event", (int)e.Level, (long)Trace.HashOf(System.Text.Encoding.UTF8.GetBytes(e.Message)));
            scene.World.Trace.Log?.WriteLine(e.Message);
            bool isTimedOut = e is { Kind: ArrayEventKind.MemberFailed, WhyOut: OutReason.TimedOut };
            bool isCorrupt = e.Kind == ArrayEventKind.MemberChecksumErrors;
            if (isCorrupt && scene.Plan.Trouble != Trouble.Corrupt)
            {
                throw new LifeException($"blocks are called wrong that nobody has changed: {e.Message}");
            }

            bool isBad = e.Message.Contains("could not write a block", StringComparison.Ordinal);
            scene.Counts += new LifeCounts
            {
                BadPlaces = isBad ? 1 : 0, Corruptions = isCorrupt ? 1 : 0, TimedOut = isTimedOut ? 1 : 0,
            };
        },
    };

    /// <summary>Makes the array, or assembles it.</summary>
    /// <exception cref="LifeException">It does not start as it was left.</exception>
    public async Task StartAsync()
    {
        bool wasStopped = _wasStopped;
        _wasStopped = scene.HungLately = false;
        if (!wasStopped)
        {
            scene.Members.CutOff();
        }

        scene.Guest?.ReadsMayFail = false;
        if (!_wasMade)
        {
            await MakeAsync();
            return;
        }

        var options = new ArrayAssembleOptions
        {
            Name = Name,
            AllowDegraded = true,
            Force = scene.Members.Lost != 0 && scene.Plan.Consistency != ArrayConsistency.Journal,
            Run = RunOptions,
        };
        RaidArray array = await AssembleAsync(options);
        scene.Array = array;
        ulong missing = array.State.LostMask;
        scene.World.Note("assembled", (long)missing, (long)array.GetStatus().EventCount);
        if ((missing & ~scene.Members.Lost) != 0)
        {
            throw new LifeException(
                $"the array starts without members {missing:b}, of which only {scene.Members.Lost:b} met trouble");
        }

        scene.Members.Note();
        if (wasStopped && (array.GetStatus().Dirty || (array.GetStatus().Resync is not null && !_leftResync)))
        {
            throw new LifeException("the array was stopped in order, and is dirty");
        }
    }

    /// <summary>Starts the guest's queues on the array.</summary>
    public async Task ServeAsync()
    {
        Guest guest = scene.Guest!;
        RaidArray array = scene.Array!;
        var virtio = new VirtioBlkDevice(array, new VirtioBlkDeviceOptions { Serial = Name, Queues = scene.Plan.Queues });
        virtio.SetFeatures(guest.Features);
        guest.IsServed = true;
        for (int i = 0; i < scene.Plan.Queues; i++)
        {
            GuestQueue queue = guest.Queues[i];
            Reactor reactor = scene.World.Reactors[i % scene.Plan.Reactors];
            var setup = new VirtqueueSetup
            {
                Name = $"queue {i}",
                Reactor = reactor,
                Device = array,
                Virtio = virtio,
                Memory = guest.Memory,
                Addresses = queue.Ring.Addresses,
                Size = scene.Plan.QueueSize,
                Features = guest.Features,
                Base = queue.Base,
                Inflight = queue.Log,
            };

            // At once: a process that is killed starts no further queue.
            Task<VirtioBlkQueue>? started = null;
            scene.World.RunOn(reactor, () => started = VirtioBlkQueue.StartAsync(setup));
            queue.Served = await started!;
            await Task.Yield();
            scene.ThrowIfInterrupted();
        }

        await guest.RestAsync();
    }

    /// <summary>Stops the queues and the array in order.</summary>
    public async Task StopAsync()
    {
        foreach (GuestQueue queue in scene.Guest!.Queues)
        {
            queue.Base = await queue.Served!.StopAsync();
            queue.Served = null;
        }

        RaidArray array = scene.Array!;
        _leftResync = array.GetStatus().Resync is not null;
        scene.Array = null;
        try
        {
            await array.StopAsync();
            _wasStopped = true;
        }
        catch (ArrayException) when (scene.HungLately)
        {
            // A drive that has only just begun to answer again may count as one that does not: the array says so, and stays
            // dirty.
            scene.Model!.AddInFlight(scene.OpenBlocks);
        }
    }

    /// <summary>
    /// With a journal, force is needed only where members did not agree before, and no record could say what is right.
    /// </summary>
    private async Task<RaidArray> AssembleAsync(ArrayAssembleOptions options)
    {
        scene.IsForced = options.Force;
        try
        {
            return await ArrayBuilder.AssembleAsync(options, scene.Drives.All, scene.Home);
        }
        catch (ArrayException e) when (scene.WasInDoubt && !options.Force && e.Message.Contains("--force-assembly", StringComparison.Ordinal))
        {
            scene.World.Note("forced");
            scene.IsForced = true;
            return await ArrayBuilder.AssembleAsync(options with { Force = true }, scene.Drives.All, scene.Home);
        }
    }

    private async Task MakeAsync()
    {
        var create = new ArrayCreateOptions
        {
            Name = Name,
            Level = scene.Plan.Level,
            ChunkBytes = scene.Plan.ChunkBytes,
            AssumeZeroed = scene.Plan.IsZeroed,
            Consistency = scene.Plan.Consistency,
            Checksums = scene.Plan.Checksums,
            Force = _wasTried || scene.Plan.IsForced,
            NewUuid = scene.Chance.Uuid,
            Run = RunOptions,
        };
        _wasTried = true;
        scene.Array = await ArrayBuilder.CreateAsync(create, scene.Drives.All[..scene.Plan.Drives], scene.Home);
        _wasMade = true;
        for (int i = 0; i < scene.Plan.Spares && !scene.IsInterrupted; i++)
        {
            await scene.Array.AddSpareAsync(scene.Drives.Add());
        }
    }
}
