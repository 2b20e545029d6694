// Drives that stop answering and come back: a cable, a controller, a path. What they hold is sound, and must be reachable
// afterwards.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class OutageTests
{
    private static readonly DriveFault s_noSuperblocks = new() { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset };

    [Theory]
    [InlineData(RaidLevel.Raid1, 2, 2)]
    [InlineData(RaidLevel.Raid5, 5, 2)]
    [InlineData(RaidLevel.Raid6, 6, 3)]
    public async Task A_resync_that_could_not_read_tries_again_and_then_makes_all_agree(RaidLevel level, int drives, int silent)
    {
        await using ArrayRig rig = await UnsyncedAsync(level, drives);
        Silence(rig, silent);
        rig.Run = rig.Run with { Resync = true, ResyncRetryAfter = TimeSpan.FromMilliseconds(50) };
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Warnings.Any(w => w.Contains("could not be read", StringComparison.Ordinal)), "the warning");
        Assert.NotNull(rig.Array.GetStatus().Resync);

        // A part of them answers again, then all.
        rig.Drives[0].ClearFaults();
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset + (512 << 10), LengthBytes = 256 << 10 });
        await Task.Delay(200);
        Assert.NotNull(rig.Array.GetStatus().Resync);
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        await rig.WaitForResyncAsync();
        Assert.Equal((ArrayHealth.Optimal, 0), (rig.Array.GetStatus().Health, rig.Array.GetStatus().Warnings.Count));
        await rig.AssertConsistentAsync("after the last try");
    }

    [Fact]
    public async Task Where_a_resync_could_not_read_a_write_makes_its_parity_from_data()
    {
        await using ArrayRig rig = await UnsyncedAsync(RaidLevel.Raid5, 5);
        Silence(rig, 2);
        rig.Run = rig.Run with { Resync = true, ResyncRetryAfter = TimeSpan.FromHours(1) };
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Warnings.Count > 0, "the end of the resync");
        Array.ForEach(rig.Drives, d => d.ClearFaults());

        // It is not forgotten over a stop.
        await rig.StopAsync();
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        Assert.NotNull(rig.Array.GetStatus().Resync);

        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise(4096, 7);
        Assert.Equal(0, await driver.WriteAsync(0, data, BlockFlags.Fua));
        Assert.Equal(0, await driver.FlushAsync());
        await rig.Drives[rig.Array.Geometry.Map(0).Member].VanishAsync();
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
    }

    [Fact]
    public async Task What_waits_for_a_failure_to_be_recorded_is_answered_whoever_records_it()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, 16 << 10, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true });
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Flush, Stuck = true });

        // The write wants superblocks that say dirty; while they are being written the flush ends without a drive, and has to
        // wait for them.
        Task<int> flush = driver.FlushAsync();
        Task<int> write = driver.WriteAsync(0, new byte[4096]);
        await Task.Delay(300);
        await rig.Drives[1].VanishAsync();
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the failure to be seen");
        await rig.Reactors.Reactor.InvokeAsync(() => { });
        Assert.False(flush.IsCompleted || write.IsCompleted);
        rig.Drives[0].ClearFaults();
        await rig.Drives[0].ReleaseStuckAsync();
        int[] answers = await Task.WhenAll(flush, write).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.All(answers, a => Assert.Equal(0, a));
    }

    [Fact]
    public async Task A_failure_that_is_recorded_does_not_release_what_waits_for_another()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 3, 16 << 10, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true });
        }

        await rig.Drives[1].VanishAsync();
        Task<int> write = driver.WriteAsync(0, new byte[4096]);
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the failure to be seen");
        await Task.Delay(200); // until the other copies are written, too

        // As if the update before had just ended.
        await rig.Reactors.Reactor.InvokeAsync(() => Array.ForEach([.. rig.Array.Queues], q => q.ReleaseHeld()));
        await rig.Reactors.Reactor.InvokeAsync(() => { });
        bool isEarly = write.IsCompleted;
        await rig.ReleaseDrivesAsync();

        Assert.False(isEarly);
        Assert.Equal(0, await write.WaitAsync(TimeSpan.FromSeconds(60)));
    }

    [Theory]
    [InlineData(64 << 10, 128)]
    [InlineData(4 << 10, 16)]
    [InlineData(1 << 20, 300)]
    public async Task Many_long_reads_are_served_while_a_member_does_not_answer_reads(int chunkBytes, int requests)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, chunkBytes, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 5);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset });
        Task<(int Status, byte[] Data)>[] reads = [.. Enumerable.Range(0, requests).Select(_ => driver.ReadAsync(0, 1 << 20))];
        foreach ((int status, byte[] read) in await Task.WhenAll(reads).WaitAsync(TimeSpan.FromMinutes(2)))
        {
            Assert.Equal(0, status);
            Assert.True(read.AsSpan().SequenceEqual(data.AsSpan(0, read.Length)));
        }
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 3)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task Updates_in_vain_leave_no_member_behind(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 6);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.StopAsync();
        for (int i = 0; i <= rig.Array.Geometry.Redundancy; i++)
        {
            rig.Drives[i].AddFault(s_noSuperblocks);
        }

        for (int attempt = 0; attempt < 4; attempt++)
        {
            await rig.AssembleAsync();
            await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ResizeAsync(64 << 10));
            await rig.AbandonAsync();
        }

        Array.ForEach(rig.Drives, d => d.ClearFaults());
        await rig.AssembleAsync();
        byte[] read = await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length);
        Assert.True(read.AsSpan().SequenceEqual(data));
    }

    [Fact]
    public async Task A_broken_array_writes_no_superblocks_that_its_silent_drives_would_miss()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid10, 4, 16 << 10, 1 << 20, zeroed: false,
            run: new ArrayRunOptions { CheckpointEvery = TimeSpan.FromMilliseconds(20), ResyncMaxBytesPerSecond = 1 << 20, ResyncRetryAfter = TimeSpan.FromMilliseconds(20) });
        RequestDriver driver = await rig.OpenAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Resync is { Percent: > 5 }, "some progress");
        await Task.WhenAll(rig.Drives[0].VanishAsync(), rig.Drives[1].VanishAsync());
        Assert.NotEqual(0, await driver.FlushAsync());
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Health == ArrayHealth.Failed, "the array to fail");
        ulong events = rig.Array.GetStatus().EventCount;
        await Task.Delay(600);
        Assert.Equal(events, rig.Array.GetStatus().EventCount);
        await rig.AbandonAsync();
        Array.ForEach(rig.Drives, d => d.Return());
        await rig.AssembleAsync();
        await rig.WaitForResyncAsync();
        await rig.AssertConsistentAsync("with all drives back", without: rig.Array.State.FailedMask);
    }

    [Fact]
    public async Task A_broken_array_is_changed_on_no_drive()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid10, 4, 16 << 10, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        long size = rig.Array.SizeBytes;
        await Task.WhenAll(rig.Drives[0].VanishAsync(), rig.Drives[1].VanishAsync());
        Assert.NotEqual(0, await driver.FlushAsync());
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Health == ArrayHealth.Failed, "the array to fail");
        await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ResizeAsync(size / 2));
        Assert.Equal(size, rig.Array.SizeBytes);
        await rig.AbandonAsync();
        Array.ForEach(rig.Drives, d => d.Return());
        await rig.AssembleAsync();
        Assert.Equal(size, rig.Array.SizeBytes);
    }

    /// <summary>A stopped array whose members hold noise: nothing agrees.</summary>
    private static async Task<ArrayRig> UnsyncedAsync(RaidLevel level, int drives)
    {
        ArrayRig rig = await ArrayRig.CreateAsync(level, drives, 16 << 10, 1 << 20, zeroed: false, run: new ArrayRunOptions { Resync = false });
        for (int i = 0; i < drives; i++)
        {
            await BlockIo.WriteAsync(rig.Drives[i], rig.Reactors.Reactor, ArrayRig.DataOffset, Noise(1 << 20, 100 + i));
        }

        await rig.StopAsync();
        return rig;
    }

    private static void Silence(ArrayRig rig, int drives)
    {
        for (int i = 0; i < drives; i++)
        {
            rig.Drives[i].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset });
        }
    }
}
