using System.Runtime.InteropServices;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>The orders in which known front-ends send their messages: each must end with a ring that works.</summary>
public sealed class OrderTests : IDisposable
{
    private const ulong Version1 = 1UL << 32;

    // No reactor looks by itself within a test: what wakes it is what the front-end sends.
    private readonly ExportFixture _fixture = new(reactors: 2, maxSleep: TimeSpan.FromHours(1));
    private readonly SharedMemory _memory = new(1 << 20, guestAddress: 0x1000_0000);
    private readonly RawRing _ring;
    private readonly RawRing _second;
    private readonly RawFrontend _frontend;

    public OrderTests()
    {
        _ring = new RawRing(_memory);

        // As with libblkio: the second queue's ring is aligned to 16 bytes and no more.
        _second = new RawRing(_memory, 0x8010);
        _frontend = _fixture.Connect();
        _fixture.Gated.Content.Fill(0x5A);
    }

    public void Dispose()
    {
        _frontend.Dispose();
        _fixture.Dispose();
        _ring.Dispose();
        _second.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void Qemu()
    {
        RawFrontend f = _frontend;
        f.Get(GET_FEATURES);
        ulong protocol = f.Get(GET_PROTOCOL_FEATURES);
        f.Send(SET_PROTOCOL_FEATURES, protocol);
        f.Get(GET_QUEUE_NUM);
        f.Get(GET_MAX_MEM_SLOTS);
        (Core.Interop.UnixSocket left, int right) = Core.Interop.UnixSocket.Pair();
        using (left)
        {
            Assert.Equal(0UL, f.Acked(SET_BACKEND_REQ_FD, default, [right]));
            _ = Core.Interop.Libc.close(right);
            f.Send(SET_OWNER);
            f.Get(GET_FEATURES);
            f.Send(SET_VRING_CALL, 0UL, [_ring.CallFd]);
            f.Send(SET_VRING_ERR, 0UL, [_ring.CallFd]);
            f.Send(SET_VRING_CALL, 1UL, [_second.CallFd]);
            Config(96);
            f.Send(SET_FEATURES, Version1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES);
            f.Send(GET_INFLIGHT_FD, new VhostUserInflight { num_queues = 2, queue_size = RawRing.Size });
            VhostUserInflight inflight = f.Reply<VhostUserInflight>(GET_INFLIGHT_FD);
            Assert.Equal(1, f.Fds.Count);
            int buffer = f.Fds.Take();
            f.Send(SET_INFLIGHT_FD, inflight, [buffer]);
            _ = Core.Interop.Libc.close(buffer);
            f.Send(SET_FEATURES, Version1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES);
            Assert.Equal(0UL, f.Acked(SET_STATUS, 11UL));
            Assert.Equal(11UL, f.Get(GET_STATUS));
            Assert.Equal(0UL, f.Acked(ADD_MEM_REG, _memory.Slot, [_memory.Fd]));
            for (uint i = 0; i < 2; i++)
            {
                f.Send(SET_VRING_NUM, new vhost_vring_state { index = i, num = RawRing.Size });
                f.Send(SET_VRING_BASE, new vhost_vring_state { index = i });
                f.Send(SET_VRING_ADDR, RingOf(i).Address(i));
                f.Send(SET_VRING_KICK, (ulong)i, [RingOf(i).KickFd]);
                f.Send(SET_VRING_CALL, (ulong)i, [RingOf(i).CallFd]);
            }

            for (uint i = 0; i < 2; i++)
            {
                Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { index = i, num = 1 }));
            }

            f.Send(SET_STATUS, 15UL);
            Works(_ring);
            Works(_second);

            // Stop and continue: what the monitor's stop and cont do. The ring goes on where it was.
            for (uint i = 0; i < 2; i++)
            {
                f.Send(SET_VRING_ENABLE, new vhost_vring_state { index = i, num = 0 });
                f.Send(GET_VRING_BASE, new vhost_vring_state { index = i });
                Assert.Equal(1U, f.Reply<vhost_vring_state>(GET_VRING_BASE).num);
            }

            f.Send(SET_STATUS, 0UL);
            f.Send(SET_FEATURES, Version1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES);
            f.Send(SET_VRING_NUM, new vhost_vring_state { index = 0, num = RawRing.Size });
            f.Send(SET_VRING_BASE, new vhost_vring_state { index = 0, num = 1 });
            f.Send(SET_VRING_ADDR, _ring.Address(0));
            f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
            f.Send(SET_VRING_ENABLE, new vhost_vring_state { index = 0, num = 1 });
            Works(_ring);
        }
    }

    [Fact]
    public void Libblkio()
    {
        RawFrontend f = _frontend;
        f.Send(SET_OWNER);
        ulong features = f.Get(GET_FEATURES) & (Version1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES | (1UL << 29));
        f.Send(SET_FEATURES, features);
        f.Get(GET_PROTOCOL_FEATURES);
        f.Send(SET_PROTOCOL_FEATURES, 0x8209UL);
        Assert.Equal(256UL, f.Get(GET_QUEUE_NUM, VhostUserAbi.NEED_REPLY));
        Assert.Equal((ulong)Frontends.VhostUser.BackendMemory.MaxSlots, f.Get(GET_MAX_MEM_SLOTS, VhostUserAbi.NEED_REPLY));
        Config(60, VhostUserAbi.NEED_REPLY);
        Config(60, VhostUserAbi.NEED_REPLY);
        using var odd = new SharedMemory(0x3b10 + 0x8000, 0x7000_0000);
        using var ring = new RawRing(odd);
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, odd.Slot, [odd.Fd]));
        Assert.Equal(0UL, f.Acked(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size }));
        Assert.Equal(0UL, f.Acked(SET_VRING_BASE, new vhost_vring_state()));
        Assert.Equal(0UL, f.Acked(SET_VRING_ADDR, ring.Address(0)));
        Assert.Equal(0UL, f.Acked(SET_VRING_KICK, 0UL, [ring.KickFd]));
        Assert.Equal(0UL, f.Acked(SET_VRING_CALL, 0UL, [ring.CallFd]));
        Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));

        // Data memory comes while the queue is live, and goes with a descriptor that is not wanted.
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, _memory.Slot, [_memory.Fd]));
        ring.Read(0, _memory.GuestAddress + 0x4000);
        Assert.Equal(0, ring.Wait());
        Assert.Equal(0UL, f.Acked(REM_MEM_REG, _memory.Slot, [_memory.Fd]));
        ring.Read(0);
        Assert.Equal(0, ring.Wait());
    }

    [Fact]
    public void Spdk_initiator()
    {
        RawFrontend f = _frontend;
        f.Get(GET_FEATURES);
        f.Send(SET_OWNER);
        f.Get(GET_PROTOCOL_FEATURES);
        f.Send(SET_PROTOCOL_FEATURES, 0x201UL);
        Config(256);
        f.Send(SET_FEATURES, Version1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES);
        f.Send(SET_VRING_ENABLE, new vhost_vring_state { num = 1 });
        f.Get(GET_QUEUE_NUM);
        f.Send(SET_VRING_CALL, VhostUserAbi.VRING_NOFD);
        for (int i = 0; i < 2; i++)
        {
            f.Send(SET_MEM_TABLE, RawFrontend.Table(_memory.Region), [_memory.Fd]);
            f.Get(GET_FEATURES); // its barrier
        }

        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_BASE, new vhost_vring_state());
        f.Send(SET_VRING_ADDR, _ring.Address(0));
        f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
        Works(_ring);
    }

    [Fact]
    public void User_mode_linux()
    {
        RawFrontend f = _frontend;
        f.Send(SET_OWNER);
        f.Get(GET_FEATURES);
        f.Get(GET_PROTOCOL_FEATURES);
        f.Send(SET_PROTOCOL_FEATURES, 0x228UL);
        (Core.Interop.UnixSocket left, int right) = Core.Interop.UnixSocket.Pair();
        using (left)
        {
            Assert.Equal(0UL, f.Acked(SET_BACKEND_REQ_FD, default, [right]));
            _ = Core.Interop.Libc.close(right);
            Assert.Equal(0UL, f.Acked(SET_FEATURES, Version1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES));
            Assert.Equal(0UL, f.Acked(SET_MEM_TABLE, RawFrontend.Table(_memory.Region), [_memory.Fd]));
            f.Send(SET_VRING_CALL, 0UL, [_ring.CallFd]);
            f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
            f.Send(SET_VRING_BASE, new vhost_vring_state());
            f.Send(SET_VRING_ADDR, _ring.Address(0));
            f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
            f.Send(SET_VRING_ENABLE, new vhost_vring_state { num = 1 });
            Works(_ring);
        }
    }

    [Fact]
    public void Without_protocol_features_a_ring_starts_with_its_kick()
    {
        RawFrontend f = _frontend;
        f.Send(SET_OWNER);
        f.Send(SET_FEATURES, Version1);
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_ADDR, _ring.Address(0));
        f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);

        // The memory last of all.
        f.Send(SET_MEM_TABLE, RawFrontend.Table(_memory.Region), [_memory.Fd]);
        Works(_ring);
    }

    [Fact]
    public void A_ring_without_descriptors_is_polled()
    {
        RawFrontend f = _frontend;
        f.Negotiate();
        f.Send(SET_MEM_TABLE, RawFrontend.Table(_memory.Region), [_memory.Fd]);
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_ADDR, _ring.Address(0));
        f.Send(SET_VRING_KICK, VhostUserAbi.VRING_NOFD);
        f.Send(SET_VRING_ENABLE, new vhost_vring_state { num = 1 });
        Works(_ring);

        // Many more turns than the reactor spins without work: it must not have gone to sleep.
        ExportFixture.Until(() => _fixture.Export.GetStatistics().QueueReactors.Count == 1, "the export knows the queue, which serves already");
        Core.Reactors.Reactor reactor = _fixture.Reactors.Reactors.Single(
            r => _fixture.Export.GetStatistics().QueueReactors[0].EndsWith(r.Name, StringComparison.Ordinal));
        long spunNs = reactor.GetStatistics().SpinNs;
        ExportFixture.Until(() => reactor.GetStatistics().SpinNs > spunNs + 1_000_000, "the reactor goes on polling");
        Works(_ring);
    }

    private RawRing RingOf(uint index) => index == 0 ? _ring : _second;

    private static void Works(RawRing ring)
    {
        ring.Read(3);
        Assert.Equal(0, ring.Wait());
        Assert.Equal(0x5A, ring.FirstByte);
    }

    private void Config(int bytes, uint flags = 0)
    {
        byte[] payload = new byte[12 + bytes];
        MemoryMarshal.Write(payload, new VhostUserConfig { size = (uint)bytes });
        _frontend.Send(GET_CONFIG, payload, flags: flags);
        ReadOnlySpan<byte> reply = _frontend.Reply(GET_CONFIG);
        Assert.Equal(12 + bytes, reply.Length);
        Assert.Equal(2048UL, MemoryMarshal.Read<ulong>(reply[12..]));
    }
}
