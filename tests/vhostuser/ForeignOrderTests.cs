using System.Runtime.InteropServices;
using Polyblk.Core.Interop;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>
/// The messages of virtual machine monitors other than QEMU, and of QEMU when a device is plugged in again, in their order.
/// </summary>
public sealed class ForeignOrderTests : IDisposable
{
    private const ulong Version1 = 1UL << 32;
    private const ulong ConfigWce = 1UL << 11;
    private const ulong Flush = 1UL << 9;
    private const int ConfigBytes = 60;
    private const int WritebackOffset = 32;

    /// <summary>VHOST_USER_CONFIG_OFFSET of rust-vmm's crate.</summary>
    private const uint MmioOffset = 0x100;

    private const VhostUserProtocolFeatures CloudHypervisor =
        VhostUserProtocolFeatures.CONFIG | VhostUserProtocolFeatures.MQ | VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures.REPLY_ACK | VhostUserProtocolFeatures.INFLIGHT_SHMFD | VhostUserProtocolFeatures.LOG_SHMFD;

    private readonly ExportFixture _fixture = new();
    private readonly SharedMemory _memory = new(1 << 16, 0x1000_0000);
    private readonly RawRing _ring;

    public ForeignOrderTests() => _ring = new RawRing(_memory);

    public void Dispose()
    {
        _fixture.Dispose();
        _ring.Dispose();
        _memory.Dispose();
    }

    /// <summary>
    /// cloud-hypervisor: owner before features; the configuration at the registers' offset (until January 2026); the inflight
    /// buffer between the rings' sizes and addresses; pause and resume by enabling; reset by disabling, with RESET_OWNER (old) or
    /// GET_VRING_BASE (new); then the device is activated again with a new ring and the inflight buffer of before.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Cloud_hypervisor_attaches_pauses_resets_and_activates_again(bool readsBaseAtReset)
    {
        using RawFrontend f = _fixture.Connect();
        f.Send(SET_OWNER);
        Assert.NotEqual(0UL, f.Get(GET_FEATURES) & VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES);
        Assert.Equal((ulong)CloudHypervisor, f.Get(GET_PROTOCOL_FEATURES) & (ulong)CloudHypervisor);
        f.Send(SET_PROTOCOL_FEATURES, (ulong)CloudHypervisor);
        Assert.True(f.Get(GET_QUEUE_NUM, VhostUserAbi.NEED_REPLY) >= 1);
        byte[] config = GetConfig(f, MmioOffset, VhostUserAbi.NEED_REPLY);
        Assert.Equal(GetConfig(f, 0, 0), config);
        Assert.Equal((1UL << 20) / 512, MemoryMarshal.Read<ulong>(config));

        ulong features = Version1 | ConfigWce | Flush | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES;
        int inflightFd = -1;
        VhostUserInflight inflight = default;
        Activate();
        Works(3);

        // The guest turns its write cache off, at either offset.
        foreach (uint offset in new[] { (uint)WritebackOffset, MmioOffset + WritebackOffset })
        {
            foreach (byte value in new byte[] { 0, 1 })
            {
                byte[] write = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, value];
                MemoryMarshal.Write(write, offset);
                Assert.Equal(0UL, f.Acked(SET_CONFIG, write));
                Assert.Equal(value, GetConfig(f, MmioOffset, 0)[WritebackOffset]);
            }
        }

