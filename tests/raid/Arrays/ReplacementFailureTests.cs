// Replacements over failures: of the new drive, of the old one, of others, of single requests.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using static Polyblk.Raid.Tests.Arrays.ReplacementRig;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReplacementFailureTests
{
    [Theory]
    [MemberData(nameof(ReplacementRig.Levels), MemberType = typeof(ReplacementRig))]
    public async Task A_new_drive_that_fails_is_given_up_and_nothing_is_lost(RaidLevel level, int drives)
    {
        var released = new List<IBlockDevice>();
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        rig.Run = rig.Run with { OnReleased = released.Add };
        await rig.StopAsync();
        await rig.AssembleAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1 << 20;
        SimulatedDrive drive = rig.MakeDrive();
        await rig.Array.ReplaceWorkingMemberAsync(0, drive);
        await drive.VanishAsync(Errno.EIO);
        data = Noise(data.Length, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(0, await driver.FlushAsync());
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus() is { Replacement: null, Spares.Count: 0 } && released.Count == 1, "the end of it");
        Assert.Same(drive, released[0]);
        lock (rig.Events)
        {
            Assert.Contains(rig.Events, e => e.Message.Contains(drive.Name, StringComparison.Ordinal) && e.Message.Contains("given up", StringComparison.Ordinal));
        }

        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after it was given up");

        // Another one does it.
        rig.Array.MaxJobBytesPerSecond = 0;
        await ReplaceAsync(rig, 0);
        await WaitForEndAsync(rig, 0);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [MemberData(nameof(ReplacementRig.RedundantLevels), MemberType = typeof(ReplacementRig))]
    public async Task An_old_drive_that_fails_leaves_a_rebuild_of_the_new_one(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 2 << 20;
        SimulatedDrive old = rig.Drives[1];
        SimulatedDrive drive = await ReplaceAsync(rig, 1);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Replacement is { Progress.Percent: > 30 }, "a part of it");
        await old.VanishAsync();
        data = Noise(data.Length, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Rebuild is not null, "the rebuild");
        Assert.Same(drive, rig.Array.Members[1].Drive);
        rig.Array.MaxJobBytesPerSecond = 0;
        await rig.WaitForRebuildAsync();
        Assert.Equal((ArrayHealth.Optimal, 0), (rig.Array.GetStatus().Health, rig.Array.GetStatus().Spares.Count));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after the rebuild");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 3)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid5, 4)]
    public async Task Another_member_that_fails_does_not_end_it(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 2 << 20;
        await ReplaceAsync(rig, 1);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Replacement is { Progress.Percent: > 30 }, "a part of it");
        await rig.LoseAsync(driver, 2);
        data = Noise(data.Length, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
        Assert.NotNull(rig.Array.GetStatus().Replacement);
        rig.Array.MaxJobBytesPerSecond = 0;
        await WaitForEndAsync(rig, 1);
        await ReplaceLostAsync(rig, 2);
        await rig.WaitForRebuildAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after both");
    }

    /// <summary>A block that the old drive cannot read, and does not take either, is made from the others.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid1, 2, false)]
    [InlineData(RaidLevel.Raid10, 4, true)]
    [InlineData(RaidLevel.Raid5, 4, false)]
    [InlineData(RaidLevel.Raid5, 4, true)]
    [InlineData(RaidLevel.Raid6, 5, true)]
    public async Task A_block_that_cannot_be_read_is_made_from_the_other_members(RaidLevel level, int drives, bool refusesWrites)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));

        // Data and parity, whole rows and parts of them.
        SimulatedDrive old = rig.Drives[0];
        foreach (long at in new long[] { 0, (3 * Chunk) + 4096, 4 * Chunk, 7 * Chunk, 8 * Chunk, (32 * Chunk) - 512 })
        {
            old.AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset + at, LengthBytes = 512 });
            if (refusesWrites)
            {
                old.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset + at, LengthBytes = 512 });
            }
        }

        await ReplaceAsync(rig, 0);
        await WaitForEndAsync(rig, 0);
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after the replacement");
    }

    [Fact]
    public async Task Without_redundancy_a_block_that_cannot_be_read_is_waited_for()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 2, Chunk, 1 << 20);
        rig.Run = rig.Run with { ResyncRetryAfter = TimeSpan.FromMilliseconds(50) };
        await rig.StopAsync();
        await rig.AssembleAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset + (5 * Chunk), LengthBytes = 512 });
        SimulatedDrive old = rig.Drives[0];
        await ReplaceAsync(rig, 0);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Warnings.Any(w => w.Contains("stands still", StringComparison.Ordinal)), "the halt");
        Assert.Equal(0, await driver.WriteAsync(0, data));
        old.ClearFaults();
        await WaitForEndAsync(rig, 0);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        Assert.Empty(rig.Array.GetStatus().Warnings);
    }

    /// <summary>Errors that pass, memory that is taken away and discards leave the two drives the same.</summary>
    [Fact]
    public async Task A_write_that_only_one_drive_took_is_copied_again()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 1, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        SimulatedDrive old = rig.Drives[0];
        rig.Array.MaxJobBytesPerSecond = 2 << 20;
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Replacement is { Progress.Percent: > 30 }, "a part of it");
        rig.Array.MaxJobBytesPerSecond = 1;
        old.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Count = 1 });
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, Noise(4096, 2)));
        drive.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.EFAULT, Count = 1 });
        byte[] part = Noise(4096, 3);
        Assert.Equal(0, await driver.WriteAsync(8192, part));
        drive.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.EAGAIN, Count = 3 });
        Assert.Equal(0, await driver.WriteAsync(16384, part));
        byte[] before = await driver.ReadOrThrowAsync(0, data.Length);
        rig.Array.MaxJobBytesPerSecond = 0;
        await WaitForEndAsync(rig, 0);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(before));
        Assert.True(before.AsSpan(8192, 4096).SequenceEqual(part));
    }
}
