using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class DoubtSetTests
{
    [Fact]
    public void Columns_come_and_go_one_by_one()
    {
        var doubts = new DoubtSet();
        Assert.True(doubts.Add(7, 4096, 8192));
        Assert.True(doubts.Add(7, 65024, 65536));
        Assert.Equal((1, 7L), (doubts.Count, doubts.First));
        Assert.True(doubts.Touches(7, 0, 4608));
        Assert.False(doubts.Touches(7, 0, 4096));
        Assert.False(doubts.Touches(8, 0, 65536));
        doubts.Remove(7, 0, 65024);
        Assert.False(doubts.Touches(7, 0, 65024));
        Assert.True(doubts.Touches(7, 0, 65536));
        doubts.Remove(7, 0, 65536);
        Assert.Equal((0, long.MaxValue), (doubts.Count, doubts.First));
    }

    [Fact]
    public void It_says_when_it_is_full()
    {
        var doubts = new DoubtSet();
        for (int i = 0; i < DoubtSet.Capacity; i++)
        {
            Assert.True(doubts.Add(i, 0, 512));
        }

        Assert.False(doubts.Add(DoubtSet.Capacity, 0, 512));
        Assert.True(doubts.Add(3, 512, 1024));
        doubts.Remove(0, 0, 65536);
        Assert.True(doubts.Add(DoubtSet.Capacity, 0, 512));
        var units = new long[DoubtSet.Capacity];
        Assert.Equal(DoubtSet.Capacity, doubts.CopyTo(units));
        Assert.Equal(1, doubts.First);
    }

    [Fact]
    public void Several_threads_add_and_remove_their_own_ranges_at_once()
    {
        var doubts = new DoubtSet();
        Parallel.For(0, 8, thread =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                long unit = (thread * 100) + (i % 100);
                Assert.True(doubts.Add(unit, 0, 4096));
                Assert.True(doubts.Touches(unit, 0, 512));
                doubts.Remove(unit, 0, 65536);
                Assert.False(doubts.Touches(unit, 0, 65536));
            }
        });
        Assert.Equal(0, doubts.Count);
    }
}
