// What the tests of replacements share.

using Polyblk.Drives.Simulated;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

internal static class ReplacementRig
{
    public const int Chunk = 16 << 10;

    public static TheoryData<RaidLevel, int> Levels => new()
    {
        { RaidLevel.Raid0, 2 }, { RaidLevel.Raid1, 2 }, { RaidLevel.Raid1, 3 }, { RaidLevel.Raid10, 4 }, { RaidLevel.Raid10, 5 },
        { RaidLevel.Raid5, 4 }, { RaidLevel.Raid6, 5 }, { RaidLevel.Raid73, 6 },
    };

    public static TheoryData<RaidLevel, int> RedundantLevels => [.. Levels.Where(l => l.Data.Item1 != RaidLevel.Raid0)];

    public static ArraySuperblock? Holds(ArrayRig rig, SimulatedDrive drive) =>
        ArrayBuilder.InspectAsync([drive], rig.Reactors.Reactor).GetAwaiter().GetResult()[0].Superblock;

    public static async Task<SimulatedDrive> ReplaceAsync(ArrayRig rig, int role)
    {
        SimulatedDrive drive = rig.MakeDrive();
        await rig.Array.ReplaceWorkingMemberAsync(role, drive);
        rig.Drives[role] = drive;
        return drive;
    }

    public static async Task ReplaceLostAsync(ArrayRig rig, int role)
    {
        SimulatedDrive drive = rig.MakeDrive();
        await rig.Array.ReplaceMemberAsync(role, drive);
        rig.Drives[role] = drive;
    }

    /// <summary>Until the drive that the rig has in a role is the member, and the one before is let go.</summary>
    public static async Task WaitForEndAsync(ArrayRig rig, int role)
    {
        await ArrayRig.WaitAsync(
            () => rig.Array.GetStatus().Replacement is null && ReferenceEquals(rig.Array.Members[role].Drive, rig.Drives[role])
                && rig.Array.Members[role].Ports.All(p => p.Retired is null),
            $"the replacement of {role}: {string.Join(" ", rig.Array.GetStatus().Warnings)}");
        Assert.False(rig.Array.State.IsBroken);
    }
}
