using Polyblk.Core.Block;
using Polyblk.Drives.Files;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

/// <summary>Every kind of drive keeps what is written to it, whatever the requests' sizes, order and buffers.</summary>
public sealed class DriveContentTests
{
    [Theory]
    [InlineData("ram:8MiB", 1)]
    [InlineData("ram:8MiB,block-size=4096", 2)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB", 3)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB,block-size=4096", 4)]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=8MiB", 5)]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=8MiB,block-size=4096", 6)]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=8MiB,direct=off", 7)]
    public async Task KeepsContent(string text, int seed)
    {
        using var directory = new TemporaryFiles();
        DriveSpec spec = directory.Parse(text);
        using var fixture = new ReactorFixture();
        await using IBlockDevice drive = DriveFactory.Open(spec);
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await new DriveModel(driver, seed).RunAsync(rounds: 60, depth: 8);
    }

    [Theory]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=8MiB", 8)]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=8MiB,direct=off", 9)]
    public async Task KeepsContentWithoutIoUring(string text, int seed)
    {
        using var directory = new TemporaryFiles();
        DriveSpec spec = directory.Parse(text);
        using var fixture = new ReactorFixture(ringEntries: 0);
        Assert.Null(fixture.Reactor.Ring);
        Assert.NotEmpty(fixture.Reactor.RingNotice);
        await using IBlockDevice drive = DriveFactory.Open(spec);
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await new DriveModel(driver, seed).RunAsync(rounds: 40, depth: 8);
    }

    [Theory]
    [InlineData("zram0", true)]
    [InlineData("ram12", true)]
    [InlineData("pmem1", false)]
    [InlineData("zram", false)]
    [InlineData("rambo0", false)]
    [InlineData("nvme0n1", false)]
    [InlineData("pmem0s", false)]
    public void DevicesThatAreMemoryAreKnownByName(string disk, bool isMemory) => Assert.Equal(isMemory, MemoryDevices.IsMemory(disk));
}
