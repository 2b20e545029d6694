// Members that do not answer within the limit (ArrayRunOptions.DriveTimeout): they are out, what waited for them goes on, and
// whatever they do later changes nothing.

using System.Collections.Concurrent;
using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class TimedOutMemberTests
{
    private const int Chunk = 16 << 10;
    private const int Block = 4096;

    /// <summary>Late answers of drives overtake each other, by the seed.</summary>
    private static SimulatedDriveOptions Shuffled(SimulatedDriveOptions options, int seed) =>
        options with { Seed = options.Seed + (ulong)seed, MaximumLatencyNs = 300_000 };

    [Theory]
    [InlineData(RaidLevel.Raid1, 2, null, 1)]
    [InlineData(RaidLevel.Raid1, 3, null, 2)]
    [InlineData(RaidLevel.Raid10, 4, null, 3)]
    [InlineData(RaidLevel.Raid10, 5, null, 4)]
    [InlineData(RaidLevel.Raid5, 4, ArrayConsistency.Journal, 5)]
    [InlineData(RaidLevel.Raid5, 3, ArrayConsistency.Bitmap, 6)]
    [InlineData(RaidLevel.Raid6, 5, ArrayConsistency.Journal, 7)]
    [InlineData(RaidLevel.Raid6, 4, ArrayConsistency.Bitmap, 8)]
    public async Task It_is_out_before_a_write_without_it_is_acknowledged_and_its_late_answers_change_nothing(
        RaidLevel level, int drives, ArrayConsistency? consistency, int seed)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 256 << 10, simulation: o => Shuffled(o, seed), consistency: consistency, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, seed);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        const int member = 1;
        SimulatedDrive drive = rig.Drives[member];
        var watch = new SentWatch(drive);
        drive.AddFault(StuckAt(BlockOperation.Write));

        // As many as fit into what the array has: in every row, so that all members are met.
        Task<int>[] writes = [.. Range(data.Length, Chunk).Select(at => WriteAsync(driver, data, at, Block, seed + 1))];
        Task<int> flush = driver.FlushAsync();
        await WaitForHangingAsync(rig, clock, member);
        Assert.Contains(writes, w => !w.IsCompleted);

        // The others do not take the superblock that says so: nobody is told anything.
        SimulatedDrive[] others = [.. rig.Drives.Where((_, i) => i != member)];
        var superblocks = new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true };
        Array.ForEach(others, d => d.AddFault(superblocks));
        await PassUntilAsync(rig, clock, () => (rig.Array.State.FailedMask >> member) != 0, 40);
        for (int i = 0; i < 20; i++)
        {
            await Task.Delay(1);
            Assert.Contains(writes, w => !w.IsCompleted);
        }

        Array.ForEach(others, d => d.ClearFaults());
        await Task.WhenAll(others.Select(d => d.ReleaseStuckAsync()));
        Assert.All(await Task.WhenAll(writes), status => Assert.Equal(0, status));
        Assert.Equal(0, await flush);
        Assert.Equal(1UL << member, rig.Array.State.PersistedMask);
        foreach (SimulatedDrive other in others)
        {
            await AssertSaysOutAsync(rig, other, member);
        }

        // Everything is used again while the drive has what it has.
        Task<int>[] more = [.. Range(data.Length, Chunk).Select(at => WriteAsync(driver, data, at + Block, Block, seed + 2))];
        Assert.All(await Task.WhenAll(more), status => Assert.Equal(0, status));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        Assert.NotEqual(0, rig.Array.GetStatus().Members[member].RequestsInFlight);

        drive.ClearFaults();
        await drive.ReleaseStuckAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[member].RequestsInFlight == 0, "the late answers");
        watch.AssertWroteWhatWasSent();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after late answers", without: 1UL << member);
        await rig.StopAsync();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_degraded_raid6_does_without_a_second_one(int seed)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid6, 5, Chunk, 256 << 10, simulation: o => Shuffled(o, seed), run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, seed);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.LoseAsync(driver, 3);
        var watch = new SentWatch(rig.Drives[1]);

        // Reads of rows, too: what the lost member had is made of what this one does not answer.
        rig.Drives[1].AddFault(new DriveFault { OffsetBytes = ArrayRig.DataOffset, Stuck = true });
        Task<int>[] writes = [.. Range(data.Length, Chunk).Select(at => WriteAsync(driver, data, at, Block, seed + 1))];
        await PassUntilAsync(rig, clock, () => Array.TrueForAll(writes, w => w.IsCompleted), 60);
        Assert.All(await Task.WhenAll(writes), status => Assert.Equal(0, status));
        Assert.Equal(0b01010UL, rig.Array.State.PersistedMask);

        // A third one is one too many.
        rig.Drives[2].AddFault(StuckAt(BlockOperation.Write));
        Task<int>[] waiting = [.. Range(data.Length, Chunk).Select(at => WriteAsync(driver, data, at, Block, seed + 3))];
        await PassUntilAsync(rig, clock, () => false, 45);
        Assert.Equal(0b01010UL, rig.Array.State.FailedMask);
        Assert.Contains(waiting, w => !w.IsCompleted);
        await rig.ReleaseDrivesAsync();
        Assert.All(await Task.WhenAll(waiting), status => Assert.Equal(0, status));
        watch.AssertWroteWhatWasSent();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid1, 2)]
    public async Task A_late_read_of_a_background_job_does_not_reach_what_is_made_instead(RaidLevel level, int drives)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 4);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].AddFault(StuckAt(BlockOperation.Read));
        await rig.Array.StartScrubAsync(repair: true);
        await PassUntilAsync(
            rig, clock, () => rig.Array.GetStatus().Scrub is { EndedAt: not null } && rig.Array.State.PersistedMask == 1, 60);
        Assert.Equal(1UL, rig.Array.State.PersistedMask);
        rig.Drives[0].ClearFaults();
        await rig.Drives[0].ReleaseStuckAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[0].RequestsInFlight == 0, "the late answers");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after a scrub without a member", without: 1);
        await rig.StopAsync();
    }

    [Fact]
    public async Task Late_reads_of_rows_do_not_reach_what_parities_are_computed_of()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 5);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        SimulatedDrive drive = rig.Drives[2];
        drive.AddFault(StuckAt(BlockOperation.Read));

        // Rows read it; and while they read the others anew, and wait for them, its answers come, of what is not there any more.
        Task<int>[] writes = [.. Range(data.Length, Chunk).Select(at => WriteAsync(driver, data, at, 2 * Block, 6))];
        await WaitForHangingAsync(rig, clock, 2);
        SimulatedDrive other = rig.Drives[3];
        other.AddFault(new DriveFault { OffsetBytes = ArrayRig.DataOffset, Stuck = true });
        await PassUntilAsync(rig, clock, () => rig.Array.State.PersistedMask == 0b0100, 40);
        drive.ClearFaults();
        await OverwriteAsync(rig, drive);
        await drive.ReleaseStuckAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[2].RequestsInFlight == 0, "the late answers");
        other.ClearFaults();
        await other.ReleaseStuckAsync();
        Assert.All(await Task.WhenAll(writes), status => Assert.Equal(0, status));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after late reads", without: 0b0100);
        await rig.StopAsync();
    }

    [Fact]
    public async Task It_is_named_with_what_it_did_not_answer_and_comes_back_with_the_next_start()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 7);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        int parity = rig.Array.Geometry.ParityMember(0, 0);
        rig.Drives[parity].AddFault(StuckAt(BlockOperation.Write));
        Task<int> write = WriteAsync(driver, data, 0, Block, 8);
        await PassUntilAsync(rig, clock, () => write.IsCompleted, 60);
        Assert.Equal(0, await write);
        ArrayEvent failed = Assert.Single(rig.Events, e => e.Kind == ArrayEventKind.MemberFailed);
        var request = new BlockFault(BlockOperation.Write, ArrayRig.DataOffset, Block, Errno.ETIMEDOUT);
        Assert.Equal((parity, OutReason.TimedOut, request), (failed.Role, failed.WhyOut, failed.Fault));
        Assert.True(failed.Seconds >= 30);
        Assert.Contains($"has not answered a {request.Request} for 3", failed.Message, StringComparison.Ordinal);
        MemberStatus member = rig.Array.GetStatus().Members[parity];
        Assert.Equal((OutReason.TimedOut, request), (member.WhyOut, member.LastFault));
        Assert.Contains(rig.Array.GetStatus().Warnings, w => w.Contains("has not answered yet", StringComparison.Ordinal));

        await rig.ReleaseDrivesAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[parity].RequestsInFlight == 0, "the late answer");
        Assert.Contains(rig.Array.GetStatus().Warnings, w => w.Contains("has answered since", StringComparison.Ordinal));
        await rig.StopAsync();
        rig.Run = rig.Run with { RebuildByItself = true, Clock = TimeProvider.System };
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Array.State.LostMask == 0, "the member to come back");
        Assert.True((await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after its return");
    }

    [Fact]
    public async Task A_superblock_that_is_not_answered_costs_the_member_too()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        rig.Drives[1].AddFault(new DriveFault { LengthBytes = ArrayRig.DataOffset, Stuck = true });
        Task<int> write = driver.WriteAsync(0, TestBytes.Noise(Block, 9));
        await PassUntilAsync(rig, clock, () => write.IsCompleted, 60);
        Assert.Equal(0, await write);
        Assert.Equal((0b10UL, OutReason.TimedOut), (rig.Array.State.PersistedMask, rig.Array.GetStatus().Members[1].WhyOut));
        await rig.ReleaseDrivesAsync();
        await ArrayRig.WaitAsync(() => rig.Array.Members[1].IsDrained, "the late answer");
        await rig.StopAsync();
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid10, 4)]
    public async Task A_stop_does_not_wait_for_what_was_left_and_is_in_order(RaidLevel level, int drives)
    {
        var clock = new ManualClock();
        ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 10);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[1].AddFault(StuckAt(BlockOperation.Write));
        Task<int> write = WriteAsync(driver, data, 0, Chunk * (drives - 1), 11);
        await PassUntilAsync(rig, clock, () => write.IsCompleted, 60);
        Assert.Equal(0, await write);
        await rig.CloseDriversAsync();
        Task stop = rig.Array.StopAsync();
        await PassUntilAsync(rig, clock, () => stop.IsCompleted, 60);
        await stop;
        await rig.ReleaseDrivesAsync();
        await rig.AssembleAsync();
        Assert.Equal(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
        Assert.False(rig.Array.GetStatus().Dirty);
        Assert.True((await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.DisposeAsync();
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(30, false)]
    public async Task It_stays_with_no_limit_and_where_its_memory_is_not_lent_the_write_waits(int limit, bool lends)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, Chunk, 256 << 10, run: Run(clock) with { DriveTimeout = TimeSpan.FromSeconds(limit) });
        RequestDriver driver = await OpenAsync(rig);
        driver.LendsMemory = lends;
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 12);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[1].AddFault(StuckAt(BlockOperation.Write));
        Task<int> write = WriteAsync(driver, data, 0, Block, 13);
        await PassUntilAsync(rig, clock, () => false, 45);
        Assert.False(write.IsCompleted);
        Assert.Equal(limit == 0 ? 0UL : 0b10UL, rig.Array.State.FailedMask);
        await rig.ReleaseDrivesAsync();
        Assert.Equal(0, await write);
        await rig.StopAsync();
    }

    [Fact]
    public async Task A_process_that_stood_still_gives_nobody_up()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 14);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[1].AddFault(StuckAt(BlockOperation.Write));
        Task<int> write = WriteAsync(driver, data, 0, Chunk * 3, 15);
        await rig.Reactors.Reactor.InvokeAsync(() => { });

        // An hour at once, in which nobody looked, and the answer 5 s later.
        clock.Advance(TimeSpan.FromHours(1));
        await PassUntilAsync(rig, clock, () => false, 5);
        Assert.InRange(rig.Array.GetStatus().Members[1].OldestRequestSeconds, 1, 9);
        await rig.ReleaseDrivesAsync();
        Assert.Equal(0, await write);
        await PassUntilAsync(rig, clock, () => false, 5);
        Assert.Equal(0UL, rig.Array.State.FailedMask);
        await rig.StopAsync();
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4, 0b0110UL)]
    [InlineData(RaidLevel.Raid6, 5, 0b0111UL)]
    [InlineData(RaidLevel.Raid10, 4, 0b0011UL)]
    public async Task Where_more_hang_than_the_level_survives_nobody_is_given_up(RaidLevel level, int drives, ulong hanging)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 16);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        foreach (SimulatedDrive drive in rig.Drives.Where((_, i) => ((hanging >> i) & 1) != 0))
        {
            drive.AddFault(StuckAt(BlockOperation.Write));
        }

        Task<int>[] writes = [.. Range(data.Length, Chunk).Select(at => WriteAsync(driver, data, at, Block, 17))];
        await PassUntilAsync(rig, clock, () => false, 45);
        Assert.Equal(0UL, rig.Array.State.FailedMask);
        Assert.Contains(writes, w => !w.IsCompleted);
        await rig.ReleaseDrivesAsync();
        Assert.All(await Task.WhenAll(writes), status => Assert.Equal(0, status));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();
    }

    [Fact]
    public async Task It_stays_where_the_other_copy_lacks_a_place()
    {
        var clock = new ManualClock();
        ArrayRunOptions run = Run(clock) with { ResyncRetryAfter = TimeSpan.FromHours(1) };
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 256 << 10, run: run);
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 18);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, LengthBytes = Block,
        });
        Task<int> refused = WriteAsync(driver, data, 0, Block, 19);
        await PassUntilAsync(rig, clock, () => refused.IsCompleted, 5);
        Assert.Equal(0, await refused.WaitAsync(TimeSpan.FromSeconds(5)));
        Assert.Equal((0b01UL, 0UL), (rig.Array.State.BadMask, rig.Array.State.FailedMask));
        rig.Drives[1].AddFault(StuckAt(BlockOperation.Write));
        Task<int> write = WriteAsync(driver, data, 2 * Chunk, Block, 20);
        await PassUntilAsync(rig, clock, () => write.IsCompleted, 45);
        Assert.False(write.IsCompleted);
        Assert.Equal(0UL, rig.Array.State.FailedMask);
        await rig.ReleaseDrivesAsync();
        await PassUntilAsync(rig, clock, () => write.IsCompleted, 5);
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(5)));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        Task stop = rig.StopAsync();
        await PassUntilAsync(rig, clock, () => stop.IsCompleted, 60);
        await stop.WaitAsync(TimeSpan.FromSeconds(5));
    }

    [Fact]
    public async Task It_stays_while_the_other_one_hangs_too_with_nothing_in_flight()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 21);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].AddFault(StuckAt(BlockOperation.Read));
        rig.Drives[1].AddFault(StuckAt(BlockOperation.Read));
        Task<(int Status, byte[] Data)> read = driver.ReadAsync(0, Block);
        await rig.Reactors.Reactor.InvokeAsync(() => { });
        int member = rig.Array.GetStatus().Members.Single(m => m.RequestsInFlight != 0).Role;
        SimulatedDrive other = rig.Drives[1 - member];
        other.AddFault(new DriveFault { Stuck = true });
        await PassUntilAsync(rig, clock, () => rig.Array.State.FailedMask != 0, 60);
        Assert.Equal((0UL, false), (rig.Array.State.FailedMask, read.IsCompleted));

        other.ClearFaults();
        await other.ReleaseStuckAsync();
        await PassUntilAsync(rig, clock, () => rig.Array.State.PersistedMask != 0, 60);
        Assert.Equal(1UL << member, rig.Array.State.PersistedMask);
        await rig.ReleaseDrivesAsync();
        Assert.Equal(0, (await read).Status);
        await rig.StopAsync();
    }

    [Fact]
    public async Task One_that_somebody_took_out_is_left_too_and_keeps_the_reason()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 256 << 10, run: Run(clock));
        RequestDriver driver = await OpenAsync(rig);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 22);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[1].AddFault(StuckAt(BlockOperation.Write));
        Task<int> write = WriteAsync(driver, data, 0, Block, 23);
        await WaitForHangingAsync(rig, clock, 1);
        Task fail = rig.Array.FailMemberAsync(1);
        await PassUntilAsync(rig, clock, () => fail.IsCompleted, 5);
        await fail.WaitAsync(TimeSpan.FromSeconds(5));
        Assert.False(write.IsCompleted);
        await PassUntilAsync(rig, clock, () => write.IsCompleted, 45);
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(5)));
        Assert.Equal(OutReason.Asked, rig.Array.GetStatus().Members[1].WhyOut);
        await rig.ReleaseDrivesAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[1].RequestsInFlight == 0, "the late answer");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();
    }

    private static DriveFault StuckAt(BlockOperation operation) =>
        new() { OffsetBytes = ArrayRig.DataOffset, Operation = operation, Stuck = true };

    private static ArrayRunOptions Run(ManualClock clock) =>
        new() { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, Clock = clock };

    private static async Task<RequestDriver> OpenAsync(ArrayRig rig)
    {
        RequestDriver driver = await rig.OpenAsync();
        driver.LendsMemory = true;
        return driver;
    }

    private static IEnumerable<int> Range(int end, int step) => Enumerable.Range(0, end / step).Select(i => i * step);

    /// <summary>Writes new content, which the data of the test has from then on.</summary>
    private static Task<int> WriteAsync(RequestDriver driver, byte[] data, int at, int length, int seed)
    {
        TestBytes.Noise(length, seed + at).CopyTo(data, at);
        return driver.WriteAsync(at, data.AsMemory(at, length));
    }

    private static async Task WaitForHangingAsync(ArrayRig rig, ManualClock clock, int member)
    {
        // Time passes for the drive when it has the request.
        await ArrayRig.WaitAsync(() => rig.Array.Members[member].OldestSeconds() != int.MaxValue, "the drive to have it");
        await PassUntilAsync(rig, clock, () => rig.Array.GetStatus().Members[member].IsHanging, 15);
    }

    /// <summary>Lets seconds pass, each with a few turns of the control task, until something is so.</summary>
    private static async Task PassUntilAsync(ArrayRig rig, ManualClock clock, Func<bool> condition, int seconds)
    {
        for (int i = 0; i < seconds && !condition(); i++)
        {
            rig.Pass(clock, seconds: 1);
            for (int turn = 0; turn < 4 && !condition(); turn++)
            {
                rig.Array.Control.Kick();
                await Task.Delay(1);
            }
        }
    }

    private static async Task AssertSaysOutAsync(ArrayRig rig, SimulatedDrive drive, int member)
    {
        DriveInspection found = Assert.Single(await ArrayBuilder.InspectAsync([drive], rig.Reactors.Reactor));
        MemberEntry entry = found.Superblock!.Members[member];
        Assert.Equal((MemberState.Failed, OutReason.TimedOut), (entry.State, entry.Reason));
    }

    private static Task OverwriteAsync(ArrayRig rig, SimulatedDrive drive) => BlockIo.WriteAsync(
        drive, rig.Reactors.Reactor, ArrayRig.DataOffset, TestBytes.Noise((int)rig.Array.Geometry.MemberDataSize, 99));

    /// <summary>
    /// Sees the bytes of each write as they were when the drive took it, and as they are when the drive does it, which is when it
    /// reads them.
    /// </summary>
    private sealed class SentWatch
    {
        private readonly ConcurrentDictionary<BlockRequest, byte[]> _taken = new();
        private readonly ConcurrentBag<string> _wrong = [];
        private int _done;

        public SentWatch(SimulatedDrive drive) => drive.Observer = (_, step, request) =>
        {
            if (request.Operation != BlockOperation.Write || request.OffsetBytes < ArrayRig.DataOffset)
            {
                return;
            }

            if (step == SimulatedStep.Taken)
            {
                _taken[request] = BytesOf(request);
            }
            else
            {
                _done++;
                if (!_taken.TryRemove(request, out byte[]? sent) || !sent.AsSpan().SequenceEqual(BytesOf(request)))
                {
                    _wrong.Add($"{request.LengthBytes} bytes at {request.OffsetBytes}");
                }
            }
        };

        public void AssertWroteWhatWasSent()
        {
            Assert.NotEqual(0, _done);
            Assert.Empty(_taken);
            Assert.Empty(_wrong);
        }

        private static unsafe byte[] BytesOf(BlockRequest request)
        {
            byte[] bytes = new byte[request.LengthBytes];
            int at = 0;
            for (int i = 0; i < request.VectorCount; i++)
            {
                new ReadOnlySpan<byte>(request.Vectors[i].Base, (int)request.Vectors[i].Length).CopyTo(bytes.AsSpan(at));
                at += (int)request.Vectors[i].Length;
            }

            return bytes;
        }
    }
}
