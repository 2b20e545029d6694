using System.Globalization;
using System.Runtime.InteropServices;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Frontends.VhostUser;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.VhostUser.Tests;

/// <summary>
/// Messages made at random, mostly of a right shape with values near the edges, so that they get past the first checks. Longer
/// runs: POLYBLK_FUZZ_ROUNDS and POLYBLK_FUZZ_SEED.
/// </summary>
public sealed class FuzzTests
{
    private static readonly ulong[] Edges =
    [
        0, 1, 2, 3, 4, 7, 8, 16, 255, 256, 257, 1024, 4095, 4096, 32768, 65535, 65536, 1UL << 20, 1UL << 26, 1UL << 30, int.MaxValue, uint.MaxValue,
        1UL << 32, (1UL << 32) | (1UL << 30), (1UL << 32) | (1UL << 34) | (1UL << 30), long.MaxValue, ulong.MaxValue, ulong.MaxValue - 4095,
    ];

    [Fact]
    public void Random_messages_end_sessions_and_nothing_else()
    {
        int rounds = Number("POLYBLK_FUZZ_ROUNDS", 400);
        int seed = Number("POLYBLK_FUZZ_SEED", 1);
        using var fixture = new ExportFixture(reactors: 2);
        using VhostUserClient neighbour = fixture.Attach();
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var ring = new RawRing(memory);
        for (int round = 0; round < rounds; round++)
        {
            var random = new Random(seed + round);
            try
            {
                Play(fixture, random, memory, ring);
            }
            catch (Exception e)
            {
                string log = string.Join('\n', fixture.Log.Lines.TakeLast(10));
                throw new InvalidOperationException($"seed {seed + round}: POLYBLK_FUZZ_SEED={seed + round} POLYBLK_FUZZ_ROUNDS=1\n{log}", e);
            }

            if (round % 50 == 0)
            {
                Assert.Equal(0, neighbour.Queues[0].Do(ClientOperation.Read, 0, 4096));
            }
        }

        Assert.Equal(0, neighbour.Queues[0].Do(ClientOperation.Write, 0, 4096));
        Assert.Empty(fixture.Log.Errors);
    }

    private static void Play(ExportFixture fixture, Random random, SharedMemory memory, RawRing ring)
    {
        using RawFrontend f = fixture.Connect();
        VhostUserRequest[] known = [.. MessageRules.Known];
        int count = random.Next(1, 40);
        if (random.Next(4) != 0)
        {
            f.Negotiate();
        }

        // The ring's memory holds noise, so that rings which come to life are parsed as well.
        NoiseInto(memory, random);
        for (int i = 0; i < count; i++)
        {
            VhostUserRequest request = random.Next(20) == 0 ? (VhostUserRequest)random.Next(64) : known[random.Next(known.Length)];
            byte[] payload = Payload(request, random, memory, ring);
            int[] fds = Fds(request, random, memory, ring);
            uint flags = random.Next(30) == 0 ? (uint)random.Next(16) : (uint)random.Next(2) * VhostUserAbi.NEED_REPLY;
            if (f.Channel.Send((uint)request, flags, payload, fds, 5000) != SocketResult.Done)
            {
                return;
            }

            Core.Interop.Libc.SignalEventFd(ring.KickFd);
            using var replies = new FdList();
            while (f.Channel.Receive(replies, 1) == SocketResult.Done)
            {
            }
        }
    }

    private static unsafe void NoiseInto(SharedMemory memory, Random random)
    {
        var span = new Span<byte>(memory.Address, RawRing.RingBytes);
        if (random.Next(2) == 0)
        {
            random.NextBytes(span);
        }
        else
        {
            span.Clear();
        }
    }

