// Writes that members refuse without being gone: full file systems, bad places, paths that fail for a moment. Requests fail;
// members stay where the data needs them; and whatever is read afterwards was written.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using static Polyblk.Raid.Tests.Arrays.TestBytes;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class RefusedWriteTests
{
    private const int Chunk = 16 << 10;

    public static TheoryData<RaidLevel, int, int> Levels => new()
    {
        // level, drives, errno
        { RaidLevel.Raid0, 3, Errno.ENOSPC },
        { RaidLevel.Raid1, 2, Errno.ENOSPC },
        { RaidLevel.Raid1, 3, Errno.EDQUOT },
        { RaidLevel.Raid10, 4, Errno.ENOSPC },
        { RaidLevel.Raid10, 5, Errno.EFBIG },
        { RaidLevel.Raid5, 3, Errno.ENOSPC },
        { RaidLevel.Raid5, 4, Errno.EDQUOT },
        { RaidLevel.Raid6, 5, Errno.ENOSPC },
    };

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task A_member_without_room_costs_the_request_and_nothing_else(RaidLevel level, int drives, int errno)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncRetryAfter = TimeSpan.FromMilliseconds(10) });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        int refusedWrites = 0;
        foreach (SimulatedDrive full in rig.Drives)
        {
            foreach (int length in new[] { 4096, 40_960 })
            {
                full.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = errno });
                int status = await driver.WriteAsync(8192, Noise(length, refusedWrites + length));
                refusedWrites += status != 0 ? 1 : 0;
                Assert.True(status is 0 or -Errno.ENOSPC, $"{status}");
                Assert.Equal(0UL, rig.Array.State.FailedMask);
                full.ClearFaults();

                // Copies are made to agree at once; a parity that has no room waits for it.
                if (rig.Array.Geometry.HasParity)
                {
                    await rig.WaitForResyncAsync();
                }

                await rig.AssertConsistentAsync($"after {full.Name} had no room");
                Assert.Equal((ArrayHealth.Optimal, 0), (rig.Array.GetStatus().Health, rig.Array.GetStatus().RangesInDoubt));
            }
        }

        Assert.True(refusedWrites >= 2);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Fact]
    public async Task Copies_that_cannot_be_made_to_agree_are_in_doubt_until_they_do()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid1, 2, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncRetryAfter = TimeSpan.FromMilliseconds(10) });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise(64 << 10, 1)));
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.ENOSPC });
        rig.Drives[1].Observer = (_, step, request) =>
        {
            // The other copy is to be made like this one again; and cannot be written any more.
            if (step == SimulatedStep.Taken && request.Operation == BlockOperation.Read)
            {
                rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset });
            }
        };
        Assert.Equal(-Errno.ENOSPC, await driver.WriteAsync(8192, Noise(4096, 2)));
        Assert.Equal((0UL, 1), (rig.Array.State.FailedMask, rig.Array.GetStatus().RangesInDoubt));

        rig.Drives[1].Observer = null;
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        await rig.WaitForResyncAsync();
        Assert.Equal(0, rig.Array.GetStatus().RangesInDoubt);
        await rig.AssertConsistentAsync("when both can be written again");
    }

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task Where_nobody_has_room_all_stay_and_go_on_when_there_is_room_again(RaidLevel level, int drives, int errno)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncRetryAfter = TimeSpan.FromMilliseconds(10) });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 3);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Probability = 0.7, Errno = errno,
        }));
        for (int i = 0; i < 40; i++)
        {
            Assert.True(await driver.WriteAsync(i * 4096, Noise(6144, i)) is 0 or -Errno.ENOSPC);
        }

        Assert.All(rig.Array.GetStatus().Members, m => Assert.Equal(Polyblk.Raid.Superblock.MemberState.Present, m.State));
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.WaitForResyncAsync();
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        await rig.AssertConsistentAsync("with room again");
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 3)]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    public async Task More_refusals_than_redundancy_fail_the_request_and_not_the_array(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 4);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.EINVAL, Count = 1,
        }));
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, data));
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        await rig.AssertConsistentAsync("after the refusal");
        byte[] next = Noise((int)rig.Array.SizeBytes, 5);
        Assert.Equal(0, await driver.WriteAsync(0, next));
        Assert.Equal(0, await driver.FlushAsync());
        Assert.True((await driver.ReadOrThrowAsync(0, next.Length)).AsSpan().SequenceEqual(next));
        await rig.StopAsync();
        await rig.AssembleAsync();
        Assert.Equal((ArrayHealth.Optimal, 0UL), (rig.Array.GetStatus().Health, rig.Array.State.FailedMask));
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 3)]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    public async Task A_flush_that_too_many_refuse_fails_and_the_redundancy_is_made_right_again(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncRetryAfter = TimeSpan.FromMilliseconds(10) });
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 1 }));

        // One of them has lost something.
        await BlockIo.WriteAsync(rig.Drives[1], rig.Reactors.Reactor, ArrayRig.DataOffset, Noise(Chunk, 22));
        Assert.Equal(-Errno.EIO, await driver.FlushAsync());
        await rig.WaitForResyncAsync();
        Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        Assert.Equal(0, await driver.FlushAsync());
        await rig.AssertConsistentAsync("after the flush");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2, Errno.ENOMEM)]
    [InlineData(RaidLevel.Raid1, 2, Errno.ENOSPC)]
    [InlineData(RaidLevel.Raid5, 4, Errno.ETIMEDOUT)]
    public async Task A_flush_that_failed_is_not_tried_again_and_its_member_makes_nothing(RaidLevel level, int drives, int errno)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 12);
        Assert.Equal(0, await driver.WriteAsync(0, data));

        // As a file system does that could not write: it says so once.
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Flush, Errno = errno, Count = 1 });
        Assert.Equal(0, await driver.FlushAsync());
        Assert.Equal(1UL, rig.Array.State.FailedMask);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 3, Errno.ETIMEDOUT)]
    [InlineData(RaidLevel.Raid1, 2, Errno.ENOMEM)]
    [InlineData(RaidLevel.Raid10, 4, Errno.EAGAIN)]
    [InlineData(RaidLevel.Raid5, 4, Errno.EINTR)]
    [InlineData(RaidLevel.Raid6, 5, Errno.EBUSY)]
    [InlineData(RaidLevel.Raid73, 6, Errno.EBUSY)]
    public async Task An_error_that_passes_is_not_seen(RaidLevel level, int drives, int errno)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 6);
        bool mayFlushAgain = errno is Errno.EAGAIN or Errno.EINTR;
        foreach (BlockOperation operation in new[] { BlockOperation.Write, BlockOperation.Read, BlockOperation.Flush, BlockOperation.WriteZeroes })
        {
            if (operation == BlockOperation.Flush && !mayFlushAgain)
            {
                // Whether what it was to write is written then, nobody knows: FlushThatFailed...
                continue;
            }

            Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault { Operation = operation, OffsetBytes = ArrayRig.DataOffset, Errno = errno, Count = 3 }));
        }

        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
        Assert.Equal(0, await driver.FlushAsync());
        Assert.Equal(0, await driver.WriteZeroesAsync(0, rig.Array.Geometry.StripeDataSize));
        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal(ArrayHealth.Optimal, status.Health);
        Assert.All(status.Members, m => Assert.True(m is { ReadErrors: 0, WriteErrors: 0 }, $"{m}"));
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        await rig.AssertConsistentAsync("after the errors");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_path_that_fails_for_all_drives_at_once_costs_requests_only(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise(4096, 7);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Array.ForEach(rig.Drives, d => d.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.ETIMEDOUT }));
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, Noise(4096, 8)));
        Array.ForEach(rig.Drives, d => d.ClearFaults());
        Assert.Equal((ArrayHealth.Optimal, 0UL), (rig.Array.GetStatus().Health, rig.Array.State.FailedMask));
        Assert.Equal(0, await driver.WriteAsync(0, data));
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, 4096));
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2, false)]
    [InlineData(RaidLevel.Raid1, 3, false)]
    [InlineData(RaidLevel.Raid10, 4, false)]
    [InlineData(RaidLevel.Raid10, 5, false)]
    [InlineData(RaidLevel.Raid5, 4, false)]
    [InlineData(RaidLevel.Raid5, 4, true)]
    [InlineData(RaidLevel.Raid6, 5, false)]
    [InlineData(RaidLevel.Raid73, 6, false)]
    [InlineData(RaidLevel.Raid6, 5, true)]
    [InlineData(RaidLevel.Raid73, 6, true)]
    public async Task A_discard_costs_no_member_whatever_the_error(RaidLevel level, int drives, bool degraded)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = Noise((int)rig.Array.SizeBytes, 9);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        ulong lost = 0;
        if (degraded)
        {
            lost = 1UL << (drives - 1);
            await rig.Drives[^1].VanishAsync();
            Assert.Equal(0, await driver.FlushAsync());
        }

        BlockOperation refused = rig.Array.Geometry.HasParity ? BlockOperation.WriteZeroes : BlockOperation.Discard;
        foreach (int errno in new[] { Errno.EIO, Errno.EOPNOTSUPP, Errno.EINVAL, Errno.ENOSPC, Errno.EREMOTEIO })
        {
            for (int member = 0; member < drives; member++)
            {
                rig.Drives[member].AddFault(new DriveFault { Operation = refused, OffsetBytes = ArrayRig.DataOffset, Errno = errno });
                Assert.Equal(0, await driver.DiscardAsync(0, rig.Array.SizeBytes / 2));
                rig.Drives[member].ClearFaults();
                Assert.Equal(lost, rig.Array.State.FailedMask);
                await rig.AssertConsistentAsync($"after member {member} refused a discard with {errno}", lost);
                Assert.Equal(0, rig.Array.GetStatus().RangesInDoubt);
                Assert.Equal(0, await driver.WriteAsync(0, data));
            }
        }

        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 6)]
    public async Task Zeroes_that_a_member_has_no_room_for_leave_parity_right(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, Noise((int)rig.Array.SizeBytes, 10)));
        for (int member = 0; member < drives; member++)
        {
            rig.Drives[member].AddFault(new DriveFault { Operation = BlockOperation.WriteZeroes, Errno = Errno.ENOSPC });
            Assert.Equal(-Errno.ENOSPC, await driver.WriteZeroesAsync(0, 3 * rig.Array.Geometry.StripeDataSize));
            rig.Drives[member].ClearFaults();
            await rig.AssertConsistentAsync($"after member {member} had no room for zeroes");
        }

        Assert.Equal((ArrayHealth.Optimal, 0), (rig.Array.GetStatus().Health, rig.Array.GetStatus().RangesInDoubt));
    }

    [Theory]
    [InlineData(Errno.ETIMEDOUT)]
    [InlineData(Errno.ENOMEM)]
    public async Task A_flush_at_an_orderly_end_that_failed_once_is_not_tried_again_and_called_done(int errno)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid1, 2, Chunk, 256 << 10);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, Noise(8192, 20)));
        rig.Drives[1].AddFault(new DriveFault { Operation = BlockOperation.Flush, Errno = errno, Count = 1 });
        await rig.StopAsync();
        rig.Drives[1].ClearFaults();

        // What the member had taken may be lost: it is out.
        await rig.AssembleAsync(allowDegraded: false);
        Assert.Equal(0b10UL, rig.Array.State.FailedMask);
    }
}
