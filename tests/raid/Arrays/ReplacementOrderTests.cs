// What is on disk before what, when a drive that works is replaced: crashes and losses of power in the midst leave a whole array.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.ReplacementRig;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReplacementOrderTests
{
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

    /// <summary>
    /// Whether the power goes out early or late, in the copying, the record, or behind it: all is there with either drive.
    /// </summary>
    [Theory]
    [MemberData(nameof(ReplacementRig.Levels), MemberType = typeof(ReplacementRig))]
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
            await fuse.WaitAsync(() => replace.IsCompleted && rig.Array.GetStatus().Replacement is null);
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

    /// <summary>
    /// The others' superblocks still name the old drive, and one of them is late with the new word: with it the old drive could
    /// start as if nothing had happened, so both drives get all that is acknowledged until it has answered.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 2)]
    [InlineData(RaidLevel.Raid1, 3)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task The_old_drive_gets_all_writes_while_a_member_is_late_with_its_superblock(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        rig.Run = rig.Run with { SlowAfter = TimeSpan.FromMilliseconds(200) };
        await rig.StopAsync();
        await rig.AssembleAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Array.MaxJobBytesPerSecond = 1;
        SimulatedDrive old = rig.Drives[0];
        SimulatedDrive drive = await ReplaceAsync(rig, 0);
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 0, LengthBytes = SuperblockFormat.MinDataOffset, Stuck = true });
        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.Map.Replacement is { Phase: ReplacementPhase.Deciding } && ReferenceEquals(rig.Array.Members[0].Drive, drive), "the record");
        await ArrayRig.WaitAsync(
            () => Enumerable.Range(2, drives - 2).All(i => Holds(rig, rig.Drives[i])?.Members[0].Uuid == rig.Array.Members[0].Uuid),
            "the others' superblocks");

        // Longer than members that do not answer are waited for.
        await Task.Delay(600);
        Assert.Equal(ReplacementPhase.Deciding, rig.Array.Map.Replacement?.Phase);
        Assert.Contains(rig.Array.Members[0].Ports, p => p.Queue is TwinQueue);
        long before = old.Requests;
        await driver.WriteAsync(0, data.AsSpan(0, (int)rig.Array.Geometry.StripeDataSize).ToArray()).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.True(old.Requests > before);
        rig.Drives[1].ClearFaults();
        await rig.Drives[1].ReleaseStuckAsync();
        await WaitForEndAsync(rig, 0);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
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

        /// <summary>Waits until it has burnt down, or will not: nothing happens any more.</summary>
        public async Task WaitAsync(Func<bool> isOver)
        {
            while (!_burnt.Task.IsCompleted && !isOver())
            {
                await Task.WhenAny(_burnt.Task, Task.Delay(10));
            }
        }
    }
}
