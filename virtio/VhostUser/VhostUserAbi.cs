// The vhost-user ABI: messages, payloads and flags under the names of the specification.
//
// Source: QEMU, docs/interop/vhost-user.rst. All numbers are in the machine's byte order; a message is a header of 12 bytes and
// `size` bytes of payload. Both sides use these: the back-end in frontends/vhostuser, the built-in front-end in compare.

using System.Runtime.InteropServices;

namespace Polyblk.Virtio.VhostUser;

/// <summary>Messages of the front-end ("Front-end message types").</summary>
public enum VhostUserRequest : uint
{
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    RESET_OWNER = 4,
    SET_MEM_TABLE = 5,
    SET_LOG_BASE = 6,
    SET_LOG_FD = 7,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    SET_BACKEND_REQ_FD = 21,
    GET_CONFIG = 24,
    SET_CONFIG = 25,
    GET_INFLIGHT_FD = 31,
    SET_INFLIGHT_FD = 32,
    RESET_DEVICE = 34,
    VRING_KICK = 35,
    GET_MAX_MEM_SLOTS = 36,
    ADD_MEM_REG = 37,
    REM_MEM_REG = 38,
    SET_STATUS = 39,
    GET_STATUS = 40,
}

/// <summary>Messages of the back-end, on the channel of SET_BACKEND_REQ_FD ("Back-end message types").</summary>
public enum VhostUserBackendRequest : uint
{
    IOTLB_MSG = 1,
    CONFIG_CHANGE_MSG = 2,
}

/// <summary>Protocol features (VHOST_USER_PROTOCOL_F_*).</summary>
[Flags]
public enum VhostUserProtocolFeatures : ulong
{
    None = 0,
    MQ = 1UL << 0,
    LOG_SHMFD = 1UL << 1,
    REPLY_ACK = 1UL << 3,
    BACKEND_REQ = 1UL << 5,
    CONFIG = 1UL << 9,
    BACKEND_SEND_FD = 1UL << 10,
    INFLIGHT_SHMFD = 1UL << 12,
    RESET_DEVICE = 1UL << 13,
    INBAND_NOTIFICATIONS = 1UL << 14,
    CONFIGURE_MEM_SLOTS = 1UL << 15,
    STATUS = 1UL << 16,
}

/// <summary>The header of every message.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VhostUserHeader
{
    public uint request;
    public uint flags;

    /// <summary>Bytes of payload.</summary>
    public uint size;
}

/// <summary>Vring state description: an index and a number.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vhost_vring_state
{
    public uint index;
    public uint num;
}

/// <summary>Vring address description. Addresses of the ring's parts are the front-end's user addresses.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct vhost_vring_addr
{
    public uint index;
    public uint flags;
    public ulong desc_user_addr;
    public ulong used_user_addr;
    public ulong avail_user_addr;
    public ulong log_guest_addr;
}

/// <summary>One region of memory.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VhostUserMemoryRegion
{
    public ulong guest_phys_addr;
    public ulong memory_size;
    public ulong userspace_addr;
    public ulong mmap_offset;
}

/// <summary>Head of the memory regions description; <c>nregions</c> regions follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VhostUserMemory
{
    public uint nregions;
    public uint padding;
}

/// <summary>Single memory region description.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VhostUserMemRegMsg
{
    public ulong padding;
    public VhostUserMemoryRegion region;
}

/// <summary>Log description.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VhostUserLog
{
    public ulong mmap_size;
    public ulong mmap_offset;
}

/// <summary>Head of the device config space payload; <c>size</c> bytes follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VhostUserConfig
{
    public uint offset;
    public uint size;
    public uint flags;
}

/// <summary>Inflight description. 20 bytes are used; compilers make it 24, and front-ends send and expect 24.</summary>
[StructLayout(LayoutKind.Sequential, Size = 24)]
public struct VhostUserInflight
{
    public ulong mmap_size;
    public ulong mmap_offset;
    public ushort num_queues;
    public ushort queue_size;
}

/// <summary>Constants of the protocol.</summary>
public static class VhostUserAbi
{
    public const int HeaderBytes = 12;

    /// <summary>Header flags: the version in bits 0 and 1, reply in bit 2, need_reply in bit 3.</summary>
    public const uint VERSION = 1;
    public const uint VERSION_MASK = 3;
    public const uint REPLY = 1 << 2;
    public const uint NEED_REPLY = 1 << 3;

    /// <summary>Payload of SET_VRING_KICK, CALL and ERR: the index in bits 0 to 7; bit 8 says that no descriptor comes.</summary>
    public const ulong VRING_IDX_MASK = 0xFF;
    public const ulong VRING_NOFD = 1 << 8;

    /// <summary>vhost_vring_addr.flags: log writes to the used ring.</summary>
    public const uint VHOST_VRING_F_LOG = 1;

    /// <summary>Bytes of guest memory for each bit of the dirty log.</summary>
    public const int VHOST_LOG_PAGE = 4096;

    /// <summary>Regions that one SET_MEM_TABLE can carry.</summary>
    public const int MaxTableRegions = 8;

    /// <summary>Largest piece of config space in one message (VHOST_USER_MAX_CONFIG_SIZE).</summary>
    public const int MaxConfigBytes = 256;

    /// <summary>VhostUserConfig.flags of SET_CONFIG: restoring a migrated device.</summary>
    public const uint SET_CONFIG_TYPE_MIGRATION = 1;

    /// <summary>VHOST_F_LOG_ALL: feature bit that switches logging of writes to guest memory on.</summary>
    public const ulong VHOST_F_LOG_ALL = 1UL << 26;

    /// <summary>VHOST_USER_F_PROTOCOL_FEATURES: feature bit that announces protocol features.</summary>
    public const ulong VHOST_USER_F_PROTOCOL_FEATURES = 1UL << 30;
}
