// A life: an array is made over simulated drives and served to a guest through virtqueues, works, meets trouble, ends in one way
// or another, is started again, and is judged, for some generations.
//
// Theory of operation. A generation is one task of the world. A power cut or a kill comes in the place of some event, wherever
// the task is by then: in the making, the assembly, the judging, the work, the resync. Then the old target is wound down with its
// drives gone, as objects alone; nothing of that reaches the drives, nor, after a kill, the guest. The next generation finds what
// was left.
//
// What is demanded: requests succeed as long as no more goes wrong than the level makes up for; what is read is possible
// (VolumeModel); after a power cut it is possible for what was flushed, and does not change by itself; members agree after the
// resync; an array that was stopped in order starts complete and clean.

using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;
using Polyblk.Raid;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using Polyblk.Virtio;

namespace Polyblk.Simulation.Tests;

/// <summary>See the top of the file.</summary>
internal sealed class Life : IDisposable
{
    private const string Name = "simulated";
    private static readonly TimeSpan s_slowAfter = TimeSpan.FromMilliseconds(400);

    private readonly Chance _chance;
    private readonly LifePlan _plan;
    private readonly World _world;
    private readonly List<SimulatedDrive> _owned = [];
    private readonly SortedSet<long> _openBlocks = [];
    private SimulatedDrive[] _drives;
    private VolumeModel? _model;
    private Guest? _guest;
    private RaidArray? _array;
    private Ending _ending;
    private bool _interrupted;
    private ulong _inTrouble;
    private bool _wasInSync;
    private bool _hungLately;
    private bool _wasTried;
    private bool _wasMade;
    private bool _powerWasLost;
    private bool _wasStopped;
    private bool _leftResync;
    private ulong _lost;
    private ulong _seenRebuilding;
    private long _excusedStripes;

    public Life(ulong seed, TextWriter? log = null)
    {
        Seed = seed;
        _chance = new Chance(seed * 0x9E3779B97F4A7C15);
        _plan = LifePlan.Of(seed, _chance);
        _world = new World(new Chance(_chance.Seed()), _plan.Reactors, log);
        _drives = [];
        for (int i = 0; i < _plan.Drives; i++)
        {
            MakeDrive();
        }
    }

    public ulong Seed { get; }

    public LifePlan Plan => _plan;

    public Trace Trace => _world.Trace;

    public long Events => _world.Events;

    /// <summary>
    /// Stripes for whose lost blocks nobody answers: they were being written when power was cut, and a member was out.
    /// </summary>
    public long ExcusedStripes => _excusedStripes;

    /// <summary>Lives it.</summary>
    /// <exception cref="LifeException">Something was not as it must be.</exception>
    public void Run()
    {
        for (int generation = 1; generation <= _plan.Generations; generation++)
        {
            bool isLast = generation == _plan.Generations;
            _ending = isLast ? Ending.Stop : _chance.Of(Ending.PowerCut, Ending.PowerCut, Ending.Kill, Ending.Stop);
            _world.Note("generation", generation, (long)_ending);
            _interrupted = false;
            _world.Interruption = Interrupt;
            _world.InterruptAt = _ending == Ending.Stop ? long.MaxValue : _world.Events + _chance.Spread(10, 6_000);
            Task task = LiveAsync(isLast, _ending);
            _world.Run(() => task.IsCompleted || _interrupted, task);
            if (_ending == Ending.Stop)
            {
                continue;
            }

            if (!_interrupted)
            {
                // It had nothing more to do before its end came.
                Interrupt();
            }

            Task wound = WindDownAsync(task);
            _world.Run(() => wound.IsCompleted, wound);
        }
    }

