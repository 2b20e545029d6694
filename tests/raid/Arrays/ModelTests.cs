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
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Requests_of_any_shape_read_what_was_written(RaidLevel level, int drives, int chunk, int lost)
    {
        int seed = ((int)level * 1_000_003) + (drives * 1009) + chunk;
        await using ArrayRig rig = await ArrayRig.CreateAsync(level, drives, chunk, memberBytes: Math.Max(drives > 9 ? 48 << 10 : 256 << 10, 2 * chunk), extraBytes: i => i % 3 * 12_288);
        RequestDriver driver = await rig.OpenAsync();
        var model = new Model(rig.Array, driver, seed);
        await model.RunAsync(40);
        ulong failed = 0;
        for (int i = 0; i < lost; i++)
        {
            // Neighbours in RAID 6, so that P, Q and data are lost in all combinations over the stripes.
            int member = (drives / 2) + i;
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

        Assert.True(rig.Array.Locks.IsIdle);
    }

    /// <summary>The volume as it should be, and random requests that keep it so.</summary>
    private sealed class Model(RaidArray array, RequestDriver driver, int seed)
    {
        private readonly Random _random = new(seed);
        private readonly byte[] _expected = new byte[array.SizeBytes];

        public async Task RunAsync(int count)
        {
            for (int i = 0; i < count; i++)
            {
                int length = Length();
                int offset = _random.Next((_expected.Length - length) / 512 + 1) * 512;
                int kind = _random.Next(20);
                string what = $"seed {seed}, step {i}, kind {kind}, {length} bytes at {offset}";
                if (kind < 11)
                {
                    var data = new byte[length];
                    _random.NextBytes(data);
                    Assert.True(await driver.WriteAsync(offset, data, kind == 0 ? BlockFlags.Fua : BlockFlags.None, Layout()) == 0, what);
                    data.CopyTo(_expected, offset);
                }
                else if (kind < 17)
                {
                    (int status, byte[] data) = await driver.ReadAsync(offset, length, Layout());
                    Assert.True(status == 0, $"{what}: status {status}");
                    Assert.True(data.AsSpan().SequenceEqual(_expected.AsSpan(offset, length)), what);
                }
                else if (kind == 17)
                {
                    Assert.True(await driver.FlushAsync() == 0, what);
                }
                else if (kind == 18)
                {
                    Assert.True(await driver.WriteZeroesAsync(offset, length, BlockFlags.Unmap) == 0, what);
                    _expected.AsSpan(offset, length).Clear();
                }
                else
                {
                    // What a discarded range holds is open: write it at once.
                    Assert.True(await driver.DiscardAsync(offset, length) == 0, what);
                    var data = new byte[length];
                    _random.NextBytes(data);
                    Assert.True(await driver.WriteAsync(offset, data) == 0, what);
                    data.CopyTo(_expected, offset);
                }
            }
        }

        public async Task CheckAllAsync()
        {
            (int status, byte[] data) = await driver.ReadAsync(0, _expected.Length);
            Assert.True(status == 0, $"seed {seed}: status {status}");
            int wrong = data.AsSpan().CommonPrefixLength(_expected);
            Assert.True(wrong == data.Length, $"seed {seed}: the volume differs at {wrong}");
        }

        private int Length()
        {
            int most = _random.Next(4) switch
            {
                0 => 512,
                1 => 16 << 10,
                2 => 3 * array.Geometry.ChunkSize,
                _ => (int)Math.Min(3 * array.Geometry.StripeDataSize, 2 << 20),
            };
            return Math.Min((_random.Next(most / 512) + 1) * 512, _expected.Length);
        }

        private BufferLayout Layout() => _random.Next(3) switch
        {
            0 => new BufferLayout(),
            1 => new BufferLayout(SegmentBytes: 16 << 10),
            _ => new BufferLayout(SegmentBytes: 12_345, Misalignment: 7),
        };
    }
}
