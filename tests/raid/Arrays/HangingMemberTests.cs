// Members that take requests and never answer. Nothing that can be done without them waits for them.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class HangingMemberTests
{
    private const int Chunk = 16 << 10;

    [Theory]
    [InlineData(RaidLevel.Raid1, 2, BlockOperation.Write)]
    [InlineData(RaidLevel.Raid1, 3, BlockOperation.Read)]
    [InlineData(RaidLevel.Raid10, 4, BlockOperation.Write)]
    [InlineData(RaidLevel.Raid5, 4, BlockOperation.Write)]
    [InlineData(RaidLevel.Raid5, 4, BlockOperation.Read)]
    [InlineData(RaidLevel.Raid6, 5, BlockOperation.Write)]
    [InlineData(RaidLevel.Raid73, 6, BlockOperation.Write)]
    public async Task It_is_reported_and_reads_take_another_way_until_it_answers(RaidLevel level, int drives, BlockOperation hangs)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        int member = rig.Array.Geometry.Map(0).Member;
        SimulatedDrive drive = rig.Drives[member];

        // Everything but one request of the first row hangs from now on.
        drive.AddFault(new DriveFault { OffsetBytes = ArrayRig.DataOffset, Stuck = true });
        Task<int> write = hangs == BlockOperation.Write ? driver.WriteAsync(0, data.AsMemory(0, 4096)) : Task.FromResult(0);
        Task<(int Status, byte[] Data)> read = hangs == BlockOperation.Read ? driver.ReadAsync(0, 4096) : Task.FromResult((0, data[..4096]));
        await ArrayRig.WaitAsync(() => rig.Array.Members[member].OldestSeconds() != int.MaxValue, "the drive to have it");
        Assert.False(write.IsCompleted && read.IsCompleted);
        Assert.DoesNotContain(rig.Array.GetStatus().Members, m => m.IsHanging);

        rig.Pass(clock, seconds: 11);
        rig.Array.Control.Kick();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[member].IsHanging, "the member to count as hanging");
        ArrayStatus status = rig.Array.GetStatus();
        Assert.InRange(status.Members[member].OldestRequestSeconds, 10, 12);
        Assert.Contains(status.Warnings, w => w.Contains("has not answered", StringComparison.Ordinal));
        Assert.Single(rig.Events, e => e.Level == ArrayEventLevel.Warning && e.Message.Contains("has not answered", StringComparison.Ordinal));

        // All rows but the one that the write holds.
        for (long at = Chunk * drives; at < data.Length; at += Chunk)
        {
            Assert.True((await driver.ReadOrThrowAsync(at, Chunk)).AsSpan().SequenceEqual(data.AsSpan((int)at, Chunk)));
        }

        drive.ClearFaults();
        await drive.ReleaseStuckAsync();
        Assert.Equal(0, await write);
        Assert.Equal(data[..4096], (await read).Data);
        rig.Array.Control.Kick();
        await ArrayRig.WaitAsync(() => !rig.Array.GetStatus().Members[member].IsHanging, "the member to answer again");
        Assert.Equal((ArrayHealth.Optimal, 0UL), (rig.Array.GetStatus().Health, rig.Array.State.FailedMask));
        Assert.Empty(rig.Array.GetStatus().Warnings);
        await rig.AssertConsistentAsync("afterwards");
    }

    [Fact]
    public async Task The_superblocks_of_the_others_do_not_wait_for_it_and_it_gets_the_newest_when_it_answers()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid10, 6, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[4].AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true });
        await rig.Drives[0].VanishAsync();
        Task<int> write = driver.WriteAsync(0, data.AsMemory(0, 4096));
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the failure to be seen");
        Assert.False(write.IsCompleted);
        while (!write.IsCompleted)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(write, Task.Delay(10));
        }

        Assert.Equal(0, await write);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[4].IsHanging, "the member to count as hanging");

        rig.Drives[4].ClearFaults();
        await rig.Drives[4].ReleaseStuckAsync();
        await ArrayRig.WaitAsync(() => !rig.Array.GetStatus().Members[4].IsHanging, "the member to answer again");
        await rig.StopAsync();
        await rig.AssembleAsync(rig.Drives[1..]);
        Assert.Equal(1UL, rig.Array.State.FailedMask);
        Assert.True((await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid6, 4)]
    [InlineData(RaidLevel.Raid73, 5)]
    public async Task A_write_without_a_failed_member_waits_while_those_that_hang_could_start_without_its_superblock(RaidLevel level, int drives)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 5);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        ulong before = rig.Array.GetStatus().EventCount;

        // All that is left of the others takes data, but no superblock.
        SimulatedDrive[] others = rig.Drives[1..];
        Array.ForEach(others, d => d.AddFault(new DriveFault { Operation = BlockOperation.Flush, Stuck = true }));
        await rig.Drives[0].VanishAsync(Errno.EIO);
        data.AsSpan(0, 4096).Fill(7);
        Task<int> write = driver.WriteAsync(0, data.AsMemory(0, 4096));
        for (int i = 0; i < 1000 && rig.Array.GetStatus().EventCount == before; i++)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(write, Task.Delay(10));
        }

        Assert.NotEqual(before, rig.Array.GetStatus().EventCount);
        for (int i = 0; i < 30; i++)
        {
            rig.Array.Control.Kick();
            await Task.WhenAny(write, Task.Delay(10));
        }

        Assert.False(write.IsCompleted);
        Array.ForEach(others, d => d.ClearFaults());
        await Task.WhenAll(others.Select(d => d.ReleaseStuckAsync()));
        Assert.Equal(0, await write);

        // Now they all know, whatever comes.
        await rig.KillAsync();
        await rig.ReturnDrivesAsync();
        await rig.AssembleAsync(force: true); // parity levels refuse to start dirty without a member
        Assert.Equal(1UL, rig.Array.State.FailedMask);
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Fact]
    public async Task A_first_write_waits_while_no_member_that_answers_says_dirty()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        RequestDriver driver = await rig.OpenAsync();
        ulong before = rig.Array.GetStatus().EventCount;
        Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault { Operation = BlockOperation.Flush, Stuck = true }));
        Task<int> write = driver.WriteAsync(0, new byte[4096]);
        for (int i = 0; i < 1000 && rig.Array.GetStatus().EventCount == before; i++)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(write, Task.Delay(10));
        }

        for (int i = 0; i < 30; i++)
        {
            rig.Array.Control.Kick();
            await Task.WhenAny(write, Task.Delay(10));
        }

        Assert.False(write.IsCompleted);
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        await Task.WhenAll(rig.Drives.Select(d => d.ReleaseStuckAsync()));
        Assert.Equal(0, await write);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task A_member_that_hung_while_a_failure_was_written_gets_it_into_both_slots(ulong slot)
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 3, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, TestBytes.Noise(8192, 8)));

        // It takes data and hangs with an update that tells of no failure.
        SimulatedDrive late = rig.Drives[1];
        late.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true });
        Task resize = rig.Array.ResizeAsync(32 << 12);
        while (!resize.IsCompleted)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(resize, Task.Delay(10));
        }

        await resize;
        ulong before = rig.Array.GetStatus().EventCount;
        await rig.Drives[0].VanishAsync();
        Task<int> write = driver.WriteAsync(0, new byte[4096]);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().EventCount != before, "the failure to be written to the third");
        Assert.False(write.IsCompleted);
        late.ClearFaults();
        await late.ReleaseStuckAsync();
        Assert.Equal(0, await write);

        // What was acknowledged without the first member is on the second, which must know it whatever becomes of a slot.
        await rig.KillAsync();
        await rig.ReturnDrivesAsync();
        late.AddFault(new DriveFault
        {
            Operation = BlockOperation.Read, OffsetBytes = SuperblockFormat.SlotOffset(slot), LengthBytes = SuperblockFormat.SizeBytes,
        });
        await rig.AssembleAsync(rig.Drives[..2]);
        Assert.Equal(0b101UL, rig.Array.State.FailedMask);
    }

    [Fact]
    public async Task It_is_read_itself_where_parity_is_not_known_to_fit()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 4, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 6);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.KillAsync();
        await rig.ReturnDrivesAsync();

        // The crash left the parity of a row behind its data, and no resync has come to it.
        const long stripe = 2;
        RaidGeometry geometry = rig.Array.Geometry;
        int parity = geometry.ParityMember(stripe, 0);
        await BlockIo.WriteAsync(rig.Drives[parity], rig.Reactors.Reactor, geometry.StripeOffset(stripe), TestBytes.Noise(Chunk, 7));
        rig.Run = rig.Run with { ResyncAfter = TimeSpan.FromHours(1) };
        await rig.AssembleAsync();
        driver = await rig.OpenAsync();
        MemberPlace place = geometry.Map(stripe * geometry.StripeDataSize);
        SimulatedDrive slow = rig.Drives[place.Member];
        slow.AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset, LengthBytes = 4096, Stuck = true });
        long far = Enumerable.Range(0, 4).Select(i => (long)i * Chunk).First(a => geometry.Map(a).Member == place.Member);
        Task<(int Status, byte[] Data)> read = driver.ReadAsync(far, 4096);
        await ArrayRig.WaitAsync(() => rig.Array.Members[place.Member].OldestSeconds() != int.MaxValue, "the drive to have it");
        rig.Pass(clock, seconds: 11);
        rig.Array.Control.Kick();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Members[place.Member].IsHanging, "the member to count as hanging");
        int at = (int)(stripe * geometry.StripeDataSize);
        Assert.True((await driver.ReadOrThrowAsync(at, Chunk)).AsSpan().SequenceEqual(data.AsSpan(at, Chunk)));
        slow.ClearFaults();
        await slow.ReleaseStuckAsync();
        Assert.Equal(0, (await read).Status);
    }

    [Fact]
    public async Task A_stop_ends_and_calls_nothing_clean()
    {
        var clock = new ManualClock();
        ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        await rig.CloseDriversAsync();
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Flush, Stuck = true });
        Task stop = rig.Array.StopAsync();
        while (!stop.IsCompleted)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(stop, Task.Delay(10));
        }

        await Assert.ThrowsAsync<ArrayException>(() => stop);
        rig.Drives[1].ClearFaults();
        await rig.Drives[1].ReleaseStuckAsync();
        await rig.AssembleAsync();
        Assert.Equal(0UL, rig.Array.State.FailedMask);
        await rig.WaitForResyncAsync();
        await rig.DisposeAsync();
    }

    [Fact]
    public async Task A_start_is_not_held_by_a_drive_that_does_not_answer()
    {
        var clock = new ManualClock();
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 4, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock });
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 3);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, data));
        await rig.StopAsync();
        rig.Drives[2].AddFault(new DriveFault { Operation = BlockOperation.Read, Stuck = true });
        Task start = rig.AssembleAsync(allowDegraded: true);
        while (!start.IsCompleted)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(start, Task.Delay(10));
        }

        await start;
        Assert.Equal(0b0100UL, rig.Array.State.FailedMask);
        Assert.True((await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));

        // What was asked of the drive must not come back when its memory is gone.
        await rig.Drives[2].VanishAsync();
    }

    [Fact]
    public async Task A_resync_that_waits_for_it_does_not_hold_a_stop()
    {
        var clock = new ManualClock();
        ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 4, Chunk, 256 << 10, zeroed: false,
            run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Clock = clock, ResyncAfter = TimeSpan.FromHours(1) });
        await rig.StopAsync();
        rig.Drives[2].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset, Stuck = true });
        rig.Run = rig.Run with { ResyncAfter = TimeSpan.Zero };
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Events.Any(e => e.Message.Contains("resync has started", StringComparison.Ordinal)), "the resync to start");
        Task stop = rig.Array.StopAsync();
        while (!stop.IsCompleted)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(stop, Task.Delay(10));
        }

        await Assert.ThrowsAsync<ArrayException>(() => stop);
        rig.Drives[2].ClearFaults();
        await rig.Drives[2].ReleaseStuckAsync();
        await rig.AssembleAsync();
        await rig.WaitForResyncAsync();
        await rig.AssertConsistentAsync("after the next start");
        await rig.DisposeAsync();
    }
}
