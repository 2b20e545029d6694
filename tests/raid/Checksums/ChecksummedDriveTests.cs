// A drive with checksums by itself: what it finds, what it does not, what a crash and an error of the drive cost.

using System.Diagnostics;
using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Tests.Arrays;

namespace Polyblk.Raid.Tests.Checksums;

public sealed class ChecksummedDriveTests
{
    private const long At = SumsRig.DataOffset;
    private const int Block = SumsRig.Block;

    [Fact]
    public async Task What_is_written_is_read_by_all_reactors_and_runs()
    {
        // Twelve pages, of which eight fit in memory; requests that begin and end anywhere.
        const long Bytes = 48 << 20;
        await using SumsRig rig = await SumsRig.CreateAsync(
            Bytes, reactors: 2, new ArrayRunOptions { CleanAfter = TimeSpan.FromMilliseconds(2), ChecksumPages = 8 });
        var model = new byte[Bytes];
        for (int run = 0; run < 3; run++)
        {
            RequestDriver[] drivers = [await rig.OpenAsync(0), await rig.OpenAsync(1)];
            await Task.WhenAll(Enumerable.Range(0, 6).Select(
                worker => WorkAsync(drivers[worker % 2], model, worker, seed: (run * 10) + worker)));
            Assert.Equal(0, rig.Sums.Errors);
            Assert.Equal(0, await drivers[0].FlushAsync());
            for (long at = 0; at < Bytes; at += ChecksumOp.MaxBytes)
            {
                byte[] found = await drivers[1].ReadOrThrowAsync(At + at, ChecksumOp.MaxBytes);
                Assert.True(model.AsSpan((int)at, ChecksumOp.MaxBytes).SequenceEqual(found), $"run {run}, byte {at}");
            }

            await rig.ReopenAsync(clean: run != 1);
        }

        Assert.Empty(rig.Told);
    }

