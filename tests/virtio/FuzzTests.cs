// Rings full of rubbish that looks like rings. The process must survive, the queue must end with a reason or with answers, and
// nothing outside the guest's memory may be touched (the memory around it is not mapped: a stray access would end the process).
//
// POLYBLK_FUZZ_ROUNDS sets the number of rounds (300 by default), POLYBLK_FUZZ_SEED the first seed.

using System.Globalization;
using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.RingLayout;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed unsafe class FuzzTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public FuzzTests(SteppedReactor stepped) => _stepped = stepped;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task SpoiledRings(bool packed) => _stepped.Run(reactor =>
    {
        int rounds = Number("POLYBLK_FUZZ_ROUNDS", 300);
        int first = Number("POLYBLK_FUZZ_SEED", 1);
        int broken = 0;
        for (int seed = first; seed < first + rounds; seed++)
        {
            try
            {
                broken += Round(reactor, packed, new Random(seed)) ? 1 : 0;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"packed {packed}, seed {seed}: {e.Message}", e);
            }
        }

        Assert.InRange(broken, rounds / 10, rounds);
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task SpoiledInflightLogs(bool packed) => _stepped.Run(reactor =>
    {
        int rounds = Number("POLYBLK_FUZZ_ROUNDS", 300) / 3;
        int first = Number("POLYBLK_FUZZ_SEED", 1);
        for (int seed = first; seed < first + rounds; seed++)
        {
            try
            {
                LogRound(reactor, packed, new Random(seed));
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"packed {packed}, seed {seed}: {e.Message}", e);
            }
        }
    });

    private static void LogRound(Reactor reactor, bool packed, Random random)
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = true, Size = 16 });
        h.Blk.Submit(VirtioBlkProtocol.VIRTIO_BLK_T_IN, 0, [], 512);
        h.Queue.Poll();
        long bytes = InflightLog.RegionBytes(16, packed);
        for (int i = random.Next(1, 12); i > 0; i--)
        {
            h.Log!.Address[random.NextInt64(bytes)] = (byte)random.Next(random.Next(2) == 0 ? 3 : 256);
        }

        try
        {
            h.Restart();
            h.Queue.Poll();
            h.Drive.LoseAll();
        }
        catch (IOException e)
        {
            Assert.Contains("inflight log", e.Message, StringComparison.Ordinal);
        }

        h.Log!.Clear();
    }

    private static bool Round(Reactor reactor, bool packed, Random random)
    {
        int size = packed ? random.Next(2, 40) : 1 << random.Next(1, 6);
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = size, WithLog = random.Next(2) == 0 });
        for (int i = 0; i < 40 && h.Queue.Fault is null; i++)
        {
            AddRubbish(h, random);
            h.Driver.Publish();
            if (random.Next(3) == 0)
            {
                SpoilRing(h, random);
            }

            h.Queue.Poll();
            while (h.Drive.HeldCount != 0 && random.Next(4) != 0)
            {
                h.Drive.Complete(random.Next(h.Drive.HeldCount));
            }

            h.Queue.Poll();
            if (!TryReap(h))
            {
                // The device answered what a spoiled ring asked for; the pretended driver does not know it.
                break;
            }
        }

        bool broken = h.Queue.Fault is not null;
        h.Drive.CompleteAll();
        h.Queue.Poll();
        Assert.Equal(0, h.Drive.HeldCount);
        return broken;
    }

    private static bool TryReap(QueueHarness h)
    {
        try
        {
            while (h.Driver.TryGetUsed(out int _, out uint _))
            {
            }

            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }

    private static void AddRubbish(QueueHarness h, Random random)
    {
        var buffers = new GuestBuffer[random.Next(1, 6)];
        bool write = false;
        for (int i = 0; i < buffers.Length; i++)
        {
            write |= i != 0 && random.Next(2) == 0;
            buffers[i] = new GuestBuffer(Address(random), Length(random), random.Next(12) == 0 ? !write : write);
        }

        if (random.Next(2) == 0)
        {
            buffers[0] = new GuestBuffer(QueueHarness.ArenaAddress, 16, false);
            uint[] types = [0, 1, 4, 8, 11, 13, 99];
            *(virtio_blk_outhdr*)h.Space.At(QueueHarness.ArenaAddress, 16) = new virtio_blk_outhdr
            {
                type = types[random.Next(types.Length)], sector = random.Next(4) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(2048),
            };
        }

        if (random.Next(3) == 0)
        {
            h.Driver.Add(buffers, QueueHarness.ArenaAddress + (ulong)random.Next(0x1_0000), random.Next(1, 6));
        }
        else
        {
            h.Driver.Add(buffers);
        }
    }

    private static void SpoilRing(QueueHarness h, Random random)
    {
        ulong bytes = random.Next(3) switch
        {
            0 => 64,
            _ => ((ulong)h.Driver.Size * DescriptorBytes) + 64,
        };
        for (int i = random.Next(1, 4); i > 0; i--)
        {
            *h.Space.At(QueueHarness.RingAddress + (ulong)random.NextInt64((long)bytes)) = (byte)random.Next(random.Next(2) == 0 ? 8 : 256);
        }
    }

    private static ulong Address(Random random) => random.Next(8) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => ulong.MaxValue - (ulong)random.Next(5000),
        2 => QueueHarness.ArenaAddress + (QueueHarness.ArenaRegions * QueueHarness.ArenaRegionBytes) - (ulong)random.Next(600),
        3 => QueueHarness.ArenaAddress + QueueHarness.ArenaRegionBytes - (ulong)random.Next(600),
        _ => QueueHarness.ArenaAddress + (ulong)random.Next(0x2_0000),
    };

    private static uint Length(Random random) => random.Next(8) switch
    {
        0 => 0,
        1 => (uint)random.NextInt64(uint.MaxValue),
        2 => (uint)random.Next(64),
        3 => 16,
        4 => 1,
        _ => 512u * (uint)random.Next(1, 9),
    };

    private static int Number(string variable, int fallback) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : fallback;
}
