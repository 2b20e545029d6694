// Members that are memory are read and written in place, without requests: the same model as for all others, alone and mixed with
// members that are not.

using Polyblk.Core.Block;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class MemoryMemberTests
{
    [Theory]
    [InlineData(RaidLevel.Raid5, 3, 4 << 10, 1, false)]
    [InlineData(RaidLevel.Raid5, 5, 128 << 10, 1, false)]
    [InlineData(RaidLevel.Raid5, 9, 64 << 10, 1, true)]
    [InlineData(RaidLevel.Raid6, 4, 16 << 10, 2, false)]
    [InlineData(RaidLevel.Raid73, 5, 16 << 10, 2, false)]
    [InlineData(RaidLevel.Raid6, 7, 64 << 10, 2, true)]
    [InlineData(RaidLevel.Raid50, 8, 16 << 10, 1, true)]
    [InlineData(RaidLevel.Raid60, 8, 64 << 10, 2, false)]
    [InlineData(RaidLevel.Raid73, 8, 64 << 10, 2, true)]
    [InlineData(RaidLevel.Raid6, 10, 128 << 10, 1, false)]
    [InlineData(RaidLevel.Raid73, 11, 128 << 10, 1, false)]
    [InlineData(RaidLevel.Raid6, 23, 4 << 10, 2, true)]
    [InlineData(RaidLevel.Raid73, 24, 4 << 10, 2, true)]
    public async Task What_is_written_in_place_survives_the_loss_of_any_members(RaidLevel level, int count, int chunk, int lost, bool mixed)
    {
        for (int first = 0; first < count; first += Math.Max(1, count / 4))
        {
            using var reactors = new ReactorFixture(1, ringEntries: 0);
            long size = ArrayRig.DataOffset + Math.Max(128 << 10, 2 * chunk);
            IBlockDevice[] drives = [.. Enumerable.Range(0, count).Select(i => Make(size, opaque: mixed && i % 2 == 1))];
            int seed = (first * 1_000_003) + (count * 1009) + chunk;
            var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) };
            RaidArray array = await ArrayBuilder.CreateAsync(
                new ArrayCreateOptions { Name = "memory", Level = level, ChunkBytes = chunk, AssumeZeroed = true, Run = run }, drives, reactors.Reactor);
            RequestDriver driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
            var model = new ArrayModel(array, driver, seed);
            await model.RunAsync(60);
            await model.CheckAllAsync();
            await driver.DisposeAsync();
            await array.DisposeAsync();

            // Neighbours, so that P, Q and data are lost in all combinations over the stripes.
            IBlockDevice[] left = [.. drives.Where((_, i) => (i - first + count) % count >= lost)];
            array = await ArrayBuilder.AssembleAsync(new ArrayAssembleOptions { Name = "memory", AllowDegraded = true, Run = run }, left, reactors.Reactor);
            driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
            model.Reopen(driver);
            await model.CheckAllAsync();
            await model.RunAsync(60);
            await model.CheckAllAsync();
            await ArrayRig.WaitForLocksAsync(array);
            await driver.DisposeAsync();
            await array.DisposeAsync();
            foreach (IBlockDevice drive in drives)
            {
                await drive.DisposeAsync();
            }
        }
    }

    private static IBlockDevice Make(long size, bool opaque) => opaque ? new OpaqueDrive(new RamDrive(size)) : new RamDrive(size);
}
