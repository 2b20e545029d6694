// Arrays whose members are in groups: what is lost in one group is that group's, and what is done for it touches no other.

using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class GroupTests
{
    private const int Chunk = 16 << 10;

    private static readonly ArrayRunOptions s_run = new()
    {
        CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, ResyncRetryAfter = TimeSpan.FromHours(1),
    };

    public static TheoryData<RaidLevel, int> Levels => new() { { RaidLevel.Raid50, 8 }, { RaidLevel.Raid60, 10 } };

    /// <summary>As many as each group survives may go, in all groups; one more of any of them may not.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public async Task Each_group_survives_its_own_losses(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, run: s_run);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        RaidGeometry geometry = rig.Array.Geometry;
        for (int lost = 0; lost < level.ParityCount(); lost++)
        {
            foreach (int role in new[] { lost, geometry.GroupSize + lost })
            {
                await rig.Array.FailMemberAsync(role);
                if (lost == level.ParityCount() - 1)
                {
                    // Whatever the other group still has.
                    await Assert.ThrowsAsync<ArrayException>(() => rig.Array.FailMemberAsync(role + 1));
                }

                data = Noise(data.Length, 2 + role);
                Assert.Equal(0, await driver.WriteAsync(0, data));
                Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
            }
        }

        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal((ArrayHealth.Degraded, 2), (status.Health, status.Groups));
        string none = "can lose none of its other members now";
        string first = $"roles 0 to {geometry.GroupSize - 1}", second = $"roles {geometry.GroupSize} to {drives - 1}";
        Assert.Contains(status.Warnings, w => w == $"The group of {first} {none}.");
        Assert.Contains(status.Warnings, w => w == $"The group of {second} {none}.");
        ArrayException refusal = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.FailMemberAsync(drives - 1));
        Assert.Contains($"({second}) can lose no more", refusal.Message, StringComparison.Ordinal);

        // Nor does it start like that, and it says which group is in the way.
        await rig.StopAsync();
        await rig.AssembleAsync();
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.StopAsync();
        refusal = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[..^1]));
        Assert.Contains(
            $"can lose {level.ParityCount()} of each group ({first}; {second})", refusal.Message, StringComparison.Ordinal);

        // What lies on the others can be read then: stripes of the first group are whole.
        await rig.AssembleAsync(rig.Drives[..^1], readOnly: true);
        driver = await rig.OpenAsync();
        Assert.Equal(data[..4096], await driver.ReadOrThrowAsync(0, 4096));
        Assert.Contains(rig.Array.GetStatus().Warnings, w => w.Contains("are missing in a group", StringComparison.Ordinal));
    }

    /// <summary>While a group lacks members, stripes of the others are read, written and compared as ever.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public async Task What_a_group_lacks_costs_the_others_nothing(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, run: s_run);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        RaidGeometry geometry = rig.Array.Geometry;
        for (int lost = 0; lost < level.ParityCount(); lost++)
        {
            await rig.LoseAsync(driver, lost);
        }

        Counter others = new(rig.Drives[geometry.GroupSize..]), mates = new(rig.Drives[..geometry.GroupSize]);
        int stripe = (int)geometry.StripeDataSize;
        for (int i = 1; i < geometry.StripeCount; i += geometry.GroupCount)
        {
            int at = (i * stripe) + Chunk;
            Assert.Equal(data[at..(at + 4096)], await driver.ReadOrThrowAsync(at, 4096));
        }

        // One read each, of the block itself; and a whole stripe is written without any.
        long stripes = geometry.StripeCount / geometry.GroupCount;
        Assert.Equal((stripes, 0), (others.Reads, mates.Reads + mates.Others));
        Assert.Equal(0, await driver.WriteAsync(stripe, data.AsMemory(stripe, stripe)));
        Assert.Equal((stripes, 0), (others.Reads, mates.Reads + mates.Others));

        // A check compares them, and passes over those that lack something.
        await rig.Array.StartScrubAsync(repair: false);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { EndedAt: not null }, "the check");
        ScrubStatus scrub = rig.Array.GetStatus().Scrub!;
        Assert.Equal((0, stripes, 0), (scrub.Differing, scrub.Skipped, scrub.Unreadable));
    }

    /// <summary>A new drive is filled from its group alone, and a rebuild that was cut off goes on where it was.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_rebuild_reads_the_group_alone(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10, run: s_run);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        int size = rig.Array.Geometry.GroupSize;
        await rig.LoseAsync(driver, size + 1);
        Counter others = new(rig.Drives[..size]), mates = new(rig.Drives[size..]);
        await rig.ReplaceAsync(size + 1);
        await rig.WaitForRebuildAsync();
        Assert.Equal(0, others.Reads);
        Assert.InRange(mates.Reads, (size - 1) * 32 / 2, size * 32);
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        await rig.AssertConsistentAsync("after the rebuild");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));

        // In both groups at once, and stopped in the midst of it.
        await rig.LoseAsync(driver, 0);
        await rig.LoseAsync(driver, drives - 1);
        rig.Array.MaxJobBytesPerSecond = 1;
        await rig.ReplaceAsync(0);
        await rig.StopAsync();
        await rig.AssembleAsync();
        rig.Array.MaxJobBytesPerSecond = 0;
        await rig.WaitForRebuildAsync();
        await rig.ReplaceAsync(drives - 1);
        await rig.WaitForRebuildAsync();
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after both");
    }

    /// <summary>A rebuild of all groups' members at once, with consumers that write meanwhile.</summary>
    [Theory]
    [MemberData(nameof(Levels))]
    public async Task Members_of_several_groups_are_rebuilt_at_once(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 512 << 10,
            run: s_run with { RebuildByItself = true, ResyncAfter = TimeSpan.FromMilliseconds(300) });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.StopAsync();
        int[] away = [1, rig.Array.Geometry.GroupSize];
        await rig.AssembleAsync([.. rig.Drives.Where((_, i) => !away.Contains(i))]);
        driver = await rig.OpenAsync();
        data = Noise(data.Length, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.StopAsync();
        await rig.AssembleAsync();
        driver = await rig.OpenAsync();
        await ArrayRig.WaitAsync(
            () => rig.Array.State.LostMask == 0 || BitOperations.PopCount(rig.Array.State.RebuildingMask) == 2,
            "both to be filled");
        for (int at = 0; at < data.Length; at += 3 * Chunk)
        {
            Noise(512, at).CopyTo(data, at);
            Assert.Equal(0, await driver.WriteAsync(at, data.AsMemory(at, 512)));
        }

        await ArrayRig.WaitAsync(() => rig.Array.State.LostMask == 0, "the rebuild");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after the rebuild of both");
    }

    /// <summary>A block that cannot be written is named by its row of the member, whichever group that is in.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid50, 8, 1, 3)]
    [InlineData(RaidLevel.Raid50, 8, 6, 5)]
    [InlineData(RaidLevel.Raid60, 10, 9, 0)]
    public async Task A_bad_range_is_one_of_its_member(RaidLevel level, int drives, int victim, int row)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, run: s_run);
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 1)));
        rig.Drives[victim].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset + ((long)row * Chunk) + 1024, LengthBytes = 512,
        });
        byte[] data = Noise((int)rig.Array.SizeBytes, 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal([new BadRange(victim, row, 1)], rig.Array.State.Bad.Entries);
        long unit = RaidUnits.OfMemberRow(geometry, victim, row);
        Assert.Equal((unit, geometry.GroupOf(victim)), (((long)row * 2) + geometry.GroupOf(victim), (int)(unit % 2)));
        for (long u = 0; u < RaidUnits.Count(geometry); u++)
        {
            Assert.Equal(u == unit ? 1UL << victim : 0, rig.Array.State.BadAt(u));
        }

        Assert.Equal((long)Chunk, rig.Array.GetStatus().Members[victim].BadBytes);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));

        // Known at the next start, whoever is missing in the other group; and to the replay of what was being written there.
        int other = geometry.BlockIndex(unit, victim) == 0 ? 1 : 0;
        int at = (int)((unit * geometry.StripeDataSize) + (other * Chunk));
        Noise(512, 3).CopyTo(data, at);
        Assert.Equal(0, await driver.WriteAsync(at, data.AsMemory(at, 512)));
        await rig.KillAsync();
        await rig.ReturnDrivesAsync();
        int missing = victim < geometry.GroupSize ? geometry.GroupSize : 0;
        await rig.AssembleAsync([.. rig.Drives.Where((_, i) => i != missing)]);
        driver = await rig.OpenAsync();
        Assert.Equal([new BadRange(victim, row, 1)], rig.Array.State.Bad.Entries);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));

        // The drive takes it again.
        rig.Drives[victim].ClearFaults();
        await rig.Array.StartScrubAsync(repair: true);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { EndedAt: not null }, "the repair");
        Assert.Empty(rig.Array.State.Bad.Entries);
        await rig.Array.FailMemberAsync((victim + 1) % geometry.GroupSize + (victim / geometry.GroupSize * geometry.GroupSize));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>The same rows of members of two groups are not the same rows.</summary>
    [Fact]
    public void A_bad_range_is_one_of_its_group()
    {
        var sizes = new long[8];
        Array.Fill(sizes, (1 << 20) + (16L << 20));
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid50, 256 << 10, sizes, out RaidGeometry? geometry, out _));
        var state = new ArrayState(geometry!, missing: 0, long.MaxValue);
        state.BeginBad(BadRanges.None.With(6, 1, 1UL << 1)!.With(6, 1, 1UL << 5)!.With(7, 1, 1UL << 6)!);

        // Four rows in a chunk: the second stripe of each group begins with row 4, and is the third and fourth of all.
        Assert.Equal((0b10UL, 0b10_0000UL), (state.BadAt(10), state.BadAt(14)));
        Assert.Equal((1UL << 6, 0UL), (state.BadAt(15), state.BadAt(11)));
        Assert.Equal((0b10UL, 0b110_0010UL), (state.BadIn(8, 11), state.BadIn(9, 15)));
        Assert.Equal(0b110_0000UL, state.BadIn(4, 7) | state.BadIn(12, 15));

        // From the last row of the first stripe to the first of the fourth: of each group just those.
        Assert.Equal(BadOutcome.Recorded, state.TryAddBad(3, 12, 1UL << 1 | 1UL << 5));
        Assert.Equal([(1, 3, 5), (5, 0, 5), (5, 6, 1), (6, 7, 1)], state.Bad.Entries.Select(e => (e.Role, (int)e.Row, e.Rows)));
        state.RemoveBad(14, ulong.MaxValue);
        state.RemoveBad(6, 1UL << 5);
        Assert.Equal([(1, 3, 5), (5, 0, 2), (5, 3, 2), (6, 7, 1)], state.Bad.Entries.Select(e => (e.Role, (int)e.Row, e.Rows)));
        Assert.Equal(BadOutcome.LacksTooMuch, state.TryAddBad(5, 5, 1UL << 4));
    }

    /// <summary>Zeroing many stripes is one range on each member; what a member refuses of it is bad, and no more.</summary>
    [Theory]
    [InlineData(0, 5)]
    [InlineData(1, 8)]
    [InlineData(3, 4)]
    [InlineData(2, 1)]
    public async Task Zeroing_goes_to_all_groups(int first, int stripes)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid50, 8, Chunk, 256 << 10, run: s_run);
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        int stripe = (int)geometry.StripeDataSize;
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        long requests = rig.Drives.Sum(d => d.Requests);
        Assert.Equal(0, await driver.WriteZeroesAsync((long)first * stripe, (long)stripes * stripe));
        int groups = Math.Min(stripes, 2);
        int each = groups * geometry.GroupSize;
        Assert.InRange(rig.Drives.Sum(d => d.Requests) - requests, each, each + stripes);
        Array.Clear(data, first * stripe, stripes * stripe);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        await rig.AssertConsistentAsync("after zeroing");

        // One lacks all rows that it was to zero, and another one is not there at all.
        await rig.LoseAsync(driver, 0);
        rig.Drives[5].AddFault(new DriveFault { Operation = BlockOperation.WriteZeroes });
        Assert.Equal(0, await driver.WriteZeroesAsync((long)first * stripe, (long)stripes * stripe));
        int refused = Enumerable.Range(first, stripes).Count(s => s % 2 == 1);
        Assert.Equal(refused, rig.Array.State.Bad.RowsOf(5));
        Assert.Equal(refused == 0 ? 0UL : 1UL << 5, rig.Array.State.BadMask);
        Assert.Equal(1UL, rig.Array.State.FailedMask);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>After a crash, groups that lack nothing are made to agree, although another one has no redundancy left.</summary>
    [Fact]
    public async Task A_resync_is_of_the_groups_that_have_redundancy()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid50, 6, Chunk, 256 << 10, zeroed: false, run: s_run with { Resync = false },
            consistency: ArrayConsistency.Bitmap);
        var random = new Random(3);
        foreach (IBlockDevice drive in rig.Drives)
        {
            byte[] before = new byte[rig.Array.Geometry.MemberDataSize];
            random.NextBytes(before);
            await BlockIo.WriteAsync(drive, rig.Reactors.Reactor, ArrayRig.DataOffset, before);
        }

        RequestDriver driver = await rig.OpenAsync();
        await rig.LoseAsync(driver, 1);
        Assert.True(rig.Array.State.HasRedundancyLeft);
        byte[] data = await driver.ReadOrThrowAsync(0, (int)rig.Array.SizeBytes);
        await rig.StopAsync();
        rig.Run = rig.Run with { Resync = true };
        await rig.AssembleAsync([.. rig.Drives.Where((_, i) => i != 1)], force: true);
        await rig.WaitForResyncAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        byte[][] members = new byte[6][];
        for (int i = 0; i < members.Length; i++)
        {
            members[i] = i == 1 ? [] : await rig.ReadMemberAsync(i);
        }

        Assert.Null(Polyblk.Simulation.Tests.MemberCheck.Find(geometry, members));
        driver = await rig.OpenAsync();
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));

        // Where nobody knows any more which parities fit, all groups must be able to.
        rig.Array.State.IsUnsyncedDistrusted = true;
        Assert.False(rig.Array.State.HasRedundancyLeft);
    }

    /// <summary>A lost flush of a member that its group cannot do without breaks the array; else it does not.</summary>
    [Fact]
    public async Task A_lost_flush_is_judged_by_the_group()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid50, 6, Chunk, 256 << 10, run: s_run with { Resync = false });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 1)));
        await rig.LoseAsync(driver, 0);
        foreach (int role in new[] { 3, 4 })
        {
            rig.Drives[role].AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 1 });
        }

        Assert.Equal(-Errno.EIO, await driver.FlushAsync());
        Assert.Equal((false, 1UL, 0UL), (rig.Array.State.IsBroken, rig.Array.State.FailedMask, rig.Array.State.DistrustedMask));
        Assert.Equal(0, rig.Array.State.SyncedUnits);
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 1 });
        Assert.Equal(-Errno.EIO, await driver.FlushAsync());
        Assert.Equal((true, 0b10UL), (rig.Array.State.IsBroken, rig.Array.State.DistrustedMask));
    }

    /// <summary>How much of every member is done, and back: no more than all groups have.</summary>
    [Theory]
    [InlineData(4096)]
    [InlineData(256 << 10)]
    public void What_is_done_of_every_member_is_what_all_groups_have(int chunk)
    {
        var sizes = new long[6];
        Array.Fill(sizes, (1 << 20) + (8L * chunk));
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid50, chunk, sizes, out RaidGeometry? geometry, out _));
        long units = RaidUnits.Count(geometry!);
        Assert.Equal(geometry!.StripeCount * (chunk / RaidUnits.RowBytes(geometry)), units);
        for (long unit = 0; unit <= units; unit++)
        {
            long bytes = RaidUnits.ToSyncedBytes(geometry, unit), back = RaidUnits.FromSyncedBytes(geometry, bytes);
            Assert.True(back <= unit && unit - back < 2 * (chunk / RaidUnits.RowBytes(geometry)), $"{unit} is {bytes} is {back}");
            Assert.Equal(0, bytes % chunk);
        }

        Assert.Equal(geometry.MemberDataSize, RaidUnits.ToSyncedBytes(geometry, units));
        Assert.Equal(units, RaidUnits.FromSyncedBytes(geometry, geometry.MemberDataSize));
        for (long unit = 0; unit < units; unit++)
        {
            int group = (int)(unit / (chunk / RaidUnits.RowBytes(geometry)) % 2);
            (long row, long rows) = RaidUnits.OfGroup(geometry, group, unit, unit);
            Assert.Equal((unit, 1), (RaidUnits.OfMemberRow(geometry, group * 3, row), rows));
            Assert.Equal(0, RaidUnits.OfGroup(geometry, 1 - group, unit, unit).Rows);
            (_, long all) = RaidUnits.OfGroup(geometry, 0, unit, units - 1);
            (_, long other) = RaidUnits.OfGroup(geometry, 1, unit, units - 1);
            Assert.Equal(units - unit, all + other);
        }
    }

    [Fact]
    public async Task A_reshape_is_refused_and_says_what_to_do()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid50, 6, Chunk, 256 << 10, run: s_run);
        SimulatedDrive[] more = [rig.MakeDrive(), rig.MakeDrive()];
        foreach (RaidLevel? level in new RaidLevel?[] { null, RaidLevel.Raid60, RaidLevel.Raid5 })
        {
            ArrayException refusal = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.ReshapeAsync(level, more));
            Assert.Contains("make a new volume of the shape that is wanted", refusal.Message, StringComparison.Ordinal);
        }

        await using ArrayRig plain = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, Chunk, 256 << 10, run: s_run);
        ArrayException other = await Assert.ThrowsAsync<ArrayException>(() => plain.Array.ReshapeAsync(RaidLevel.Raid50, more));
        Assert.Contains("cannot be reshaped to raid50", other.Message, StringComparison.Ordinal);
    }

    /// <summary>What is asked of drives from now on in their data, superblocks and journals apart.</summary>
    private sealed class Counter
    {
        private long _reads, _others;

        public Counter(SimulatedDrive[] drives) => Array.ForEach(drives, d => d.Observer = (_, step, request) =>
        {
            if (step == SimulatedStep.Taken && request.OffsetBytes >= ArrayRig.DataOffset)
            {
                Interlocked.Increment(ref request.Operation == BlockOperation.Read ? ref _reads : ref _others);
            }
        });

        public long Reads => Interlocked.Read(ref _reads);

        public long Others => Interlocked.Read(ref _others);
    }
}
