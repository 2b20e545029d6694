using Polyblk.Core.Block;
using Polyblk.Fakes;

namespace Polyblk.Raid.Tests.Arrays;

/// <summary>The volume as it should be, and random requests that keep it so.</summary>
internal sealed class ArrayModel(RaidArray array, RequestDriver driver, int seed)
{
    private RequestDriver _driver = driver;
    private readonly Random _random = new(seed);
    private readonly byte[] _expected = new byte[array.SizeBytes];

    /// <summary>The array was stopped and started again: goes on with it.</summary>
    public void Reopen(RequestDriver driver) => _driver = driver;

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
                Assert.True(await _driver.WriteAsync(offset, data, kind == 0 ? BlockFlags.Fua : BlockFlags.None, Layout()) == 0, what);
                data.CopyTo(_expected, offset);
            }
            else if (kind < 17)
            {
                (int status, byte[] data) = await _driver.ReadAsync(offset, length, Layout());
                Assert.True(status == 0, $"{what}: status {status}");
                Assert.True(data.AsSpan().SequenceEqual(_expected.AsSpan(offset, length)), what);
            }
            else if (kind == 17)
            {
                Assert.True(await _driver.FlushAsync() == 0, what);
            }
            else if (kind == 18)
            {
                Assert.True(await _driver.WriteZeroesAsync(offset, length, BlockFlags.Unmap) == 0, what);
                _expected.AsSpan(offset, length).Clear();
            }
            else
            {
                // What a discarded range holds is open: write it at once.
                Assert.True(await _driver.DiscardAsync(offset, length) == 0, what);
                var data = new byte[length];
                _random.NextBytes(data);
                Assert.True(await _driver.WriteAsync(offset, data) == 0, what);
                data.CopyTo(_expected, offset);
            }
        }
    }

    public async Task CheckAllAsync()
    {
        (int status, byte[] data) = await _driver.ReadAsync(0, _expected.Length);
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
