// The write-intent bitmap: a write waits for its region's mark, a crash costs a resync of marked regions, marks go when all
// agree.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Control;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class WriteIntentTests
{
    private const int Chunk = 16 << 10;

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid50, 6)]
    public async Task After_a_crash_only_what_was_written_is_resynced(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 4 << 20, simulation: o => o with { CanCrash = true });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(1 << 20, new byte[4096]));
        Assert.Equal(0, await driver.WriteAsync(3 << 20, new byte[4096]));
        await rig.CrashAsync();
        await rig.RestartDrivesAsync();
        long read = 0;
        Array.ForEach(rig.Drives, d => d.Observer = (_, step, request) =>
        {
            if (step == SimulatedStep.Taken && request.Operation == BlockOperation.Read && request.OffsetBytes >= ArrayRig.DataOffset)
            {
                Interlocked.Add(ref read, request.LengthBytes);
            }
        });
        await rig.AssembleAsync();
        await rig.WaitForResyncAsync();
        Assert.InRange(read, 1, rig.Array.Geometry.MemberDataSize * drives / 8);
        await rig.AssertConsistentAsync("after the resync");
    }

    [Fact]
    public async Task A_write_waits_for_the_mark_of_its_region_and_others_do_not()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 4 << 20);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        ulong events = rig.Array.GetStatus().EventCount;
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true });
        }

        Task<int> unmarked = driver.WriteAsync(2 << 20, new byte[4096]);
        Task<int> across = driver.WriteAsync((1 << 16) - 4096, new byte[8192]);
        await Task.Delay(100);
        Assert.False(unmarked.IsCompleted || across.IsCompleted);
        Assert.Equal(0, await driver.WriteAsync(4096, new byte[4096]).WaitAsync(TimeSpan.FromSeconds(60)));
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.ClearFaults();
            await drive.ReleaseStuckAsync();
        }

        int[] answers = await Task.WhenAll(unmarked, across).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.All(answers, a => Assert.Equal(0, a));

        // A member that is late must not fall behind by it.
        Assert.Equal(events, rig.Array.GetStatus().EventCount);
        DirtyRegions marks = (await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor))[0].Superblock!.Regions!;
        int shift = marks.Shift;
        Assert.Equal(16, shift);
        Assert.Equal(0b11ul | (1UL << ((2 << 20) >> shift)), marks.Words[0]);
    }

    [Fact]
    public async Task Marks_go_when_the_array_is_clean_and_stay_while_a_member_is_out()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, Chunk, 4 << 20, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromMilliseconds(50), RebuildByItself = false });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        await ArrayRig.WaitAsync(() => rig.Array.Intent!.SinceEvent == rig.Array.GetStatus().EventCount, "the array to be clean");
        Assert.Equal(0, rig.Array.Intent!.MarkedBytes);
        ulong since = rig.Array.Intent.SinceEvent;
        await rig.LoseAsync(driver, 2);
        Assert.Equal(0, await driver.WriteAsync(1 << 20, new byte[4096]));
        await ArrayRig.WaitAsync(() => !rig.Array.GetStatus().Dirty, "the array to be clean");
        Assert.NotEqual(0, rig.Array.Intent.MarkedBytes);
        Assert.Equal(since, rig.Array.Intent.SinceEvent);
        await rig.ReplaceAsync(2);
        await rig.WaitForRebuildAsync();
        Assert.Equal(0, await driver.WriteAsync(2 << 20, new byte[4096]));
        await ArrayRig.WaitAsync(() => rig.Array.Intent.MarkedBytes == 0, "the marks to go");
    }

    [Fact]
    public async Task A_crash_before_the_end_of_a_resync_keeps_what_it_had_to_do()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, Chunk, 4 << 20, simulation: o => o with { CanCrash = true });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(4 << 20, new byte[64 << 10]));
        MarkCount before = await MarksAsync(rig);
        Assert.NotEqual(0, before.Count);
        await rig.CrashAsync();
        await rig.RestartDrivesAsync();
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, new byte[4096]));
        await rig.StopAsync();
        rig.Run = rig.Run with { Resync = true, CleanAfter = TimeSpan.FromMilliseconds(20) };
        await rig.AssembleAsync();
        Assert.Equal(before.Count + 1, (await MarksAsync(rig)).Count);
        await rig.WaitForResyncAsync();
        await rig.AssertConsistentAsync("after the resync");
    }

    /// <summary>A program of version 1 recorded no regions: everything is marked.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Where_nothing_is_recorded_all_is_marked_or_nothing(bool marked)
    {
        const long Capacity = 10L << 30;
        var intent = new WriteIntent(Capacity, WriteIntent.Make(Capacity, marked, 3));
        Assert.Equal(marked ? Capacity : 0, intent.MarkedBytes);
        Assert.Equal(marked, intent.Covers(Capacity - 4096, 4096));
        Assert.Equal(marked ? 5 << 20 : long.MaxValue, intent.NextMarked(5 << 20));
        Assert.Null(intent.Describe().Check(Capacity));
    }

    [Theory]
    [InlineData(64 << 10, 12, 16)]
    [InlineData(1L << 30, 24, 64)]
    [InlineData(10L << 30, 24, 640)]
    [InlineData(100L << 40, 32, 25600)]
    [InlineData(1L << 62, 47, 32768)]
    public void Regions_fit_the_volume(long capacity, int shift, int count)
    {
        Assert.Equal(shift, DirtyRegions.ShiftFor(capacity));
        Assert.Equal(count, DirtyRegions.CountFor(capacity, shift));
    }

    private readonly record struct MarkCount(int Count, ulong First);

    private static async Task<MarkCount> MarksAsync(ArrayRig rig)
    {
        DirtyRegions marks = (await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor))[0].Superblock!.Regions!;
        return new MarkCount(marks.Words.Sum(w => System.Numerics.BitOperations.PopCount(w)), marks.Words[0]);
    }
}
