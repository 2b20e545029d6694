using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Raid;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>What an administrator does: a member that is out gets a new drive, which may be lost as well.</summary>
internal sealed class LifeRepair(LifeScene scene)
{
    private Chance Chance => scene.Chance;

    /// <summary>Repairs what the trouble has left.</summary>
    public async Task MakeAsync(Task trouble)
    {
        await trouble;
        while (await TryAsync() && Chance.OneIn(2))
        {
            // It may have been in vain: the next one.
        }
    }

    /// <summary>Returns whether a new drive has failed, and there is time for another.</summary>
    private async Task<bool> TryAsync()
    {
        await Task.Delay(TimeSpan.FromMicroseconds(Chance.Spread(1, 100_000)), scene.World.Clock);
        if (scene.IsInterrupted || !scene.Plan.Repairs || scene.Array is not { } array || array.State.FailedMask == 0)
        {
            return false;
        }

        int role = BitOperations.TrailingZeroCount(array.State.FailedMask);
        SimulatedDrive drive = scene.Drives.Add();
        scene.World.Note("replace", role);
        if (Chance.OneIn(3))
        {
            scene.InterruptWithin(20, 3_000);
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

        scene.Counts += new LifeCounts { Replacements = 1 };
        if (IsCurrent(array))
        {
            scene.Members.Note();
        }

        if (Chance.OneIn(4))
        {
            await Task.Delay(TimeSpan.FromMicroseconds(Chance.Spread(1, 20_000)), scene.World.Clock);
            if (IsCurrent(array) && ((array.State.RebuildingMask >> role) & 1) != 0)
            {
                scene.World.Note("new drive lost", role);
                await drive.VanishAsync(Chance.Of(Errno.ENODEV, Errno.EIO));
                return true;
            }
        }

        return false;
    }

    private bool IsCurrent(RaidArray array) => !scene.IsInterrupted && scene.Array == array;
}
