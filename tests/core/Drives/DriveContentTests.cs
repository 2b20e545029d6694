using Polyblk.Core.Block;
using Polyblk.Core.Drives;
using Polyblk.Fakes;

namespace Polyblk.Core.Tests.Drives;

/// <summary>Every kind of drive keeps what is written to it, whatever the requests' sizes, order and buffers.</summary>
public sealed class DriveContentTests
{
    [Theory]
    [InlineData("ram:8MiB", 1)]
    [InlineData("ram:8MiB,block-size=4096", 2)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB", 3)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB,block-size=4096", 4)]
    public async Task KeepsContent(string text, int seed)
    {
        using var directory = new TemporaryFiles();
        DriveSpec spec = directory.Parse(text);
        using var fixture = new ReactorFixture();
        await using IBlockDevice drive = DriveFactory.Open(spec);
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await new DriveModel(driver, seed).RunAsync(rounds: 150, depth: 8);
    }
}
