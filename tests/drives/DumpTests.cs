using Polyblk.Core.Block;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

public sealed class DumpTests
{
    private const long Large = 1L << 30;

    [Fact]
    public async Task WhatARamDriveHoldsIsInNoCoreDump()
    {
        long before = MappingFlags.LeftOutOfDumps();
        await using IBlockDevice drive = DriveFactory.Open(DriveSpec.Parse("ram:1GiB"));

        // Other tests may give their own back meanwhile.
        Assert.InRange(MappingFlags.LeftOutOfDumps() - before, Large / 2, long.MaxValue);
    }
}
