// A member that cannot write a place loses that place, and nothing else: what is acknowledged is there after a kill, whoever is
// missing then; the place is never read; it counts again when it was written, durably.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class BadRangeTests
{
    private const int Chunk = 16 << 10;
    private const int Victim = 1;

    private static readonly ArrayRunOptions s_run = new()
    {
        CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, ResyncRetryAfter = TimeSpan.FromHours(1),
    };

    public static TheoryData<RaidLevel, int> Levels => new()
    {
        { RaidLevel.Raid1, 2 }, { RaidLevel.Raid1, 3 }, { RaidLevel.Raid10, 4 }, { RaidLevel.Raid10, 5 }, { RaidLevel.Raid5, 4 }, { RaidLevel.Raid6, 5 },
        { RaidLevel.Raid50, 6 }, { RaidLevel.Raid60, 10 },
    };

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_block_that_cannot_be_written_costs_that_block_alone(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        (RequestDriver driver, byte[] data) = await WriteOverBadAsync(rig);
        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal(ArrayHealth.Optimal, status.Health);
        Assert.Equal((MemberState.Present, 1, (long)Chunk), (status.Members[Victim].State, status.Members[Victim].BadRanges, status.Members[Victim].BadBytes));
        Assert.Contains(status.Warnings, w => w.Contains($"1 bad range on member {Victim} (", StringComparison.Ordinal));
        Assert.All(status.Members.Where(m => m.Role != Victim), m => Assert.Equal(0, m.BadRanges));
        foreach (SimulatedDrive drive in rig.Drives)
        {
            foreach (ulong slot in new[] { 0UL, 1UL })
            {
                byte[]? found = await MemberSlots.TryReadAsync(drive, rig.Reactors.Reactor, slot);
                ArraySuperblock superblock = SuperblockFormat.Parse(found).Superblock!;
                Assert.Equal([new BadRange(Victim, BadRowOf(rig), 1)], superblock.BadRanges.Entries);
                Assert.Equal(IncompatibleFeatures.BadRanges, superblock.Incompatible & ~IncompatibleFeatures.Groups);
            }
        }

        // What lies there is old, and nobody asks for it.
        var asked = new List<long>();
        rig.Drives[Victim].Observer = (_, step, request) =>
        {
            if (step == SimulatedStep.Taken && request.OffsetBytes < ArrayRig.DataOffset + Chunk
                && request.OffsetBytes + request.LengthBytes > ArrayRig.DataOffset)
            {
                lock (asked)
                {
                    asked.Add(request.OffsetBytes);
                }
            }
        };
        await AssertReadsAsync(driver, data);
        Noise(4096, 9).CopyTo(data, 512);
        Assert.Equal(0, await driver.WriteAsync(512, data.AsMemory(512, 4096)));
        await AssertReadsAsync(driver, data);
        rig.Drives[Victim].Observer = null;
        Assert.Empty(asked);
    }

    /// <summary>The other member goes, or has gone by the time that the write is judged: nobody has what was written.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_write_that_only_the_last_good_copy_could_take_is_not_acknowledged_when_that_goes(bool isOutBefore)
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        (RequestDriver driver, _) = await WriteOverBadAsync(rig);
        RequestDriver other = await rig.OpenAsync();
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Write, Errno = isOutBefore ? Errno.EIO : Errno.ENODEV });
        if (isOutBefore)
        {
            rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Flush, Errno = Errno.ENODEV });
            Task<int> flush = other.FlushAsync();
            Assert.NotEqual(0, await driver.WriteAsync(0, Noise(4096, 77)));
            await flush;
        }
        else
        {
            Assert.NotEqual(0, await driver.WriteAsync(0, Noise(4096, 77)));
        }
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task What_was_acknowledged_is_there_after_a_kill_whoever_is_missing(RaidLevel level, int drives)
    {
        for (int missing = -1; missing < drives; missing++)
        {
            await using ArrayRig rig = await CreateAsync(level, drives);
            (RequestDriver writer, byte[] data) = await WriteOverBadAsync(rig);

            // A record in the journal that knows no better than the list.
            Noise(512, 3).CopyTo(data, 512);
            Assert.Equal(0, await writer.WriteAsync(512, data.AsMemory(512, 512)));
            await rig.KillAsync();
            await rig.ReturnDrivesAsync();
            await rig.AssembleAsync([.. rig.Drives.Where((_, i) => i != missing)], force: missing >= 0 && level.ParityCount() > 0);
            Assert.Equal(1, rig.Array.GetStatus().Members[Victim].BadRanges);
            RequestDriver driver = await rig.OpenAsync();
            for (int at = 0; at < data.Length; at += 512)
            {
                (int status, byte[] read) = await driver.ReadAsync(at, 512);
                bool isLost = missing >= 0 && missing != Victim && level != RaidLevel.Raid6 && at < rig.Array.Geometry.StripeDataSize;
                Assert.True(
                    status == 0 ? read.AsSpan().SequenceEqual(data.AsSpan(at, 512)) : status == -Errno.EIO && isLost,
                    $"without {missing}: status {status} at {at}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task Nothing_is_acknowledged_before_the_superblocks_say_so(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 1)));
        MakeBad(rig);
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = JournalLayout.AreaOffset, Stuck = true });
        }

        Task<int> refused = driver.WriteAsync(0, Noise((int)rig.Array.Geometry.StripeDataSize, 2));
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the bad block to be seen");
        Task<int> other = driver.WriteAsync(rig.Array.SizeBytes - 4096, Noise(4096, 3));
        await Task.Delay(100);
        Assert.False(refused.IsCompleted || other.IsCompleted);
        await rig.ReleaseDrivesAsync();
        Assert.Equal((0, 0), (await refused, await other));
        Assert.Equal(MemberState.Present, rig.Array.GetStatus().Members[Victim].State);
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_repair_writes_it_durably_and_then_it_counts(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives, canCrash: true);
        (RequestDriver driver, byte[] data) = await WriteOverBadAsync(rig);
        Assert.Equal(0, await driver.FlushAsync());
        await RepairAsync(rig);
        Assert.Equal(1, rig.Array.GetStatus().Members[Victim].BadRanges);
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        BlockFlags? flags = null;
        rig.Drives[Victim].Observer = (_, step, request) => flags = step == SimulatedStep.Taken && request is { Operation: BlockOperation.Write, OffsetBytes: ArrayRig.DataOffset }
            ? request.Flags
            : flags;
        await RepairAsync(rig);
        Assert.Equal(BlockFlags.Fua, flags);
        Assert.Equal(0, rig.Array.GetStatus().Members[Victim].BadRanges);
        Assert.Empty(rig.Array.GetStatus().Warnings);
        await ArrayRig.WaitAsync(
            () => ReplacementRig.Holds(rig, rig.Drives[0]) is { } its && (its.Incompatible & IncompatibleFeatures.BadRanges) == 0,
            "the superblocks to say so");
        await rig.CrashAsync();
        await rig.RestartDrivesAsync();
        await rig.AssertConsistentAsync("after the repair");
        await rig.AssembleAsync();
        await AssertReadsAsync(await rig.OpenAsync(), data);
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task It_is_tried_again_by_itself(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives, s_run with { ResyncRetryAfter = TimeSpan.FromMilliseconds(20) });
        (RequestDriver driver, byte[] data) = await WriteOverBadAsync(rig);
        await Task.Delay(200);
        Assert.Equal(1, rig.Array.GetStatus().Members[Victim].BadRanges);
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        await ArrayRig.WaitAsync(() => rig.Array.State.BadMask == 0, "the block to be written");
        await rig.AssertConsistentAsync("when it was tried again");
        await AssertReadsAsync(driver, data);
    }

    /// <summary>Of three chunks in a row the second drive has copies of the first and the last, and refuses both.</summary>
    [Fact]
    public async Task Rows_in_between_of_which_the_member_has_nothing_are_not_kept()
    {
        const int Chunk = 4 << 10;
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid10, 3, Chunk, 4 * Chunk, run: s_run with { ResyncRetryAfter = TimeSpan.FromMilliseconds(20) });
        RequestDriver driver = await rig.OpenAsync();
        rig.Drives[1].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset + (2 * Chunk), LengthBytes = 2 * Chunk,
        });
        byte[] data = Noise(3 * Chunk, 1);
        Assert.Equal(0, await driver.WriteAsync(3 * Chunk, data));
        Assert.Equal(1UL << 1, rig.Array.State.BadMask);
        rig.Drives[1].ClearFaults();
        await ArrayRig.WaitAsync(() => rig.Array.State.BadMask == 0, "the blocks to be written");
        await rig.AssertConsistentAsync("when they were tried again");
        (int status, byte[] read) = await driver.ReadAsync(3 * Chunk, data.Length);
        Assert.Equal(0, status);
        Assert.Equal(data, read);
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task What_can_be_neither_read_nor_written_costs_that_block_alone(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        MakeBad(rig);
        MakeBad(rig, BlockOperation.Read);
        await AssertReadsAsync(driver, data);
        await RepairAsync(rig);
        Assert.Equal(1UL << Victim, rig.Array.State.BadMask);
        await AssertReadsAsync(driver, data);
        Assert.Equal(0UL, rig.Array.State.FailedMask);
    }

    [Fact]
    public async Task More_of_them_than_are_worth_it_cost_the_member()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 4, chunk: 4096, memberBytes: 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        for (int row = 0; row <= 2 * BadRanges.MaxEntriesOfMember; row += 2)
        {
            rig.Drives[Victim].AddFault(
                new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset + (row * 4096), LengthBytes = 512 });
        }

        int most = (2 * BadRanges.MaxEntriesOfMember - 1) * (int)rig.Array.Geometry.StripeDataSize;
        Assert.Equal(0, await driver.WriteAsync(0, data.AsMemory(0, most)));
        Assert.Equal((0UL, BadRanges.MaxEntriesOfMember), (rig.Array.State.FailedMask, rig.Array.GetStatus().Members[Victim].BadRanges));
        Assert.Equal(0, await driver.WriteAsync(most, data.AsMemory(most)));
        Assert.Equal(1UL << Victim, rig.Array.State.FailedMask);
        await AssertReadsAsync(driver, data);
    }

    /// <summary>Of two mirrors, or of a stripe of one parity, nobody can make up for both.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 4)]
    public async Task A_second_one_at_the_same_place_costs_the_request(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        (RequestDriver driver, byte[] data) = await WriteOverBadAsync(rig);
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, LengthBytes = Chunk });
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, Noise((int)rig.Array.Geometry.StripeDataSize, 7)));
        Assert.Equal((0UL, 1UL << Victim, false), (rig.Array.State.FailedMask, rig.Array.State.BadMask, rig.Array.State.IsBroken));
        int behind = (int)rig.Array.Geometry.StripeDataSize;
        Assert.Equal(data[behind..(2 * behind)], await driver.ReadOrThrowAsync(behind, behind));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 3)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    public async Task A_new_drive_is_filled_around_it_and_one_in_its_place_has_none(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        (RequestDriver driver, byte[] data) = await WriteOverBadAsync(rig);

        // Of raid10 the other pair's.
        int other = drives - 1;
        await rig.LoseAsync(driver, other);
        await rig.ReplaceAsync(other);
        await rig.WaitForRebuildAsync();
        Assert.Equal(1, rig.Array.GetStatus().Members[Victim].BadRanges);
        await AssertReadsAsync(driver, data);
        await rig.LoseAsync(driver, Victim);
        await AssertReadsAsync(driver, data);
        await rig.ReplaceAsync(Victim);
        await rig.WaitForRebuildAsync();
        Assert.Equal(0UL, rig.Array.State.BadMask);
        await rig.AssertConsistentAsync("with new drives");
        await AssertReadsAsync(driver, data);
    }

    [Fact]
    public async Task A_rebuild_that_needs_it_stands_still_and_says_so()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 4);
        (RequestDriver driver, byte[] data) = await WriteOverBadAsync(rig);
        await rig.LoseAsync(driver, 3);
        int stripe = (int)rig.Array.Geometry.StripeDataSize;
        Assert.Equal(data[stripe..], await driver.ReadOrThrowAsync(stripe, data.Length - stripe));
        await rig.ReplaceAsync(3);
        await ArrayRig.WaitAsync(
            () => rig.Array.GetStatus().Warnings.Any(w => w.Contains("stands still", StringComparison.Ordinal)), "the rebuild to stand still");
        Assert.Equal(data[stripe..], await driver.ReadOrThrowAsync(stripe, data.Length - stripe));
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_drive_that_works_is_replaced_with_what_it_lacks(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        (RequestDriver driver, byte[] data) = await WriteOverBadAsync(rig);
        MakeBad(rig, BlockOperation.Read);
        await ReplacementRig.ReplaceAsync(rig, Victim);
        await ReplacementRig.WaitForEndAsync(rig, Victim);
        await ArrayRig.WaitAsync(() => rig.Array.State.BadMask == 0, "the new drive to have all");
        await rig.AssertConsistentAsync("with the new drive");
        await AssertReadsAsync(driver, data);
    }

    /// <summary>The parity's old record may lie on its member; what it says of the other blocks was so before it went
    /// bad.</summary>
    [Fact]
    public async Task A_parity_is_mended_when_its_record_is_void()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid6, 5, canCrash: true);
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        int q = geometry.ParityMember(0, 1);
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 1)));
        Assert.Equal(0, await driver.WriteAsync(512, Noise(512, 2)));
        rig.Drives[q].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(0), LengthBytes = Chunk });
        Assert.Equal(0, await driver.WriteAsync(Chunk, Noise(512, 3)));
        Assert.Equal(1UL << q, rig.Array.State.BadMask);
        rig.Drives[q].ClearFaults();
        var voids = new List<long>();
        long mended = -1;
        rig.Drives[q].Observer = (_, step, request) =>
        {
            if (step == SimulatedStep.Done && request.Operation == BlockOperation.Write && request.OffsetBytes >= JournalLayout.AreaOffset
                && request.OffsetBytes < ArrayRig.DataOffset && request.LengthBytes == JournalLayout.HeaderBytes)
            {
                voids.Add(request.OffsetBytes);
            }
            else if (step == SimulatedStep.Taken && request.Operation == BlockOperation.Write && request.OffsetBytes == geometry.StripeOffset(0))
            {
                mended = voids.Count;
            }
        };
        await RepairAsync(rig);
        Assert.Equal(0UL, rig.Array.State.BadMask);
        Assert.Equal(1, mended);
    }

    /// <summary>Whether the block or what was in the drive's cache was refused, nobody knows: only the block, when it is refused
    /// alone, too.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_is_refused_with_a_flush_alone_costs_the_member(bool fua)
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        rig.Drives[Victim].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Count = 1 });
        Assert.Equal(0, await driver.WriteAsync(0, Noise(4096, 2), fua ? BlockFlags.Fua : BlockFlags.None));
        Assert.Equal((fua ? 1UL << Victim : 0, 0UL), (rig.Array.State.FailedMask, rig.Array.State.BadMask));
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_start_that_only_reads_goes_by_the_list(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        (_, byte[] data) = await WriteOverBadAsync(rig);
        await rig.StopAsync();
        int writes = 0;
        Array.ForEach(rig.Drives, d => d.Observer = (_, _, request) => writes += request.Operation == BlockOperation.Read ? 0 : 1);
        await rig.AssembleAsync(readOnly: true);
        await AssertReadsAsync(await rig.OpenAsync(), data);
        await rig.StopAsync();
        Assert.Equal(0, writes);
    }

    [Fact]
    public async Task An_array_that_has_some_grows_and_is_not_reshaped()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 4);
        await WriteOverBadAsync(rig);
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.AddDrivesAsync([rig.MakeDrive()]));
        Assert.Contains("cannot write", refused.Message, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.GrowAsync());
        Assert.Contains("have not all grown", refused.Message, StringComparison.Ordinal);
    }

    private static Task<ArrayRig> CreateAsync(
        RaidLevel level, int drives, ArrayRunOptions? run = null, int chunk = Chunk, long memberBytes = 128 << 10, bool canCrash = false) =>
        ArrayRig.CreateAsync(
            level, drives, chunk, memberBytes, run: run ?? s_run, simulation: o => o with { CanCrash = canCrash, VolatileCache = true });

    /// <summary>The first row of the victim cannot be written.</summary>
    private static void MakeBad(ArrayRig rig, BlockOperation operation = BlockOperation.Write) => rig.Drives[Victim].AddFault(
        new DriveFault { Operation = operation, OffsetBytes = ArrayRig.DataOffset + 1024, LengthBytes = 512 });

    /// <summary>The volume is written, then again when a block of the victim cannot be.</summary>
    private static async Task<(RequestDriver Driver, byte[] Data)> WriteOverBadAsync(ArrayRig rig)
    {
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 1)));
        MakeBad(rig);
        byte[] data = Noise((int)rig.Array.SizeBytes, 2);
        for (int at = 0; at < data.Length; at += Chunk)
        {
            Assert.Equal(0, await driver.WriteAsync(at, data.AsMemory(at, Chunk)));
        }

        return (driver, data);
    }

    private static long BadRowOf(ArrayRig rig) => rig.Array.Geometry.HasParity ? 0
        : rig.Array.Geometry.Unmap(Victim, ArrayRig.DataOffset + 1024) / Chunk;

    private static async Task AssertReadsAsync(RequestDriver driver, byte[] data)
    {
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        for (int at = 0; at < data.Length; at += 4096)
        {
            Assert.Equal(data[at..(at + 4096)], await driver.ReadOrThrowAsync(at, 4096));
        }
    }

    private static async Task RepairAsync(ArrayRig rig)
    {
        await rig.Array.StartScrubAsync(repair: true);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { EndedAt: not null }, "the repair");
    }
}
