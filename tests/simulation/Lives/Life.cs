// A life: an array is made over simulated drives and served to a guest through virtqueues, works, meets trouble, ends in one way
// or another, is started again, and is judged, for some generations.
//
// Theory of operation. A generation is one task of the world. A power cut or a kill comes in the place of some event, wherever
// the task is by then: in the making, the assembly, the judging, the work, the resync (LifeEnd). The next generation finds what
// was left.
//
// What is demanded: requests succeed as long as no more goes wrong than the level makes up for (LifeTrouble); an array that was
// stopped in order starts complete and clean (LifeService); the rest is the judge's (LifeJudge). The parts share a scene
// (LifeScene) and nothing else.

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>See the top of the file.</summary>
internal sealed class Life : IDisposable
{
    private readonly LifeScene _scene;
    private readonly LifeService _service;
    private readonly LifeJudge _judge;
    private readonly LifeTrouble _trouble;
    private readonly LifeRepair _repair;
    private readonly LifeSwap _swap;
    private readonly LifeReshape _reshape;
    private readonly LifeEnd _end;

    public Life(ulong seed, TextWriter? log = null)
    {
        Seed = seed;
        _scene = new LifeScene(seed, log);
        _service = new LifeService(_scene);
        _judge = new LifeJudge(_scene);
        _trouble = new LifeTrouble(_scene, _judge);
        _repair = new LifeRepair(_scene);
        _swap = new LifeSwap(_scene);
        _reshape = new LifeReshape(_scene);
        _end = new LifeEnd(_scene);
    }

    public ulong Seed { get; }

    public LifePlan Plan => _scene.Plan;

    public Trace Trace => _scene.World.Trace;

    public long Events => _scene.World.Events;

    /// <summary>What it met.</summary>
    public LifeCounts Counts => _scene.Counts;

    /// <summary>
    /// Stripes for whose lost blocks nobody answers: they were being written when power was cut, and a member was out.
    /// </summary>
    public long ExcusedStripes => _judge.ExcusedStripes;

    /// <summary>Lives it.</summary>
    /// <exception cref="LifeException">Something was not as it must be.</exception>
    public void Run()
    {
        World world = _scene.World;
        for (int generation = 1; generation <= Plan.Generations; generation++)
        {
            bool isLast = generation == Plan.Generations;
            Ending ending = isLast ? Ending.Stop : _scene.Chance.Of(Ending.PowerCut, Ending.PowerCut, Ending.Kill, Ending.Stop);
            world.Note("generation", generation, (long)ending);
            _scene.Ending = ending;
            _scene.IsLast = isLast;
            _scene.IsInterrupted = false;
            world.Interruption = _end.Interrupt;
            world.InterruptAt = ending == Ending.Stop ? long.MaxValue : world.Events + _scene.Chance.Spread(10, 6_000);
            Task task = LiveAsync(isLast, ending);
            world.Run(() => task.IsCompleted || _scene.IsInterrupted, task);
            if (ending == Ending.Stop)
            {
                continue;
            }

            if (!_scene.IsInterrupted)
            {
                // It had nothing more to do before its end came.
                _end.Interrupt();
            }

            Task wound = _end.WindDownAsync(task);
            world.Run(() => wound.IsCompleted, wound);
        }
    }

    /// <summary>The command that repeats a life.</summary>
    public static string CommandOf(ulong seed) =>
        $"POLYBLK_SIM_SEED={seed} dotnet test tests/simulation -c Release --filter {nameof(LifeTests.What_was_flushed_survives_and_members_agree)}";

    /// <summary>What went wrong, with the last events.</summary>
    public string Describe(Exception wrong) =>
        $"Seed {Seed}, event {Events}: {wrong.Message}\nTo repeat it: {CommandOf(Seed)}\n{Plan}\n{Trace.Tail()}\n{wrong}";

    public void Dispose() => _scene.Dispose();

    /// <summary>A generation, from the start to its end in order or the work done.</summary>
    private async Task LiveAsync(bool isLast, Ending ending)
    {
        await _service.StartAsync();
        _scene.ThrowIfInterrupted();
        PrepareGuest();
        await _service.ServeAsync();
        if (_scene.PowerWasLost)
        {
            await _judge.JudgeAfterPowerLossAsync();
            if (_scene.Drives.HasBad && !_scene.Array!.Geometry.HasParity)
            {
                // The copy that was read may turn out to be one that cannot be written.
                _scene.Model!.Unsettle(_scene.OpenBlocks);
            }
        }

        _judge.NoteSync();
        if (isLast || _scene.Chance.OneIn(3))
        {
            await _judge.WaitForResyncAsync();
        }

        await WorkAsync();
        if (ending != Ending.Stop)
        {
            return;
        }

        _judge.JudgeScrub();
        if (isLast)
        {
            await _judge.JudgeAtTheEndAsync();
        }

        await _service.StopAsync();
    }

    private void PrepareGuest()
    {
        Plan.VolumeBytes = _scene.Array!.SizeBytes;
        _scene.Model ??= new VolumeModel(Plan.VolumeBytes);
        _scene.Model.Grow(Plan.VolumeBytes);
        _scene.Guest ??= new Guest(_scene.World, Plan, new Chance(_scene.Chance.Seed()), _scene.Model);
        if (_scene.Array.Geometry.HasParity && (_scene.Array.State.LostMask != 0 || _scene.Drives.HasBad))
        {
            _judge.ExcuseLost(isReplayed: false);
        }
    }

    /// <summary>The guest works; a scrub, trouble, repairs and swaps of drives may come meanwhile.</summary>
    private async Task WorkAsync()
    {
        Chance chance = _scene.Chance;
        if (Plan.Scrubs && chance.OneIn(2) && _scene.Array!.Reshaping is null)
        {
            _scene.World.Note("scrub");
            await _scene.Array.StartScrubAsync(chance.OneIn(2));
        }

        int requests = chance.Spread(5, 200);
        if (chance.OneIn(3) && !_scene.Array!.GetStatus().Dirty)
        {
            // The first write, and the mark that it waits for.
            _scene.InterruptWithin(20, 300);
        }

        Guest guest = _scene.Guest!;
        await Task.WhenAll(
            _repair.MakeAsync(_trouble.MakeAsync(guest.WhenLeftAsync(chance.Next(requests)))),
            _swap.MakeAsync(),
            _reshape.MakeAsync(),
            guest.WorkAsync(requests));
    }
}
