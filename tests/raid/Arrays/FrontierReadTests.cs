// Reads of a mirror that reach across the place where a rebuild is, while a resync is still to come: copies may differ there
// since a crash, and what is read before the resync must be what the resync keeps. Before that place it keeps what the new
// member holds, which is the first copy; a read that was answered as a whole by another would show what is undone later.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class FrontierReadTests
{
    private const int Block = 4096;

    /// <summary>Where the rebuild is held: so much of the new member is made.</summary>
    private const int Made = 192 << 10;

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public async Task What_is_read_across_the_place_of_a_rebuild_is_what_the_resync_keeps(int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, drives, memberBytes: 512 << 10);
        rig.Run = rig.Run with { CheckpointEvery = TimeSpan.FromMilliseconds(20) };
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.StopAsync();
        await rig.AssembleAsync();
        driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 0);
        await StartRebuildAsync(rig);

        // Power goes out in a write that has reached the first copy alone.
        await rig.KillAsync();
        await rig.ReturnDrivesAsync();
        rig.Drives[0].ClearFaults();
        const int at = Made - Block;
        rig.Drives[0].Medium.Corrupt(ArrayRig.DataOffset + at, TestBytes.Noise(Block, 2));
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        Assert.Equal((Made / Block, 0L), (rig.Array.State.RebuiltUnits, rig.Array.State.SyncedUnits));
        driver = await rig.OpenAsync();
        byte[] whole = await driver.ReadOrThrowAsync(0, data.Length);
        byte[] across = await driver.ReadOrThrowAsync(at, 2 * Block);
        byte[] before = await driver.ReadOrThrowAsync(at, Block);

        await rig.StopAsync();
        rig.Run = rig.Run with { Resync = true };
        await rig.AssembleAsync();
        await rig.WaitForRebuildAsync();
        await rig.WaitForResyncAsync();
        await rig.AssertConsistentAsync("after the resync");
        byte[] kept = await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length);
        Assert.True(kept.AsSpan().SequenceEqual(whole), "what was read as a whole has changed by itself");
        Assert.True(kept.AsSpan(at, 2 * Block).SequenceEqual(across), "what was read across the place has changed by itself");
        Assert.True(kept.AsSpan(at, Block).SequenceEqual(before), "what was read before the place has changed by itself");
    }

    /// <summary>
    /// A new drive gets the first member's place, and is filled up to <see cref="Made"/>, which the superblocks say.
    /// </summary>
    private static async Task StartRebuildAsync(ArrayRig rig)
    {
        SimulatedDrive drive = rig.MakeDrive();
        drive.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset + Made, LengthBytes = 1 << 30, Stuck = true,
        });
        await rig.Array.ReplaceMemberAsync(0, drive);
        SimulatedDrive[] drives = [drive, .. rig.Drives[1..]];
        rig.UseDrives(drives);
        await ArrayRig.WaitAsync(
            () => rig.Array.Control.Superblock.RebuildCheckpoint == Made, "the superblocks to say how far it is");
    }
}
