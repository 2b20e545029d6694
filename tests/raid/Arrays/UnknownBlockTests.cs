// Blocks that cannot be read where nothing says what they held, and drives that cannot be read at all.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class UnknownBlockTests
{
    private const int Chunk = 16 << 10;

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid50, 8)]
    public async Task A_resync_makes_no_bad_block_from_parity_that_may_not_fit(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, consistency: ArrayConsistency.Bitmap);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await rig.KillAsync();
        await rig.ReturnDrivesAsync();

        // The crash came between the parity of the third row and its data; another block of that row has gone bad.
        long stripe = 3;
        RaidGeometry geometry = rig.Array.Geometry;
        MemberPlace bad = geometry.Map(stripe * geometry.StripeDataSize);
        await BlockIo.WriteAsync(rig.Drives[geometry.ParityMember(stripe, 0)], rig.Reactors.Reactor, geometry.StripeOffset(stripe), TestBytes.Noise(Chunk, 2));
        rig.Drives[bad.Member].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = bad.Offset, LengthBytes = 4096 });
        rig.Run = rig.Run with { ResyncRetryAfter = TimeSpan.FromHours(1) };
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus() is { RangesInDoubt: 1, Resync: not null }, "the resync to come by");
        await ArrayRig.WaitAsync(() => rig.Events.Any(e => e is { Level: ArrayEventLevel.Error } && e.Message.Contains("1 ranges", StringComparison.Ordinal)), "the event");
        Assert.NotEqual(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        Assert.NotEmpty(rig.Array.GetStatus().Warnings);
        driver = await rig.OpenAsync();
        long at = stripe * geometry.StripeDataSize;
        Assert.Equal(-Errno.EIO, (await driver.ReadAsync(at, 4096)).Status);
        Assert.True((await driver.ReadOrThrowAsync(at + 4096, data.Length - (int)at - 4096)).AsSpan().SequenceEqual(data.AsSpan((int)at + 4096)));
        Assert.True((await driver.ReadOrThrowAsync(0, (int)at)).AsSpan().SequenceEqual(data.AsSpan(0, (int)at)));

        // Nothing is forgotten over a stop.
        await rig.StopAsync();
        await rig.AssembleAsync();
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus() is { RangesInDoubt: 1, Resync: not null }, "the second resync to come by");
        driver = await rig.OpenAsync();
        Assert.Equal(-Errno.EIO, (await driver.ReadAsync(at, 4096)).Status);

        // A write makes the drive use another place, and the array whole.
        byte[] next = TestBytes.Noise((int)geometry.StripeDataSize, 3);
        rig.Drives[bad.Member].ClearFaults();
        Assert.Equal(0, await driver.WriteAsync(at, next));
        Assert.True((await driver.ReadOrThrowAsync(at, next.Length)).AsSpan().SequenceEqual(next));
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Health == ArrayHealth.Optimal, "the array to be whole");
        await rig.AssertConsistentAsync("at the end");
    }

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 3)]
    public async Task A_member_that_fails_every_read_is_reported_and_given_up(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, Chunk, 256 << 10, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), MaxReadErrorsInARow = 20 });
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 4);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        rig.Drives[0].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = ArrayRig.DataOffset });
        for (int i = 0; i < 100 && rig.Array.GetStatus().Members[0].ReadErrors < 20; i++)
        {
            for (int at = 0; at < data.Length; at += 4096)
            {
                Assert.Equal(data[at..(at + 4096)], await driver.ReadOrThrowAsync(at, 4096));
            }
        }

        rig.Array.Control.Kick();
        await ArrayRig.WaitAsync(() => rig.Array.State.PersistedMask == 1, "the member to be given up");
        Assert.Contains(rig.Events, e => e.Message.Contains("reads since the start", StringComparison.Ordinal));
        Assert.Contains(rig.Events, e => e.Message.Contains("in a row", StringComparison.Ordinal));
        Assert.Equal(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
        Assert.True((await driver.ReadOrThrowAsync(0, data.Length)).AsSpan().SequenceEqual(data));
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4, 1)]
    [InlineData(RaidLevel.Raid6, 5, 2)]
    public async Task What_a_refused_write_left_unknown_is_an_error_until_it_is_written_and_no_start_trusts_it(RaidLevel level, int drives, int lost)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        byte[] data = await FillAndLoseAsync(rig, driver, lost, 5);

        // The last data block of the first stripe is written to a drive that refuses, after its parity.
        int victim = geometry.DataMember(0, geometry.DataCount - 1);
        rig.Drives[victim].AddFault(new DriveFault
        {
            Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.EINVAL, Count = 1,
        });
        long at = (geometry.DataCount - 1) * Chunk;
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(at, TestBytes.Noise(4096, 6)));
        ArrayStatus status = rig.Array.GetStatus();
        Assert.Equal((ArrayHealth.Degraded, 1), (status.Health, status.RangesInDoubt));
        for (int i = 0; i < lost; i++)
        {
            Assert.Equal(-Errno.EIO, (await driver.ReadAsync(i * Chunk, 4096)).Status);
            Assert.Equal(data[((i * Chunk) + 4096)..((i + 1) * Chunk)], await driver.ReadOrThrowAsync((i * Chunk) + 4096, Chunk - 4096));
        }

        Assert.Equal(data[(int)at..((int)at + Chunk)], await driver.ReadOrThrowAsync(at, Chunk));
        Assert.Equal(0, await driver.WriteAsync(geometry.StripeDataSize, data.AsMemory((int)geometry.StripeDataSize, Chunk)));

        // A stop in order does not make it known.
        await rig.StopAsync();
        Assert.Contains("--force", (await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync())).Message, StringComparison.Ordinal);
        await rig.AssembleAsync(force: true);
        Assert.NotEmpty(rig.Array.GetStatus().Warnings);
        await rig.AbandonAsync();
    }

    [Fact]
    public async Task A_write_to_the_lost_block_makes_it_known_again()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, 4, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 7);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        RaidGeometry geometry = rig.Array.Geometry;
        await rig.Drives[geometry.DataMember(0, 0)].VanishAsync();
        rig.Drives[geometry.DataMember(0, 1)].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Count = 1 });
        Assert.Equal(0, await driver.FlushAsync());
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(Chunk, TestBytes.Noise(8192, 8)));
        Assert.Equal(-Errno.EIO, (await driver.ReadAsync(0, 8192)).Status);
        byte[] next = TestBytes.Noise(4096, 9);
        Assert.Equal(0, await driver.WriteAsync(0, next));
        Assert.Equal(next, await driver.ReadOrThrowAsync(0, 4096));
        Assert.Equal(-Errno.EIO, (await driver.ReadAsync(4096, 4096)).Status);
        Assert.Equal(0, await driver.WriteAsync(4096, next));
        Assert.Equal(next, await driver.ReadOrThrowAsync(4096, 4096));
        Assert.Equal(0, rig.Array.GetStatus().RangesInDoubt);
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid6, 5)]
    public async Task A_write_beside_a_bad_block_makes_it_no_known_one_from_parity_that_may_not_fit(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, consistency: ArrayConsistency.Bitmap);
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 12);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, data));
        await rig.KillAsync();
        await rig.ReturnDrivesAsync();

        // The crash left a row's parity behind its data, no resync has come to it, and one of its blocks has gone bad.
        const long stripe = 3;
        RaidGeometry geometry = rig.Array.Geometry;
        int at = (int)(stripe * geometry.StripeDataSize);
        MemberPlace bad = geometry.Map(at);
        await BlockIo.WriteAsync(rig.Drives[geometry.ParityMember(stripe, 0)], rig.Reactors.Reactor, geometry.StripeOffset(stripe), TestBytes.Noise(Chunk, 13));
        rig.Drives[bad.Member].AddFault(new DriveFault { Operation = BlockOperation.Read, OffsetBytes = bad.Offset, LengthBytes = 4096 });
        rig.Run = rig.Run with { ResyncAfter = TimeSpan.FromHours(1) };
        await rig.AssembleAsync();

        // The end of that block and all of the next one: the parities can only be made with what the bad place held.
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(at + 8192, TestBytes.Noise(2 * Chunk - 8192, 14)));
        Assert.Equal(-Errno.EIO, (await driver.ReadAsync(at, 4096)).Status);
        rig.Drives[bad.Member].ClearFaults();
        var held = new byte[4096];
        await BlockIo.ReadAsync(rig.Drives[bad.Member], rig.Reactors.Reactor, bad.Offset, held);
        Assert.Equal(data[at..(at + 4096)], held);
    }

    [Fact]
    public async Task What_could_not_be_read_again_is_not_acknowledged()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid6, 5, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, TestBytes.Noise((int)rig.Array.SizeBytes, 15)));
        RaidGeometry geometry = rig.Array.Geometry;
        await rig.Drives[geometry.DataMember(0, 0)].VanishAsync();
        await rig.Drives[geometry.DataMember(0, 1)].VanishAsync();
        Assert.Equal(0, await driver.FlushAsync());
        rig.Drives[geometry.DataMember(0, 2)].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Count = 1 });
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(2 * Chunk, TestBytes.Noise(4096, 16)));

        // Two blocks are only in parities that do not fit: one of them alone would not be found in there.
        byte[] next = TestBytes.Noise(2 * Chunk, 17);
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, next.AsMemory(0, 4096)));
        Assert.Equal(0, await driver.WriteAsync(0, next));
        Assert.Equal(next, await driver.ReadOrThrowAsync(0, next.Length));
        Assert.Equal(0, rig.Array.GetStatus().RangesInDoubt);
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4, 1)]
    [InlineData(RaidLevel.Raid6, 5, 2)]
    public async Task Nothing_is_made_of_what_a_failed_flush_may_have_lost(RaidLevel level, int drives, int lost)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10);
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        await FillAndLoseAsync(rig, driver, lost, 18);

        // One that the array cannot do without says that something is lost, and it is.
        SimulatedDrive victim = rig.Drives[geometry.DataMember(0, geometry.DataCount - 1)];
        victim.AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 1 });
        await BlockIo.WriteAsync(victim, rig.Reactors.Reactor, geometry.StripeOffset(0), TestBytes.Noise(Chunk, 19));
        Assert.Equal(-Errno.EIO, await driver.FlushAsync());
        for (int i = 0; i < lost; i++)
        {
            Assert.Equal(-Errno.EIO, (await driver.ReadAsync(i * Chunk, 4096)).Status);
        }

        Assert.Equal(0, (await driver.ReadAsync((geometry.DataCount - 1) * Chunk, 4096)).Status);
    }

    /// <summary>
    /// A member that is being rebuilt is there in the rows that are made: they have parities enough without the one that lost
    /// its writes, and must do without it.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid6, 5)]
    [InlineData(RaidLevel.Raid73, 7)]
    public async Task What_a_failed_flush_may_have_lost_is_left_out_where_the_others_suffice(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 1 << 20);
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, 20);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        int rebuilt = geometry.DataMember(0, 2);
        await rig.LoseAsync(driver, rebuilt);
        rig.Array.MaxJobBytesPerSecond = 128 << 10;
        await rig.ReplaceAsync(rebuilt);
        await ArrayRig.WaitAsync(() => rig.Array.GetStatus().Rebuild is { DoneBytes: >= 2 * Chunk }, "a part of the rebuild");
        await rig.LoseAsync(driver, geometry.DataMember(0, 0));
        for (int more = 2; more < geometry.ParityCount; more++)
        {
            await rig.LoseAsync(driver, geometry.BlockMember(0, geometry.DataCount + more));
        }

        int lost = geometry.DataMember(0, 1);
        rig.Drives[lost].AddFault(new DriveFault { Operation = BlockOperation.Flush, Count = 1 });
        await BlockIo.WriteAsync(rig.Drives[lost], rig.Reactors.Reactor, geometry.StripeOffset(0), TestBytes.Noise(Chunk, 21));
        Assert.Equal(-Errno.EIO, await driver.FlushAsync());
        Assert.Equal(ArrayHealth.Failed, rig.Array.GetStatus().Health);
        Assert.True((await driver.ReadOrThrowAsync(0, Chunk)).AsSpan().SequenceEqual(data.AsSpan(0, Chunk)));
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 4, 1)]
    [InlineData(RaidLevel.Raid6, 5, 2)]
    public async Task A_failed_array_answers_what_can_be_read_directly_and_makes_nothing_else(RaidLevel level, int drives, int lost)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, Chunk, 256 << 10, consistency: ArrayConsistency.Bitmap);
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        byte[] data = await FillAndLoseAsync(rig, driver, lost, 10);

        SimulatedDrive victim = rig.Drives[geometry.DataMember(0, geometry.DataCount - 1)];
        victim.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = ArrayRig.DataOffset, Errno = Errno.ENODEV, Count = 1 });
        byte[] next = TestBytes.Noise(4096, 11);
        long at = (geometry.DataCount - 1) * Chunk;
        Assert.Equal(-Errno.EIO, await driver.WriteAsync(at, next));
        Assert.Equal(ArrayHealth.Failed, rig.Array.GetStatus().Health);
        next.CopyTo(data, at);
        for (int chunk = 0; chunk < data.Length / Chunk; chunk++)
        {
            (int status, byte[] read) = await driver.ReadAsync(chunk * Chunk, Chunk);
            bool isLost = rig.Drives[geometry.Map(chunk * Chunk).Member].IsGone;
            Assert.Equal(isLost ? -Errno.EIO : 0, status);
            Assert.True(isLost || chunk == geometry.DataCount - 1 || read.AsSpan().SequenceEqual(data.AsSpan(chunk * Chunk, Chunk)), $"chunk {chunk}");
        }

        Assert.Equal(-Errno.EIO, await driver.WriteAsync(0, next));
        await rig.StopAsync();
        Assert.Contains("--force", (await Assert.ThrowsAsync<ArrayException>(() => rig.AssembleAsync())).Message, StringComparison.Ordinal);
    }

    /// <summary>
    /// Writes the whole array, then takes the first data members of its first stripe away. Returns what was written.
    /// </summary>
    private static async Task<byte[]> FillAndLoseAsync(ArrayRig rig, RequestDriver driver, int lost, int seed)
    {
        byte[] data = TestBytes.Noise((int)rig.Array.SizeBytes, seed);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        for (int i = 0; i < lost; i++)
        {
            await rig.Drives[rig.Array.Geometry.DataMember(0, i)].VanishAsync();
        }

        Assert.Equal(0, await driver.FlushAsync());
        return data;
    }
}