        // Pause and resume.
        Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 0 }));
        _ring.Read(0);
        await _fixture.SettleAsync();
        Assert.Equal(3, _ring.UsedIndex);
        Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));
        Assert.Equal(0, _ring.Wait());

        // Reset, and the guest's next driver.
        Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 0 }));
        if (readsBaseAtReset)
        {
            f.Send(GET_VRING_BASE, new vhost_vring_state());
            Assert.Equal(4u, f.Reply<vhost_vring_state>(GET_VRING_BASE).num);
        }
        else
        {
            Assert.Equal(0UL, f.Acked(RESET_OWNER));
        }

        _ring.Reset();
        Activate();
        Works(2);
        _ = Libc.close(inflightFd);

        void Activate()
        {
            Assert.Equal(0UL, f.Acked(SET_FEATURES, features));
            Assert.Equal(0UL, f.Acked(SET_MEM_TABLE, RawFrontend.Table(_memory.Region), [_memory.Fd]));
            Assert.Equal(0UL, f.Acked(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size }));
            if (inflightFd < 0)
            {
                f.Send(GET_INFLIGHT_FD, new VhostUserInflight { num_queues = 1, queue_size = RawRing.Size });
                inflight = f.Reply<VhostUserInflight>(GET_INFLIGHT_FD);
                inflightFd = f.Fds.Take();
            }

            Assert.Equal(0UL, f.Acked(SET_INFLIGHT_FD, inflight, [inflightFd]));
            Assert.Equal(0UL, f.Acked(SET_VRING_ADDR, _ring.Address(0)));
            Assert.Equal(0UL, f.Acked(SET_VRING_BASE, new vhost_vring_state()));
            Assert.Equal(0UL, f.Acked(SET_VRING_CALL, 0UL, [_ring.CallFd]));
            Assert.Equal(0UL, f.Acked(SET_VRING_KICK, 0UL, [_ring.KickFd]));
            Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));
        }
    }

    /// <summary>
    /// Dragonball: everything that is offered is taken to read the configuration, before there is an owner; the device is then
    /// set up on the same connection with less.
    /// </summary>
    [Fact]
    public void Dragonball_reads_the_configuration_first_and_negotiates_again()
    {
        using RawFrontend f = _fixture.Connect();
        ulong offered = f.Get(GET_FEATURES);
        f.Send(SET_FEATURES, offered);
        ulong protocol = f.Get(GET_PROTOCOL_FEATURES);
        f.Send(SET_PROTOCOL_FEATURES, protocol);
        Assert.Equal((1UL << 20) / 512, MemoryMarshal.Read<ulong>(GetConfig(f, MmioOffset, 0)));

        f.Send(SET_OWNER);
        Assert.Equal(offered, f.Get(GET_FEATURES));
        f.Send(SET_FEATURES, Version1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES);
        f.Send(SET_PROTOCOL_FEATURES, f.Get(GET_PROTOCOL_FEATURES) & (ulong)(
            VhostUserProtocolFeatures.MQ | VhostUserProtocolFeatures.CONFIG | VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures.REPLY_ACK));
        Assert.True(f.Get(GET_QUEUE_NUM) >= 1);
        f.Send(SET_VRING_CALL, 0UL, [_ring.CallFd]);
        f.Send(SET_MEM_TABLE, RawFrontend.Table(_memory.Region), [_memory.Fd]);
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_BASE, new vhost_vring_state());
        f.Send(SET_VRING_ADDR, _ring.Address(0));
        f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
        f.Send(SET_VRING_ENABLE, new vhost_vring_state { num = 1 });
        Works(3);
    }

    /// <summary>
    /// QEMU, device_del and device_add on a chardev that stays: the rings are stopped, the memory is not taken back; then
    /// everything is negotiated anew and all regions are added once more, at other addresses of QEMU's where it mapped memory
    /// meanwhile.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_device_that_is_plugged_in_again_on_the_same_connection_works(bool memoryHasMoved)
    {
        using var dimm = new SharedMemory(1 << 16, 0x2000_0000);
        using var otherDimm = new SharedMemory(1 << 16, 0x2000_0000);
        using RawFrontend f = _fixture.Connect();
        f.Negotiate();
        Plug(dimm);
        Works(3);
        f.Send(SET_VRING_ENABLE, new vhost_vring_state { num = 0 });
        f.Send(GET_VRING_BASE, new vhost_vring_state());
        f.Reply<vhost_vring_state>(GET_VRING_BASE);

        _ring.Reset();
        f.Negotiate();
        Plug(memoryHasMoved ? otherDimm : dimm);
        Works(2);
        Assert.Equal(0, _ring.Wait());

        void Plug(SharedMemory second)
        {
            Assert.Equal(0UL, f.Acked(ADD_MEM_REG, _memory.Slot, [_memory.Fd]));
            Assert.Equal(0UL, f.Acked(ADD_MEM_REG, second.Slot, [second.Fd]));
            f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
            f.Send(SET_VRING_BASE, new vhost_vring_state());
            f.Send(SET_VRING_ADDR, _ring.Address(0));
            f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
            f.Send(SET_VRING_CALL, 0UL, [_ring.CallFd]);
            Assert.Equal(0UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));
        }
    }

    [Fact]
    public void The_same_region_again_is_accepted_while_rings_run_and_another_in_its_place_is_not()
    {
        using var other = new SharedMemory(1 << 16, 0x1000_0000);
        using RawFrontend f = _fixture.Connect();
        HostileTests.Start(f, _memory, _ring);
        _ring.Read(0);
        Assert.Equal(0, _ring.Wait());
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, _memory.Slot, [_memory.Fd]));
        VhostUserMemoryRegion region = _memory.Region;
        Assert.Equal(1UL, f.Acked(ADD_MEM_REG, new VhostUserMemRegMsg { region = region }, [other.Fd]));
        Works(2);

        // One removal removes it.
        Assert.Equal(0UL, f.Acked(REM_MEM_REG, _memory.Slot));
        Assert.Equal(1UL, f.Acked(REM_MEM_REG, _memory.Slot));
    }

    [Theory]
    [InlineData(0x100u + 256u - 60u, true)]
    [InlineData(0x100u + 256u - 59u, false)]
    [InlineData(256u - 59u, false)]
    [InlineData(0xFFu, false)]
    [InlineData(uint.MaxValue, false)]
    public void A_configuration_beyond_its_end_is_an_empty_answer(uint offset, bool isThere)
    {
        using RawFrontend f = _fixture.Connect();
        f.Negotiate();
        f.Send(GET_CONFIG, ConfigRequest(offset));
        Assert.Equal(isThere ? 12 + ConfigBytes : 0, f.Reply(GET_CONFIG).Length);
    }

    private void Works(int requests)
    {
        for (int i = 0; i < requests; i++)
        {
            _ring.Read((ulong)i);
            Assert.Equal(0, _ring.Wait());
        }
    }

    private static byte[] GetConfig(RawFrontend f, uint offset, uint flags)
    {
        f.Send(GET_CONFIG, ConfigRequest(offset), flags: flags);
        byte[] reply = f.Reply(GET_CONFIG).ToArray();
        Assert.Equal(12 + ConfigBytes, reply.Length);
        VhostUserConfig head = MemoryMarshal.Read<VhostUserConfig>(reply);
        Assert.Equal((offset, (uint)ConfigBytes, 1u), (head.offset, head.size, head.flags));
        return reply[12..];
    }

    private static byte[] ConfigRequest(uint offset)
    {
        byte[] request = new byte[12 + ConfigBytes];
        MemoryMarshal.Write(request, new VhostUserConfig { offset = offset, size = ConfigBytes, flags = 1 });
        return request;
    }
}
