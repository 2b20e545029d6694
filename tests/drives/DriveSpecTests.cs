
using Polyblk.Drives.Files;
using Polyblk.Drives.Simulated;

namespace Polyblk.Drives.Tests;

public sealed class DriveSpecTests
{
    [Fact]
    public void UnderstandsEachKind()
    {
        Assert.Equal(("file", true, "/dev/nvme0n1"), KindAndPath("/dev/nvme0n1"));
        Assert.Equal(("file", true, "./a:b,c"), KindAndPath("./a:b,c"));
        Assert.Equal(("file", true, "disk.img"), KindAndPath("disk.img"));
        Assert.Equal(("file", false, "/tmp/x"), KindAndPath("file:/tmp/x"));
        DriveSpec file = DriveSpec.Parse("file:/tmp/x,size=1GiB,block-size=4096,direct=off");
        Assert.Equal((1L << 30, 4096, false), (file.SizeBytes, file.LogicalBlockSize, FileKind.Direct(file)));
        Assert.Null(FileKind.Direct(DriveSpec.Parse("file:/tmp/x")));
        Assert.Equal(("ram", 1L << 20), (DriveSpec.Parse("ram:1M").Kind.Name, DriveSpec.Parse("ram:1M").SizeBytes));
        Assert.Equal(("null", 1L << 40), (DriveSpec.Parse("null:1TiB").Kind.Name, DriveSpec.Parse("null:1TiB").SizeBytes));
        SimulatedDriveOptions options = SimulatedDriveOptions.Parse(
            DriveSpec.Parse("sim:1GiB,seed=7,latency=20us-1ms,tail=0.01:5ms,read-iops=100,write-mbps=2").Options);
        Assert.Equal((7ul, 20_000, 1_000_000), (options.Seed, options.MinimumLatencyNs, options.MaximumLatencyNs));
        Assert.Equal((0.01, 5_000_000, 100, 2e6), (options.TailProbability, options.TailLatencyNs, options.ReadIops, options.WriteBytesPerSecond));
        Assert.True(DriveSpec.Parse("sim:1GiB").IsVolatile);
        Assert.False(file.IsVolatile);
    }

    [Theory]
    [InlineData("", "is no drive")]
    [InlineData("disk:1GiB", "is no drive")]
    [InlineData("file:", "lacks the path")]
    [InlineData("file:/tmp/x,size", "name=value")]
    [InlineData("file:/tmp/x,size=", "name=value")]
    [InlineData("file:/tmp/x,size=1000", "multiple of 512")]
    [InlineData("file:/tmp/x,colour=red", "no option 'colour'")]
    [InlineData("file:/tmp/x,direct=maybe", "on or off")]
    [InlineData("ram:", "is no size")]
    [InlineData("ram:1GiB,direct=on", "no option 'direct'")]
    [InlineData("ram:512,block-size=4096", "multiple of the block size")]
    [InlineData("null:1GiB,block-size=1024", "512 or 4096")]
    [InlineData("sim:1GiB,seed=x", "whole number")]
    [InlineData("sim:1GiB,latency=5", "a time such as")]
    [InlineData("sim:1GiB,latency=5us-1us", "range")]
    [InlineData("sim:1GiB,mood=bad", "no option 'mood'")]
    [InlineData("/dev/a\nb", @"'/dev/a\nb' is no drive: its path has control characters")]
    [InlineData("file:/tmp/\u001b[2J,size=1MiB", "control characters")]
    public void SaysWhatIsWrong(string text, string expected) =>
        Assert.Contains(expected, Assert.Throws<FormatException>(() => DriveSpec.Parse(text)).Message, StringComparison.Ordinal);

    private static (string, bool, string) KindAndPath(string text)
    {
        DriveSpec spec = DriveSpec.Parse(text);
        return (spec.Kind.Name, spec.IsPlainPath, spec.Path);
    }
}
