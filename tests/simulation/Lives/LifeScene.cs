using Polyblk.Core.Reactors;
using Polyblk.Raid;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>What the parts of a life share: the world and what there is in it now.</summary>
internal sealed class LifeScene : IDisposable
{
    private RaidArray? _array;

    public LifeScene(ulong seed, TextWriter? log)
    {
        Chance = new Chance(seed * 0x9E3779B97F4A7C15);
        Plan = LifePlan.Of(seed, Chance);
        World = new World(new Chance(Chance.Seed()), Plan.Reactors, log);
        Drives = new LifeDrives(Chance, Plan, World);
        Members = new LifeMembers(this);
    }

    public Chance Chance { get; }

    public LifePlan Plan { get; }

    public World World { get; }

    /// <summary>The drives that are connected.</summary>
    public LifeDrives Drives { get; }

    /// <summary>Which members met trouble.</summary>
    public LifeMembers Members { get; }

    /// <summary>What the volume may hold; null until it is made.</summary>
    public VolumeModel? Model { get; set; }

    /// <summary>Null before the first one is started, and after its power was cut.</summary>
    public Guest? Guest { get; set; }

    /// <summary>The array as it runs; null when none does.</summary>
    public RaidArray? Array
    {
        get => _array?.Live;
        set => _array = value;
    }

    /// <summary>Blocks that were being written at an end that nobody asked for, until members agree again.</summary>
    public SortedSet<long> OpenBlocks { get; } = [];

    /// <summary>How this generation ends.</summary>
    public Ending Ending { get; set; }

    /// <summary>Whether this generation is the last.</summary>
    public bool IsLast { get; set; }

    /// <summary>Whether the end has come that nobody asked for: whatever still runs must touch nothing.</summary>
    public bool IsInterrupted { get; set; }

    /// <summary>Whether power was lost, and what is left was not judged yet.</summary>
    public bool PowerWasLost { get; set; }

    /// <summary>Whether this generation's start was forced.</summary>
    public bool IsForced { get; set; }

    /// <summary>Whether members were seen not to agree where the journal does not say what is right.</summary>
    public bool WasInDoubt { get; set; }

    /// <summary>What it has met so far.</summary>
    public LifeCounts Counts { get; set; }

    /// <summary>Whether a drive did not answer for a while in this generation.</summary>
    public bool HungLately { get; set; }

    /// <summary>Where control tasks and single reads of drives are at home.</summary>
    public Reactor Home => World.Reactors[0];

    /// <summary>What goes on after its target is gone must not touch the next one's.</summary>
    public void ThrowIfInterrupted()
    {
        if (IsInterrupted)
        {
            throw new LifeException("interrupted");
        }
    }

    /// <summary>Where a generation does not end in order, its end comes within so many events.</summary>
    public void InterruptWithin(int least, int most) =>
        World.InterruptAt = World.InterruptAt == long.MaxValue
            ? long.MaxValue
            : Math.Min(World.InterruptAt, World.Events + Chance.Spread(least, most));

    public void Dispose()
    {
        Guest?.Dispose();
        World.Dispose();
        Drives.Dispose();
    }
}
