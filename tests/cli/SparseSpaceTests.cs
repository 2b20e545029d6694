using Polyblk.Drives;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class SparseSpaceTests
{
    [Fact]
    public void Files_are_added_up_by_file_system()
    {
        DriveSpec[] files = [.. new[] { "/a/1", "/a/2", "/b/3" }.Select(path => DriveSpec.Parse($"file:{path},size=6GiB"))];
        string[] found = [.. SparseSpace.FindShortages(files, path => (path[..2], 10L << 30))];
        string warning = Assert.Single(found);
        Assert.Contains("12", warning, StringComparison.Ordinal);
        Assert.Contains("/a", warning, StringComparison.Ordinal);
        Assert.Empty(SparseSpace.FindShortages(files, path => (path, 6L << 30)));
    }

    [Fact]
    public void The_host_is_asked_for_what_is_free()
    {
        string path = Path.Combine(Path.GetTempPath(), "polyblk-not-made.img");
        Assert.Single(SparseSpace.FindShortages([DriveSpec.Parse($"file:{path},size=4096TiB")]));
        Assert.Empty(SparseSpace.FindShortages([DriveSpec.Parse($"file:{path},size=4KiB")]));
    }
}