    public void Dispose()
    {
        _guest?.Dispose();
        _world.Dispose();
        foreach (SimulatedDrive drive in _owned)
        {
            drive.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }

    private void Own(SimulatedDrive drive)
    {
        int index = Array.IndexOf(_drives, drive);
        _owned.Add(drive);
        drive.Observer = (_, step, request) => _world.Note(
            step == SimulatedStep.Taken ? "taken" : "done",
            (index << 8) | (int)request.Operation,
            request.OffsetBytes,
            (request.LengthBytes << 16) | (uint)(ushort)-request.Status,
            step == SimulatedStep.Taken && request.Operation == BlockOperation.Write ? HashOf(request) : (long)request.Flags);
    }

    private SimulatedDrive MakeDrive()
    {
        var drive = new SimulatedDrive(
            RaidGeometry.DefaultDataOffset + _plan.MemberBytes,
            new SimulatedDriveOptions
            {
                Seed = _chance.Seed(),
                MinimumLatencyNs = 1_000,
                MaximumLatencyNs = _plan.LatencyNs,
                TearBytes = _plan.TearBytes,
                VolatileCache = _plan.VolatileCache,
            });
        _drives = [.. _drives, drive];
        Own(drive);
        return drive;
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

    private ArrayRunOptions RunOptions => new()
    {
        Clock = _world.Clock,
        Scheduler = _world.Scheduler,
        CleanAfter = _plan.CleanAfter,
        CheckpointEvery = TimeSpan.FromMilliseconds(50),
        ResyncDepth = _plan.ResyncDepth,
        RowMemoryBytes = _plan.RowMemoryBytes,
        ResyncRetryAfter = TimeSpan.FromMilliseconds(300),
        ResyncMaxBytesPerSecond = _plan.JobBytesPerSecond,
        NewUuid = _chance.Uuid,
        SlowAfter = s_slowAfter,
        OnEvent = e =>
        {
            _world.Note("event", (int)e.Level, (long)Trace.HashOf(System.Text.Encoding.UTF8.GetBytes(e.Message)));
            _world.Trace.Log?.WriteLine(e.Message);
        },
    };

    private Reactor Home => _world.Reactors[0];

    /// <summary>A generation, from the start to its end in order or the work done.</summary>
    private async Task LiveAsync(bool isLast, Ending ending)
    {
        bool wasStopped = _wasStopped;
        _wasStopped = _hungLately = false;
        await StartAsync(wasStopped);
        ThrowIfInterrupted();
        _plan.VolumeBytes = _array!.SizeBytes;
        _model ??= new VolumeModel(_plan.VolumeBytes);
        _guest ??= new Guest(_world, _plan, new Chance(_chance.Seed()), _model);
        if (_array.Geometry.HasParity && _array.State.LostMask != 0)
        {
            ExcuseOpenStripes();
        }

        await ServeAsync();
        if (_powerWasLost)
        {
            await JudgeAfterPowerLossAsync();
        }

        NoteSync();
        if (isLast || _chance.OneIn(3))
        {
            await WaitForResyncAsync();
        }

        if (_plan.Scrubs && _chance.OneIn(2))
        {
            _world.Note("scrub");
            await _array!.StartScrubAsync(_chance.OneIn(2));
        }

        int requests = _chance.Spread(5, 200);
        if (_chance.OneIn(3) && !_array!.GetStatus().Dirty)
        {
            // The first write, and the mark that it waits for.
            InterruptWithin(20, 300);
        }

        await Task.WhenAll(
            RepairAsync(MakeTroubleAsync(_guest.WhenLeftAsync(_chance.Next(requests)))),
            _guest.WorkAsync(requests));
        if (ending != Ending.Stop)
        {
            return;
        }

        JudgeScrub();
        if (isLast)
        {
            await JudgeAtTheEndAsync();
        }

        await StopAsync();
    }

    private async Task StartAsync(bool wasStopped)
    {
        if (!_wasMade)
        {
            var create = new ArrayCreateOptions
            {
                Name = Name,
                Level = _plan.Level,
                ChunkBytes = _plan.ChunkBytes,
                AssumeZeroed = _plan.IsZeroed,
                Force = _wasTried,
                NewUuid = _chance.Uuid,
                Run = RunOptions,
            };
            _wasTried = true;
            _array = await ArrayBuilder.CreateAsync(create, _drives[.._plan.Drives], Home);
            _wasMade = true;
            for (int i = 0; i < _plan.Spares && !_interrupted; i++)
            {
                await _array.AddSpareAsync(MakeDrive());
            }

            return;
        }

        var options = new ArrayAssembleOptions { Name = Name, AllowDegraded = true, Force = _lost != 0, Run = RunOptions };
        _array = await ArrayBuilder.AssembleAsync(options, _drives, Home);
        ulong missing = _array.State.LostMask;
        _world.Note("assembled", (long)missing, (long)_array.GetStatus().EventCount);
        if ((missing & ~_lost) != 0)
        {
            throw new LifeException($"the array starts without members {missing:b}, of which only {_lost:b} met trouble");
        }

        NoteMembers();

        if (wasStopped && (_array.GetStatus().Dirty || (_array.GetStatus().Resync is not null && !_leftResync)))
        {
            throw new LifeException("the array was stopped in order, and is dirty");
        }
    }

    /// <summary>Starts the guest's queues on the array.</summary>
    private async Task ServeAsync()
    {
        var virtio = new VirtioBlkDevice(_array!, new VirtioBlkDeviceOptions { Serial = "simulated", Queues = _plan.Queues });
        virtio.SetFeatures(_guest!.Features);
        _guest.IsServed = true;
        for (int i = 0; i < _plan.Queues; i++)
        {
            GuestQueue queue = _guest.Queues[i];
            Reactor reactor = _world.Reactors[i % _plan.Reactors];
            var setup = new VirtqueueSetup
            {
                Name = $"queue {i}",
                Reactor = reactor,
                Device = _array!,
                Virtio = virtio,
                Memory = _guest.Memory,
                Addresses = queue.Ring.Addresses,
                Size = _plan.QueueSize,
                Features = _guest.Features,
                Base = queue.Base,
                Inflight = queue.Log,
            };

            // At once: a process that is killed starts no further queue.
            Task<VirtioBlkQueue>? started = null;
            _world.RunOn(reactor, () => started = VirtioBlkQueue.StartAsync(setup));
            queue.Served = await started!;
            await Task.Yield();
            ThrowIfInterrupted();
        }

        await _guest.RestAsync();
    }

    /// <summary>What goes on after its target is gone must not touch the next one's.</summary>
    private void ThrowIfInterrupted()
    {
        if (_interrupted)
        {
            throw new LifeException("interrupted");
        }
    }

    private async Task StopAsync()
    {
        foreach (GuestQueue queue in _guest!.Queues)
        {
            queue.Base = await queue.Served!.StopAsync();
            queue.Served = null;
        }

        RaidArray array = _array!;
        _leftResync = array.GetStatus().Resync is not null;
        _array = null;
        try
        {
            await array.StopAsync();
            _wasStopped = true;
        }
        catch (ArrayException) when (_hungLately)
        {
            // A drive that has only just begun to answer again may count as one that does not: the array says so, and stays
            // dirty.
            _model!.AddInFlight(_openBlocks);
        }
    }

    private async Task JudgeAfterPowerLossAsync()
    {
        byte[] found = await ReadAndJudgeAsync(powerWasLost: true);
        _model!.Settle(0, found);
        _powerWasLost = false;
    }

    /// <summary>
    /// While a resync is under way, blocks that were open when it became needed may differ from member to member.
    /// </summary>
    private void NoteSync()
    {
        NoteMembers();
        if (_array!.GetStatus().Resync is null)
        {
            _wasInSync = true;
            _openBlocks.Clear();
            _model!.ForgetUnsettled();
        }
    }

    /// <summary>A member that has been rebuilt is as good as any other, and may meet trouble like any other.</summary>
    private void NoteMembers()
    {
        ulong lost = _array!.State.LostMask;
        _seenRebuilding |= _array.State.RebuildingMask;
        ulong healed = _seenRebuilding & ~lost;
        if (healed != 0)
        {
            _world.Note("healed", (long)healed);
            _seenRebuilding &= ~healed;
            _lost &= ~healed;
            _inTrouble &= ~healed;
        }
    }

    private SimulatedDrive? DriveOf(int role) => _array!.Members[role].Drive as SimulatedDrive;

    private void ExcuseOpenStripes()
    {
        RaidGeometry geometry = _array!.Geometry;
        long blocksPerStripe = geometry.StripeDataSize / VolumeModel.BlockBytes;
        foreach (long stripe in _openBlocks.Select(b => b / blocksPerStripe).Distinct())
        {
            _excusedStripes++;
            long end = Math.Min((stripe + 1) * blocksPerStripe, _plan.VolumeBytes / VolumeModel.BlockBytes);
            for (long block = stripe * blocksPerStripe; block < end; block++)
            {
                _model!.Excuse(block);
            }
        }
    }

    private async Task<byte[]> ReadAndJudgeAsync(bool powerWasLost)
    {
        long begun = _model!.Step();
        byte[] found = await _guest!.ReadAsync(0, (int)_plan.VolumeBytes);
        return _model.Judge(0, found, begun, powerWasLost) is { } wrong
            ? throw new LifeException(powerWasLost ? $"after the loss of power {wrong}" : wrong)
            : found;
    }

    private async Task WaitForResyncAsync()
    {
        for (int i = 0; _array!.GetStatus() is { Resync: not null } or { Rebuild: not null }; i++)
        {
            if (i > 3000)
            {
                throw new LifeException($"the resync does not end: {string.Join(" ", _array.GetStatus().Warnings)}");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), _world.Clock);
        }

        NoteSync();
    }

    /// <summary>Members that count as in step never differ.</summary>
    private void JudgeScrub()
    {
        if (_plan.Trouble != Trouble.ReadErrors && _array!.GetStatus().Scrub is { } found && found.Differing + found.MadeToAgree != 0)
        {
            throw new LifeException($"members differ: {found}");
        }
    }

    private async Task JudgeAtTheEndAsync()
    {
        Array.ForEach(_drives, d => d.ClearFaults());
        await WaitForResyncAsync();
        await ReadAndJudgeAsync(powerWasLost: false);
        while (!await TryCompareMembersAsync())
        {
            await WaitForResyncAsync();
        }

        if (_plan.Scrubs && !_array!.State.IsBroken)
        {
            await WaitForScrubAsync();
            await _array.StartScrubAsync(repair: false);
            await WaitForScrubAsync();
            JudgeScrub();
        }
    }

    private async Task WaitForScrubAsync()
    {
        for (int i = 0; _array!.GetStatus().Scrub is { EndedAt: null }; i++)
        {
            if (i > 3000)
            {
                throw new LifeException($"the scrub does not end: {_array.GetStatus().Scrub}");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), _world.Clock);
        }
    }