    private static byte[] Payload(VhostUserRequest request, Random random, SharedMemory memory, RawRing ring)
    {
        if (random.Next(40) == 0)
        {
            byte[] noise = new byte[random.Next(400)];
            random.NextBytes(noise);
            return noise;
        }

        switch (request)
        {
            case VhostUserRequest.SET_MEM_TABLE:
                return RawFrontend.Table([.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => Region(random, memory))]);
            case VhostUserRequest.ADD_MEM_REG or VhostUserRequest.REM_MEM_REG:
                return Bytes(new VhostUserMemRegMsg { region = Region(random, memory) });
            case VhostUserRequest.SET_VRING_ADDR:
                vhost_vring_addr address = random.Next(4) != 0 ? ring.Address((uint)random.Next(2)) : new vhost_vring_addr
                {
                    index = (uint)random.Next(5), desc_user_addr = Edge(random), avail_user_addr = Edge(random), used_user_addr = Edge(random),
                };
                return Bytes(address with { flags = (uint)random.Next(2), log_guest_addr = Edge(random) });
            case VhostUserRequest.SET_LOG_BASE:
                return Bytes(new VhostUserLog { mmap_size = random.Next(2) == 0 ? 4096 : Edge(random), mmap_offset = random.Next(2) == 0 ? 0 : Edge(random) });
            case VhostUserRequest.GET_INFLIGHT_FD or VhostUserRequest.SET_INFLIGHT_FD:
                return Bytes(new VhostUserInflight
                {
                    mmap_size = random.Next(2) == 0 ? 4096 : Edge(random), num_queues = (ushort)random.Next(4), queue_size = (ushort)(1 << random.Next(5)),
                });
            case VhostUserRequest.GET_CONFIG or VhostUserRequest.SET_CONFIG:
                byte[] config = new byte[12 + random.Next(64)];
                MemoryMarshal.Write(config, new VhostUserConfig { offset = (uint)Edge(random) & 0xFF, size = (uint)(config.Length - 12), flags = (uint)random.Next(2) });
                return config;
            case VhostUserRequest.SET_VRING_NUM or VhostUserRequest.SET_VRING_BASE or VhostUserRequest.SET_VRING_ENABLE or VhostUserRequest.GET_VRING_BASE:
                return Bytes(new vhost_vring_state { index = (uint)random.Next(3), num = random.Next(3) != 0 ? 8 : (uint)Edge(random) & 0xFFFF });
            case VhostUserRequest.SET_FEATURES:
                return Bytes((1UL << 32) | (1UL << 30) | ((ulong)(uint)random.Next(2) << 34) | ((ulong)(uint)random.Next(4) << 28) | ((ulong)(uint)random.Next(2) << 26));
            case VhostUserRequest.SET_PROTOCOL_FEATURES:
                return Bytes(random.Next(8) == 0 ? Edge(random) : (ulong)Backend.OfferedProtocolFeatures);
            case VhostUserRequest.SET_VRING_KICK or VhostUserRequest.SET_VRING_CALL or VhostUserRequest.SET_VRING_ERR:
                return Bytes((ulong)(uint)random.Next(2) | (random.Next(8) == 0 ? VhostUserAbi.VRING_NOFD : 0));
            case VhostUserRequest.SET_STATUS:
                return Bytes((ulong)random.Next(16));
            default:
                return [];
        }
    }

    private static VhostUserMemoryRegion Region(Random random, SharedMemory memory) => random.Next(3) != 0 ? memory.Region : new VhostUserMemoryRegion
    {
        guest_phys_addr = Edge(random), memory_size = Edge(random), userspace_addr = Edge(random), mmap_offset = random.Next(2) == 0 ? 0 : Edge(random),
    };

    private static int[] Fds(VhostUserRequest request, Random random, SharedMemory memory, RawRing ring)
    {
        int right = request switch
        {
            VhostUserRequest.SET_MEM_TABLE or VhostUserRequest.ADD_MEM_REG or VhostUserRequest.SET_LOG_BASE or VhostUserRequest.SET_INFLIGHT_FD => memory.Fd,
            VhostUserRequest.SET_VRING_KICK => ring.KickFd,
            VhostUserRequest.SET_VRING_CALL or VhostUserRequest.SET_VRING_ERR => ring.CallFd,
            _ => -1,
        };
        return random.Next(20) == 0 ? [.. Enumerable.Repeat(memory.Fd, random.Next(UnixSocket.MaxFds + 1))] : right < 0 ? [] : [right];
    }

    private static ulong Edge(Random random) => Edges[random.Next(Edges.Length)];

    private static byte[] Bytes<T>(T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();

    private static int Number(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : otherwise;
}
