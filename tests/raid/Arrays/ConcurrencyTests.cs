// Several reactors write, read and flush overlapping ranges at once while drives complete out of order, fail and lose power. What
// is read must be explained by some order of the writes; afterwards parity and copies must agree. On threads as they are, so no
// run is like another: lives that repeat are in tests/simulation.

using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ConcurrencyTests
{
    private const int Span = 48 << 10;

    public static TheoryData<RaidLevel, int, int, int> Shapes => new()
    {
        // level, drives, chunk, seed
        { RaidLevel.Raid1, 2, 64 << 10, 1 },
        { RaidLevel.Raid1, 3, 64 << 10, 2 },
        { RaidLevel.Raid10, 5, 4 << 10, 3 },
        { RaidLevel.Raid5, 3, 4 << 10, 4 },
        { RaidLevel.Raid5, 4, 8 << 10, 5 },
        { RaidLevel.Raid6, 4, 4 << 10, 6 },
        { RaidLevel.Raid6, 6, 8 << 10, 7 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Overlapping_writers_on_several_reactors_leave_members_that_agree(RaidLevel level, int drives, int chunk, int seed)
    {
        await using ArrayRig rig = await CreateAsync(level, drives, chunk, seed, reactors: 2, canCrash: false);
        StampedBlocks blocks = new(rig.Array.SizeBytes, seed);
        await RunWritersAsync(rig, blocks, steps: 40, expectErrors: false);
        await CheckAllAsync(rig, blocks, afterCrash: false);
        await rig.AssertConsistentAsync($"seed {seed}");
        await ArrayRig.WaitForLocksAsync(rig.Array);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Members_that_fail_under_load_cost_nothing_and_are_not_taken_back(RaidLevel level, int drives, int chunk, int seed)
    {
        await using ArrayRig rig = await CreateAsync(level, drives, chunk, seed, reactors: 2, canCrash: false);
        StampedBlocks blocks = new(rig.Array.SizeBytes, seed);
        int losses = level == RaidLevel.Raid10 ? 1 : rig.Array.Geometry.Redundancy;
        var victims = Enumerable.Range(0, losses).Select(i => (seed + i) % drives).ToArray();
        int step = 0;
        await RunWritersAsync(rig, blocks, steps: 60, expectErrors: false, async () =>
        {
            if (step < victims.Length)
            {
                await rig.Drives[victims[step++]].VanishAsync();
            }
        });
        await CheckAllAsync(rig, blocks, afterCrash: false);
        Assert.Equal(0, await (await rig.OpenAsync()).FlushAsync());
        ulong failed = victims.Aggregate(0UL, (mask, v) => mask | (1UL << v));
        await ArrayRig.WaitAsync(() => rig.Array.State.PersistedMask == failed, $"the superblocks to name the failed members (seed {seed})");

        // The failed drives come back with their old content: they must not be used.
        await rig.AbandonAsync();
        foreach (int victim in victims)
        {
            rig.Drives[victim].Return();
        }

        await rig.AssembleAsync(force: true);
        Assert.Equal(failed, rig.Array.State.FailedMask);
        await CheckAllAsync(rig, blocks, afterCrash: false);
    }

    public static TheoryData<RaidLevel, int, int, int> CrashShapes
    {
        get
        {
            var data = new TheoryData<RaidLevel, int, int, int>();
            for (int round = 0; round < 3; round++)
            {
                data.Add(RaidLevel.Raid0, 3, 4 << 10, 100 + round);
                data.Add(RaidLevel.Raid1, 2, 64 << 10, 200 + round);
                data.Add(RaidLevel.Raid10, 4, 8 << 10, 300 + round);
                data.Add(RaidLevel.Raid5, 4, 8 << 10, 400 + round);
                data.Add(RaidLevel.Raid6, 5, 4 << 10, 500 + round);
                data.Add(RaidLevel.Raid50, 6, 8 << 10, 600 + round);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(CrashShapes))]
    public async Task After_a_crash_flushed_writes_are_there_and_the_resync_makes_members_agree(RaidLevel level, int drives, int chunk, int seed)
    {
        await using ArrayRig rig = await CreateAsync(level, drives, chunk, seed, reactors: 2, canCrash: true);
        StampedBlocks blocks = new(rig.Array.SizeBytes, seed);
        for (int life = 0; life < 2; life++)
        {
            await RunWritersAsync(rig, blocks, steps: 10_000, expectErrors: true, () => rig.CrashAsync());
            await rig.RestartDrivesAsync();
            await rig.AssembleAsync();
            ArrayStatus status = rig.Array.GetStatus();
            Assert.All(status.Members, m => Assert.Equal(Polyblk.Raid.Superblock.MemberState.Present, m.State));

            // Some blocks are read before, some while the resync runs; all after it.
            byte[] first = await CheckAllAsync(rig, blocks, afterCrash: true);
            await rig.WaitForResyncAsync();
            byte[] second = await CheckAllAsync(rig, blocks, afterCrash: true);
            Assert.True(first.AsSpan().SequenceEqual(second), $"seed {seed}: a block changed without a write");
            await rig.AssertConsistentAsync($"seed {seed}");
            blocks = new StampedBlocks(rig.Array.SizeBytes, seed + 1000 + life);
            await WriteAllAsync(rig, blocks);
        }
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 3, 21)]
    [InlineData(RaidLevel.Raid10, 4, 22)]
    [InlineData(RaidLevel.Raid5, 4, 23)]
    [InlineData(RaidLevel.Raid6, 5, 24)]
    [InlineData(RaidLevel.Raid50, 6, 25)]
    [InlineData(RaidLevel.Raid60, 8, 26)]
    public async Task Writes_during_a_resync_do_not_trust_old_parity(RaidLevel level, int drives, int seed)
    {
        // Members full of noise, as after a creation over used drives.
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, 8 << 10, 512 << 10, reactors: 2, zeroed: false,
            run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncMaxBytesPerSecond = 1 << 20 });
        RequestDriver driver = await rig.OpenAsync();
        var random = new Random(seed);
        var expected = new byte[rig.Array.SizeBytes];
        Assert.Equal(0, await driver.WriteAsync(0, expected));
        for (int i = 0; i < 60; i++)
        {
            int length = (random.Next(24) + 1) * 512;
            int offset = random.Next((expected.Length - length) / 512) * 512;
            random.NextBytes(expected.AsSpan(offset, length));
            Assert.Equal(0, await driver.WriteAsync(offset, expected.AsMemory(offset, length)));
            Assert.True((await driver.ReadOrThrowAsync(offset, length)).AsSpan().SequenceEqual(expected.AsSpan(offset, length)), $"seed {seed}");
        }

        await rig.WaitForResyncAsync();
        await rig.AssertConsistentAsync($"seed {seed}");
        await rig.Drives[1].VanishAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, expected.Length)).AsSpan().SequenceEqual(expected), $"seed {seed}");
    }

    private static Task<ArrayRig> CreateAsync(RaidLevel level, int drives, int chunk, int seed, int reactors, bool canCrash) => ArrayRig.CreateAsync(
        level,
        drives,
        chunk,
        memberBytes: Math.Max(128 << 10, chunk),
        reactors,
        simulation: o => o with
        {
            Seed = o.Seed + (ulong)(seed * 100_000), CanCrash = canCrash, MinimumLatencyNs = 1_000, MaximumLatencyNs = 200_000,
        });

    /// <summary>Four writers on two reactors; <paramref name="event"/> happens twice on the way.</summary>
    private static async Task RunWritersAsync(ArrayRig rig, StampedBlocks blocks, int steps, bool expectErrors, Func<Task>? @event = null)
    {
        int done = 0;
        var writers = new List<Task>();
        for (int i = 0; i < 4; i++)
        {
            RequestDriver driver = await rig.OpenAsync(i % rig.Reactors.Reactors.Count);
            writers.Add(blocks.RunWriterAsync(driver, i, () => Interlocked.Increment(ref done) < steps * 4, Span, expectErrors));
        }

        Task all = Task.WhenAll(writers);
        if (@event is not null)
        {
            int first = Math.Min(steps, 40);
            await WaitForStepsAsync(() => Volatile.Read(ref done) >= first, all);
            await @event();
            if (!expectErrors)
            {
                await WaitForStepsAsync(() => Volatile.Read(ref done) >= first * 2, all);
                await @event();
            }
        }

        await all;
    }

    private static async Task WaitForStepsAsync(Func<bool> reached, Task all)
    {
        while (!reached() && !all.IsCompleted)
        {
            await Task.Delay(1);
        }
    }

    private static async Task<byte[]> CheckAllAsync(ArrayRig rig, StampedBlocks blocks, bool afterCrash)
    {
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = await driver.ReadOrThrowAsync(0, (int)rig.Array.SizeBytes);
        blocks.Check(0, data, afterCrash);
        return data;
    }

    private static async Task WriteAllAsync(ArrayRig rig, StampedBlocks blocks)
    {
        RequestDriver driver = await rig.OpenAsync();
        (StampedBlocks.Write write, byte[] data) = blocks.Begin(0, (int)rig.Array.SizeBytes);
        int status = await driver.WriteAsync(0, data);
        Assert.Equal(0, status);
        blocks.End(write, status, durable: false);
        long now = blocks.Now();
        Assert.Equal(0, await driver.FlushAsync());
        blocks.MakeDurable(now);
    }
}
