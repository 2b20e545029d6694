// What the users of a device store is not to be found in a dump of the process.

using Polyblk.Fakes;

namespace Polyblk.Frontends.Ublk.Tests;

public sealed unsafe class UblkDumpTests
{
    [Fact]
    public void Data_of_a_device_is_in_no_core_dump()
    {
        using var buffers = new UblkBuffers(depth: 2, bufferBytes: 4096);
        Assert.True(MappingFlags.IsLeftOutOfDumps(buffers[1]));
    }
}