    /// <summary>
    /// Each worker has every sixth stretch of the drive to itself; the blocks at its ends are its neighbours' too.
    /// </summary>
    private static async Task WorkAsync(RequestDriver driver, byte[] model, int worker, int seed)
    {
        const int Stretch = 100 * 512;
        var random = new Random(seed);
        for (int i = 0; i < 250; i++)
        {
            int stretch = (random.Next(model.Length / Stretch / 6) * 6) + worker;
            int from = random.Next(99), length = 512 * random.Next(1, 100 - from);
            int at = (stretch * Stretch) + (from * 512);
            var layout = new BufferLayout(random.Next(2) * 1536, random.Next(2) * 512);
            switch (random.Next(6))
            {
                case 0:
                    Assert.Equal(0, await driver.WriteZeroesAsync(At + at, length));
                    model.AsSpan(at, length).Clear();
                    break;
                case < 3:
                    byte[] found = await driver.ReadOrThrowAsync(At + at, length, layout);
                    Assert.True(model.AsSpan(at, length).SequenceEqual(found), $"byte {at} of worker {worker}");
                    break;
                default:
                    byte[] data = TestBytes.Noise(length, random.Next());
                    Assert.Equal(0, await driver.WriteAsync(At + at, data, layout: layout));
                    data.CopyTo(model, at);
                    break;
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_block_that_changed_by_itself_is_an_error_of_its_place_until_it_is_written(bool restarted)
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise(16 * Block);
        Assert.Equal(0, await driver.WriteAsync(At, data));
        if (restarted)
        {
            driver = await rig.ReopenAsync(clean: true);
        }

        await rig.SpoilAsync(5);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At, data.Length)).Status);
        Assert.True(BlockErrors.MayBeOfPlace(-Errno.EILSEQ));
        Assert.Equal((1, At + (5 * Block)), (rig.Sums.Errors, rig.Sums.LastErrorOffset));
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (5 * Block) + 512, 512)).Status);
        Assert.Equal(data[..(5 * Block)], await driver.ReadOrThrowAsync(At, 5 * Block));
        Assert.Equal(data[(6 * Block)..], await driver.ReadOrThrowAsync(At + (6 * Block), 10 * Block));

        // The rest of a block that is written in part stays wrong.
        Assert.Equal(0, await driver.WriteAsync(At + (5 * Block) + 512, data.AsMemory(0, 512)));
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (5 * Block), 512)).Status);
        Assert.Equal(0, await driver.WriteZeroesAsync(At + (4 * Block) + 512, Block));
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (5 * Block), 512)).Status);
        Assert.Equal(0, (await driver.ReadAsync(At + (4 * Block), Block)).Status);

        Assert.Equal(0, await driver.WriteAsync(At + (4 * Block), data.AsMemory(4 * Block, 2 * Block)));
        Assert.Equal(data, await driver.ReadOrThrowAsync(At, data.Length));
    }

    /// <summary>
    /// A header that cannot be read for a moment says at the next start again what was so before: by then the drive must have a
    /// newer one, or what was written meanwhile does not fit its sums.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task What_is_written_while_a_header_cannot_be_read_is_not_called_wrong_when_it_can_again(int unread)
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(16 * Block, 1)));
        driver = await rig.ReopenAsync(clean: true);
        for (int round = 0; round < 3; round++)
        {
            foreach (int slot in (int[])[0, 1])
            {
                if ((unread >> slot & 1) != 0)
                {
                    rig.Raw.AddFault(new DriveFault
                    {
                        Operation = BlockOperation.Read, OffsetBytes = rig.Layout.HeaderOffset((ulong)slot), LengthBytes = Block,
                    });
                }
            }

            driver = await rig.ReopenAsync(clean: true);
            rig.Raw.ClearFaults();
            byte[] data = TestBytes.Noise(16 * Block, 2 + round);
            Assert.Equal(0, await driver.WriteAsync(At, data));
            driver = await rig.ReopenAsync(clean: false);
            Assert.Equal(data, await driver.ReadOrThrowAsync(At, data.Length));
            Assert.Equal(0, rig.Sums.Errors);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_write_under_way_is_waited_for_by_who_comes_to_its_blocks(bool reads)
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(4 * Block)));
        rig.Raw.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = At, LengthBytes = 4 * Block, Stuck = true, Count = 1,
        });
        byte[] first = TestBytes.Noise(2 * Block, 2), second = TestBytes.Noise(2 * Block, 3);
        Task<int> write = driver.WriteAsync(At, first);
        Task<(int Status, byte[] Data)> read = reads ? driver.ReadAsync(At, 3 * Block) : Task.FromResult((0, first));
        Task<int> next = reads ? Task.FromResult(0) : driver.WriteAsync(At, second);
        await Task.Delay(100);
        Assert.False(write.IsCompleted || (read.IsCompleted && next.IsCompleted));
        await rig.Raw.ReleaseStuckAsync();
        Assert.Equal((0, 0, 0), (await write, await next, (await read).Status));
        Assert.Equal(first, (await read).Data[..(2 * Block)]);
        Assert.Equal(reads ? first : second, await driver.ReadOrThrowAsync(At, 2 * Block));
        Assert.Equal(0, rig.Sums.Errors);
    }

    [Fact]
    public async Task A_write_that_went_to_another_place_is_found_at_both()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] before = TestBytes.Noise(32 * Block);
        Assert.Equal(0, await driver.WriteAsync(At, before));
        byte[] data = TestBytes.Noise(Block, 2);
        Assert.Equal(0, await driver.WriteAsync(At + (3 * Block), data));
        await rig.WriteRawAsync(3, before[(3 * Block)..(4 * Block)]);
        await rig.WriteRawAsync(20, data);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (3 * Block), Block)).Status);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (20 * Block), Block)).Status);
    }

    [Fact]
    public async Task Zeroes_are_verified_and_what_was_discarded_is_not()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(8 * Block)));
        Assert.Equal(0, await driver.WriteZeroesAsync(At, 4 * Block));
        Assert.Equal(0, await driver.DiscardAsync(At + (4 * Block) + 512, 2 * Block));
        foreach (int block in (int[])[1, 4, 5, 6])
        {
            await rig.SpoilAsync(block);
        }

        int[] statuses = await Task.WhenAll(Enumerable.Range(0, 8).Select(
            async i => (await driver.ReadAsync(At + (i * Block), Block)).Status));
        Assert.Equal([0, -Errno.EILSEQ, 0, 0, -Errno.EILSEQ, 0, -Errno.EILSEQ, 0], statuses);
    }

    [Fact]
    public async Task What_was_cut_off_is_read_and_verified_from_then_on()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise(8 * Block);
        Assert.Equal(0, await driver.WriteAsync(At, data));
        await rig.CloseAsync(clean: false);

        // As if it had been on its way.
        await rig.SpoilAsync(2, seed: 3);
        driver = await rig.ReopenAsync(clean: false);
        await SumsRig.WaitAsync(() => rig.Sums.Keeper.UnlearnedPages == 0, "the sums to be made anew");
        Assert.Equal(TestBytes.Noise(Block, 3), await driver.ReadOrThrowAsync(At + (2 * Block), Block));
        driver = await rig.ReopenAsync(clean: true);
        await rig.SpoilAsync(2);
        await rig.SpoilAsync(3);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (2 * Block), Block)).Status);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (3 * Block), Block)).Status);
        Assert.Equal(0, (await driver.ReadAsync(At + (4 * Block), Block)).Status);
    }

    [Fact]
    public async Task A_crash_at_any_moment_makes_no_error_of_a_block()
    {
        for (int cut = 0; cut < 160; cut++)
        {
            var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromMilliseconds(1), ChecksumPages = 2 };
            await using SumsRig rig = await SumsRig.CreateAsync(16 << 20, run: run, canCrash: true, seed: (ulong)cut + 1);
            var fuse = new PowerFuse(cut);
            RequestDriver driver = await rig.ReopenAsync(clean: true, fuse.Protect([rig.Raw])[0]);
            byte[] flushed = TestBytes.Noise(Block, cut);
            bool isFlushed = false;
            var random = new Random(cut);
            for (int i = 0; !fuse.IsBlown && i < 200; i++)
            {
                if (i == 20 && await driver.WriteAsync(At, flushed) == 0)
                {
                    isFlushed = await driver.FlushAsync() == 0;
                }

                await driver.WriteAsync(At + (random.Next(1, 4095) * (long)Block), TestBytes.Noise(Block, i));
                await Task.Delay(random.Next(10) == 0 ? 4 : 0);
            }

            await rig.Raw.CrashAsync();
            await rig.CloseAsync(clean: false);
            rig.Restart();
            rig.Told.Clear();
            driver = await rig.ReopenAsync(clean: false);
            for (int block = 0; block < 4096; block += 64)
            {
                (int status, byte[] data) = await driver.ReadAsync(At + (block * (long)Block), 64 * Block);
                Assert.True(status == 0, $"block {block}: {status}, cut {cut}");
                Assert.True(block != 0 || !isFlushed || data.AsSpan(0, Block).SequenceEqual(flushed), $"lost, cut {cut}");
            }

            Assert.Empty(rig.Told);
        }
    }

    /// <summary>What reads blocks to sum them waits for pages, and who ends it for that read.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task It_ends_at_any_moment_of_summing_anew(bool clean)
    {
        const long Bytes = 32 << 20;
        var run = new ArrayRunOptions
        {
            CleanAfter = TimeSpan.FromMilliseconds(1), ResyncAfter = TimeSpan.Zero, ChecksumPages = 2,
        };
        await using SumsRig rig = await SumsRig.CreateAsync(Bytes, run: run);
        RequestDriver driver = await rig.OpenAsync();
        var random = new Random(3);
        for (int i = 0; i < 80; i++)
        {
            for (long at = 0; at < Bytes; at += 4 << 20)
            {
                Assert.Equal(0, await driver.WriteAsync(At + at, TestBytes.Noise(Block, i)));
            }

            // Killed: what was written is summed anew, and that is cut off in its midst.
            driver = await rig.ReopenAsync(clean: false);
            for (long until = Stopwatch.GetTimestamp() + random.Next((int)(Stopwatch.Frequency / 100)); Stopwatch.GetTimestamp() < until;)
            {
                await Task.Yield();
            }

            await rig.CloseAsync(clean).WaitAsync(TimeSpan.FromSeconds(60));
            driver = await rig.ReopenAsync(clean: false);
        }

        Assert.Empty(rig.Told);
    }

    [Fact]
    public async Task A_flush_that_failed_is_heard_by_every_queue_and_leaves_regions_dirty()
    {
        var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromMilliseconds(1) };
        await using SumsRig rig = await SumsRig.CreateAsync(run: run);
        RequestDriver a = await rig.OpenAsync(), b = await rig.OpenAsync();
        rig.Raw.AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 2 });
        int status = await a.WriteAsync(At, TestBytes.Noise(Block));
        rig.Raw.ClearFaults();
        Assert.NotEqual(0, status);
        Assert.False(BlockErrors.MayBeOfPlace(status));
        Assert.Equal(-Errno.EIO, await a.FlushAsync());
        Assert.Equal(0, await a.FlushAsync());
        Assert.Equal(-Errno.EIO, await b.FlushAsync());
        Assert.Equal(0, await a.WriteAsync(At, TestBytes.Noise(Block)));
        await SumsRig.WaitAsync(() => !rig.Sums.Keeper.Regions.IsOpen(0), "the region to be called clean");

        // One of a consumer's says that what was written may be lost.
        Assert.Equal(0, await a.WriteAsync(At, TestBytes.Noise(Block)));
        rig.Raw.AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 1 });
        Assert.NotEqual(0, await a.FlushAsync());
        Assert.False(await rig.CloseAsync(clean: true));
    }

    [Fact]
    public async Task A_page_that_cannot_be_read_for_a_moment_loses_no_protection()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(4 * Block)));
        await rig.CloseAsync(clean: true);
        await rig.SpoilAsync(1);
        rig.Raw.AddFault(new DriveFault
        {
            Operation = BlockOperation.Read, OffsetBytes = rig.Layout.PageOffset(0), LengthBytes = Block, Count = 2,
        });
        driver = await rig.ReopenAsync(clean: true);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At, 4 * Block)).Status);
        Assert.Empty(rig.Told);
    }

    [Fact]
    public async Task A_page_that_is_damaged_is_told_and_made_anew()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise(4 * Block);
        Assert.Equal(0, await driver.WriteAsync(At, data));
        await rig.CloseAsync(clean: true);
        await BlockIo.WriteAsync(rig.Raw, rig.Reactors.Reactor, rig.Layout.PageOffset(0), TestBytes.Noise(Block));
        driver = await rig.ReopenAsync(clean: true);
        Assert.Equal(data, await driver.ReadOrThrowAsync(At, 4 * Block));
        Assert.Single(rig.Told);
        await SumsRig.WaitAsync(() => rig.Sums.Keeper.UnlearnedPages == 0, "the sums to be made anew");
        driver = await rig.ReopenAsync(clean: true);
        await rig.SpoilAsync(1);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At, 4 * Block)).Status);
        Assert.Single(rig.Told);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task A_header_that_is_torn_costs_nothing(int slot)
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(4 * Block)));
        await rig.CloseAsync(clean: true);
        await BlockIo.WriteAsync(rig.Raw, rig.Reactors.Reactor, rig.Layout.HeaderOffset((ulong)slot), TestBytes.Noise(512));
        driver = await rig.ReopenAsync(clean: true);
        Assert.Equal(0, (await driver.ReadAsync(At, 4 * Block)).Status);
        Assert.Empty(rig.Told);
    }

    [Fact]
    public async Task No_room_for_sums_is_an_error_that_passes_with_it()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        rig.Raw.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = rig.Layout.AreaOffset, Errno = Errno.ENOSPC,
        });
        Assert.Equal(-Errno.ENOSPC, await driver.WriteAsync(At, TestBytes.Noise(Block)));
        rig.Raw.ClearFaults();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(Block)));
        Assert.True(await rig.CloseAsync(clean: true));
    }

    [Fact]
    public async Task A_write_that_fails_leaves_its_blocks_without_sums()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        byte[] before = TestBytes.Noise(4 * Block);
        Assert.Equal(0, await driver.WriteAsync(At, before));
        rig.Raw.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = At + Block, LengthBytes = Block });
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(At + Block, TestBytes.Noise(Block, 2)));
        Assert.Equal(before, await driver.ReadOrThrowAsync(At, before.Length));
        rig.Raw.ClearFaults();
        await rig.SpoilAsync(2);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At, before.Length)).Status);
    }

    [Fact]
    public async Task A_drive_that_hangs_is_given_up_when_it_is_to_begin()
    {
        var clock = new ManualClock();
        await using SumsRig rig = await SumsRig.CreateAsync(run: new ArrayRunOptions { Clock = clock });
        await rig.CloseAsync(clean: true);
        rig.Raw.AddFault(new DriveFault { Operation = BlockOperation.Read, Stuck = true });
        Task<RequestDriver> opening = rig.ReopenAsync(clean: true);
        while (!opening.IsCompleted)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(1);
        }

        await Assert.ThrowsAsync<IOException>(() => opening);
        rig.Raw.ClearFaults();
        await rig.Raw.ReleaseStuckAsync();
    }

    [Fact]
    public async Task A_region_of_which_a_page_was_refused_stays_dirty()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(Block)));
        rig.Raw.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = rig.Layout.PageOffset(0), LengthBytes = Block,
        });
        Assert.False(await rig.CloseAsync(clean: true));
        rig.Raw.ClearFaults();
        driver = await rig.ReopenAsync(clean: false);
        await SumsRig.WaitAsync(() => rig.Sums.Keeper.UnlearnedPages == 0, "the sums to be made anew");
        await rig.SpoilAsync(0);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At, Block)).Status);
        Assert.Empty(rig.Told);
    }

    [Fact]
    public async Task Pages_that_cannot_be_written_cost_protection_and_no_data()
    {
        var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ChecksumPages = 2 };
        await using SumsRig rig = await SumsRig.CreateAsync(48 << 20, run: run);
        RequestDriver driver = await rig.OpenAsync();
        rig.Raw.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = rig.Layout.PageOffset(0), LengthBytes = long.MaxValue / 2,
        });
        for (int i = 0; i < 12; i++)
        {
            Assert.Equal(0, await driver.WriteAsync(At + ((long)i << 22), TestBytes.Noise(Block, i)));
        }

        for (int i = 0; i < 12; i++)
        {
            Assert.Equal(TestBytes.Noise(Block, i), await driver.ReadOrThrowAsync(At + ((long)i << 22), Block));
        }

        Assert.Single(rig.Told);
        Assert.False(await rig.CloseAsync(clean: true));
        rig.Raw.ClearFaults();
        driver = await rig.ReopenAsync(clean: true);
        await SumsRig.WaitAsync(() => rig.Sums.Keeper.UnlearnedPages == 0, "the sums to be made anew");
        await rig.SpoilAsync(1024);
        Assert.Equal(-Errno.EILSEQ, (await driver.ReadAsync(At + (1 << 22), Block)).Status);
    }

    [Fact]
    public async Task What_another_member_left_there_is_none_of_this_one()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(4 * Block)));
        await rig.CloseAsync(clean: true);
        var other = new Guid("aaaaaaaa-2222-3333-4444-555555555555");
        ChecksummedDrive sums = await ChecksummedDrive.FormatAsync(
            rig.Raw, rig.Layout, other, rig.Reactors.Reactor, rig.Run, _ => Assert.Fail("told"));
        await rig.SpoilAsync(1);
        await using (RequestDriver its = await RequestDriver.OpenAsync(sums, rig.Reactors.Reactor))
        {
            Assert.Equal(0, (await its.ReadAsync(At, 4 * Block)).Status);
        }

        Assert.True(await sums.CloseAsync(clean: true));
    }

    [Fact]
    public async Task A_member_that_begins_anew_knows_nothing_of_what_it_was()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        for (int slot = 0; slot < 2; slot++)
        {
            // Its last header is in one slot or in the other.
            RequestDriver driver = await rig.ReopenAsync(clean: true);
            Assert.Equal(0, await driver.WriteAsync(At, TestBytes.Noise(4 * Block)));
            await rig.CloseAsync(clean: slot == 0);
            await rig.FormatAgainAsync();
            await rig.CloseAsync(clean: false);
            await rig.SpoilAsync(1);
            driver = await rig.ReopenAsync(clean: false);
            Assert.Equal(0, (await driver.ReadAsync(At, 4 * Block)).Status);
            Assert.Equal(0, rig.Sums.Keeper.UnlearnedPages);
        }
    }

    [Fact]
    public async Task Memory_that_changes_while_it_is_written_makes_no_error()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        using var buffer = new RequestBuffer(4 * Block, new BufferLayout());
        int submits = 0;
        RequestDriver driver = await rig.ReopenAsync(
            clean: true, new OpaqueDrive(rig.Raw, () => buffer.Fill((byte)Interlocked.Increment(ref submits))));
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(0, await driver.SubmitAsync(BlockOperation.Write, At, 4 * Block, BlockFlags.None, buffer));
            Assert.Equal(0, await driver.SubmitAsync(BlockOperation.Read, At, 4 * Block, BlockFlags.None, buffer));
        }

        Assert.Equal(0, rig.Sums.Errors);
    }

    [Fact]
    public async Task Only_memory_of_this_process_is_summed()
    {
        await using SumsRig rig = await SumsRig.CreateAsync();
        RequestDriver driver = await rig.OpenAsync();
        var layout = new BufferLayout(Traits: BufferTraits.None);
        Assert.True(rig.Sums.Limits is { NeedsCpuAccessForReads: true, NeedsCpuAccessForWrites: true });
        Assert.Equal(-Errno.EFAULT, await driver.WriteAsync(At, new byte[Block], layout: layout));
        Assert.Equal(-Errno.EFAULT, (await driver.ReadAsync(At, Block, layout)).Status);
    }
}
