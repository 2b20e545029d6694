using System.Buffers.Binary;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Superblock;

public sealed class BadRangesTests
{
    [Fact]
    public void Runs_that_touch_are_one_and_long_ones_are_cut()
    {
        BadRanges list = BadRanges.None.With(10, 2, 0b11)!.With(12, 1, 0b10)!.With(9, 1, 0b10)!;
        Assert.Equal([new BadRange(0, 10, 2), new BadRange(1, 9, 4)], list.Entries);
        Assert.Equal((0b11UL, 0b10UL, 0b11UL, 0UL), (list.Members, list.In(0, 10), list.In(11, 1), list.In(13, 100)));
        Assert.Equal([256, 44], BadRanges.None.With(0, 300, 1)!.Entries.Select(e => e.Rows));
        Assert.Equal(2, BadRanges.None.With(0, 256, 1)!.With(256, 1, 1)!.Entries.Length);
    }

    [Fact]
    public void What_is_taken_out_leaves_the_rest()
    {
        BadRanges list = BadRanges.None.With(10, 10, 0b101)!;
        Assert.Equal([new BadRange(0, 10, 10), new BadRange(2, 10, 2), new BadRange(2, 13, 7)], list.Without(12, 1, 0b100).Entries);
        Assert.Same(BadRanges.None, list.Without(0, 100, ulong.MaxValue));
        Assert.Equal([new BadRange(2, 10, 10)], list.WithoutMembers(1).Entries);
        Assert.True(list.Includes(list.Without(12, 1, 0b100)));
        Assert.False(list.Without(12, 1, 0b100).Includes(list));
    }

    [Fact]
    public void A_full_list_takes_no_more_and_keeps_what_it_cannot_cut()
    {
        BadRanges list = BadRanges.None;
        for (int i = 0; i < BadRanges.MaxEntriesOfMember; i++)
        {
            list = list.With(i * 10, 3, 1)!;
        }

        Assert.Null(list.With(5, 1, 1));
        Assert.Same(list, list.Without(1, 1, 1));
        Assert.NotNull(list.With(3, 1, 1));
        for (int i = 0; i < BadRanges.MaxEntries - BadRanges.MaxEntriesOfMember; i++)
        {
            list = list.With(i * 2, 1, i % 2 == 0 ? 2UL : 4UL)!;
        }

        Assert.Null(list.With(1000, 1, 8));
        Assert.Null(BadRanges.None.With(BadRanges.MaxRow, 2, 1));
        Assert.NotNull(BadRanges.None.With(BadRanges.MaxRow, 1, 1));
    }

    [Fact]
    public void A_superblock_keeps_them_and_who_does_not_know_them_refuses_it()
    {
        ArraySuperblock plain = Samples.Member();
        ArraySuperblock bad = plain with
        {
            BadRanges = BadRanges.None.With(1, 2, 0b10)!.With(4, 1, 1)!, Incompatible = IncompatibleFeatures.BadRanges,
        };
        var block = new byte[SuperblockFormat.SizeBytes];
        SuperblockFormat.Write(bad, block);
        Assert.Equal(2, BinaryPrimitives.ReadInt32LittleEndian(block.AsSpan(2816)));
        Assert.Equal(4UL, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(2824)));
        Assert.Equal(0x0101_0000_0000_0001UL, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(2832)));
        Assert.Equal(2UL, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(72)));
        Assert.Equal(bad, SuperblockFormat.Parse(block).Superblock);
        Assert.NotEqual(plain, bad);
        Assert.NotNull(SuperblockFormat.Check(bad with { Incompatible = IncompatibleFeatures.None }));
        Assert.NotNull(SuperblockFormat.Check(plain with { Incompatible = IncompatibleFeatures.BadRanges }));
        Assert.NotNull(SuperblockFormat.Check(bad with { BadRanges = BadRanges.None.With(1L << 40, 1, 1)! }));
        Assert.NotNull(SuperblockFormat.Check(bad with { BadRanges = BadRanges.None.With(0, 1, 1UL << 63)! }));
    }
}
