using Polyblk.Cli.CommandLine;

namespace Polyblk.Cli.Tests;

public class CompareReportFactsTests
{
    [Theory]
    [InlineData(null, "the built-in polling I/O", null)]
    [InlineData("fio-3.33", "the built-in polling I/O", "fio-3.33")]
    [InlineData("fio-3.39", "fio-3.39 in the VM")]
    [InlineData("fio-3.33", "fio-3.39 in the VM", "fio-3.33")]
    public void TheVersionOfFioIsTheHostsWhereItDroveSomethingElseTheMachines(string? version, params string?[] loads) =>
        Assert.Equal(version, CompareReport.FioVersion(loads));

    [Theory]
    [InlineData("raid5", 65536)]
    [InlineData("raid0", 65536)]
    [InlineData("raid1", null)]
    [InlineData("none", null)]
    public void AScratchVolumeHasTheChunkThatItIsMadeWith(string level, int? chunkBytes) => Assert.Equal(chunkBytes, CompareReport.ChunkBytes(level));
}
