// Random requests of any size and place against a plain byte array, for every level and shape, healthy and degraded.

using Polyblk.Core.Block;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ModelTests
{
    public static TheoryData<RaidLevel, int, int, int> Shapes => new()
    {
        // level, drives, chunk, drives lost
        { RaidLevel.Raid0, 1, 4 << 10, 0 },
        { RaidLevel.Raid0, 3, 64 << 10, 0 },
        { RaidLevel.Raid0, 64, 4 << 10, 0 },
        { RaidLevel.Raid1, 2, 64 << 10, 0 },
        { RaidLevel.Raid1, 3, 4 << 10, 2 },
        { RaidLevel.Raid10, 4, 16 << 10, 0 },
        { RaidLevel.Raid10, 5, 64 << 10, 1 },
        { RaidLevel.Raid10, 2, 8 << 10, 1 },
        { RaidLevel.Raid5, 3, 4 << 10, 0 },
        { RaidLevel.Raid5, 3, 64 << 10, 1 },
        { RaidLevel.Raid5, 5, 128 << 10, 0 },
        { RaidLevel.Raid5, 9, 16 << 10, 1 },
        { RaidLevel.Raid5, 4, 256 << 10, 1 },
        { RaidLevel.Raid5, 64, 4 << 10, 1 },
        { RaidLevel.Raid6, 4, 16 << 10, 0 },
        { RaidLevel.Raid6, 4, 4 << 10, 2 },
        { RaidLevel.Raid6, 6, 128 << 10, 1 },
        { RaidLevel.Raid6, 7, 64 << 10, 2 },
        { RaidLevel.Raid6, 64, 4 << 10, 2 },
        { RaidLevel.Raid73, 5, 16 << 10, 0 },
        { RaidLevel.Raid73, 5, 4 << 10, 3 },
        { RaidLevel.Raid73, 7, 64 << 10, 2 },
        { RaidLevel.Raid73, 11, 128 << 10, 3 },
        { RaidLevel.Raid74, 20, 16 << 10, 4 },
        { RaidLevel.Raid75, 8, 64 << 10, 5 },
        { RaidLevel.Raid78, 10, 8 << 10, 8 },
        { RaidLevel.Raid78, 64, 4 << 10, 8 },
        { RaidLevel.Raid50, 6, 4 << 10, 0 },
        { RaidLevel.Raid50, 6, 64 << 10, 2 },
        { RaidLevel.Raid50, 8, 128 << 10, 1 },
        { RaidLevel.Raid50, 64, 4 << 10, 2 },
        { RaidLevel.Raid60, 8, 16 << 10, 0 },
        { RaidLevel.Raid60, 8, 128 << 10, 4 },
        { RaidLevel.Raid60, 12, 64 << 10, 3 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Requests_of_any_shape_read_what_was_written(RaidLevel level, int drives, int chunk, int lost)
    {
        int seed = ((int)level * 1_000_003) + (drives * 1009) + chunk;
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, chunk, memberBytes: Math.Max(drives > 9 ? 48 << 10 : 256 << 10, 2 * chunk), extraBytes: i => i % 3 * 12_288);
        RequestDriver driver = await rig.OpenAsync();
        var model = new ArrayModel(rig.Array, driver, seed);
        await model.RunAsync(40);
        ulong failed = 0;
        for (int i = 0; i < lost; i++)
        {
            // Neighbours, so that parities and data are lost in all combinations over the stripes; of groups, the last of one and
            // the first of the next.
            int member = ((drives / 2) + i - (level.HasGroups() ? lost / 2 : 0)) % drives;
            failed |= 1UL << member;
            await rig.Drives[member].VanishAsync();
            await model.RunAsync(40);
        }

        await model.RunAsync(60);
        await model.CheckAllAsync();
        if (lost == 0)
        {
            await rig.AssertConsistentAsync($"seed {seed}");
            Assert.Equal(ArrayHealth.Optimal, rig.Array.GetStatus().Health);
        }
        else
        {
            Assert.Equal(ArrayHealth.Degraded, rig.Array.GetStatus().Health);
            Assert.Equal(failed, rig.Array.State.FailedMask);
        }

        await ArrayRig.WaitForLocksAsync(rig.Array);
    }
}
