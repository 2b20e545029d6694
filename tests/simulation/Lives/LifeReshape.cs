using Polyblk.Drives.Simulated;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>
/// What an administrator does who needs more room, or more or fewer parities: drives are added while the array serves, its level
/// changes, or both. The end of a generation likes to come in the midst of that, and the next ones go on with it.
/// </summary>
internal sealed class LifeReshape(LifeScene scene)
{
    private const int MostMembers = 8;

    private Chance Chance => scene.Chance;

    /// <summary>Adds drives, or does not.</summary>
    public async Task MakeAsync()
    {
        if (!scene.Plan.Reshapes || !Chance.OneIn(2))
        {
            return;
        }

        await Task.Delay(TimeSpan.FromMicroseconds(Chance.Spread(1, 200_000)), scene.World.Clock);
        if (scene.IsInterrupted || scene.Array is not { } array)
        {
            return;
        }

        (RaidLevel? level, int added) = Choose(array.Geometry);
        if (array.Members.Length + added > MostMembers)
        {
            return;
        }

        SimulatedDrive[] drives = [.. Enumerable.Range(0, added).Select(_ => scene.Drives.Add())];
        scene.World.Note("reshape", drives.Length, (int?)level ?? -1);
        if (Chance.OneIn(2))
        {
            scene.InterruptWithin(20, 6_000);
        }

        try
        {
            await array.ReshapeAsync(level, drives);
            scene.Counts += new LifeCounts { Reshapes = 1 };
        }
        catch (ArrayException)
        {
            // It lacks something, something else is under way, or all has ended.
        }
    }

    /// <summary>Another level, or the same, and how many drives come with it.</summary>
    private (RaidLevel? Level, int Added) Choose(RaidGeometry geometry)
    {
        if (!scene.Plan.Relevels || Chance.OneIn(4))
        {
            return (null, Chance.Between(1, 2));
        }

        bool isLess = geometry.ParityCount > scene.Plan.LeastParities && Chance.OneIn(2);
        int parities = geometry.ParityCount + (isLess ? -1 : Chance.Between(1, 2));
        Assert.True(RaidLevels.TryParseShape($"{geometry.DataCount}+{parities}", out RaidLevel level, out _));
        return (level, Math.Max(0, parities - geometry.ParityCount) + Chance.Between(0, 1));
    }
}
