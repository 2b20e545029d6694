// The scrub: what differs silently is found, and made right where it can be told what is wrong.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ScrubTests
{
    private const int Chunk = 16 << 10;

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 5)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 8)]
    public async Task What_agrees_is_found_sound_under_writes(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20, simulation: o => o with { MaximumLatencyNs = 50_000 });
        RequestDriver driver = await rig.OpenAsync();
        var blocks = new StampedBlocks(rig.Array.SizeBytes, seed: 3);
        bool running = true;
        Task[] work = [.. Enumerable.Range(0, 4).Select(i => Task.Run(
            () => blocks.RunWriterAsync(driver, i, () => Volatile.Read(ref running), 64 << 10, expectErrors: false)))];
        ScrubStatus found = await ScrubAsync(rig, repair: true);
        Volatile.Write(ref running, false);
        await Task.WhenAll(work);
        Assert.True(found is { IsComplete: true, Differing: 0, Repaired: 0, MadeToAgree: 0, Skipped: 0, Unreadable: 0, FirstOffset: -1 }, $"{found}");
        await rig.AssertConsistentAsync("after a scrub under writes");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2, 1)]
    [InlineData(RaidLevel.Raid10, 4, 3)]
    [InlineData(RaidLevel.Raid5, 4, 0)]
    public async Task A_difference_is_told_and_a_repair_makes_members_agree(RaidLevel level, int drives, int wrong)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        (RequestDriver driver, _) = await WriteNoiseAsync(rig, seed: 1);
        await CorruptAsync(rig, wrong, ArrayRig.DataOffset + (3 * Chunk) + 512);
        ScrubStatus found = await ScrubAsync(rig, repair: false);
        Assert.True(found is { IsComplete: true, Differing: 1, Repaired: 0, MadeToAgree: 0 }, $"{found}");
        Assert.InRange(found.FirstOffset, 1, rig.Array.SizeBytes);
        found = await ScrubAsync(rig, repair: true);
        Assert.True(found is { Differing: 0, Repaired: 0, MadeToAgree: 1 }, $"{found}");
        await rig.AssertConsistentAsync("after the repair");
        found = await ScrubAsync(rig, repair: false);
        Assert.True(found is { Differing: 0, MadeToAgree: 0, FirstOffset: -1 }, $"{found}");
    }

    /// <summary>With two parities the block that is wrong is known, whichever it is.</summary>
    [Theory]
    [InlineData(512)]
    [InlineData(8192)]
    public async Task Two_parities_tell_which_block_is_wrong(int bytes)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid6, 6, Chunk, 512 << 10);
        (RequestDriver driver, byte[] data) = await WriteNoiseAsync(rig, seed: 2);
        for (int member = 0; member < 6; member++)
        {
            await CorruptAsync(rig, member, ArrayRig.DataOffset + (member * 2 * Chunk) + 1024, bytes);
        }

        ScrubStatus found = await ScrubAsync(rig, repair: true);
        Assert.True(found is { Differing: 0, Repaired: 6, MadeToAgree: 0 }, $"{found}");
        await rig.AssertConsistentAsync("after the repair");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>
    /// With more of them, up to half as many blocks of a row: data and parities, in the same columns and in others.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid73, 6, 1)]
    [InlineData(RaidLevel.Raid74, 8, 2)]
    [InlineData(RaidLevel.Raid75, 8, 2)]
    [InlineData(RaidLevel.Raid78, 12, 4)]
    public async Task Many_parities_tell_which_blocks_are_wrong(RaidLevel level, int drives, int wrong)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        (RequestDriver driver, byte[] data) = await WriteNoiseAsync(rig, seed: 5);
        var random = new Random(5);
        const int Rows = 12;
        for (int row = 0; row < Rows; row++)
        {
            int[] members = [.. Enumerable.Range(0, drives).OrderBy(_ => random.Next()).Take(wrong)];
            for (int i = 0; i < wrong; i++)
            {
                // Of the first two rows the columns differ, of the others they overlap.
                int column = row < 2 ? i * 2048 : 1024 + (i * 512);
                await CorruptAsync(rig, members[i], ArrayRig.DataOffset + (row * 2 * Chunk) + column, bytes: 2048);
            }
        }

        ScrubStatus found = await ScrubAsync(rig, repair: true);
        Assert.True(found is { Differing: 0, Repaired: Rows, MadeToAgree: 0 }, $"{found}");
        await rig.AssertConsistentAsync("after the repair");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>Three parities cannot tell two wrong blocks, but that it is more than one: the data counts as right.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid73, 7, 2, 0)]
    [InlineData(RaidLevel.Raid73, 7, 2, 4096)]
    [InlineData(RaidLevel.Raid75, 9, 3, 0)]
    public async Task More_wrong_blocks_than_can_be_told_change_no_data(RaidLevel level, int drives, int wrong, int apart)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        (RequestDriver driver, _) = await WriteNoiseAsync(rig, seed: 3);
        for (int i = 0; i < wrong; i++)
        {
            await CorruptAsync(rig, rig.Array.Geometry.DataMember(0, i), ArrayRig.DataOffset + (i * apart));
        }

        int stripe = (int)rig.Array.Geometry.StripeDataSize;
        byte[] before = await driver.ReadOrThrowAsync(0, stripe);
        ScrubStatus found = await ScrubAsync(rig, repair: true);
        Assert.True(found is { Differing: 0, Repaired: 0, MadeToAgree: 1 }, $"{found}");
        Assert.True((await driver.ReadOrThrowAsync(0, stripe)).AsSpan().SequenceEqual(before), "data was changed by a guess");
        await rig.AssertConsistentAsync("after the repair");
    }

    [Fact]
    public async Task Two_wrong_blocks_of_a_row_are_not_taken_for_one()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid6, 6, Chunk, 512 << 10);
        (RequestDriver driver, _) = await WriteNoiseAsync(rig, seed: 3);
        int[] members = [rig.Array.Geometry.DataMember(0, 0), rig.Array.Geometry.DataMember(0, 2)];
        await CorruptAsync(rig, members[0], ArrayRig.DataOffset);
        await CorruptAsync(rig, members[1], ArrayRig.DataOffset + 4096);
        byte[] before = await driver.ReadOrThrowAsync(0, 4 * Chunk);
        ScrubStatus found = await ScrubAsync(rig, repair: true);
        Assert.True(found is { Differing: 0, Repaired: 0, MadeToAgree: 1 }, $"{found}");
        Assert.True((await driver.ReadOrThrowAsync(0, 4 * Chunk)).AsSpan().SequenceEqual(before), "data was changed by a guess");
        await rig.AssertConsistentAsync("after the repair");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    [InlineData(RaidLevel.Raid50, 6)]
    [InlineData(RaidLevel.Raid60, 8)]
    public async Task A_block_that_nobody_has_read_for_long_and_that_cannot_be_is_found_in_time(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10);
        (RequestDriver driver, byte[] data) = await WriteNoiseAsync(rig, seed: 4);
        DriveFault Unreadable(int count) => new()
        {
            Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset + (7 * Chunk), LengthBytes = 4096, Count = count,
        };
        rig.Drives[0].AddFault(Unreadable(1000));
        ScrubStatus found = await ScrubAsync(rig, repair: false);
        Assert.True(found is { Differing: 0, Repaired: 0, Unreadable: 1 }, $"{found}");
        rig.Drives[0].ClearFaults();
        rig.Drives[0].AddFault(Unreadable(1));
        found = await ScrubAsync(rig, repair: true);
        Assert.True(found is { Differing: 0, Repaired: 1, MadeToAgree: 0, Unreadable: 0 }, $"{found}");
        await rig.AssertConsistentAsync("after the repair");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    /// <summary>
    /// After a crash members may differ until the resync has come by: that is no finding, and nobody's to repair.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid6, 4)]
    [InlineData(RaidLevel.Raid73, 5)]
    [InlineData(RaidLevel.Raid50, 6)]
    public async Task What_is_not_in_sync_is_passed_over(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 512 << 10, zeroed: false, run: new ArrayRunOptions
        {
            CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, Resync = false,
        });
        await CorruptAsync(rig, 0, ArrayRig.DataOffset + Chunk);
        byte[] before = await rig.ReadMemberAsync(drives - 1);
        ScrubStatus found = await ScrubAsync(rig, repair: true);
        Assert.True(found is { Differing: 0, Repaired: 0, MadeToAgree: 0, Skipped: > 0 }, $"{found}");
        Assert.True((await rig.ReadMemberAsync(drives - 1)).AsSpan().SequenceEqual(before));
    }

    [Fact]
    public async Task What_the_last_one_found_is_kept_over_a_stop()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 512 << 10);
        Assert.Null(rig.Array.GetStatus().Scrub);
        await CorruptAsync(rig, 1, ArrayRig.DataOffset + (3 * Chunk));
        ScrubStatus found = await ScrubAsync(rig, repair: true);
        Assert.Equal(1, found.MadeToAgree);
        await rig.StopAsync();
        await rig.AssembleAsync();
        Assert.Equal(found with { EndedAt = null }, rig.Array.GetStatus().Scrub! with { EndedAt = null });
        Assert.InRange((found.EndedAt - rig.Array.GetStatus().Scrub!.EndedAt)!.Value.TotalMilliseconds, 0, 1);
    }

    [Fact]
    public async Task It_starts_by_itself_when_it_is_due_and_nothing_is_lost()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 3, Chunk, 512 << 10);
        rig.Array.CheckEvery = TimeSpan.FromDays(1);
        await Task.Delay(600);
        Assert.Null(rig.Array.GetStatus().Scrub);
        await rig.Array.FailMemberAsync(1);
        rig.Array.CheckEvery = TimeSpan.FromTicks(1);
        await Task.Delay(600);
        Assert.Null(rig.Array.GetStatus().Scrub);
        await rig.ReplaceAsync(1);
        await rig.WaitForRebuildAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { IsComplete: true, IsRepair: false }, "the check");
        rig.Array.CheckEvery = TimeSpan.Zero;
    }

    [Fact]
    public async Task It_waits_for_a_rebuild_can_be_stopped_and_one_is_enough()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, Chunk, 1 << 20);
        (RequestDriver driver, _) = await WriteNoiseAsync(rig, seed: 5);
        rig.Array.MaxJobBytesPerSecond = 256 << 10;
        await rig.Array.StartScrubAsync(repair: false);
        ArrayException twice = await Assert.ThrowsAsync<ArrayException>(() => rig.Array.StartScrubAsync(repair: true));
        Assert.Contains("under way", twice.Message, StringComparison.Ordinal);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { DoneBytes: > 0 }, "a part of the scrub");
        await rig.LoseAsync(driver, 1);
        await rig.ReplaceAsync(1);
        rig.Array.MaxJobBytesPerSecond = 0;
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub is { EndedAt: not null }, "the scrub behind the rebuild");
        Assert.Equal(0UL, rig.Array.State.LostMask);
        Assert.True(rig.Array.GetStatus().Scrub is { IsComplete: true, Differing: 0 });

        rig.Array.MaxJobBytesPerSecond = 64 << 10;
        await rig.Array.StartScrubAsync(repair: true);
        await rig.Array.StopScrubAsync();
        Assert.True(rig.Array.GetStatus().Scrub is { IsComplete: false, IsRepair: true, EndedAt: not null });
        await rig.Array.StopScrubAsync();
    }

    /// <summary>Fills the array.</summary>
    private static async Task<(RequestDriver Driver, byte[] Data)> WriteNoiseAsync(ArrayRig rig, int seed)
    {
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, seed);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        return (driver, data);
    }

    private static async Task<ScrubStatus> ScrubAsync(ArrayRig rig, bool repair)
    {
        await rig.Array.StartScrubAsync(repair);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Scrub!.EndedAt is not null, "the scrub to end");
        return rig.Array.GetStatus().Scrub!;
    }

    /// <summary>Behind the array's back.</summary>
    private static async Task CorruptAsync(ArrayRig rig, int member, long offset, int bytes = 512)
    {
        var block = new byte[bytes];
        await BlockIo.ReadAsync(rig.Drives[member], rig.Reactors.Reactor, offset, block);
        for (int i = 0; i < block.Length; i += 3)
        {
            block[i] ^= (byte)(i | 1);
        }

        await BlockIo.WriteAsync(rig.Drives[member], rig.Reactors.Reactor, offset, block);
    }
}
