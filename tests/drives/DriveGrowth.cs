using Polyblk.Core.Block;
using Polyblk.Drives.Files;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

/// <summary>A drive of 1 MiB that grows to 2 MiB says so, and its new part can be used.</summary>
internal static class DriveGrowth
{
    public static async Task CheckAsync(string text, Action<long> grow)
    {
        using var fixture = new ReactorFixture();
        await using var drive = (FileDrive)DriveFactory.Open(DriveSpec.Parse(text));
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        var sizes = new List<long>();
        drive.Resized += d => sizes.Add(d.SizeBytes);
        Assert.False(await drive.RefreshSizeAsync());
        Assert.Equal(-Errno.EINVAL, await driver.WriteAsync(1 << 20, new byte[512]));
        grow(2 << 20);
        Assert.True(await drive.RefreshSizeAsync());
        Assert.Equal([2 << 20], sizes);
        Assert.Equal(0, await driver.WriteAsync((2 << 20) - 512, new byte[512]));
    }
}
