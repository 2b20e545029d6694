// Which writes to a drive that is being replaced are those that mend a row which it cannot read: only of these it does not matter that
// the old drive refuses them (Map/TwinOp.cs).

using Polyblk.Core.Block;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReplacementMendTests
{
    private const int Row = 4096;
    private const long At = 1 << 20;

    /// <summary>
    /// A consumer's write that begins where a row is mended and goes on behind it was taken for the mend: what the old drive had refused
    /// was copied from it, as it had been, over what the new drive had taken (seed 5221).
    /// </summary>
    [Theory]
    [InlineData(At, Row, true)]
    [InlineData(At, 512, true)]
    [InlineData(At, Row + 512, false)]
    [InlineData(At, 4 * Row, false)]
    [InlineData(At - Row, 2 * Row, false)]
    [InlineData(At + 512, 512, false)]
    public void Only_a_write_within_the_row_is_the_mend(long offset, int length, bool isIt)
    {
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid1, 64 << 10, [16 << 20, 16 << 20], out RaidGeometry? geometry, out _));
        var replacement = new Replacement(
            new RaidMember(0, null, Guid.NewGuid()), new RaidMember(0, null, Guid.NewGuid()), new CopyMap(geometry!))
        {
            MendBytes = Row,
        };
        replacement.BeginMend(0, At);
        var write = new BlockRequest { Operation = BlockOperation.Write, OffsetBytes = offset, LengthBytes = length };
        Assert.Equal(isIt, replacement.IsMending(write));
        replacement.EndMend(0);
        Assert.False(replacement.IsMending(write));
    }
}
