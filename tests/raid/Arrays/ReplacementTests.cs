// Drives that work and are replaced: the old one serves until the new one holds all that it holds; over failures of either, of others,
// kills and losses of power.

using Polyblk.Core.Block;
using Polyblk.Drives.Ram;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReplacementTests
{
    private const int Chunk = 16 << 10;

    public static TheoryData<RaidLevel, int> Levels => new()
    {
        { RaidLevel.Raid0, 2 }, { RaidLevel.Raid1, 2 }, { RaidLevel.Raid1, 3 }, { RaidLevel.Raid10, 4 }, { RaidLevel.Raid10, 5 },
        { RaidLevel.Raid5, 4 }, { RaidLevel.Raid6, 5 },
    };

    public static TheoryData<RaidLevel, int> RedundantLevels => [.. Levels.Where(l => l.Data.Item1 != RaidLevel.Raid0)];

    [Theory]
    [MemberData(nameof(Levels))]
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
    [MemberData(nameof(Levels))]
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
    [InlineData(RaidLevel.Raid0, 2)]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task The_end_is_recorded_when_the_copy_is_flushed_and_on_the_new_drive_first(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 1)));
        SimulatedDrive drive = rig.MakeDrive();
        long clock = 0, lastCopy = 0, flushed = 0, named = 0, told = long.MaxValue;
        bool isCopying = false;
        drive.Observer = (_, step, request) =>
        {
            long now = Interlocked.Increment(ref clock);
            bool isSlot = request.Operation == BlockOperation.Write && request.OffsetBytes is 0 or SuperblockFormat.SecondSlotOffset;
            if (step == SimulatedStep.Done && request.Operation == BlockOperation.Write && request.OffsetBytes >= ArrayRig.DataOffset)
            {
                (lastCopy, flushed) = (now, 0);
                isCopying = true;
            }
            else if (isCopying && step == SimulatedStep.Done && request.Operation == BlockOperation.Flush)
            {
                flushed = flushed == 0 ? now : flushed;
            }
            else if (isCopying && isSlot && step == SimulatedStep.Taken && named == 0)
            {
                Assert.NotEqual(0, flushed);
                named = now;
            }
            else if (isCopying && isSlot && step == SimulatedStep.Done)
            {
                told = Math.Min(told, now);
            }
        };
        long other = long.MaxValue;
        rig.Drives[1].Observer = (_, step, request) =>
        {
            if (Volatile.Read(ref isCopying) && step == SimulatedStep.Taken && request.Operation == BlockOperation.Write
                && request.OffsetBytes is 0 or SuperblockFormat.SecondSlotOffset)
            {
                other = Math.Min(other, Interlocked.Increment(ref clock));
            }
        };
        await rig.Array.ReplaceWorkingMemberAsync(0, drive);
        rig.Drives[0] = drive;
        await WaitForEndAsync(rig, 0);
        Assert.InRange(flushed, lastCopy + 1, named - 1);
        Assert.InRange(other, told + 1, long.MaxValue - 1);
    }

    [Theory]
    [MemberData(nameof(Levels))]
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
    [MemberData(nameof(RedundantLevels))]
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

    [Theory]
    [MemberData(nameof(Levels))]
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

    /// <summary>Whether the power goes out early or late, in the copying, the record, or behind it: all is there with either drive.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_loss_of_power_at_any_time_leaves_all_on_one_of_the_two(RaidLevel level, int drives)
    {
        for (int round = 0; round < 6; round++)
        {
            await using ArrayRig rig = await ArrayRig.CreateAsync(
                level, drives, Chunk, 512 << 10, simulation: o => o with { CanCrash = true, MaximumLatencyNs = 100_000 });
            RequestDriver driver = await rig.OpenAsync();
            byte[] data = Noise((int)rig.Array.SizeBytes, 1);
            Assert.Equal(0, await driver.WriteAsync(0, data));
            Assert.Equal(0, await driver.FlushAsync());
            await rig.StopAsync();
            await rig.AssembleAsync();
            SimulatedDrive drive = rig.MakeDrive();
            var fuse = new CountdownFuse(5 + (round * 13));
            drive.Observer = (_, _, _) => fuse.Burn();
            Task replace = rig.Array.ReplaceWorkingMemberAsync(0, drive);
            await fuse.WaitAsync(TimeSpan.FromSeconds(5));
            SimulatedDrive[] all = [.. rig.Drives, drive];
            rig.UseDrives(all);
            await rig.CrashAsync();
            await Task.WhenAny(replace, Task.Delay(2000));
            await rig.RestartDrivesAsync();
            await rig.AssembleAsync(allowDegraded: false);
            Assert.NotEqual(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
            driver = await rig.OpenAsync();
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data), $"round {round}");
            await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Replacement is null && rig.Array.Map.Replacement is null, "the end");
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data), $"round {round}, after all");
        }
    }

    /// <summary>The new drive alone knows: it counts. The others alone know less: the old one counts.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_crash_in_the_midst_of_the_record_leaves_a_whole_array(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive old = rig.Drives[0];
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 0, LengthBytes = SuperblockFormat.MinDataOffset, Stuck = true });
        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.Map.Replacement is { Phase: ReplacementPhase.Deciding } && ReferenceEquals(rig.Array.Members[0].Drive, drive), "the record");
        await ArrayRig.WaitAsync(() => Holds(rig, drive) is { Role: 0 }, "the new drive's superblock");

        // Nobody reads the new one, or writes to it alone, before the others know.
        byte[] part = Noise(4096, 2);
        part.CopyTo(data, 0);
        Task<int> write = driver.WriteAsync(0, part);
        await Task.Delay(100);
        Assert.Equal(ReplacementPhase.Deciding, rig.Array.Map.Replacement!.Phase);
        rig.UseDrives([.. rig.Drives, old]);
        await rig.KillAsync();
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        foreach (SimulatedDrive each in rig.Drives)
        {
            await each.ReleaseStuckAsync();
        }

        await Task.WhenAny(write, Task.Delay(5000));
        bool wasWritten = write is { IsCompletedSuccessfully: true, Result: 0 };
        await rig.ReturnDrivesAsync();
        await rig.AssembleAsync(allowDegraded: false, force: true);
        Assert.Equal(drive.Name, rig.Array.GetStatus().Members[0].Name);
        driver = await rig.OpenAsync();
        byte[] found = await driver.ReadOrThrowAsync(0, data.Length);
        Assert.True(found.AsSpan(wasWritten ? 0 : 4096).SequenceEqual(data.AsSpan(wasWritten ? 0 : 4096)));
    }

    /// <summary>A write that only one of the two has waits for the outcome, and is on the one that counts then.</summary>
    [Fact]
    public async Task While_it_is_decided_nobody_is_told_what_only_one_drive_has()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 2, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(4096, 1)));
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive old = rig.Drives[0];
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 0, LengthBytes = SuperblockFormat.MinDataOffset, Stuck = true });
        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.Map.Replacement is { Phase: ReplacementPhase.Deciding } && ReferenceEquals(rig.Array.Members[0].Drive, drive), "the record");
        old.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset });
        byte[] part = Noise(4096, 2);
        Task<int> write = driver.WriteAsync(0, part);
        await Task.Delay(100);
        Assert.False(write.IsCompleted);
        rig.Drives[1].ClearFaults();
        await rig.Drives[1].ReleaseStuckAsync();
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(30)));
        await WaitForEndAsync(rig, 0);
        Assert.True((await driver.ReadOrThrowAsync(0, part.Length)).AsSpan().SequenceEqual(part));
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_new_drive_that_refuses_its_superblock_leaves_the_array_as_it_was(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive old = rig.Drives[0];
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        drive.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 0, LengthBytes = SuperblockFormat.MinDataOffset });
        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.Map.Replacement is null, "the end of it");
        rig.Drives[0] = old;
        Assert.Equal((ArrayHealth.Optimal, old.Name), (rig.Array.GetStatus().Health, rig.Array.GetStatus().Members[0].Name));
        data = Noise(data.Length, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.StopAsync();
        await rig.AssembleAsync([.. rig.Drives, drive], allowDegraded: false);
        Assert.Equal((ArrayHealth.Optimal, old.Name), (rig.Array.GetStatus().Health, rig.Array.GetStatus().Members[0].Name));
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
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
        Assert.True(array.Locks.IsIdle);
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

    private static ArraySuperblock? Holds(ArrayRig rig, SimulatedDrive drive) =>
        ArrayBuilder.InspectAsync([drive], rig.Reactors.Reactor).GetAwaiter().GetResult()[0].Superblock;

    private static async Task<SimulatedDrive> ReplaceAsync(ArrayRig rig, int role)
    {
        SimulatedDrive drive = rig.MakeDrive();
        await rig.Array.ReplaceWorkingMemberAsync(role, drive);
        rig.Drives[role] = drive;
        return drive;
    }

    private static async Task ReplaceLostAsync(ArrayRig rig, int role)
    {
        SimulatedDrive drive = rig.MakeDrive();
        await rig.Array.ReplaceMemberAsync(role, drive);
        rig.Drives[role] = drive;
    }

    /// <summary>Until the drive that the rig has in a role is the member, and the one before is let go.</summary>
    private static async Task WaitForEndAsync(ArrayRig rig, int role)
    {
        await ArrayRig.WaitAsync(
            () => rig.Array.GetStatus().Replacement is null && ReferenceEquals(rig.Array.Members[role].Drive, rig.Drives[role])
                && rig.Array.Members[role].Ports.All(p => p.Retired is null),
            $"the replacement of {role}: {string.Join(" ", rig.Array.GetStatus().Warnings)}");
        Assert.False(rig.Array.State.IsBroken);
    }

    private static byte[] Noise(int bytes, int seed)
    {
        var data = new byte[bytes];
        new Random(seed).NextBytes(data);
        return data;
    }

    /// <summary>Burns down with each thing that happens.</summary>
    private sealed class CountdownFuse(int length)
    {
        private readonly TaskCompletionSource _burnt = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _left = length;

        public void Burn()
        {
            if (Interlocked.Decrement(ref _left) == 0)
            {
                _burnt.SetResult();
            }
        }

        public Task WaitAsync(TimeSpan most) => Task.WhenAny(_burnt.Task, Task.Delay(most));
    }
}
