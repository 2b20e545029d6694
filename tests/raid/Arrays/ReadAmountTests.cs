// What a write reads: nothing for whole rows, the old data and the parity for a little of a row, the rest of the row for most of
// it.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReadAmountTests
{
    private const int Chunk = 64 << 10;
    private const int Data = 8;

    /// <summary>RAID 5 of 8+1: by blocks that a write covers, the blocks that it reads.</summary>
    [Theory]
    [InlineData(1, 2)] // old data and P
    [InlineData(2, 3)]
    [InlineData(3, 4)] // with P less than the five others
    [InlineData(4, 4)] // the four others are less than four old ones and P
    [InlineData(5, 3)]
    [InlineData(7, 1)]
    [InlineData(8, 0)]
    public async Task A_write_reads_whatever_is_less(int blocks, int expected)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, Data + 1, Chunk);
        RequestDriver driver = await OpenAsync(rig);
        long[] read = await ReadByAsync(rig, () => driver.WriteAsync(0, Content(blocks * Chunk)));
        Assert.Equal(expected * (long)Chunk, read.Sum());
        RaidGeometry geometry = rig.Array.Geometry;
        bool others = blocks >= 4;
        for (int i = 0; i < Data; i++)
        {
            Assert.Equal((i < blocks) != others ? Chunk : 0, read[geometry.DataMember(0, i)]);
        }

        Assert.Equal(others ? 0 : Chunk, read[geometry.ParityMember(0, 0)]);
        await rig.AssertConsistentAsync($"after {blocks} blocks");
    }

    [Fact]
    public async Task Whole_rows_are_written_without_a_read()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, Data + 1, Chunk);
        RequestDriver driver = await OpenAsync(rig);
        long before = rig.Drives.Sum(d => d.Reads);
        Assert.Equal(0, await driver.WriteAsync(0, Content(Data * Chunk)));
        Assert.Equal(0, await driver.WriteAsync(Data * Chunk, Content(2 * Data * Chunk)));
        Assert.Equal(before, rig.Drives.Sum(d => d.Reads));
        await rig.AssertConsistentAsync("after whole rows");
    }

    [Fact]
    public async Task Four_kilobytes_read_their_old_content_and_that_of_P()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid5, Data + 1, Chunk);
        RequestDriver driver = await OpenAsync(rig);
        long before = rig.Drives.Sum(d => d.Reads);
        long[] read = await ReadByAsync(rig, () => driver.WriteAsync((3 * Chunk) + 8192, Content(4096)));
        Assert.Equal(2, rig.Drives.Sum(d => d.Reads) - before);
        Assert.Equal(4096, read[rig.Array.Geometry.DataMember(0, 3)]);
        Assert.Equal(4096, read[rig.Array.Geometry.ParityMember(0, 0)]);
        Assert.Equal(8192, read.Sum());
        await rig.AssertConsistentAsync("after 4 KiB");
    }

    /// <summary>
    /// The old P is not trusted before the row was resynced: it is made from the data, although that takes more reads.
    /// </summary>
    [Fact]
    public async Task A_row_that_is_not_resynced_is_reconstructed()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            RaidLevel.Raid5, Data + 1, Chunk, zeroed: false, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), Resync = false });
        foreach (SimulatedDrive drive in rig.Drives)
        {
            // What the drives held before: no parity fits it.
            await BlockIo.WriteAsync(drive, rig.Reactors.Reactor, ArrayRig.DataOffset, Content(Chunk, (int)drive.Options.Seed));
        }

        RequestDriver driver = await OpenAsync(rig);
        long[] read = await ReadByAsync(rig, () => driver.WriteAsync((3 * Chunk) + 8192, Content(4096)));
        RaidGeometry geometry = rig.Array.Geometry;
        Assert.Equal(0, read[geometry.ParityMember(0, 0)]);
        Assert.Equal(0, read[geometry.DataMember(0, 3)]);
        Assert.All(Enumerable.Range(0, Data).Where(i => i != 3), i => Assert.Equal(4096, read[geometry.DataMember(0, i)]));

        // The columns of the write are right now, whatever they were.
        var p = new byte[4096];
        for (int i = 0; i < Data; i++)
        {
            byte[] member = await rig.ReadMemberAsync(geometry.DataMember(0, i));
            for (int b = 0; b < p.Length; b++)
            {
                p[b] ^= member[8192 + b];
            }
        }

        Assert.Equal(p, (await rig.ReadMemberAsync(geometry.ParityMember(0, 0)))[8192..(8192 + 4096)]);
    }

    /// <summary>
    /// Opens a driver, and has a whole row written that no test looks at: the superblocks, before which each member's slots are
    /// read, know by then that the array is written.
    /// </summary>
    private static async Task<RequestDriver> OpenAsync(ArrayRig rig)
    {
        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        Assert.Equal(0, await driver.WriteAsync(geometry.Capacity - geometry.StripeDataSize, Content(Data * Chunk)));
        return driver;
    }

    /// <summary>The bytes that each drive read for a write.</summary>
    private static async Task<long[]> ReadByAsync(ArrayRig rig, Func<Task<int>> write)
    {
        long[] before = [.. rig.Drives.Select(d => d.ReadBytes)];
        Assert.Equal(0, await write());
        return [.. rig.Drives.Select((d, i) => d.ReadBytes - before[i])];
    }

    private static byte[] Content(int length, int seed = 1)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }
}