    /// <summary>Compares what members hold. Returns false when one was being rebuilt meanwhile.</summary>
    private async Task<bool> TryCompareMembersAsync()
    {
        var members = new byte[_plan.Drives][];
        ulong failed = _array!.State.LostMask, lost = failed;
        int epoch = _array.Map.Epoch;
        for (int i = 0; i < members.Length; i++)
        {
            failed |= DriveOf(i) is { IsGone: false } ? 0 : 1UL << i;
        }

        if (failed != 0 && _array.Geometry.HasParity)
        {
            return true;
        }

        for (int i = 0; i < members.Length; i++)
        {
            members[i] = [];
            if (((failed >> i) & 1) == 0)
            {
                members[i] = new byte[_array.Geometry.MemberDataSize];
                await BlockIo.ReadAsync(DriveOf(i)!, Home, _array.Geometry.DataOffset, members[i]);
            }
        }

        if (epoch != _array.Map.Epoch || lost != _array.State.LostMask)
        {
            return false;
        }

        return MemberCheck.Find(_array.Geometry, members) is { } wrong ? throw new LifeException($"at the end {wrong}") : true;
    }

    /// <summary>
    /// A member gets into trouble, where the level makes up for it: also while a resync makes members agree that once agreed,
    /// unless that would have to make up for a block as well as for what it has not come to yet.
    /// </summary>
    private async Task MakeTroubleAsync(Task itsTime)
    {
        await itsTime;
        if (_interrupted || _plan.Trouble == Trouble.None || BitOperations.PopCount(_inTrouble) == _plan.MostTroubles)
        {
            return;
        }

        NoteSync();
        if (_array!.GetStatus().Resync is not null)
        {
            if (!_wasInSync || _plan.Trouble == Trouble.ReadErrors)
            {
                return;
            }

            _world.Note("trouble in a resync");
            if (_array.Geometry.HasParity)
            {
                ExcuseOpenStripes();
            }
            else
            {
                _model!.Unsettle(_openBlocks);
            }
        }

        int member = _chance.Next(_plan.Drives);
        while ((((_inTrouble | _array.State.LostMask) >> member) & 1) != 0)
        {
            member = (member + 1) % _plan.Drives;
        }

        _inTrouble |= 1UL << member;
        SimulatedDrive drive = DriveOf(member)!;
        _world.Note("trouble", (int)_plan.Trouble, member);
        long data = RaidGeometry.DefaultDataOffset;
        if (_chance.OneIn(2))
        {
            // What matters most is what comes right after.
            InterruptWithin(50, 3_000);
        }

        switch (_plan.Trouble)
        {
            case Trouble.Vanish:
                _lost |= 1UL << member;
                await drive.VanishAsync(_chance.Of(Errno.ENODEV, Errno.EIO));
                break;
            case Trouble.VanishUntold:
                _lost |= 1UL << member;
                SimulatedDrive[] others = [.. _drives.Where(d => d != drive && !d.IsGone)];
                foreach (SimulatedDrive other in others)
                {
                    other.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = data, Stuck = true });
                }

