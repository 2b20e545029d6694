using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Raid;
using Polyblk.Raid.Map;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>
/// What an administrator does whom a drive displeases that works: it is replaced while it serves. The new one may be lost before it
/// counts, and the end of a generation likes to come in the midst of it.
/// </summary>
internal sealed class LifeSwap(LifeScene scene)
{
    private Chance Chance => scene.Chance;

    /// <summary>Replaces a drive, and perhaps another one.</summary>
    public async Task MakeAsync()
    {
        for (bool goesOn = scene.Plan.Swaps; goesOn && !scene.IsInterrupted; goesOn = Chance.OneIn(2))
        {
            await Task.Delay(TimeSpan.FromMicroseconds(Chance.Spread(1, 200_000)), scene.World.Clock);
            await TryAsync();
        }
    }

    private async Task TryAsync()
    {
        if (scene.IsInterrupted || scene.Array is not { } array)
        {
            return;
        }

        SimulatedDrive drive = scene.Drives.Add();
        int role = Chance.Next(array.Members.Length);
        scene.World.Note("swap", role);
        if (Chance.OneIn(2))
        {
            scene.InterruptWithin(20, 6_000);
        }

        try
        {
            await array.ReplaceWorkingMemberAsync(role, drive);
        }
        catch (ArrayException)
        {
            // It does not work, another one is being replaced, or all has ended.
            return;
        }

        scene.Counts += new LifeCounts { Replacements = 1 };
        if (!Chance.OneIn(4))
        {
            return;
        }

        await Task.Delay(TimeSpan.FromMicroseconds(Chance.Spread(1, 50_000)), scene.World.Clock);
        bool isCopied = array.Map.Replacement is { Phase: ReplacementPhase.Copying } replacement && replacement.New.Drive == drive;
        if (!scene.IsInterrupted && scene.Array == array && isCopied)
        {
            scene.World.Note("swapped drive lost", role);
            await drive.VanishAsync(Chance.Of(Errno.ENODEV, Errno.EIO));
        }
    }
}
