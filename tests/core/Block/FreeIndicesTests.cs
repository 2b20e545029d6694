using Polyblk.Core.Block;

namespace Polyblk.Core.Tests.Block;

public sealed class FreeIndicesTests
{
    [Fact]
    public void Each_number_is_given_out_once_and_the_last_that_came_back_first()
    {
        var free = new FreeIndices(3);
        Assert.True(free.IsFull);
        Assert.Equal(0, free.Next());
        Assert.Equal([0, 1, 2], [free.Take(), free.Take(), free.Take()]);
        Assert.True(free.IsEmpty);

        free.Return(1);
        free.Return(0);
        Assert.Equal((2, 3), (free.Count, free.Capacity));
        Assert.False(free.IsFull);
        Assert.Equal(0, free.Next());
        Assert.Equal([0, 1], [free.Take(), free.Take()]);
    }

    [Fact]
    public void Taking_from_none_and_giving_back_too_many_changes_nothing()
    {
        var free = new FreeIndices(1);
        Assert.Throws<IndexOutOfRangeException>(() => free.Return(0));
        Assert.Equal(0, free.Take());
        Assert.Throws<IndexOutOfRangeException>(() => free.Take());
        Assert.Equal(0, free.Count);
        free.Return(0);
        Assert.True(free.IsFull);
    }
}
