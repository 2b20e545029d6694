// What a superblock promises must be durable before it: the order in which each drive sees data, flushes and superblocks. No power is
// cut here; a crash only shows now and then what this shows always.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class OrderTests
{
    private const int Chunk = 16 << 10;

    private static readonly ArrayRunOptions s_quiet =
        new() { CleanAfter = TimeSpan.FromHours(1), CheckpointEvery = TimeSpan.FromHours(1), RebuildByItself = false };

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_write_starts_when_the_marks_of_its_regions_are_flushed_on_every_member(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 4 << 20, run: s_quiet);
        RequestDriver driver = await rig.OpenAsync();
        for (int region = 0; region < 3; region++)
        {
            DriveLog[] logs = [.. rig.Drives.Select(d => new DriveLog(d))];
            long order = 0;
            Array.ForEach(logs, l => l.Clock = () => Interlocked.Increment(ref order));
            Assert.Equal(0, await driver.WriteAsync(region << 20, new byte[4096]));
            long firstData = logs.Min(l => l.First(l.IsData));
            Assert.All(logs, l => Assert.InRange(l.FlushedAfter(l.First(l.IsSuperblock)), 1, firstData - 1));
        }
    }

    /// <summary>
    /// A run that was killed may have left its last superblock in a drive's cache: the other slot is the only durable one then.
    /// </summary>
    [Fact]
    public async Task The_first_superblock_of_a_run_is_written_when_what_was_found_is_flushed()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 1 << 20, run: s_quiet);
        await rig.StopAsync();
        DriveLog[] logs = [.. rig.Drives.Select(d => new DriveLog(d))];
        long order = 0;
        Array.ForEach(logs, l => l.Clock = () => Interlocked.Increment(ref order));
        await rig.AssembleAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        Assert.All(logs, l => Assert.InRange(l.FlushedAfter(0), 1, l.First(l.IsSuperblock) - 1));
    }

    [Fact]
    public async Task A_further_write_to_a_region_waits_for_its_mark_as_the_first_one_does()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 4 << 20, run: s_quiet);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        var stuck = new DriveLog(rig.Drives[0]);
        Array.ForEach(rig.Drives, d => d.AddFault(
            new DriveFault { Operation = BlockOperation.Write, LengthBytes = ArrayRig.DataOffset, Stuck = true }));
        Task<int> first = driver.WriteAsync(2 << 20, new byte[4096]);
        await ArrayRig.WaitAsync(() => stuck.First(stuck.IsSuperblock) != long.MaxValue, "the mark to be on its way");
        Task<int> second = driver.WriteAsync((2 << 20) + 4096, new byte[4096]);
        await Task.Delay(50);
        Assert.False(first.IsCompleted || second.IsCompleted);
        Assert.Equal(long.MaxValue, stuck.First(stuck.IsData));
        await ReleaseAsync(rig.Drives);
        Assert.Equal(0, await first);
        Assert.Equal(0, await second);
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task The_array_is_called_clean_when_what_was_written_is_flushed(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20, run: s_quiet);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        DriveLog[] logs = [.. rig.Drives.Select(d => new DriveLog(d))];
        Assert.Equal(0, await driver.WriteAsync(0, new byte[(drives - 1) * Chunk]));
        await rig.StopAsync();
        Assert.All(logs, l => l.AssertFlushedBeforeSuperblock());
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task The_end_of_a_resync_is_recorded_when_what_it_wrote_is_flushed(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20, run: s_quiet);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[(drives - 1) * Chunk]));
        await rig.AbandonAsync();

        // A copy, or the first stripe's parity.
        await BlockIo.WriteAsync(rig.Drives[^1], rig.Reactors.Reactor, ArrayRig.DataOffset, Noise(Chunk));
        var log = new DriveLog(rig.Drives[^1]);
        await rig.AssembleAsync();
        await rig.WaitForResyncAsync();
        await rig.StopAsync();
        log.AssertFlushedBeforeSuperblock();
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task The_end_of_a_rebuild_is_recorded_when_what_it_wrote_is_flushed(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10, run: s_quiet);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes)));
        await rig.LoseAsync(driver, 1);
        SimulatedDrive drive = rig.MakeDrive();
        var log = new DriveLog(drive);
        await rig.Array.ReplaceMemberAsync(1, drive);
        await rig.WaitForRebuildAsync();
        log.AssertFlushedBeforeSuperblock();
    }

    /// <summary>While the flush is under way the resync goes on: what it reaches then is not durable.</summary>
    [Fact]
    public async Task A_checkpoint_of_a_resync_says_what_was_in_sync_before_the_flush()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, 64 << 10, 16 << 20, zeroed: false,
            run: s_quiet with { CheckpointEvery = TimeSpan.FromMilliseconds(10), ResyncMaxBytesPerSecond = 2 << 20, SlowAfter = TimeSpan.FromHours(1) });
        ArraySuperblock recorded = await CheckpointWithSlowFlushAsync(rig, rig.Drives[0], () => rig.Array.GetStatus().Resync!.DoneBytes);
        Assert.InRange(recorded.ResyncCheckpoint, 0, _reached);
    }

    [Fact]
    public async Task A_checkpoint_of_a_rebuild_says_what_was_made_before_the_flush()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, 64 << 10, 16 << 20,
            run: s_quiet with { CheckpointEvery = TimeSpan.FromMilliseconds(10), ResyncMaxBytesPerSecond = 2 << 20, SlowAfter = TimeSpan.FromHours(1) });
        RequestDriver driver = await rig.OpenAsync();
        await rig.LoseAsync(driver, 1);
        await rig.ReplaceAsync(1);
        ArraySuperblock recorded = await CheckpointWithSlowFlushAsync(rig, rig.Drives[1], () => rig.Array.GetStatus().Rebuild!.DoneBytes);
        Assert.InRange(recorded.RebuildCheckpoint, 0, _reached);
    }

    /// <summary>What is written from now on may be anywhere when power is cut: nothing counts as in sync then.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid6, 4)]
    [InlineData(RaidLevel.Raid73, 5)]
    public async Task A_write_takes_back_how_far_a_resync_was(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, 64 << 10, 4 << 20, zeroed: false, run: s_quiet with { ResyncMaxBytesPerSecond = 1 << 20 });
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Resync is { Percent: > 10 }, "some progress");
        await rig.StopAsync();
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        Assert.InRange(rig.Array.GetStatus().Resync!.DoneBytes, 1, 4 << 20);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, new byte[4096]));
        Assert.All(
            await ArrayBuilder.InspectAsync(rig.Drives, rig.Reactors.Reactor), found => Assert.Equal(0, found.Superblock!.ResyncCheckpoint));
        await rig.AbandonAsync();
        await rig.AssembleAsync();
        Assert.Equal(0, rig.Array.GetStatus().Resync!.DoneBytes);
    }

    private long _reached;

    /// <summary>Keeps the flush of a checkpoint waiting while work goes on, and returns the superblock that follows it.</summary>
    private async Task<ArraySuperblock> CheckpointWithSlowFlushAsync(ArrayRig rig, SimulatedDrive drive, Func<long> done)
    {
        await ArrayRig.WaitAsync(() => done() > 0, "some progress");
        var log = new DriveLog(drive);
        drive.AddFault(new DriveFault { Operation = BlockOperation.Flush, Stuck = true });

        // The flush may be that of a superblock: the one after it is the checkpoint's.
        for (int flushes = 1; ; flushes++)
        {
            await ArrayRig.WaitAsync(() => log.CountTaken(BlockOperation.Flush) >= flushes, "a flush");
            if (!log.EndsWithSuperblock())
            {
                break;
            }

            await drive.ReleaseStuckAsync();
        }

        _reached = done();
        await ArrayRig.WaitAsync(() => done() > _reached + (256 << 10), "further progress");
        int before = log.CountTaken(BlockOperation.Flush);

        // The superblock's own flush waits then, so that no other comes.
        await drive.ReleaseStuckAsync();
        await ArrayRig.WaitAsync(() => log.CountTaken(BlockOperation.Flush) > before, "the superblock");
        ArraySuperblock recorded = (await ArrayBuilder.InspectAsync([drive], rig.Reactors.Reactor))[0].Superblock!;
        await ReleaseAsync([drive]);
        return recorded;
    }

    private static async Task ReleaseAsync(IEnumerable<SimulatedDrive> drives)
    {
        foreach (SimulatedDrive drive in drives)
        {
            drive.ClearFaults();
            await drive.ReleaseStuckAsync();
        }
    }

    /// <summary>What a drive takes and finishes, in order.</summary>
    private sealed class DriveLog
    {
        private readonly Lock _lock = new();
        private readonly List<Entry> _entries = [];
        private long _own;

        public DriveLog(SimulatedDrive drive)
        {
            Clock = () => ++_own;
            drive.Observer = (_, step, request) =>
            {
                lock (_lock)
                {
                    bool isSuperblock = request.Operation == BlockOperation.Write && request.OffsetBytes < JournalLayout.AreaOffset;
                    _entries.Add(new Entry(Clock(), step, request.Operation, isSuperblock));
                }
            };
        }

        /// <summary>Numbers the entries: those of several drives by one, to compare them.</summary>
        public Func<long> Clock { get; set; }

        public bool IsSuperblock(Entry entry) => entry is { Step: SimulatedStep.Taken, IsSuperblock: true };

        public bool IsData(Entry entry) =>
            entry is { Step: SimulatedStep.Taken, IsSuperblock: false, Operation: BlockOperation.Write or BlockOperation.WriteZeroes };

        /// <summary>When something happened first; <see cref="long.MaxValue"/> when it has not.</summary>
        public long First(Func<Entry, bool> wanted, long after = 0)
        {
            lock (_lock)
            {
                return _entries.FirstOrDefault(e => e.At > after && wanted(e))?.At ?? long.MaxValue;
            }
        }

        /// <summary>When a flush was done that was taken after something.</summary>
        public long FlushedAfter(long at)
        {
            long taken = First(e => e is { Step: SimulatedStep.Taken, Operation: BlockOperation.Flush }, at);
            return First(e => e is { Step: SimulatedStep.Done, Operation: BlockOperation.Flush }, taken);
        }

        public int CountTaken(BlockOperation operation)
        {
            lock (_lock)
            {
                return _entries.Count(e => e.Step == SimulatedStep.Taken && e.Operation == operation);
            }
        }

        /// <summary>Whether the last write before the last flush was a superblock.</summary>
        public bool EndsWithSuperblock()
        {
            lock (_lock)
            {
                List<Entry> changes = [.. _entries.Where(e => e.Step == SimulatedStep.Taken && (e.IsSuperblock || e.Operation == BlockOperation.Flush))];
                return changes.Count > 1 && changes[^2].IsSuperblock;
            }
        }

        public void AssertFlushedBeforeSuperblock()
        {
            lock (_lock)
            {
                long lastData = _entries.FindLast(IsDataDone)?.At ?? 0;
                Assert.NotEqual(0, lastData);
                long superblock = First(IsSuperblock, lastData);
                Assert.NotEqual(long.MaxValue, superblock);
                Assert.InRange(FlushedAfter(lastData), lastData + 1, superblock - 1);
            }
        }

        private static bool IsDataDone(Entry entry) =>
            entry is { Step: SimulatedStep.Done, IsSuperblock: false, Operation: BlockOperation.Write or BlockOperation.WriteZeroes };

        public sealed record Entry(long At, SimulatedStep Step, BlockOperation Operation, bool IsSuperblock);
    }
}
