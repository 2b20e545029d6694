// The journal as drives and users see it: what must be durable before what, what costs nothing, and what a start makes of it.
// That nothing is lost, whatever is cut off, is shown by tests/simulation (small model and lives).

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class JournalTests
{
    private const int Chunk = 16 << 10;

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 8)]
    public async Task A_row_is_written_when_its_records_are_durable(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(1 << 20, new byte[512]));
        var log = new WriteLog(rig);
        Assert.Equal(0, await driver.WriteAsync(4096, Noise(4096)));
        WriteLog.Entry[] records = log.Records;
        int parities = level.ParityCount();
        Assert.Equal(parities, records.Length);
        Assert.Equal(
            Enumerable.Range(0, parities).Select(p => rig.Array.Geometry.ParityMember(0, p)).Order(), records.Select(r => r.Drive).Order());
        Assert.All(records, r => Assert.True(r.Flags.HasFlag(BlockFlags.Fua) && r.Length == JournalLayout.HeaderBytes + 4096));
        Assert.Equal(parities + 1, log.Data.Length);
        Assert.InRange(records.Max(r => r.DoneAt), 1, log.Data.Min(d => d.TakenAt) - 1);

        // The slot is free for another row when the blocks are durable.
        Assert.All(log.Data, d => Assert.True(d.Flags.HasFlag(BlockFlags.Fua)));
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 8)]
    public async Task Whole_rows_reads_and_drives_without_a_cache_cost_nothing(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives, volatileCache: false);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(1 << 20, new byte[512]));
        var log = new WriteLog(rig);
        int stripe = (int)rig.Array.Geometry.StripeDataSize;
        Assert.Equal(0, await driver.WriteAsync(0, Noise(stripe * 2)));
        Assert.Equal(0, (await driver.ReadAsync(0, stripe)).Status);
        Assert.Equal(0, await driver.WriteZeroesAsync(2 * stripe, stripe));
        Assert.Empty(log.Records);
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));
        Assert.NotEmpty(log.Records);
        Assert.All(log.Records.Concat(log.Data), e => Assert.False(e.Flags.HasFlag(BlockFlags.Fua)));
    }

    [Theory]
    [InlineData("write")]
    [InlineData("zero")]
    [InlineData("discard")]
    public async Task A_record_is_void_before_its_row_is_written_without_one(string what)
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid6, 5);
        RequestDriver driver = await rig.OpenAsync();
        int stripe = (int)rig.Array.Geometry.StripeDataSize;
        Assert.Equal(0, await driver.WriteAsync(512, Noise(512)));
        var log = new WriteLog(rig);
        Assert.Equal(0, await (what switch
        {
            "write" => driver.WriteAsync(0, Noise(stripe)),
            "zero" => driver.WriteZeroesAsync(0, 4 * stripe),
            _ => driver.DiscardAsync(0, 4 * stripe),
        }));
        Assert.Equal(2, log.Records.Length);
        Assert.All(log.Records, r => Assert.True(r.Flags.HasFlag(BlockFlags.Fua) && r.Length == JournalLayout.HeaderBytes));
        Assert.InRange(log.Records.Max(r => r.DoneAt), 1, log.Data.Min(d => d.TakenAt) - 1);

        // Once.
        log = new WriteLog(rig);
        Assert.Equal(0, await driver.WriteAsync(0, Noise(stripe)));
        Assert.Empty(log.Records);
    }

    [Fact]
    public async Task Rows_of_one_slot_wait_for_each_other()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3, memberBytes: 16 << 20);
        RaidGeometry geometry = rig.Array.Geometry;
        long other = RowOfSameSlot(geometry);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(geometry.StripeDataSize * other, Noise(512)));
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));

        // The first row's block does not get through: its record must stay.
        SimulatedDrive data = rig.Drives[geometry.DataMember(0, 0)];
        data.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(0), LengthBytes = 512, Stuck = true });
        var log = new WriteLog(rig);
        Task<int> first = driver.WriteAsync(0, Noise(512));
        await ArrayRig.WaitAsync(() => log.Data.Length > 0, "the first row to be written");
        log = new WriteLog(rig);
        Task<int> second = driver.WriteAsync(geometry.StripeDataSize * other, Noise(512));
        await Task.Delay(100);
        Assert.Empty(log.Records);
        Assert.False(first.IsCompleted || second.IsCompleted);
        data.ClearFaults();
        await data.ReleaseStuckAsync();
        Assert.Equal(0, await first);
        Assert.Equal(0, await second);
        Assert.Single(log.Records);
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    public async Task A_member_that_refuses_a_record_is_out_before_the_row_is_written(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[512]));
        int p = rig.Array.Geometry.ParityMember(0, 0);
        rig.Drives[p].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = JournalLayout.AreaOffset, LengthBytes = ArrayRig.DataOffset - JournalLayout.AreaOffset,
        });
        var log = new WriteLog(rig);
        byte[] data = Noise(512);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(1UL << p, rig.Array.State.PersistedMask);
        long known = log.Superblocks.Where(s => s.Drive != p).Min(s => s.DoneAt);
        Assert.InRange(known, 1, log.Data.Min(d => d.TakenAt) - 1);
        Assert.DoesNotContain(log.Data, d => d.Drive == p);
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, 512));
    }

    /// <summary>A record stays until a start would know who did not take the row.</summary>
    [Fact]
    public async Task A_slot_is_kept_until_the_superblocks_know_who_refused_the_row()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3, memberBytes: 16 << 20);
        RaidGeometry geometry = rig.Array.Geometry;
        long other = RowOfSameSlot(geometry);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(geometry.StripeDataSize * other, Noise(512)));
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));
        int refusing = geometry.DataMember(0, 0);
        rig.Drives[refusing].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(0), LengthBytes = 512 });
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = JournalLayout.AreaOffset, Stuck = true });
        }

        Task<int> first = driver.WriteAsync(0, Noise(512));
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the failure to be seen");
        var log = new WriteLog(rig);
        Task<int> second = driver.WriteAsync(geometry.StripeDataSize * other, Noise(512));
        await Task.Delay(100);
        Assert.Empty(log.Records);
        await rig.ReleaseDrivesAsync();

        Assert.Equal(0, await first);
        Assert.Equal(0, await second);
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4, 1)]
    [InlineData(RaidLevel.Raid6, 5, 2)]
    [InlineData(RaidLevel.Raid73, 6, 3)]
    [InlineData(RaidLevel.Raid78, 10, 1)]
    [InlineData(RaidLevel.Raid50, 6, 1)]
    [InlineData(RaidLevel.Raid60, 10, 2)]
    public async Task A_dirty_array_without_members_starts_without_force_and_keeps_what_was_not_written(RaidLevel level, int drives, int lost)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes);
        Assert.Equal(0, await driver.WriteAsync(0, data));

        // The parities of a row are there and its new block is not: the hole.
        RaidGeometry geometry = rig.Array.Geometry;
        rig.Drives[geometry.DataMember(0, 0)].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(0), LengthBytes = 4096, Stuck = true });
        byte[] next = Noise(4096, 2);
        byte[] parity = await rig.ReadMemberAsync(geometry.ParityMember(0, 0));
        Task<int> cut = driver.WriteAsync(0, next);
        await ArrayRig.WaitAsync(() => !rig.ReadMemberAsync(geometry.ParityMember(0, 0)).Result.AsSpan(0, 4096).SequenceEqual(parity.AsSpan(0, 4096)), "the parity");
        await rig.KillAsync();
        Assert.NotEqual(0, await cut);
        await rig.ReturnDrivesAsync();

        SimulatedDrive[] gone = [.. Enumerable.Range(1, lost).Select(i => rig.Drives[geometry.DataMember(0, i)])];
        await rig.AssembleAsync([.. rig.Drives.Except(gone)]);
        Assert.Equal(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
        Assert.DoesNotContain(rig.Array.GetStatus().Warnings, w => w.Contains("damaged", StringComparison.Ordinal));
        Assert.Contains(rig.Events, e => e.Message.Contains("1 rows that were being written were put right", StringComparison.Ordinal));
        byte[] found = await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length);
        Assert.True(found.AsSpan(0, 4096).SequenceEqual(data.AsSpan(0, 4096)) || found.AsSpan(0, 4096).SequenceEqual(next));
        Assert.True(found.AsSpan(4096).SequenceEqual(data.AsSpan(4096)));
    }

    /// <summary>
    /// A crash before the resync after a crash is over: what the journal has put right stays trusted, and says so.
    /// </summary>
    [Fact]
    public async Task Trust_outlives_a_start_whose_resync_is_not_over()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 4);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise((int)rig.Array.SizeBytes)));
        for (int i = 0; i < 2; i++)
        {
            await rig.AbandonAsync();
            rig.Run = rig.Run with { Resync = false };
            await rig.AssembleAsync();
            Assert.NotNull(rig.Array.GetStatus().Resync);
            Assert.True(rig.Array.State.TrustsUnsynced);
            Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(512)));
        }

        await rig.AbandonAsync();
        await rig.AssembleAsync(rig.Drives[1..]);
        Assert.Equal(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
    }

    /// <summary>
    /// Rows that were being written as a whole have no record. Until the resync comes to them, what is read of them is lost with
    /// its member.
    /// </summary>
    [Fact]
    public async Task A_member_that_is_lost_before_the_resync_after_a_crash_is_over_is_told()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes)));
        RaidGeometry geometry = rig.Array.Geometry;
        rig.Drives[geometry.DataMember(0, 0)].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(0), LengthBytes = Chunk, Stuck = true });
        byte[] parity = await rig.ReadMemberAsync(geometry.ParityMember(0, 0));
        Task<int> cut = driver.WriteAsync(0, Noise((int)geometry.StripeDataSize, 2));
        await ArrayRig.WaitAsync(() => !rig.ReadMemberAsync(geometry.ParityMember(0, 0)).Result.AsSpan(0, 4096).SequenceEqual(parity.AsSpan(0, 4096)), "the parity");
        await rig.KillAsync();
        Assert.NotEqual(0, await cut);
        await rig.ReturnDrivesAsync();
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        driver = await rig.OpenAsync();
        byte[] read = await driver.ReadOrThrowAsync(Chunk, Chunk);
        Assert.True(rig.Array.State.TrustsUnsynced);
        Assert.Empty(rig.Array.GetStatus().Warnings);
        await rig.LoseAsync(driver, geometry.DataMember(0, 1));
        Assert.NotEqual(read, await driver.ReadOrThrowAsync(Chunk, Chunk));
        Assert.Contains(rig.Array.GetStatus().Warnings, w => w.Contains("damaged", StringComparison.Ordinal));
    }

    /// <summary>The same when it is lost at the next start: the resync has not come by.</summary>
    [Fact]
    public async Task A_start_without_a_member_before_that_resync_is_over_is_told_too()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise((int)rig.Array.SizeBytes)));
        await rig.AbandonAsync();
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(512)));
        await rig.StopAsync();
        await rig.AssembleAsync(rig.Drives[1..]);
        Assert.Contains(rig.Array.GetStatus().Warnings, w => w.Contains("damaged", StringComparison.Ordinal));
    }

    /// <summary>The blocks beside it may be in the caches still, and it is made from them when its member is lost.</summary>
    [Fact]
    public async Task A_write_with_fua_beside_rows_that_are_not_flushed_flushes_them()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.Geometry.StripeDataSize)));
        var log = new WriteLog(rig);
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512), BlockFlags.Fua));
        long written = log.Data.Max(d => d.DoneAt);
        Assert.All(Enumerable.Range(0, 3), i => Assert.InRange(log.FlushedAt(i, written), written, long.MaxValue - 1));

        // Nothing is left in them.
        log = new WriteLog(rig);
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512), BlockFlags.Fua));
        Assert.Equal(long.MaxValue, log.FlushedAt(0, 0));
    }

    [Fact]
    public async Task A_read_only_start_says_that_it_cannot_replay()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(512)));
        await rig.AbandonAsync();
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync(rig.Drives[1..], readOnly: true));
        Assert.Contains("start it for writing once", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_new_members_journal_held_counts_no_more()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));
        RaidGeometry geometry = rig.Array.Geometry;
        int p = geometry.ParityMember(0, 0);
        long at = JournalLayout.Of(geometry)!.OffsetOf(0, JournalLayout.Of(geometry)!.SlotOf(0));
        Assert.Contains(await ReadAsync(rig, rig.Drives[p], at), b => b != 0);
        SimulatedDrive drive = rig.Drives[p];
        await rig.Array.FailMemberAsync(p);
        await rig.Array.ReplaceMemberAsync(p, drive);
        await rig.WaitForRebuildAsync();
        Assert.All(await ReadAsync(rig, drive, at), b => Assert.Equal(0, b));
    }

    /// <summary>What is in doubt is in no journal: a start without a member would make blocks from it.</summary>
    [Fact]
    public async Task An_array_with_doubts_is_not_trusted_any_more_before_anybody_is_told()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 4);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes)));
        RaidGeometry geometry = rig.Array.Geometry;
        await rig.LoseAsync(driver, geometry.DataMember(0, 1));
        Assert.True(rig.Array.State.PersistedTrust);
        rig.Drives[geometry.ParityMember(0, 0)].AddFault(
            new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(0), LengthBytes = 4096, Errno = Errno.ENOSPC });
        Assert.Equal(-Errno.ENOSPC, await driver.WriteAsync(0, Noise(4096, 3)));
        Assert.Equal(1, rig.Array.GetStatus().RangesInDoubt);
        ArraySuperblock told = (await ArrayBuilder.InspectAsync([rig.Drives[geometry.DataMember(0, 0)]], rig.Reactors.Reactor))[0].Superblock!;
        Assert.False(told.TrustsUnsynced);

        // Not even by the slot before, should the newest not be readable.
        for (ulong slot = 0; slot < 2; slot++)
        {
            byte[]? block = await MemberSlots.TryReadAsync(rig.Drives[geometry.DataMember(0, 0)], rig.Reactors.Reactor, slot);
            Assert.False(SuperblockFormat.ParseSlots(block, null).Superblock!.TrustsUnsynced);
        }

        await rig.AbandonAsync();
        rig.Drives[geometry.ParityMember(0, 0)].ClearFaults();
        Assert.Contains("--force", (await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync())).Message, StringComparison.Ordinal);
    }

    /// <summary>Should its member be back at the next start, nothing would tell that the parity does not fit.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    public async Task A_row_without_a_parity_is_written_when_the_superblocks_know_who_is_out(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        RaidGeometry geometry = rig.Array.Geometry;
        int stripe = (int)geometry.StripeDataSize, p = geometry.ParityMember(1, 0);
        rig.Drives[p].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(1), LengthBytes = Chunk });
        foreach (SimulatedDrive drive in rig.Drives)
        {
            drive.AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = JournalLayout.AreaOffset, Stuck = true });
        }

        Task<int> refused = driver.WriteAsync(stripe, data.AsMemory(stripe, stripe));
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the failure to be seen");
        var log = new WriteLog(rig);
        Task<int> write = driver.WriteAsync(stripe, Noise(512, 3));
        await Task.Delay(100);
        WriteLog.Entry[] early = log.Data;
        await rig.ReleaseDrivesAsync();

        Assert.Equal(0, await refused);
        Assert.Equal(0, await write);
        Assert.Empty(early);
        Assert.NotEmpty(log.Data);
        Assert.DoesNotContain(log.Data, d => d.Drive == p);
    }

    /// <summary>
    /// What was being written when the array broke gives its slot free, for nothing is written any more: no record either.
    /// </summary>
    [Fact]
    public async Task A_broken_array_keeps_the_records_that_it_has()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 4, memberBytes: 16 << 20);
        RaidGeometry geometry = rig.Array.Geometry;
        long other = RowOfSameSlot(geometry);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)geometry.StripeDataSize);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(0, await driver.WriteAsync(geometry.StripeDataSize * other, data));
        await rig.LoseAsync(driver, geometry.DataMember(0, 1));

        // The parity of a row is there and its new block is not, when the drive of that is pulled.
        SimulatedDrive pulled = rig.Drives[geometry.DataMember(0, 0)];
        pulled.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = geometry.StripeOffset(0), LengthBytes = 4096, Stuck = true });
        byte[] next = Noise(4096, 2);
        byte[] parity = await rig.ReadMemberAsync(geometry.ParityMember(0, 0));
        Task<int> cut = driver.WriteAsync(0, next);
        await ArrayRig.WaitAsync(() => !rig.ReadMemberAsync(geometry.ParityMember(0, 0)).Result.AsSpan(0, 4096).SequenceEqual(parity.AsSpan(0, 4096)), "the parity");
        Task<int> waits = driver.WriteAsync(geometry.StripeDataSize * other, Noise(512));
        await Task.Delay(100);
        var log = new WriteLog(rig);
        await pulled.VanishAsync();
        Assert.Equal(-Errno.EIO, await cut);
        Assert.Equal(-Errno.EIO, await waits);
        Assert.True(rig.Array.State.IsBroken);

        await rig.AbandonAsync();
        pulled.ClearFaults();
        pulled.Return();
        await rig.AssembleAsync();
        byte[] found = await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length);
        Assert.True(found.AsSpan(0, 4096).SequenceEqual(data.AsSpan(0, 4096)) || found.AsSpan(0, 4096).SequenceEqual(next));
        Assert.True(found.AsSpan(4096).SequenceEqual(data.AsSpan(4096)));
        Assert.Empty(log.Records);
    }

    /// <summary>The array may have been started without the drive that hung, and been written, when that answers.</summary>
    [Fact]
    public async Task A_replay_that_was_given_up_writes_nothing_any_more()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(512)));
        await rig.AbandonAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        await BlockIo.WriteAsync(rig.Drives[geometry.ParityMember(0, 0)], rig.Reactors.Reactor, geometry.StripeOffset(0), Noise(512, 9));
        SimulatedDrive hangs = rig.Drives[geometry.DataMember(0, 1)];
        hangs.AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = geometry.StripeOffset(0), LengthBytes = 512, Stuck = true });
        var clock = new ManualClock();
        rig.Run = rig.Run with { Clock = clock };
        var log = new WriteLog(rig);
        Task start = rig.AssembleAsync();
        while (!start.IsCompleted)
        {
            await Task.Delay(50);
            clock.Advance(ArrayBuilder.Patience);
        }

        Assert.Contains("has not answered", (await Assert.ThrowsAsync<ArrayException>(() => start)).Message, StringComparison.Ordinal);
        hangs.ClearFaults();
        await hangs.ReleaseStuckAsync();
        await Task.Delay(200);
        Assert.Empty(log.Data);
    }

    [Fact]
    public async Task A_slot_that_cannot_be_read_is_told()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(512)));
        await rig.AbandonAsync();
        JournalLayout layout = JournalLayout.Of(rig.Array.Geometry)!;
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = layout.OffsetOf(0, 0), LengthBytes = 512 });
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        Assert.Contains(rig.Events, e => e.Message.Contains("1 slots could not be read", StringComparison.Ordinal));
        Assert.False(rig.Array.State.TrustsUnsynced);
    }

    /// <summary>The next run's records take their place.</summary>
    [Fact]
    public async Task What_a_replay_wrote_is_durable_before_the_next_run_records_anything()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(512)));
        await rig.AbandonAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        SimulatedDrive p = rig.Drives[geometry.ParityMember(0, 0)];
        await BlockIo.WriteAsync(p, rig.Reactors.Reactor, geometry.StripeOffset(0), Noise(512, 9));
        var log = new WriteLog(rig);
        rig.Run = rig.Run with { Resync = false };
        await rig.AssembleAsync();
        WriteLog.Entry mended = Assert.Single(log.Data);
        Assert.Equal(geometry.StripeOffset(0), mended.Offset);
        Assert.InRange(log.FlushedAt(geometry.ParityMember(0, 0), mended.DoneAt), mended.DoneAt, long.MaxValue - 1);
        await rig.AssertConsistentAsync("after the replay");
    }

    [Fact]
    public async Task A_torn_record_is_one_that_was_cut_off()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(0, await driver.WriteAsync(0, data.AsSpan(0, 512).ToArray()));
        await rig.AbandonAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        JournalLayout layout = JournalLayout.Of(geometry)!;
        int p = geometry.ParityMember(0, 0);
        long at = layout.OffsetOf(0, layout.SlotOf(0)) + JournalLayout.HeaderBytes;
        await BlockIo.WriteAsync(rig.Drives[p], rig.Reactors.Reactor, at, Noise(512, 5));
        await rig.AssembleAsync([.. rig.Drives.Where((_, i) => i != geometry.DataMember(0, 1))]);
        Assert.Equal(data, await (await rig.OpenAsync()).ReadOrThrowAsync(0, data.Length));
    }

    [Fact]
    public async Task A_journal_that_is_turned_on_counts_when_nothing_is_under_way_without_a_record()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, 3, Chunk, zeroed: false, consistency: ArrayConsistency.Bitmap,
            run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncMaxBytesPerSecond = 1 });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));
        await rig.Array.SetConsistencyAsync(ArrayConsistency.Journal);
        var log = new WriteLog(rig);
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));
        Assert.Single(log.Records);
        rig.Array.MaxJobBytesPerSecond = 0;
        await rig.WaitForResyncAsync();
        Assert.False(rig.Array.State.TrustsUnsynced);
        await rig.StopAsync();
        await rig.AssembleAsync();
        Assert.True(rig.Array.State.TrustsUnsynced);
        Assert.Equal(ArrayConsistency.Journal, rig.Array.GetStatus().Consistency);
    }

    [Fact]
    public async Task A_journal_is_kept_until_the_superblocks_say_that_there_is_none()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));
        int stripe = (int)rig.Array.Geometry.StripeDataSize;
        Assert.Equal(0, await driver.WriteAsync(stripe, Noise(stripe)));
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Write, LengthBytes = JournalLayout.AreaOffset, Stuck = true });
        Task change = rig.Array.SetConsistencyAsync(ArrayConsistency.Bitmap);
        await ArrayRig.WaitAsync(() => rig.Array.State.MetadataPending, "the change to begin");
        var log = new WriteLog(rig);
        Task<int> write = driver.WriteAsync(stripe, Noise(512));
        await ArrayRig.WaitAsync(() => log.Data.Length != 0, "the row");
        Assert.Equal(JournalLayout.HeaderBytes + 512, Assert.Single(log.Records).Length);
        rig.Drives[0].ClearFaults();
        await rig.Drives[0].ReleaseStuckAsync();
        await change;
        Assert.Equal(0, await write);
        log = new WriteLog(rig);
        Assert.Equal(0, await driver.WriteAsync(0, Noise(512)));

        // That the one before is void is not needed any more, and done all the same.
        Assert.All(log.Records, r => Assert.Equal(JournalLayout.HeaderBytes, r.Length));
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, ArrayConsistency.Bitmap, "no redundancy")]
    [InlineData(RaidLevel.Raid1, ArrayConsistency.Journal, "needs no journal")]
    public async Task A_consistency_that_the_level_cannot_have_is_refused(RaidLevel level, ArrayConsistency wanted, string says)
    {
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(() => ArrayRig.CreateAsync(level, 2, consistency: wanted));
        Assert.Contains(says, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_any_record_the_whole_array_is_resynced()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, memberBytes: 4 << 20, consistency: ArrayConsistency.None);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(512)));
        Assert.InRange(rig.Array.Intent!.MarkedBytes, rig.Array.SizeBytes, long.MaxValue);
    }

    /// <summary>Another stripe whose first row has the slot of the first row of all, on the same members.</summary>
    private static long RowOfSameSlot(RaidGeometry geometry)
    {
        JournalLayout layout = JournalLayout.Of(geometry)!;
        return Enumerable.Range(1, 1000)
            .First(s => layout.SlotOf(s) == layout.SlotOf(0) && geometry.ParityMember(s, 0) == geometry.ParityMember(0, 0));
    }

    private static Task<ArrayRig> CreateAsync(RaidLevel level, int drives, long memberBytes = 1 << 20, bool volatileCache = true) => ArrayRig.CreateAsync(
        level, drives, Chunk, memberBytes, simulation: o => o with { VolatileCache = volatileCache });

    private static async Task<byte[]> ReadAsync(ArrayRig rig, SimulatedDrive drive, long at)
    {
        var header = new byte[JournalRecord.UsedBytes];
        await BlockIo.ReadAsync(drive, rig.Reactors.Reactor, at, header);
        return header;
    }

    /// <summary>What the drives of a rig are told to write, in order.</summary>
    private sealed class WriteLog
    {
        private readonly Lock _lock = new();
        private readonly List<Entry> _entries = [];
        private readonly List<(int Drive, long At)> _flushes = [];
        private long _now;

        public WriteLog(ArrayRig rig)
        {
            for (int i = 0; i < rig.Drives.Length; i++)
            {
                int drive = i;
                rig.Drives[i].Observer = (_, step, request) => Note(drive, step, request);
            }
        }

        /// <summary>
        /// When a drive was flushed for the first time after something; <see cref="long.MaxValue"/> when it was not.
        /// </summary>
        public long FlushedAt(int drive, long after)
        {
            lock (_lock)
            {
                return _flushes.Where(f => f.Drive == drive && f.At > after).Select(f => f.At).DefaultIfEmpty(long.MaxValue).First();
            }
        }

        public Entry[] Superblocks => Where(e => e.Offset < JournalLayout.AreaOffset);

        public Entry[] Records => Where(e => e.Offset is >= JournalLayout.AreaOffset and < ArrayRig.DataOffset);

        public Entry[] Data => Where(e => e.Offset >= ArrayRig.DataOffset);

        private Entry[] Where(Func<Entry, bool> wanted)
        {
            lock (_lock)
            {
                return [.. _entries.Where(wanted)];
            }
        }

        private void Note(int drive, SimulatedStep step, BlockRequest request)
        {
            lock (_lock)
            {
                long now = ++_now;
                if (request.Operation == BlockOperation.Flush && step == SimulatedStep.Done)
                {
                    _flushes.Add((drive, now));
                }

                if (request.Operation is BlockOperation.Read or BlockOperation.Flush)
                {
                    return;
                }

                if (step == SimulatedStep.Taken)
                {
                    _entries.Add(new Entry(drive, request.OffsetBytes, request.LengthBytes, request.Flags, now));
                }
                else if (_entries.Find(e => e.Drive == drive && e.Offset == request.OffsetBytes && e.DoneAt == 0) is { } entry)
                {
                    entry.DoneAt = now;
                }
            }
        }

        public sealed record Entry(int Drive, long Offset, long Length, BlockFlags Flags, long TakenAt)
        {
            public long DoneAt { get; set; }
        }
    }
}
