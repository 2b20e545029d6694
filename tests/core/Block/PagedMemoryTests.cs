using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Fakes;

namespace Polyblk.Core.Tests.Block;

public sealed unsafe partial class PagedMemoryTests
{
    private const int PageBytes = 4096;

    [Fact]
    public void Pages_are_there_when_they_are_touched_and_until_they_are_given_back()
    {
        const int Pages = 4096;
        using var memory = new PagedMemory(Pages * PageBytes);
        Assert.Equal(0u, (ulong)memory.Start % PageBytes);
        Assert.Equal(0, CountResident(memory, Pages));
        for (int page = 0; page < Pages; page += 2)
        {
            memory.Start[page * PageBytes] = 7;
        }

        Assert.Equal(Pages / 2, CountResident(memory, Pages));
        PagedMemory.Release(memory.Start, Pages / 2 * PageBytes);
        Assert.Equal(Pages / 4, CountResident(memory, Pages));
        Assert.Equal((0, 7), (memory.Start[0], memory.Start[Pages / 2 * PageBytes]));
    }

    [Fact]
    public void Address_space_that_is_not_there_is_refused() =>
        Assert.Throws<IOException>(() => new PagedMemory(1L << 60).Dispose());

    [Fact]
    public void It_is_in_no_core_dump()
    {
        using var memory = new PagedMemory(PageBytes);
        memory.Start[0] = 1;
        Assert.True(MappingFlags.IsLeftOutOfDumps(memory.Start));
    }

    private static int CountResident(PagedMemory memory, int pages)
    {
        var resident = new byte[pages];
        fixed (byte* vector = resident)
        {
            Assert.Equal(0, mincore(memory.Start, (nuint)pages * PageBytes, vector));
        }

        return resident.Count(r => (r & 1) != 0);
    }

    [LibraryImport("libc")]
    private static partial int mincore(void* start, nuint bytes, byte* vector);
}
