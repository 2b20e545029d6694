using System.Text;
using Polyblk.Core.Block;
using Polyblk.Drives.Ram;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class LifecycleTests
{
    [Fact]
    public async Task Idle_arrays_become_clean_and_a_crash_then_costs_no_resync()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, 16 << 10, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromMilliseconds(100) });
        RequestDriver driver = await rig.OpenAsync();
        Assert.False(rig.Array.GetStatus().Dirty);
        for (int i = 0; i < 2; i++)
        {
            // The mark hangs on its way to the drives, so that the array is not clean again before it is looked at; and the write
            // waits for it.
            foreach (SimulatedDrive drive in rig.Drives)
            {
                drive.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 0, LengthBytes = ArrayRig.DataOffset, Stuck = true });
            }

            Task<int> write = driver.WriteAsync(i * 512, new byte[512]);
            await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Dirty, "the array to become dirty");
            Assert.False(write.IsCompleted);
            foreach (SimulatedDrive drive in rig.Drives)
            {
                drive.ClearFaults();
                await drive.ReleaseStuckAsync();
            }

            Assert.Equal(0, await write);
            await ArrayRig.WaitAsync(() => !rig.Array.GetStatus().Dirty, "the array to become clean");
        }

        await rig.AbandonAsync();
        await rig.AssembleAsync();
        Assert.Null(rig.Array.GetStatus().Resync);
    }

    [Fact]
    public async Task A_resync_tells_how_far_it_is()
    {
        const long MemberBytes = 1 << 20;
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, 4 << 10, MemberBytes, zeroed: false, run: new ArrayRunOptions { Resync = false });
        await rig.StopAsync();

        // A row at 55 % gets no answer before the progress was told.
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault
            {
                Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset + (MemberBytes * 55 / 100 / 4096 * 4096), LengthBytes = 4096, Stuck = true,
            });
        }

        rig.Run = rig.Run with { Resync = true };
        await rig.AssembleAsync();
        bool Told(string what)
        {
            lock (rig.Events)
            {
                return rig.Events.Any(e => e.Message.Contains(what, StringComparison.Ordinal));
            }
        }

        try
        {
            await ArrayRig.WaitAsync(() => Told("50 % of the resync are done"), "half of the resync");
            Assert.False(Told("60 %"));
        }
        finally
        {
            foreach (SimulatedDrive drive in rig.Drives)
            {
                drive.ClearFaults();
                await drive.ReleaseStuckAsync();
            }
        }

        await rig.WaitForResyncAsync();
        Assert.True(Told("the resync is complete"));
        int[] tenths = [.. rig.Events.Where(e => e.Message.Contains(" % of the resync", StringComparison.Ordinal)).Select(e => int.Parse(e.Message.Split(' ')[2]))];
        Assert.Equal(tenths.Distinct().Order(), tenths);
        Assert.All(tenths, t => Assert.InRange(t, 10, 90));
        await rig.StopAsync();
    }

    [Fact]
    public async Task A_resync_comes_when_its_time_has_come()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, 4 << 10, 256 << 10, zeroed: false, run: new ArrayRunOptions { ResyncAfter = TimeSpan.FromHours(1) });
        Assert.Equal(ArrayHealth.Resyncing, rig.Array.GetStatus().Health);
        Assert.DoesNotContain(rig.Events, e => e.Message.Contains("resync", StringComparison.Ordinal));

        // Until then a write makes its parity of the data.
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = [.. Enumerable.Repeat((byte)7, 512)];
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(0, rig.Array.GetStatus().Resync!.Percent);
        await rig.StopAsync();

        rig.Run = rig.Run with { ResyncAfter = TimeSpan.FromMilliseconds(200) };
        await rig.AssembleAsync();
        await rig.WaitForResyncAsync();
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        Assert.Single(rig.Events, e => e.Message.Contains("a resync has started", StringComparison.Ordinal));
        await rig.AssertConsistentAsync("after the resync");
        await rig.StopAsync();
    }

    [Fact]
    public async Task A_resync_that_was_stopped_goes_on_where_it_was()
    {
        // At this speed the whole takes a minute.
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, 64 << 10, 32 << 20, zeroed: false, run: new ArrayRunOptions { ResyncMaxBytesPerSecond = 512 << 10 });
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Resync is { Percent: > 1 }, "some progress");
        Assert.Equal(ArrayHealth.Resyncing, rig.Array.GetStatus().Health);
        await rig.StopAsync();
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        Assert.True(rig.Array.GetStatus().Resync!.Percent > 1);
        await rig.StopAsync();
        rig.Run = rig.Run with { Resync = true, ResyncMaxBytesPerSecond = 0 };
        await rig.AssembleAsync();
        await rig.WaitForResyncAsync();
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        await rig.AssertConsistentAsync("after the resync");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_resync_over_drives_that_answer_at_once_ends_without_a_fault(RaidLevel level, int members)
    {
        // The fixture reports any exception that reached a reactor when it is disposed.
        using var reactors = new ReactorFixture();
        RamDrive[] drives = [.. Enumerable.Range(0, members).Select(_ => new RamDrive(3 << 20))];
        RaidArray array = await ArrayBuilder.CreateAsync(new ArrayCreateOptions { Name = "ram", Level = level }, drives, reactors.Reactor);
        await ArrayRig.WaitAsync(() => array.GetStatus().Resync is null, "the end of the resync");
        await reactors.Reactor.InvokeAsync(() => { });
        await array.DisposeAsync();
        Assert.Empty(reactors.Faults);
        foreach (RamDrive drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    [Fact]
    public async Task Drives_in_use_are_refused_without_force()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, 64 << 10, 1 << 20);
        await rig.StopAsync();
        var options = new ArrayCreateOptions { Name = "other", Level = RaidLevel.Raid1 };
        ArrayException e = await Assert.ThrowsAsync<ArrayException>(() => ArrayBuilder.CreateAsync(options, rig.Drives, rig.Reactors.Reactor));
        Assert.Contains("'test'", e.Message, StringComparison.Ordinal);
        Assert.Contains("--force", e.Message, StringComparison.Ordinal);

        Assert.Equal(2, (await ArrayBuilder.EraseAsync(rig.Drives, rig.Array.Uuid, rig.Reactors.Reactor)).Count);
        var block = new byte[4096];
        Encoding.ASCII.GetBytes("XFSB").CopyTo(block, 0);
        await BlockIo.WriteAsync(rig.Drives[1], rig.Reactors.Reactor, 0, block);
        e = await Assert.ThrowsAsync<ArrayException>(() => ArrayBuilder.CreateAsync(options, rig.Drives, rig.Reactors.Reactor));
        Assert.Contains("XFS", e.Message, StringComparison.Ordinal);

        RaidArray other = await ArrayBuilder.CreateAsync(options with { Force = true }, rig.Drives, rig.Reactors.Reactor);
        Assert.NotNull(other.GetStatus().Resync);
        await other.DisposeAsync();
        e = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync());
        Assert.Contains("'other'", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Wishes_that_make_no_sense_are_refused_with_reasons()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, 64 << 10, 1 << 20);
        await rig.StopAsync();
        var wish = new ArrayCreateOptions { Name = "x", Level = RaidLevel.Raid5, Force = true };
        Task<RaidArray> Create(ArrayCreateOptions o, params IBlockDevice[] drives) => ArrayBuilder.CreateAsync(o, drives, rig.Reactors.Reactor);
        SimulatedDrive a = rig.Drives[0], b = rig.Drives[1];
        Assert.Contains("3", (await Assert.ThrowsAsync<ArrayException>(() => Create(wish, a, b))).Message, StringComparison.Ordinal);
        wish = wish with { Level = RaidLevel.Raid1 };
        Assert.Contains("twice", (await Assert.ThrowsAsync<ArrayException>(() => Create(wish, a, a))).Message, StringComparison.Ordinal);
        Assert.Contains("chunk", (await Assert.ThrowsAsync<ArrayException>(() => Create(wish with { ChunkBytes = 5000 }, a, b))).Message, StringComparison.Ordinal);
        Assert.Contains("size", (await Assert.ThrowsAsync<ArrayException>(() => Create(wish with { SizeBytes = 1L << 40 }, a, b))).Message, StringComparison.Ordinal);
        Assert.Contains("name", (await Assert.ThrowsAsync<ArrayException>(() => Create(wish with { Name = "" }, a, b))).Message, StringComparison.Ordinal);

        // Nothing of all that touched the array.
        await rig.AssembleAsync();
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_write_under_way_keeps_the_array_dirty(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, 16 << 10, 1 << 20, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromMilliseconds(50) });
        RequestDriver driver = await rig.OpenAsync();
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Stuck = true });
        Task<int> write = driver.WriteAsync(0, new byte[64 << 10]);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Dirty, "the write to be let go");
        await Task.Delay(500);
        Assert.True(rig.Array.GetStatus().Dirty);
        rig.Drives[1].ClearFaults();
        await rig.Drives[1].ReleaseStuckAsync();
        Assert.Equal(0, await write);
        await ArrayRig.WaitAsync(() => !rig.Array.GetStatus().Dirty, "the array to be clean");
    }

    [Fact]
    public async Task A_resize_is_kept_and_told()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, 64 << 10, 1 << 20);
        int told = 0;
        rig.Array.Resized += _ => told++;
        RequestDriver driver = await rig.OpenAsync();
        await rig.Array.ResizeAsync(512 << 10);
        Assert.Equal(1, told);
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(512 << 10, new byte[512]));
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ResizeAsync(2 << 20));
        await rig.StopAsync();
        await rig.AssembleAsync();
        Assert.Equal(512 << 10, rig.Array.SizeBytes);
        await rig.Array.ResizeAsync(1 << 20);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync((1 << 20) - 512, new byte[512]));
    }

    [Fact]
    public async Task An_array_in_use_does_not_stop_and_a_stopped_one_does_not_open()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 2, 64 << 10, 1 << 20, reactors: 2);
        RequestDriver first = await rig.OpenAsync();
        await rig.OpenAsync();
        await rig.OpenAsync(reactor: 1);
        Assert.Equal(2, rig.Array.Queues.Length);
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.StopAsync());
        Assert.Equal(0, await first.WriteAsync(0, new byte[512]));
        await rig.StopAsync();
        await Assert.ThrowsAsync<ArrayException>(() => RequestDriver.OpenAsync(rig.Array, rig.Reactors.Reactor));
    }

    [Fact]
    public async Task Requests_that_make_no_sense_are_refused()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, 64 << 10, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(rig.Array.SizeBytes - 512, new byte[1024]));
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(-512, new byte[512]));
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(100, new byte[512]));
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(0, new byte[100]));
        Assert.Equal(-Errno.EINVAL, await driver.DiscardAsync(long.MaxValue - 511, 512));
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(0, new byte[512], layout: new BufferLayout(Traits: BufferTraits.None)));
        Assert.Equal(0, await driver.WriteAsync(512, ReadOnlyMemory<byte>.Empty));
        Assert.Equal(0, await driver.FlushAsync());
    }

    [Fact]
    public async Task Large_discards_and_zeroing_reach_every_member_in_few_requests()
    {
        foreach (RaidLevel level in Enum.GetValues<RaidLevel>())
        {
            await using ArrayRig rig = await ArrayRig.CreateAsync(level, Math.Max(4, level.MinimumMembers()), 4 << 10, 1 << 20);
            RequestDriver driver = await rig.OpenAsync();
            var noise = new byte[rig.Array.SizeBytes];
            new Random(7).NextBytes(noise);
            for (int at = 0; at < noise.Length; at += 1 << 20)
            {
                Assert.Equal(0, await driver.WriteAsync(at, noise.AsMemory(at, Math.Min(1 << 20, noise.Length - at))));
            }

            long before = rig.Drives.Sum(d => d.Requests);
            Assert.Equal(0, await driver.WriteZeroesAsync(0, noise.Length));
            long requests = rig.Drives.Sum(d => d.Requests) - before;
            Assert.True(level == RaidLevel.Raid10 || requests <= 4 * 8, $"{level}: {requests} requests");
            Assert.Equal(noise.Length, (await driver.ReadOrThrowAsync(0, noise.Length)).AsSpan().Count((byte)0));
            Assert.Equal(0, await driver.DiscardAsync(4096, noise.Length - 8192));
            await rig.AssertConsistentAsync($"{level}");
        }
    }
}
