// The front-end's messages of a vhost-user program, and its guest's requests.

using System.Runtime.InteropServices;
using Polyblk.Core.Interop;
using Polyblk.Fuzz.Guest;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.RingLayout;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Fuzz.Targets;

internal sealed unsafe partial class VhostUserProgram
{
    private const ulong GuestAddress = 0x1000_0000;
    private const ulong UserAddress = 0x7000_0000;
    private const int RingEntries = 8;
    private const int RingBytes = 0x3000;
    private const int AvailOffset = 0x1000;
    private const int UsedOffset = 0x2000;
    private const int BuffersOffset = 0xC000;

    private static readonly ulong[] s_edges =
    [
        0, 1, 2, 7, 8, 16, 255, 256, 257, 4095, 4096, 32768, 65535, 65536,
        1UL << 20, 1UL << 30, int.MaxValue, uint.MaxValue, 1UL << 32,
        GuestAddress, UserAddress, UserAddress + 4096, long.MaxValue, ulong.MaxValue, ulong.MaxValue - 4095,
    ];

    private readonly ushort[] _added = new ushort[Queues];
    private bool _packed;
    private bool _isCut;

    private static VhostUserMemoryRegion HonestRegion => new()
    {
        guest_phys_addr = GuestAddress, memory_size = DescriptorPool.MemoryBytes, userspace_addr = UserAddress,
    };

    /// <summary>
    /// What an ordinary front-end sends until its first queue runs. The kind: 1 without EVENT_IDX, 2 packed, 4 with an inflight
    /// buffer.
    /// </summary>
    private void Attach(byte kind)
    {
        _packed = (kind & 2) != 0;
        ulong features = VIRTIO_F_VERSION_1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES | VIRTIO_F_INDIRECT_DESC
            | ((kind & 1) == 0 ? VIRTIO_F_EVENT_IDX : 0) | (_packed ? VIRTIO_F_RING_PACKED : 0);
        Send(SET_PROTOCOL_FEATURES, (ulong)Frontends.VhostUser.Backend.OfferedProtocolFeatures);
        Send(SET_OWNER, [], []);
        Send(SET_FEATURES, features);
        Send(SET_MEM_TABLE, [1, 0, 0, 0, 0, 0, 0, 0, .. Bytes(HonestRegion)], [_pool.Memory]);
        if ((kind & 4) != 0)
        {
            Send(GET_INFLIGHT_FD, Bytes(new VhostUserInflight { num_queues = Queues, queue_size = RingEntries }), []);
        }

        Send(SET_VRING_NUM, Bytes(new vhost_vring_state { num = RingEntries }), []);
        Send(SET_VRING_BASE, Bytes(new vhost_vring_state { num = _packed ? VirtqueueSetup.PackedStart : 0 }), []);
        Send(SET_VRING_ADDR, Bytes(RingAddress(0)), []);
        Send(SET_VRING_CALL, Bytes(0UL), [_pool.Event]);
        Send(SET_VRING_KICK, Bytes(0UL), [_pool.Event]);
        Send(SET_VRING_ENABLE, Bytes(new vhost_vring_state { num = 1 }), []);
    }

    private static vhost_vring_addr RingAddress(uint queue) => new()
    {
        index = queue,
        desc_user_addr = UserAddress + (queue * RingBytes),
        avail_user_addr = UserAddress + (queue * RingBytes) + AvailOffset,
        used_user_addr = UserAddress + (queue * RingBytes) + UsedOffset,
    };

    private void Send<T>(VhostUserRequest request, T payload)
        where T : unmanaged => Send(request, Bytes(payload), []);

    /// <summary>A message of a kind, with a payload that is nearly right, and descriptors that need not be.</summary>
    private void SendMessage(VhostUserRequest request)
    {
        byte how = _bytes.Byte();
        byte[] payload = Payload(request);
        if ((how & 0x10) != 0)
        {
            payload = [.. payload, .. _bytes.Slice(_bytes.Byte())];
        }

        if ((how & 0x20) != 0)
        {
            payload = payload[..Math.Min(payload.Length, _bytes.Byte())];
        }

        int[] fds = Descriptors(request, (how & 0x40) != 0);
        if (payload.Length <= VhostUserChannel.MaxPayloadBytes)
        {
            Send(request, payload, fds, (how & 8) != 0 ? VhostUserAbi.NEED_REPLY : (how & 0x80) != 0 ? (uint)(how & 7) : 0);
        }
    }

    private int[] Descriptors(VhostUserRequest request, bool odd)
    {
        int honest = request switch
        {
            SET_MEM_TABLE or ADD_MEM_REG or SET_LOG_BASE or SET_INFLIGHT_FD => _pool.Memory,
            SET_VRING_KICK or SET_VRING_CALL or SET_VRING_ERR => _pool.Event,
            SET_BACKEND_REQ_FD => _pool.Get(9),
            _ => -1,
        };
        if (!odd)
        {
            return honest < 0 ? [] : [honest];
        }

        var fds = new int[_bytes.Byte() % (UnixSocket.MaxFds + 1)];
        for (int i = 0; i < fds.Length; i++)
        {
            fds[i] = _pool.Get(_bytes.Byte());
        }

        return [.. fds.Where(fd => fd >= 0)];
    }

