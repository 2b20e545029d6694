// Drives that are block devices: loop devices, which take root. All that needs none is tested in tests/drives.

using Polyblk.Core.Block;
using Polyblk.Drives.Files;
using Polyblk.Drives.Tests;
using Polyblk.Fakes;

namespace Polyblk.Drives.Host.Tests;

public sealed class LoopDeviceTests
{
    [Theory]
    [InlineData(512, 256u, 10)]
    [InlineData(4096, 256u, 11)]
    [InlineData(4096, 0u, 12)]
    public async Task BlockDeviceKeepsContent(int sectorSize, uint ringEntries, int seed)
    {
        using LoopDevice loop = LoopDevice.Create(8 << 20, sectorSize);
        using var fixture = new ReactorFixture(ringEntries: ringEntries);
        await using IBlockDevice drive = DriveFactory.Open(DriveSpec.Parse(loop.Path));
        Assert.Equal(sectorSize, drive.Limits.LogicalBlockSize);
        Assert.True(((FileDrive)drive).IsDirect);
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await new DriveModel(driver, seed).RunAsync(rounds: 40, depth: 8);
    }

    [Theory]
    [InlineData(512, 14)]
    [InlineData(4096, 15)]
    public async Task BlockDeviceServedInsideSubmitKeepsContent(int sectorSize, int seed)
    {
        using LoopDevice loop = LoopDevice.Create(8 << 20, sectorSize);
        using var fixture = new ReactorFixture();
        await using var drive = (FileDrive)DriveFactory.Open(DriveSpec.Parse(loop.Path));
        Assert.False(drive.IsServedInline);
        drive.IsServedInline = true;
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        Assert.IsType<InlineFileQueue>(driver.Queue);
        await new DriveModel(driver, seed).RunAsync(rounds: 40, depth: 8);
    }

    [Fact]
    public async Task PolledCompletionsFallBackWhereTheDeviceHasNone()
    {
        using LoopDevice loop = LoopDevice.Create(8 << 20, 4096);
        using var fixture = new ReactorFixture();
        await using var drive = (FileDrive)DriveFactory.Open(DriveSpec.Parse(loop.Path));
        Assert.False(drive.PollsCompletions);
        drive.PollsCompletions = true;
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        Assert.True(((UringQueue)driver.Queue).IsPolling);
        await new DriveModel(driver, seed: 13).RunAsync(rounds: 10, depth: 8);
        Assert.False(((UringQueue)driver.Queue).IsPolling);
    }

    [Fact]
    public async Task AMountedOrUsedDeviceIsRefused()
    {
        using LoopDevice loop = LoopDevice.Create(4 << 20, 512);
        await using IBlockDevice first = DriveFactory.Open(DriveSpec.Parse(loop.Path));
        Refuses(loop.Path);
        await using IBlockDevice reader = DriveFactory.Open(DriveSpec.Parse(loop.Path), readOnly: true);
        Assert.Equal(4 << 20, reader.SizeBytes);
        Refuses($"file:{loop.Path},block-size=512,size=8MiB");
    }

    [Fact]
    public async Task AGrownDeviceIsNoticedAndUsable()
    {
        using LoopDevice loop = LoopDevice.Create(1 << 20, 512);
        await DriveGrowth.CheckAsync(loop.Path, loop.Grow);
    }

    private static void Refuses(string text)
    {
        DriveException e = Assert.Throws<DriveException>(() => DriveFactory.Open(DriveSpec.Parse(text)));
        Assert.Contains("in use", e.Message, StringComparison.Ordinal);
    }
}
