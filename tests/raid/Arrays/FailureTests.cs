// One failure at a time: what is repaired, what costs a member, what is refused, and in which order it reaches the superblocks.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class FailureTests
{
    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 10)]
    public async Task A_block_that_cannot_be_read_comes_from_redundancy_and_is_rewritten(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        foreach (SimulatedDrive drive in rig.Drives)
        {
            // The first read of each member's data fails; the block is good again once it is rewritten.
            drive.AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset + 8192, LengthBytes = 512, Count = 1 });
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        }

        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members.Sum(m => m.Repairs) > 0, "a repair");
        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal(ArrayHealth.Optimal, status.Health);
        Assert.True(status.Members.Sum(m => m.ReadErrors) > 0);
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        await rig.AssertConsistentAsync("after the repairs");
    }

    /// <summary>
    /// A front-end that takes its memory away makes the kernel answer -EFAULT. The drives are not at fault: a guest must not be
    /// able to have members given up, nor to leave copies that differ.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 3, 4096)]
    [InlineData(RaidLevel.Raid1, 2, 4096)]
    [InlineData(RaidLevel.Raid1, 3, 200 << 10)]
    [InlineData(RaidLevel.Raid10, 4, 4096)]
    [InlineData(RaidLevel.Raid10, 4, 200 << 10)]
    [InlineData(RaidLevel.Raid10, 5, 100 << 10)]
    [InlineData(RaidLevel.Raid5, 4, 4096)]
    [InlineData(RaidLevel.Raid6, 5, 4096)]
    [InlineData(RaidLevel.Raid50, 8, 4096)]
    public async Task Memory_that_cannot_be_reached_costs_the_request_and_no_member(RaidLevel level, int drives, int bytes)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] before = Noise((int)rig.Array.SizeBytes, 4);
        Assert.Equal(0, await driver.WriteAsync(0, before));
        for (int member = 0; member < drives; member++)
        {
            const long Offset = 8192;
            byte[] data = Noise(bytes, 5 + member);
            rig.Drives[member].AddFault(new DriveFault
            {
                Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.EFAULT, Count = 1,
            });
            var statuses = new List<int>();
            for (int at = 0; at < before.Length; at += 16 << 10)
            {
                statuses.Add((await driver.ReadAsync(at, 16 << 10)).Status);
            }

            Assert.Equal([-Errno.EFAULT], statuses.Where(s => s != 0));
            rig.Drives[member].ClearFaults();
            if (!rig.Array.Geometry.HasParity)
            {
                // Parity levels write from memory of their own.
                rig.Drives[member].AddFault(new DriveFault
                {
                    Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.EFAULT, Count = 1,
                });
                Task<int>[] writes = [driver.WriteAsync(Offset, data), driver.WriteAsync(Offset + 4096, data)];
                int[] results = await Task.WhenAll(writes);
                Assert.All(results, r => Assert.True(r is 0 or -Errno.EFAULT, $"{r}"));
                rig.Drives[member].ClearFaults();
                await rig.AssertConsistentAsync($"after a write that lost its memory at member {member}");
            }

            Assert.Equal(0, await driver.WriteAsync(Offset, data));
            byte[] read = await driver.ReadOrThrowAsync(Offset, bytes);
            Assert.True(read.AsSpan().SequenceEqual(data));
            Assert.Equal(0, await driver.WriteAsync(0, before));
        }

        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal(ArrayHealth.Optimal, status.Health);
        Assert.All(status.Members, m => Assert.True(m is { ReadErrors: 0, WriteErrors: 0 }, $"{m}"));
        Assert.True((await driver.ReadOrThrowAsync(0, before.Length)).AsSpan().SequenceEqual(before));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 8)]
    public async Task A_block_that_cannot_be_rewritten_costs_the_member(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        MemberPlace place = rig.Array.Geometry.Map(0);
        rig.Drives[place.Member].AddFault(new DriveFault { OffsetBytes = place.Offset, LengthBytes = 4096 });
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await ArrayRig.WaitAsync(() => rig.Array.State.PersistedMask == 1UL << place.Member, "the member to be given up");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid50, 6)]
    public async Task A_write_without_a_member_is_acknowledged_only_after_the_superblocks_say_so(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 256 << 10, consistency: ArrayConsistency.Bitmap);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[512]));
        MemberPlace place = rig.Array.Geometry.Map(0);
        await rig.Drives[place.Member].VanishAsync();

        // The superblock writes of the survivors hang: the acknowledgement must wait for them.
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 0, LengthBytes = ArrayRig.DataOffset, Stuck = true });
        }

        byte[] data = Noise(4096, 3);
        Task<int> write = driver.WriteAsync(0, data);
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the failure to be seen");
        Task<int> flush = driver.FlushAsync();
        await Task.Delay(50);
        Assert.False(write.IsCompleted);
        Assert.False(flush.IsCompleted);

        await rig.ReleaseDrivesAsync();

        Assert.Equal(0, await write);
        Assert.Equal(0, await flush);
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync(
            [.. rig.Drives.Where((_, i) => i != place.Member)], rig.Reactors.Reactor);
        Assert.All(found, f => Assert.Equal(MemberState.Failed, f.Superblock!.Members[place.Member].State));
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 3)]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid6, 4)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 8)]
    public async Task Beyond_redundancy_writes_fail_and_the_array_says_so(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 4);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        for (int i = 0; i <= rig.Array.Geometry.Redundancy && i < drives; i++)
        {
            await rig.Drives[i].VanishAsync();
        }

        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, data));
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Health == ArrayHealth.Failed, "the array to fail");
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, new byte[512]));
        Assert.Equal(-Errno.EIO, await driver.FlushAsync());
        Assert.NotEmpty(rig.Array.GetStatus().Warnings);
        (int status, _) = await driver.ReadAsync(0, 512);
        Assert.True(status < 0);

        // The superblocks of the survivors do not claim more losses than the level can bear: with the drives back, it starts
        // again.
        await rig.AbandonAsync();
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.Return();
        }

        await rig.AssembleAsync(force: true);
        (status, _) = await (await rig.OpenAsync()).ReadAsync(0, 512);
        Assert.Equal(0, status);
    }

    [Fact]
    public async Task Without_a_journal_a_dirty_degraded_parity_array_needs_force()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, 16 << 10, 256 << 10, consistency: ArrayConsistency.Bitmap);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(40_960, 5)));
        await rig.AbandonAsync();
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[1..]));
        Assert.Contains("--force", refused.Message, StringComparison.Ordinal);
        await rig.AssembleAsync(rig.Drives[1..], force: true);
        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal(ArrayHealth.Degraded, status.Health);
        Assert.Null(status.Resync);
        Assert.Contains(status.Warnings, w => w.Contains("Check the file systems", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_dead_drive_among_the_candidates_does_not_keep_the_array_from_starting()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, 16 << 10, 256 << 10);
        await rig.StopAsync();
        await rig.Drives[2].VanishAsync();
        await rig.AssembleAsync();
        Assert.Equal(0b0100UL, rig.Array.State.FailedMask);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(100 << 10, 9)));
    }

    [Fact]
    public async Task A_clean_degraded_array_starts_and_says_so()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid6, 5, 16 << 10, 256 << 10);
        byte[] data = Noise((int)rig.Array.SizeBytes, 6);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, data));
        await rig.StopAsync();
        await rig.AssembleAsync(rig.Drives[2..]);
        Assert.Equal(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
        Assert.Contains(rig.Events, e => e.Level == ArrayEventLevel.Warning);
        Assert.Equal(data, await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length));
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, data.AsMemory(0, 4096)));
        await rig.StopAsync();

        // Those two are stale now. The superblocks know, so that nobody needs to be asked.
        await rig.AssembleAsync();
        Assert.Equal(0b00011UL, rig.Array.State.FailedMask);
        await rig.StopAsync();
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(0b00011UL, rig.Array.State.FailedMask);
    }

    [Fact]
    public async Task A_repair_under_way_outlives_its_queue_and_ends_before_the_array()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));

        // The other member answers in its place; the repair's write gets no answer for now.
        SimulatedDrive bad = rig.Drives[0];
        bad.AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset, LengthBytes = 512 << 10, Count = 1 });
        bad.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, LengthBytes = 512 << 10, Stuck = true, Count = 1 });
        for (int i = 0; i < 64 && rig.Array.GetStatus().Members[0].ReadErrors == 0; i++)
        {
            await driver.ReadOrThrowAsync(i * 4096, 4096);
        }

        Assert.Equal(1, rig.Array.GetStatus().Members[0].ReadErrors);
        await rig.CloseDriversAsync();
        Task stop = rig.Array.StopAsync();
        await Task.Delay(50);
        Assert.False(stop.IsCompleted);
        await bad.ReleaseStuckAsync();
        await stop;
        await ArrayRig.WaitForLocksAsync(rig.Array);
        Assert.Equal(1, rig.Array.GetStatus().Members[0].Repairs);
    }
}
