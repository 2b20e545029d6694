// The model of a drive: an array of bytes. Random requests go to the drive and to the model, and every read must agree.
//
// Requests in flight together touch different blocks, since a drive may do them in any order. After a discard the content of the
// range is undefined: the model reads it once and takes over what it finds.

using Polyblk.Core.Block;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

/// <summary>Runs seeded random requests against a drive and the model of it.</summary>
internal sealed class DriveModel(RequestDriver driver, int seed)
{
    private readonly Random _random = new(seed);
    private readonly byte[] _content = new byte[driver.Device.SizeBytes];
    private readonly int _block = driver.Device.Limits.LogicalBlockSize;

    /// <summary>The content that the drive must have.</summary>
    public ReadOnlySpan<byte> Content => _content;

    /// <summary>Runs rounds of requests in flight together.</summary>
    public async Task RunAsync(int rounds, int depth)
    {
        for (int round = 0; round < rounds; round++)
        {
            // Each request of a round has a part of the drive for itself.
            long part = driver.Device.SizeBytes / depth / _block * _block;
            var running = new List<Task>();
            for (int i = 0; i < depth; i++)
            {
                long length = Math.Min(part, (1 + NextSkewed()) * _block);
                long offset = (part * i) + (_random.NextInt64((part - length) / _block + 1) * _block);
                running.Add(RunOneAsync(offset, (int)length));
            }

            await Task.WhenAll(running);
        }

        await CheckAllAsync();
    }

    /// <summary>Reads the whole drive and compares.</summary>
    public async Task CheckAllAsync()
    {
        for (long offset = 0; offset < _content.Length; offset += 1 << 20)
        {
            await CheckAsync(offset, (int)Math.Min(1 << 20, _content.Length - offset), new BufferLayout());
        }
    }

    // Mostly small, sometimes large enough to be split.
    private long NextSkewed() => _random.Next(10) == 0 ? _random.Next((600 << 10) / _block) : _random.Next(16);

    private async Task RunOneAsync(long offset, int length)
    {
        BufferLayout layout = NextLayout();
        switch (_random.Next(8))
        {
            case 0 or 1 or 2:
                await CheckAsync(offset, length, layout);
                break;
            case 3:
                Assert.Equal(0, await driver.FlushAsync());
                break;
            case 4:
                BlockFlags unmap = _random.Next(2) == 0 ? BlockFlags.Unmap : BlockFlags.None;
                _content.AsSpan((int)offset, length).Clear();
                Assert.Equal(0, await driver.WriteZeroesAsync(offset, length, unmap));
                break;
            case 5:
                Assert.Equal(0, await driver.DiscardAsync(offset, length));
                (await driver.ReadOrThrowAsync(offset, length)).CopyTo(_content, offset);
                break;
            default:
                var data = new byte[length];
                _random.NextBytes(data);
                data.CopyTo(_content, offset);
                BlockFlags fua = _random.Next(4) == 0 ? BlockFlags.Fua : BlockFlags.None;
                Assert.Equal(0, await driver.WriteAsync(offset, data, fua, layout));
                break;
        }
    }

    private BufferLayout NextLayout() => _random.Next(4) switch
    {
        0 => new BufferLayout(),
        1 => new BufferLayout(SegmentBytes: _block * (1 + _random.Next(16))),
        2 => new BufferLayout(SegmentBytes: 1 + _random.Next(5000), Misalignment: _random.Next(512)),
        _ => new BufferLayout(Misalignment: _random.Next(4096)),
    };

    private async Task CheckAsync(long offset, int length, BufferLayout layout)
    {
        byte[] found = await driver.ReadOrThrowAsync(offset, length, layout);
        int at = found.AsSpan().CommonPrefixLength(_content.AsSpan((int)offset, length));
        Assert.True(at == length, $"seed {seed}: byte {offset + at} differs ({length} bytes read at {offset} with {layout})");
    }
}
