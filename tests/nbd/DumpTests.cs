// What clients store is not to be found in a dump of the process.

using Polyblk.Fakes;
using Polyblk.Frontends.Nbd;

namespace Polyblk.Nbd.Tests;

public sealed unsafe class DumpTests
{
    [Fact]
    public void Data_of_clients_is_in_no_core_dump()
    {
        using var arena = new BlockArena(2);
        Assert.True(MappingFlags.IsLeftOutOfDumps(arena.AddressOf(0)));
    }
}
