// Members that come back: by a new drive, a spare, or the same drive once more. What was lost is made from the others, while
// consumers read and write, over kills and losses of power.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class RebuildTests
{
    private const int Chunk = 16 << 10;

    public static TheoryData<RaidLevel, int> Levels => new()
    {
        { RaidLevel.Raid1, 2 }, { RaidLevel.Raid1, 3 }, { RaidLevel.Raid10, 4 }, { RaidLevel.Raid10, 5 },
        { RaidLevel.Raid5, 4 }, { RaidLevel.Raid6, 5 }, { RaidLevel.Raid73, 6 },
    };

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_new_drive_is_filled_and_then_stands_in_for_any_other(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        for (int role = 0; role < drives; role++)
        {
            Assert.Equal(0, await driver.WriteAsync(0, data));
            await rig.LoseAsync(driver, role);
            data = Noise(data.Length, 2 + role);
            Assert.Equal(0, await driver.WriteAsync(0, data));
            await rig.ReplaceAsync(role);
            await rig.WaitForRebuildAsync();
            Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
            Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data), $"after the rebuild of {role}");
            await rig.AssertConsistentAsync($"after the rebuild of {role}");
        }

        // Nobody starts with less than that.
        await rig.StopAsync();
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal((ArrayHealth.Optimal, 0), (rig.Array.GetStatus().Health, rig.Array.GetStatus().Warnings.Count));
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>What is computed in a member's own memory is there before the record, which may be refused.</summary>
    [Fact]
    public async Task A_refused_record_leaves_no_difference_on_a_member_that_is_memory()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, simulation: o => o with { VolatileCache = false },
            run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, ResyncRetryAfter = TimeSpan.FromMilliseconds(50) });
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        int role = geometry.DataMember(0, 0);
        await rig.Array.FailMemberAsync(role);
        await using var memory = new Drives.Ram.RamDrive(rig.Drives[role].SizeBytes);
        await rig.Array.ReplaceMemberAsync(role, memory);
        await rig.WaitForRebuildAsync();
        Assert.Equal(0, await driver.WriteAsync(0, TestBytes.Noise((int)rig.Array.SizeBytes, 1)));
        SimulatedDrive p = rig.Drives[geometry.ParityMember(0, 0)];
        p.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = 128 << 10, LengthBytes = geometry.DataOffset - (128 << 10), Errno = Errno.ENOSPC,
        });
        Assert.Equal(-Errno.ENOSPC, await driver.WriteAsync(0, TestBytes.Noise(512, 2)));
        p.ClearFaults();
        await rig.WaitForResyncAsync();
        await rig.CloseDriversAsync();
        IBlockDevice[] drives = [.. rig.Drives];
        drives[role] = memory;
        await ArrayRig.AssertConsistentAsync(geometry, drives, rig.Reactors.Reactor, "after the refused record");
        await rig.Array.AbandonAsync();
    }

    /// <summary>Blocks of a member that is memory lie in it (ParityRow.PlaceBlocks), for as long as it is the member.</summary>
    [Fact]
    public async Task A_member_that_was_memory_is_not_looked_at_when_another_has_its_place()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, simulation: o => o with { VolatileCache = false });
        RequestDriver driver = await rig.OpenAsync();
        await rig.Array.FailMemberAsync(0);
        await using var memory = new Drives.Ram.RamDrive(rig.Drives[0].SizeBytes);
        await rig.Array.ReplaceMemberAsync(0, memory);
        await rig.WaitForRebuildAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.Array.FailMemberAsync(0);
        await rig.ReplaceAsync(0);
        await rig.WaitForRebuildAsync();
        for (int at = 0; at < data.Length; at += 64 << 10)
        {
            byte[] next = TestBytes.Noise(512, at);
            next.CopyTo(data, at);
            Assert.Equal(0, await driver.WriteAsync(at, next));
        }

        await rig.AssertConsistentAsync("after writes to the new member");
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
    }

    [Fact]
    public async Task Two_lost_members_are_rebuilt_together()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid6, 6, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 3);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 1);
        await rig.LoseAsync(driver, 4);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Run = rig.Run with { RebuildByItself = true };
        await rig.StopAsync();
        Array.ForEach([.. rig.Drives], d => d.Return());

        // They were pulled, and are plugged in again.
        await rig.AssembleAsync();
        Assert.Equal(0b10010ul, rig.Array.State.LostMask);
        await rig.WaitForRebuildAsync();
        await ArrayRig.WaitAsync(() => rig.Array.State.LostMask == 0, "both members");
        await rig.AssertConsistentAsync("after the rebuild");
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>Nothing but the array's own flush, or its own superblock, has asked a drive since it was pulled.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_pulled_drive_that_no_request_has_asked_comes_back_by_itself(bool isDirty)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 512 << 10);
        byte[] data = Noise((int)rig.Array.SizeBytes, 3);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, data));
        if (!isDirty)
        {
            await rig.StopAsync();
            await rig.AssembleAsync();
            driver = await rig.OpenAsync();
        }

        // A dirty array flushes first when it stops; one that has written nothing tells its superblocks of the first write.
        await rig.Drives[1].VanishAsync();
        if (!isDirty)
        {
            Assert.Equal(0, await driver.WriteAsync(0, data.AsMemory(0, 512)));
            Assert.Equal(OutReason.Absent, rig.Array.GetStatus().Members[1].WhyOut);
        }

        await rig.StopAsync();
        rig.Drives[1].Return();
        rig.Run = rig.Run with { RebuildByItself = true };
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Health == ArrayHealth.Optimal, "the rebuild");
        await rig.AssertConsistentAsync("after the rebuild");
    }

    /// <summary>A member that was away gets what it has missed, and nothing else.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid1, 2, 0, false)]
    [InlineData(RaidLevel.Raid1, 2, 1, true)]
    [InlineData(RaidLevel.Raid10, 4, 2, false)]
    [InlineData(RaidLevel.Raid5, 4, 1, false)]
    [InlineData(RaidLevel.Raid5, 4, 2, true)]
    [InlineData(RaidLevel.Raid6, 5, 4, true)]
    public async Task A_member_that_was_away_is_filled_where_something_was_written_meanwhile(
        RaidLevel level, int drives, int away, bool whileServing)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 4 << 20);
        rig.Run = rig.Run with { RebuildByItself = true };
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 13);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.StopAsync();
        await rig.AssembleAsync();

        // Writes before it goes, one that it refuses, and writes that it never sees; over a stop and a start without it.
        driver = await rig.OpenAsync();
        await WriteAsync(driver, data, 100 << 10, 14);
        await rig.LoseAsync(driver, away);
        await WriteAsync(driver, data, 1 << 20, 15);
        await rig.StopAsync();
        await rig.AssembleAsync([.. rig.Drives.Where((_, i) => i != away)]);
        driver = await rig.OpenAsync();
        await WriteAsync(driver, data, 2 << 20, 16);
        if (!whileServing)
        {
            await rig.StopAsync();
        }

        rig.Drives[away].Return();
        var written = new HashSet<long>();
        rig.Drives[away].Observer = (_, step, request) =>
        {
            if (step == SimulatedStep.Taken && request.Operation == BlockOperation.Write && request.OffsetBytes >= ArrayRig.DataOffset)
            {
                lock (written)
                {
                    written.Add(request.OffsetBytes);
                }
            }
        };
        Guid uuid = (await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor))[away].Superblock!.MemberUuid;
        if (whileServing)
        {
            await rig.Array.ReplaceMemberAsync(away, rig.Drives[away]);
            await WriteAsync(driver, data, 2 << 20, 17);
        }
        else
        {
            await rig.AssembleAsync();
        }

        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Health == ArrayHealth.Optimal, "the member to be back");
        Assert.Equal(uuid, rig.Array.Members[away].Uuid);
        Assert.InRange(written.Count, 1, (int)(rig.Array.Geometry.MemberDataSize / Chunk / 4));
        driver = whileServing ? driver : await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after its return");
    }

    private static async Task WriteAsync(RequestDriver driver, byte[] data, int offset, int seed)
    {
        byte[] part = Noise(8192, seed);
        part.CopyTo(data, offset);
        Assert.Equal(0, await driver.WriteAsync(offset, part));
        Assert.Equal(0, await driver.FlushAsync());
    }

    /// <summary>What consumers write below, at, and above the place where the rebuild is, and what they read there.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public async Task Consumers_on_several_reactors_notice_nothing_of_a_rebuild(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 1 << 20, reactors: 2, simulation: o => o with { MaximumLatencyNs = 200_000 });
        var blocks = new StampedBlocks(rig.Array.SizeBytes, seed: 5);
        RequestDriver[] drivers = [await rig.OpenAsync(0), await rig.OpenAsync(1)];
        await rig.LoseAsync(drivers[0], 1);
        rig.Array.MaxJobBytesPerSecond = 4 << 20;
        await rig.ReplaceAsync(1);
        bool running = true;
        Task[] work = [.. Enumerable.Range(0, 8).Select(i => Task.Run(
            () => blocks.RunWriterAsync(drivers[i % 2], i, () => Volatile.Read(ref running), 128 << 10, expectErrors: false)))];
        await rig.WaitForRebuildAsync();
        Volatile.Write(ref running, false);
        await Task.WhenAll(work);
        await rig.AssertConsistentAsync("after a rebuild under load");

        // The new member is whole: the array lives on it when another one is lost.
        await rig.LoseAsync(drivers[0], 0);
        for (long at = 0; at < rig.Array.SizeBytes; at += 64 << 10)
        {
            int length = (int)Math.Min(64 << 10, rig.Array.SizeBytes - at);
            long begun = blocks.Now();
            blocks.Check(at, await drivers[0].ReadOrThrowAsync(at, length), afterCrash: false, begun);
        }
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    public async Task A_rebuild_goes_on_where_it_was_after_a_stop_and_after_a_crash(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 1 << 20, simulation: o => o with { CanCrash = true, MaximumLatencyNs = 50_000 });
        rig.Run = rig.Run with { CheckpointEvery = TimeSpan.FromMilliseconds(20) };
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 6);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 2 % drives);
        Assert.Equal(0, await driver.FlushAsync());
        await rig.StopAsync();
        await rig.AssembleAsync();
        rig.Array.MaxJobBytesPerSecond = 1 << 20;
        await rig.ReplaceAsync(2 % drives);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Rebuild is { DoneBytes: > 200_000 }, "a part of the rebuild");
        await rig.StopAsync();

        rig.Run = rig.Run with { ResyncMaxBytesPerSecond = 1 << 20 };
        await rig.AssembleAsync();
        long afterStop = rig.Array.GetStatus().Rebuild!.DoneBytes;
        Assert.InRange(afterStop, 150_000, 1 << 20);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Rebuild is { DoneBytes: var done } && done > afterStop + 200_000, "more of it");
        await Task.Delay(100);
        await rig.CrashAsync();
        await rig.RestartDrivesAsync();
        await rig.AssembleAsync();
        Assert.InRange(rig.Array.GetStatus().Rebuild!.DoneBytes, afterStop, 1 << 20);
        rig.Array.MaxJobBytesPerSecond = 0;
        await rig.WaitForRebuildAsync();
        await rig.AssertConsistentAsync("after the rest");
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>Rows that are made before the one in front of them: a write to them must reach the new member.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    public async Task A_row_that_is_made_keeps_its_lock_until_the_one_in_front_of_it_is_made(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 17);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 1);

        // The second row hangs: behind the first one, consumers count as idle, and several are under way.
        rig.Drives[0].AddFault(new DriveFault
        {
            Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset + Chunk, LengthBytes = Chunk, Stuck = true,
        });
        SimulatedDrive drive = rig.MakeDrive();
        int made = 0;
        drive.Observer = (_, step, request) =>
        {
            if (step == SimulatedStep.Done && request.Operation == BlockOperation.Write && request.OffsetBytes >= ArrayRig.DataOffset)
            {
                Interlocked.Increment(ref made);
            }
        };
        await rig.Array.ReplaceMemberAsync(1, drive);
        rig.Drives[1] = drive;
        await ArrayRig.WaitAsync(() => Volatile.Read(ref made) >= 3, "the rows behind the second one");
        await Task.Delay(100);

        // All of the two stripes behind it: they are made, and not passed.
        int stripe = (int)rig.Array.Geometry.StripeDataSize;
        byte[] part = Noise(2 * stripe, 18);
        part.CopyTo(data, 2 * stripe);
        Task<int> write = driver.WriteAsync(2 * stripe, part);
        await Task.Delay(100);
        Assert.False(write.IsCompleted);
        rig.Drives[0].ClearFaults();
        await rig.Drives[0].ReleaseStuckAsync();
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(60)));
        await rig.WaitForRebuildAsync();
        await rig.AssertConsistentAsync("after the rebuild");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 4)]
    public async Task A_block_that_cannot_be_read_holds_the_rebuild_up_until_it_is_written(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        rig.Run = rig.Run with { ResyncRetryAfter = TimeSpan.FromMilliseconds(50) };
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 7);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 1);
        await rig.StopAsync();
        await rig.AssembleAsync();
        driver = await rig.OpenAsync();

        // Of a disk, a block that cannot be read can be written, and is sound then.
        long bad = ArrayRig.DataOffset + (5 * Chunk);
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = bad, LengthBytes = Chunk });
        await rig.ReplaceAsync(1);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Warnings.Any(w => w.Contains("stands still", StringComparison.Ordinal)), "the halt");
        Assert.InRange(rig.Array.GetStatus().Rebuild!.DoneBytes, 0, 5 * Chunk);
        Assert.Contains(rig.Drives[1].Name, rig.Array.GetStatus().Warnings.First(w => w.Contains("stands still", StringComparison.Ordinal)), StringComparison.Ordinal);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].ClearFaults();
        await rig.WaitForRebuildAsync();
        await rig.AssertConsistentAsync("after the rebuild");
        Assert.Empty(rig.Array.GetStatus().Warnings);
    }

    [Fact]
    public async Task A_new_drive_that_fails_costs_nothing_and_the_next_one_takes_its_place()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 8);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 3);
        rig.Array.MaxJobBytesPerSecond = 1 << 20;
        await rig.ReplaceAsync(3);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Rebuild is { DoneBytes: > 100_000 }, "a part of the rebuild");
        await rig.Drives[3].VanishAsync();
        data = Noise(data.Length, 9);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[3].State == MemberState.Failed, "the failure");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        rig.Array.MaxJobBytesPerSecond = 0;
        await rig.ReplaceAsync(3);
        await rig.WaitForRebuildAsync();
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        await rig.AssertConsistentAsync("after the second drive");
    }

    /// <summary>A member that is being rebuilt stands in for nobody yet.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_member_stays_that_a_rebuild_needs_whatever_befalls_it(RaidLevel level, int drives)
    {
        // The rebuild may come by what the refused write has left in doubt: it goes on soon.
        var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, ResyncRetryAfter = TimeSpan.FromMilliseconds(20) };
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20, run: run);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 13);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 1);
        rig.Array.MaxJobBytesPerSecond = 1 << 20;
        await rig.ReplaceAsync(1);
        ArrayException needed = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.FailMemberAsync(0));
        Assert.Contains("data would be lost", needed.Message, StringComparison.Ordinal);
        var refuses = new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset };
        rig.Drives[0].AddFault(refuses);
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, data));
        rig.Drives[0].ClearFaults();
        Assert.Equal(MemberState.Present, rig.Array.GetStatus().Members[0].State);
        rig.Array.MaxJobBytesPerSecond = 0;
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.WaitForRebuildAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>Below where the rebuild is, the new member's failure must be recorded like any other's.</summary>
    [Fact]
    public async Task A_write_without_a_member_that_is_being_rebuilt_waits_for_the_superblocks()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        await rig.LoseAsync(driver, 1);
        rig.Array.MaxJobBytesPerSecond = 1 << 20;
        await rig.ReplaceAsync(1);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Rebuild is { DoneBytes: > 100_000 }, "a part of the rebuild");
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true });
        var recorded = new List<MemberState>();
        rig.Drives[0].Observer = (_, step, request) => Note(recorded, step, request);
        await rig.Drives[1].VanishAsync();
        Task<int> write = driver.WriteAsync(0, Noise(4096, 10));
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the failure to be seen");
        await Task.Delay(100);
        Assert.False(write.IsCompleted);
        rig.Drives[0].ClearFaults();
        await rig.Drives[0].ReleaseStuckAsync();
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(60)));
        Assert.Equal(MemberState.Failed, rig.Array.GetStatus().Members[1].State);
        lock (recorded)
        {
            Assert.Equal(MemberState.Failed, recorded[0]);
        }
    }

    /// <summary>What a superblock that a drive takes says of member 1.</summary>
    private static unsafe void Note(List<MemberState> recorded, SimulatedStep step, BlockRequest request)
    {
        if (step == SimulatedStep.Taken && request.Operation == BlockOperation.Write && request.OffsetBytes < ArrayRig.DataOffset)
        {
            var block = new ReadOnlySpan<byte>(request.Vectors[0].Base, (int)request.Vectors[0].Length);
            lock (recorded)
            {
                recorded.Add(SuperblockFormat.Parse(block).Superblock!.Members[1].State);
            }
        }
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid6, 5)]
    public async Task A_spare_takes_the_place_of_a_member_that_fails_also_after_a_restart(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 512 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = true });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 11);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        SimulatedDrive spare = rig.MakeDrive();
        await rig.Array.AddSpareAsync(spare);
        Assert.Equal([spare.Name], rig.Array.GetStatus().Spares);
        await rig.StopAsync();
        IBlockDevice[] all = [.. rig.Drives, spare];
        await rig.AssembleAsync(all);
        Assert.Equal([spare.Name], rig.Array.GetStatus().Spares);
        driver = await rig.OpenAsync();
        await rig.Drives[1].VanishAsync(Errno.EIO);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus() is { Health: ArrayHealth.Optimal, Spares.Count: 0 }, "the spare to take over");
        Assert.Same(spare, rig.Array.Members[1].Drive);
        rig.Drives[1] = spare;
        await rig.AssertConsistentAsync("after the spare was filled");
        await rig.StopAsync();
        await rig.AssembleAsync(all, allowDegraded: false);
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
    }

    [Fact]
    public async Task A_member_is_taken_out_by_hand_and_its_drive_let_go()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 12);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        ArrayException inUse = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.RemoveDriveAsync(rig.Drives[0]));
        Assert.Contains("fail it first", inUse.Message, StringComparison.Ordinal);
        ArrayException works = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReplaceMemberAsync(0, rig.MakeDrive()));
        Assert.Contains("works", works.Message, StringComparison.Ordinal);

        await rig.Array.FailMemberAsync(0);
        await rig.Array.FailMemberAsync(0);
        ArrayException second = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.FailMemberAsync(1));
        Assert.Contains("data would be lost", second.Message, StringComparison.Ordinal);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.Array.RemoveDriveAsync(rig.Drives[0]);
        Assert.Equal(MemberState.Missing, rig.Array.GetStatus().Members[0].State);
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor);
        Assert.Null(found[0].Superblock);
        Assert.Equal(new MemberEntry(Guid.Empty, MemberState.Missing, found[1].Superblock!.Members[0].EventCount, OutReason.Errors), found[1].Superblock!.Members[0]);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.ReplaceAsync(0);
        await rig.WaitForRebuildAsync();
        await rig.AssertConsistentAsync("after the rebuild");
    }

    [Fact]
    public async Task A_drive_that_does_not_fit_or_holds_something_is_refused_and_kept()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 512 << 10);
        RequestDriver driver = await rig.OpenAsync();
        await rig.LoseAsync(driver, 1);
        await using var small = new SimulatedDrive(ArrayRig.DataOffset + (256 << 10), new SimulatedDriveOptions());
        ArrayException size = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReplaceMemberAsync(1, small));
        Assert.Contains("larger one", size.Message, StringComparison.Ordinal);
        SimulatedDrive used = rig.MakeDrive();
        var foreign = new byte[4096];
        foreign[0x438] = 0x53;
        foreign[0x439] = 0xEF;
        await BlockIo.WriteAsync(used, rig.Reactors.Reactor, 0, foreign);
        ArrayException holds = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReplaceMemberAsync(1, used));
        Assert.Contains("--force", holds.Message, StringComparison.Ordinal);
        var after = new byte[4096];
        await BlockIo.ReadAsync(used, rig.Reactors.Reactor, 0, after);
        Assert.Equal(foreign, after);
        await rig.Array.ReplaceMemberAsync(1, used, force: true);
        await rig.WaitForRebuildAsync();
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
    }
}