    private byte[] Payload(VhostUserRequest request)
    {
        switch (request)
        {
            case SET_MEM_TABLE:
                int count = _bytes.Byte() & 7;
                return [(byte)count, 0, 0, 0, 0, 0, 0, 0, .. Enumerable.Range(0, count).SelectMany(_ => Bytes(Region()))];
            case ADD_MEM_REG or REM_MEM_REG:
                return Bytes(new VhostUserMemRegMsg { region = Region() });
            case SET_VRING_ADDR:
                byte ring = _bytes.Byte();
                return Bytes(RingAddress((uint)ring % 3) with
                {
                    flags = (uint)(ring >> 4) & 1,
                    log_guest_addr = Edge(),
                    used_user_addr = (ring & 0x80) != 0 ? Edge() : RingAddress((uint)ring % 3).used_user_addr,
                    desc_user_addr = (ring & 0x40) != 0 ? Edge() : RingAddress((uint)ring % 3).desc_user_addr,
                });
            case SET_LOG_BASE:
                return Bytes(new VhostUserLog { mmap_size = Edge(), mmap_offset = Edge() });
            case GET_INFLIGHT_FD or SET_INFLIGHT_FD:
                return Bytes(new VhostUserInflight
                {
                    mmap_size = Edge(), mmap_offset = Edge(), num_queues = _bytes.Byte(), queue_size = (ushort)Edge(),
                });
            case GET_CONFIG or SET_CONFIG:
                byte size = _bytes.Byte();
                byte[] config = new byte[12 + size];
                MemoryMarshal.Write(config, new VhostUserConfig { offset = (uint)Edge(), size = size, flags = _bytes.Byte() });
                return config;
            case SET_VRING_NUM or SET_VRING_BASE or SET_VRING_ENABLE or GET_VRING_BASE:
                return Bytes(new vhost_vring_state { index = (uint)_bytes.Byte() % 4, num = (uint)Edge() });
            case SET_FEATURES:
                return Bytes(((ulong)(_bytes.Byte() & 7) << 32) | ((ulong)(_bytes.Byte() & 0x7F) << 24) | Edge() & 0xFFFF);
            case SET_PROTOCOL_FEATURES:
                return Bytes((ulong)Frontends.VhostUser.Backend.OfferedProtocolFeatures & ~Edge());
            case SET_VRING_KICK or SET_VRING_CALL or SET_VRING_ERR:
                return Bytes((ulong)_bytes.Byte() % 4 | ((ulong)(_bytes.Byte() & 1) << 8));
            case SET_STATUS:
                return Bytes((ulong)_bytes.Byte());
            default:
                return [];
        }
    }

    private VhostUserMemoryRegion Region()
    {
        byte how = _bytes.Byte();
        return HonestRegion with
        {
            guest_phys_addr = (how & 1) != 0 ? Edge() : GuestAddress + ((ulong)(how >> 4) << 16),
            userspace_addr = (how & 2) != 0 ? Edge() : UserAddress + ((ulong)(how >> 4) << 16),
            memory_size = (how & 4) != 0 ? Edge() : DescriptorPool.MemoryBytes,
            mmap_offset = (how & 8) != 0 ? Edge() : 0,
        };
    }

    private ulong Edge() => _bytes.Byte() switch
    {
        byte.MaxValue => _bytes.Quad(),
        var choice and < 0x80 => s_edges[choice % s_edges.Length],
        var choice => choice & 0x7FUL,
    };

    /// <summary>A read or a write of the guest, in a ring as it lies in the shared memory at first.</summary>
    private void WriteRequest(byte how)
    {
        int queue = how & 1;
        int ring = queue * RingBytes;
        int buffers = BuffersOffset + (queue * 0x1000);
        Span<byte> header = stackalloc byte[16];
        header.Clear();
        header[0] = (byte)(how >> 1 & 1);
        _pool.Write(buffers, header);
        ulong guest = GuestAddress + (ulong)buffers;
        ushort data = header[0] == 0 ? VIRTQ_DESC_F_WRITE : (ushort)0;
        if (_packed)
        {
            ushort flags = VIRTQ_DESC_F_AVAIL;
            _pool.Write(
                ring + 16,
                Bytes(new pvirtq_desc { addr = guest + 0x200, len = 512, flags = (ushort)(flags | VIRTQ_DESC_F_NEXT | data) }));
            _pool.Write(
                ring + 32,
                Bytes(new pvirtq_desc { addr = guest + 0x100, len = 1, flags = (ushort)(flags | VIRTQ_DESC_F_WRITE) }));
            _pool.Write(ring, Bytes(new pvirtq_desc { addr = guest, len = 16, flags = (ushort)(flags | VIRTQ_DESC_F_NEXT) }));
            return;
        }

        _pool.Write(ring, Bytes(new virtq_desc { addr = guest, len = 16, flags = VIRTQ_DESC_F_NEXT, next = 1 }));
        _pool.Write(
            ring + 16,
            Bytes(new virtq_desc { addr = guest + 0x200, len = 512, flags = (ushort)(VIRTQ_DESC_F_NEXT | data), next = 2 }));
        _pool.Write(ring + 32, Bytes(new virtq_desc { addr = guest + 0x100, len = 1, flags = VIRTQ_DESC_F_WRITE }));
        _pool.Write(ring + AvailOffset + 4 + (2 * (_added[queue]++ % RingEntries)), [0, 0]);
        _pool.Write(ring + AvailOffset + 2, Bytes(_added[queue]));
    }

    private void WriteMemory()
    {
        ushort where = _bytes.Word();
        _pool.Write(where, _bytes.Slice(1 + (_bytes.Byte() & 15)));
    }

    private static byte[] Bytes<T>(T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();
}
