using Polyblk.Drives.Simulated;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>
/// What an administrator does who needs more room: drives are added while the array serves. The end of a generation likes to come
/// in the midst of that, and the next ones go on with it.
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
        if (scene.IsInterrupted || scene.Array is not { } array || array.Members.Length + 2 > MostMembers)
        {
            return;
        }

        SimulatedDrive[] drives = [.. Enumerable.Range(0, Chance.Between(1, 2)).Select(_ => scene.Drives.Add())];
        scene.World.Note("add drives", drives.Length);
        if (Chance.OneIn(2))
        {
            scene.InterruptWithin(20, 6_000);
        }

        try
        {
            await array.AddDrivesAsync(drives);
            scene.Counts += new LifeCounts { Reshapes = 1 };
        }
        catch (ArrayException)
        {
            // It lacks something, something else is under way, or all has ended.
        }
    }
}