                await drive.VanishAsync();
                await Task.Delay(TimeSpan.FromMilliseconds(_chance.Spread(1, 3_000)), _world.Clock);
                Array.ForEach(others, d => d.ClearFaults());
                foreach (SimulatedDrive other in others)
                {
                    await other.ReleaseStuckAsync();
                }

                break;
            case Trouble.RefuseWrites:
                _lost |= 1UL << member;
                drive.AddFault(new DriveFault { Operation = BlockOperation.Write, Errno = Errno.EIO, Count = _chance.Spread(1, 20) });
                break;
            case Trouble.PassingErrors:
                // A flush that fails is not tried again.
                _lost |= 1UL << member;
                drive.AddFault(new DriveFault { Errno = Errno.EAGAIN, Count = _chance.Spread(1, 6), Probability = 0.5 });
                break;
            case Trouble.ReadErrors:
                drive.AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = data, Count = _chance.Spread(1, 6) });
                break;
            default:
                _hungLately = true;
                drive.AddFault(new DriveFault { Stuck = true, Probability = 0.3, Count = _chance.Spread(1, 6) });
                await Task.Delay(TimeSpan.FromMilliseconds(_chance.Spread(1, 3_000)), _world.Clock);
                drive.ClearFaults();
                await drive.ReleaseStuckAsync();
                break;
        }
    }

    /// <summary>A member that is out gets a new drive, which may be lost as well.</summary>
    private async Task RepairAsync(Task trouble)
    {
        await trouble;
        while (await TryRepairAsync() && _chance.OneIn(2))
        {
            // It may have been in vain: the next one.
        }
    }

    /// <summary>Returns whether a new drive has failed, and there is time for another.</summary>
    private async Task<bool> TryRepairAsync()
    {
        await Task.Delay(TimeSpan.FromMicroseconds(_chance.Spread(1, 100_000)), _world.Clock);
        if (_interrupted || !_plan.Repairs || _array is not { } array || array.State.FailedMask == 0)
        {
            return false;
        }

        int role = BitOperations.TrailingZeroCount(array.State.FailedMask);
        SimulatedDrive drive = MakeDrive();
        _world.Note("replace", role);
        if (_chance.OneIn(3))
        {
            InterruptWithin(20, 3_000);
        }

        try
        {
            await array.ReplaceMemberAsync(role, drive);
        }
        catch (ArrayException)
        {
            // Its drive still owes an answer, another rebuild is under way, or all has ended.
            return false;
        }

        NoteRebuild(array);
        if (_chance.OneIn(4))
        {
            await Task.Delay(TimeSpan.FromMicroseconds(_chance.Spread(1, 20_000)), _world.Clock);
            if (!_interrupted && _array == array && ((array.State.RebuildingMask >> role) & 1) != 0)
            {
                _world.Note("new drive lost", role);
                await drive.VanishAsync(_chance.Of(Errno.ENODEV, Errno.EIO));
                return true;
            }
        }

        return false;
    }

    private void NoteRebuild(RaidArray array)
    {
        if (!_interrupted && _array == array)
        {
            NoteMembers();
        }
    }

    /// <summary>Where a generation does not end in order, its end comes within so many events.</summary>
    private void InterruptWithin(int least, int most) =>
        _world.InterruptAt = _world.InterruptAt == long.MaxValue
            ? long.MaxValue
            : Math.Min(_world.InterruptAt, _world.Events + _chance.Spread(least, most));

    /// <summary>In the place of an event: the end of a generation that was not asked for.</summary>
    private void Interrupt()
    {
        _interrupted = true;
        _world.Note("end", (long)_ending);
        foreach (SimulatedDrive drive in _drives)
        {
            if (_ending == Ending.PowerCut)
            {
                drive.CutPower();
            }
            else
            {
                drive.LoseUser();
            }
        }

        foreach (GuestQueue queue in _guest?.Queues ?? [])
        {
            if (_ending == Ending.Kill && queue.Served is { } served)
            {
                _world.RunOn(served.Setup.Reactor, () => served.Setup.Reactor.Drop(served, new LifeException("killed")));
            }
        }

        if (_ending == Ending.PowerCut)
        {
            _guest?.Die();
            _model?.LosePower(_openBlocks);
            _powerWasLost |= _model is not null;
        }
        else
        {
            _guest?.ForgetAsked();
            _model?.AddInFlight(_openBlocks);
        }

        foreach (Reactor reactor in _world.Reactors)
        {
            _world.RunOn(reactor, () => Array.ForEach(_drives, d => d.FailInFlight(reactor)));
        }
    }

    /// <summary>
    /// The target is gone; what is left of it in memory is put away, and the drives are what the next one finds.
    /// </summary>
    private async Task WindDownAsync(Task generation)
    {
        try
        {
            await generation;
        }
        catch (Exception) when (_interrupted)
        {
            // The ground was pulled from under it.
        }

        foreach (GuestQueue queue in _guest?.Queues ?? [])
        {
            if (queue.Served is { } served)
            {
                queue.Served = null;
                await served.StopAsync(VirtqueueStop.Abandon);
            }
        }

        if (_array is { } array)
        {
            _array = null;
            while (array.Queues.Length != 0)
            {
                // A killed queue is let go when the last of its requests has come back.
                await Task.Delay(TimeSpan.FromMilliseconds(1), _world.Clock);
            }

            await array.AbandonAsync();
        }

        _drives = [.. _drives.Select(d => d.Restart())];
        Array.ForEach(_drives, Own);
        if (_ending == Ending.PowerCut)
        {
            _guest?.Dispose();
            _guest = null;
        }
    }
}
