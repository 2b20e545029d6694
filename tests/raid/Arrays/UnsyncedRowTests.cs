// Rows that no resync has come to, on drives that held something before: their parities agree neither with the data nor with each
// other, until they are written.

using Polyblk.Core.Block;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class UnsyncedRowTests
{
    private const int BlockBytes = 4096;
    private const int ChunkBytes = 64 << 10;

    /// <summary>
    /// Members are lost one after the other, and after each of them something is written that the next one holds.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 4, ArrayConsistency.Journal)]
    [InlineData(RaidLevel.Raid6, 5, ArrayConsistency.Journal)]
    [InlineData(RaidLevel.Raid6, 5, ArrayConsistency.Bitmap)]
    [InlineData(RaidLevel.Raid6, 4, ArrayConsistency.Journal)]
    [InlineData(RaidLevel.Raid73, 7, ArrayConsistency.Journal)]
    [InlineData(RaidLevel.Raid74, 7, ArrayConsistency.Journal)]
    [InlineData(RaidLevel.Raid50, 8, ArrayConsistency.Journal)]
    [InlineData(RaidLevel.Raid60, 10, ArrayConsistency.Journal)]
    public async Task What_is_written_while_members_are_lost_is_read_when_its_own_member_is_lost(
        RaidLevel level, int drives, ArrayConsistency consistency)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, zeroed: false, consistency: consistency,
            run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, Resync = false });
        var random = new Random(7);
        foreach (IBlockDevice drive in rig.Drives)
        {
            byte[] before = new byte[rig.Array.Geometry.MemberDataSize];
            random.NextBytes(before);
            await BlockIo.WriteAsync(drive, rig.Reactors.Reactor, ArrayRig.DataOffset, before);
        }

        RequestDriver driver = await rig.OpenAsync();
        RaidGeometry geometry = rig.Array.Geometry;
        byte[][] written = new byte[geometry.ParityCount][];
        await rig.LoseAsync(driver, geometry.BlockMember(0, geometry.DataCount - 1));
        for (int lost = 0; lost < geometry.ParityCount; lost++)
        {
            int data = Math.Min(lost, geometry.DataCount - 2);
            written[lost] = new byte[BlockBytes];
            random.NextBytes(written[lost]);
            Assert.Equal(0, await driver.WriteAsync(((long)data * ChunkBytes) + ((lost - data) * BlockBytes), written[lost]));
            if (lost + 1 < geometry.ParityCount && data == lost)
            {
                await rig.LoseAsync(driver, geometry.BlockMember(0, data));
            }

            for (int i = 0; i <= lost; i++)
            {
                int its = Math.Min(i, geometry.DataCount - 2);
                long at = ((long)its * ChunkBytes) + ((i - its) * BlockBytes);
                (int status, byte[] read) = await driver.ReadAsync(at, BlockBytes);
                Assert.Equal(0, status);
                Assert.True(read.AsSpan().SequenceEqual(written[i]), $"block {i} when {lost + 2} members are lost");
            }
        }
    }
}
