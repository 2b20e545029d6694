// A kernel device outlives the process that serves it (ublk, VDUSE): its successor receives again every request that the dead
// process had not answered, also those that were done but for the answer, and those that were half done. Serving them a second
// time, while the resync runs, must leave exactly their data, and parity and copies that agree.

using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class ReissueTests
{
    private const int Block = 512;

    public static TheoryData<RaidLevel, int, int, int> Shapes
    {
        get
        {
            // level, drives, chunk, seed
            var data = new TheoryData<RaidLevel, int, int, int>();
            for (int round = 0; round < 3; round++)
            {
                data.Add(RaidLevel.Raid1, 2, 64 << 10, 100 + round);
                data.Add(RaidLevel.Raid10, 4, 8 << 10, 200 + round);
                data.Add(RaidLevel.Raid5, 3, 4 << 10, 300 + round);
                data.Add(RaidLevel.Raid5, 4, 8 << 10, 400 + round);
                data.Add(RaidLevel.Raid6, 5, 4 << 10, 500 + round);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Requests_that_are_served_twice_leave_their_data_and_right_parity(RaidLevel level, int drives, int chunk, int seed)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, chunk, memberBytes: 128 << 10, reactors: 2,
            simulation: o => o with { Seed = o.Seed + (ulong)(seed * 100_000), MinimumLatencyNs = 1_000, MaximumLatencyNs = 2_000_000 });
        var random = new Random(seed);
        var expected = new byte[rig.Array.SizeBytes];
        random.NextBytes(expected);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, expected));

        for (int life = 0; life < 3; life++)
        {
            List<(int Offset, int Length)> ranges = Scatter(random, expected.Length);
            ranges.ForEach(r => random.NextBytes(expected.AsSpan(r.Offset, r.Length)));
            Task<int[]> writes = WriteAsync(ranges, expected, await OpenAllAsync(rig));
            await Task.Delay(random.Next(4));
            await rig.KillAsync();
            int[] status = await writes;
            await rig.ReturnDrivesAsync();
            await rig.AssembleAsync();

            // Of those that were done some had not been answered: they come again, too.
            List<(int, int)> again = [.. ranges.Where((_, i) => status[i] != 0 || random.Next(2) == 0)];
            Assert.All(await WriteAsync(again, expected, await OpenAllAsync(rig)), s => Assert.Equal(0, s));
            await CheckAsync(rig, expected, $"after life {life}, seed {seed}");
            await rig.WaitForResyncAsync();
            await rig.AssertConsistentAsync($"seed {seed}");
        }

        int victim = seed % drives;
        await rig.Drives[victim].VanishAsync();
        await CheckAsync(rig, expected, $"without member {victim}, seed {seed}");

        // A mirror's read may not have asked the member that is gone; a write does.
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, expected.AsMemory(0, Block)));
        await ArrayRig.WaitAsync(() => rig.Array.State.PersistedMask == 1UL << victim && rig.Array.Locks.IsIdle, $"the superblocks to name the failed member (seed {seed})");
    }

    /// <summary>
    /// Ranges that do not overlap, many in the same stripe: the kernel never has two writes of one block in flight.
    /// </summary>
    private static List<(int Offset, int Length)> Scatter(Random random, int size)
    {
        var ranges = new List<(int, int)>();
        for (int at = random.Next(8) * Block; ;)
        {
            int length = (random.Next(12) + 1) * Block;
            if (at + length > size)
            {
                return ranges;
            }

            ranges.Add((at, length));
            at += length + (random.Next(6) * Block);
        }
    }

    private static async Task<RequestDriver[]> OpenAllAsync(ArrayRig rig) => [await rig.OpenAsync(0), await rig.OpenAsync(1)];

    private static Task<int[]> WriteAsync(List<(int Offset, int Length)> ranges, byte[] data, RequestDriver[] drivers) =>
        Task.WhenAll(ranges.Select((r, i) => drivers[i % drivers.Length].WriteAsync(r.Offset, data.AsMemory(r.Offset, r.Length))));

    private static async Task CheckAsync(ArrayRig rig, byte[] expected, string when)
    {
        byte[] found = await (await rig.OpenAsync()).ReadOrThrowAsync(0, expected.Length);
        int difference = found.AsSpan().CommonPrefixLength(expected);
        Assert.True(difference == expected.Length, $"byte {difference} is wrong {when}");
    }
}
