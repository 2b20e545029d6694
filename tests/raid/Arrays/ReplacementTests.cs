// Drives that work and are replaced: the old one serves until the new one holds all that it holds, over stops and under load.

using Polyblk.Core.Block;
using Polyblk.Drives.Ram;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.ReplacementRig;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReplacementTests
{
    [Theory]
    [MemberData(nameof(ReplacementRig.Levels), MemberType = typeof(ReplacementRig))]
    public async Task A_drive_that_works_serves_until_another_one_holds_all_that_it_holds(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        for (int role = 0; role < drives; role++)
        {
            SimulatedDrive old = rig.Drives[role];
            await ReplaceAsync(rig, role);
            Assert.NotEqual(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
            await WaitForEndAsync(rig, role);
            Assert.Equal((ArrayHealth.Optimal, 0), (rig.Array.GetStatus().Health, rig.Array.GetStatus().Warnings.Count));

            // The old drive is nobody's: nothing of it is asked any more, and it does not know the array.
            Assert.Null((await ArrayBuilder.InspectAsync([old], rig.Reactors.Reactor))[0].Superblock);
            long requests = old.Requests;
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data), $"after the replacement of {role}");
            data = Noise(data.Length, 2 + role);
            Assert.Equal(0, await driver.WriteAsync(0, data));
            Assert.Equal(0, await driver.FlushAsync());
            Assert.Equal(requests, old.Requests);
            await rig.AssertConsistentAsync($"after the replacement of {role}");
        }

        await rig.StopAsync();
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal((ArrayHealth.Optimal, 0), (rig.Array.GetStatus().Health, rig.Array.GetStatus().Spares.Count));
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>Writes race with the copying, overlap each other on RAID 0, and come from two reactors.</summary>
    [Theory]
    [MemberData(nameof(ReplacementRig.Levels), MemberType = typeof(ReplacementRig))]
    public async Task Consumers_on_several_reactors_notice_nothing(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 2 << 20, reactors: 2, simulation: o => o with { MaximumLatencyNs = 200_000 });
        var blocks = new StampedBlocks(rig.Array.SizeBytes, seed: 5);
        RequestDriver[] drivers = [await rig.OpenAsync(0), await rig.OpenAsync(1)];
        bool running = true;
        Task[] work = [.. Enumerable.Range(0, 8).Select(i => Task.Run(
            () => blocks.RunWriterAsync(drivers[i % 2], i, () => Volatile.Read(ref running), 128 << 10, expectErrors: false)))];
        rig.Array.MaxJobBytesPerSecond = 8 << 20;
        for (int role = 0; role < 2; role++)
        {
            await ReplaceAsync(rig, role);
            await WaitForEndAsync(rig, role);
        }

        Volatile.Write(ref running, false);
        await Task.WhenAll(work);
        await rig.AssertConsistentAsync("after replacements under load");
        for (long at = 0; at < rig.Array.SizeBytes; at += 64 << 10)
        {
            int length = (int)Math.Min(64 << 10, rig.Array.SizeBytes - at);
            long begun = blocks.Now();
            blocks.Check(at, await drivers[0].ReadOrThrowAsync(at, length), afterCrash: false, begun);
        }
    }

    /// <summary>What two overlapping writes leave is the same before and after the drive is another one.</summary>
    [Fact]
    public async Task Overlapping_writes_reach_both_drives_in_one_order()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid0, 1, Chunk, 1 << 20, simulation: o => o with { MaximumLatencyNs = 300_000 });
        RequestDriver driver = await rig.OpenAsync();
        rig.Array.MaxJobBytesPerSecond = 1 << 20;
        await ReplaceAsync(rig, 0);
        for (int round = 0; round < 200; round++)
        {
            int at = round % 16 * 8192;
            await Task.WhenAll(driver.WriteAsync(at, Noise(8192, 2 * round)), driver.WriteAsync(at + 4096, Noise(8192, (2 * round) + 1)));
        }

        byte[] before = await driver.ReadOrThrowAsync(0, (int)rig.Array.SizeBytes);
        Assert.NotNull(rig.Array.Map.Replacement);
        rig.Array.MaxJobBytesPerSecond = 0;
        await WaitForEndAsync(rig, 0);
        Assert.True((await driver.ReadOrThrowAsync(0, before.Length)).AsSpan().SequenceEqual(before));
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 2, false)]
    [InlineData(RaidLevel.Raid0, 2, true)]
    [InlineData(RaidLevel.Raid1, 2, true)]
    [InlineData(RaidLevel.Raid5, 3, true)]
    public async Task A_write_or_flush_is_acknowledged_when_both_drives_have_it(RaidLevel level, int drives, bool newIsLate)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(4096, 1)));
        SimulatedDrive old = rig.Drives[0];
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        SimulatedDrive late = newIsLate ? drive : old;
        foreach (BlockOperation operation in new[] { BlockOperation.Write, BlockOperation.Flush, BlockOperation.WriteZeroes })
        {
            late.AddFault(new DriveFault { Operation = operation, OffsetBytes = operation == BlockOperation.Flush ? 0 : ArrayRig.DataOffset, Stuck = true });
            Task<int> request = operation switch
            {
                BlockOperation.Write => driver.WriteAsync(0, Noise(4096, 2)),
                BlockOperation.Flush => driver.FlushAsync(),
                _ => driver.WriteZeroesAsync(0, rig.Array.Geometry.StripeDataSize),
            };
            await Task.Delay(100);
            Assert.False(request.IsCompleted, operation.ToString());
            late.ClearFaults();
            await late.ReleaseStuckAsync();
            Assert.Equal(0, await request.WaitAsync(TimeSpan.FromSeconds(30)));
        }
    }

    /// <summary>The twins have not seen it: what it does to the old drive must be copied.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task Copying_begins_when_what_was_sent_before_is_back(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        SimulatedDrive old = rig.Drives[0];
        old.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Stuck = true });
        data = Noise(data.Length, 2);
        Task<int> write = driver.WriteAsync(0, data);
        await Task.Delay(50);
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        await Task.Delay(500);
        Assert.Equal(rig.Array.Map.Replacement!.Copies.Count, rig.Array.Map.Replacement.Copies.Left);
        Assert.False(write.IsCompleted);
        old.ClearFaults();
        await old.ReleaseStuckAsync();
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(30)));
        await WaitForEndAsync(rig, 0);
        Assert.Same(drive, rig.Array.Members[0].Drive);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after the replacement");
    }

    /// <summary>
    /// The copy of what was there before is late: a write to the same place that came meanwhile comes after it.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 1)]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_write_waits_for_the_copy_of_its_place_that_is_under_way(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        SimulatedDrive drive = rig.MakeDrive();
        var isHeld = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        drive.Observer = (_, step, request) =>
        {
            if (step == SimulatedStep.Taken && request.Operation == BlockOperation.Write && request.OffsetBytes >= SuperblockFormat.MinDataOffset
                && request.OffsetBytes + request.LengthBytes > ArrayRig.DataOffset)
            {
                isHeld.TrySetResult();
            }
        };
        drive.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Stuck = true, Count = 1 });
        await rig.Array.ReplaceWorkingMemberAsync(0, drive);
        rig.Drives[0] = drive;
        await isHeld.Task.WaitAsync(TimeSpan.FromSeconds(30));
        data = Noise(data.Length, 2);
        Task<int> write = driver.WriteAsync(0, data);
        await Task.Delay(100);
        bool hasPassed = write.IsCompleted;
        await drive.ReleaseStuckAsync();
        Assert.False(hasPassed);
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(30)));
        await WaitForEndAsync(rig, 0);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after the replacement");
    }

    [Fact]
    public async Task Reads_come_from_the_old_drive()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 1, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        SimulatedDrive old = rig.Drives[0];
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        long before = drive.Reads;
        Assert.Equal(0, await driver.WriteAsync(0, data.AsMemory(0, 4096).ToArray()));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        Assert.Equal(before, drive.Reads);
        Assert.NotSame(drive, old);
    }

    [Theory]
    [MemberData(nameof(ReplacementRig.Levels), MemberType = typeof(ReplacementRig))]
    public async Task After_a_stop_the_new_drive_is_kept_for_its_role_and_filled(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive old = rig.Drives[0];
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        rig.Run = rig.Run with { Resync = false };
        await rig.StopAsync();
        IBlockDevice[] all = [.. rig.Drives, old];
        await rig.AssembleAsync(all, allowDegraded: false);
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        ReplacementStatus left = rig.Array.GetStatus().Replacement!;
        Assert.Equal((0, old.Name, drive.Name, true), (left.Role, left.Old.Name, left.New.Name, left.Progress.IsLeft));
        driver = await rig.OpenAsync();
        data = Noise(data.Length, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Run = rig.Run with { Resync = true };
        await rig.StopAsync();
        await rig.AssembleAsync(all, allowDegraded: false);
        await WaitForEndAsync(rig, 0);
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after the replacement");
    }

    [Fact]
    public async Task The_drive_is_taken_away_again()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive drive = rig.MakeDrive();
        await rig.Array.ReplaceWorkingMemberAsync(1, drive);
        ArrayException second = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReplaceWorkingMemberAsync(2, rig.MakeDrive()));
        Assert.Contains(drive.Name, second.Message, StringComparison.Ordinal);
        await rig.Array.RemoveDriveAsync(drive);
        Assert.Null(rig.Array.GetStatus().Replacement);
        Assert.Empty(rig.Array.GetStatus().Spares);
        Assert.Null((await ArrayBuilder.InspectAsync([drive], rig.Reactors.Reactor))[0].Superblock);
        long requests = drive.Requests;
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(requests, drive.Requests);
        await rig.AssertConsistentAsync("without it");
    }

    [Fact]
    public async Task A_spare_can_be_it_and_is_not_taken_for_another_member()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, Chunk, 1 << 20);
        rig.Run = rig.Run with { RebuildByItself = true };
        await rig.StopAsync();
        await rig.AssembleAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        SimulatedDrive spare = rig.MakeDrive();
        await rig.Array.AddSpareAsync(spare);
        rig.Array.MaxJobBytesPerSecond = 1;
        await rig.Array.ReplaceWorkingMemberAsync(0, spare);
        await rig.LoseAsync(driver, 2);
        await Task.Delay(500);
        Assert.Equal(0ul, rig.Array.State.RebuildingMask);
        rig.Array.MaxJobBytesPerSecond = 0;
        rig.Drives[0] = spare;
        await WaitForEndAsync(rig, 0);
        Assert.Empty(rig.Array.GetStatus().Spares);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>Arrays with parity read and write such drives in place, without requests.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid1)]
    [InlineData(RaidLevel.Raid5)]
    [InlineData(RaidLevel.Raid6)]
    public async Task Drives_that_are_memory_are_replaced_under_load(RaidLevel level)
    {
        using var reactors = new ReactorFixture(1, ringEntries: 0);
        List<IBlockDevice> drives = [.. Enumerable.Range(0, 4).Select(_ => new RamDrive(ArrayRig.DataOffset + (1 << 20)))];
        var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) };
        RaidArray array = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions { Name = "memory", Level = level, ChunkBytes = Chunk, AssumeZeroed = true, Run = run }, drives, reactors.Reactor);
        RequestDriver driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
        var model = new ArrayModel(array, driver, 7);
        await model.RunAsync(60);
        for (int role = 0; role < 4; role++)
        {
            drives.Add(new RamDrive(ArrayRig.DataOffset + (1 << 20)));
            await array.ReplaceWorkingMemberAsync(role, drives[^1]);
            await model.RunAsync(200);
            await ArrayRig.WaitAsync(() => array.GetStatus().Replacement is null, "the end of it");
            Assert.Same(drives[^1], array.Members[role].Drive);
            await model.RunAsync(60);
            await model.CheckAllAsync();
        }

        await ArrayRig.AssertConsistentAsync(array.Geometry, drives[^4..], reactors.Reactor, "after all were replaced");
        await ArrayRig.WaitForLocksAsync(array);
        await driver.DisposeAsync();
        await array.DisposeAsync();
        foreach (IBlockDevice drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_drive_that_does_not_fit_or_holds_something_is_refused()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 2, Chunk, 512 << 10);
        await using var small = new SimulatedDrive(ArrayRig.DataOffset + (256 << 10), new SimulatedDriveOptions());
        ArrayException size = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReplaceWorkingMemberAsync(1, small));
        Assert.Contains("larger one", size.Message, StringComparison.Ordinal);
        SimulatedDrive used = rig.MakeDrive();
        var foreign = new byte[4096];
        (foreign[0x438], foreign[0x439]) = (0x53, 0xEF);
        await BlockIo.WriteAsync(used, rig.Reactors.Reactor, 0, foreign);
        ArrayException holds = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReplaceWorkingMemberAsync(1, used));
        Assert.Contains("--force", holds.Message, StringComparison.Ordinal);
        Assert.Empty(rig.Array.GetStatus().Spares);
        await rig.Array.ReplaceWorkingMemberAsync(1, used, force: true);
        rig.Drives[1] = used;
        await WaitForEndAsync(rig, 1);
    }
}
