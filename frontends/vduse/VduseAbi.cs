// The kernel's interface of VDUSE: linux/vduse.h, API versions 0 and 1.
//
// Version 1 adds groups of queues, each of which may be given an address space of its own: a network device keeps its control
// queue apart with them. All queues of a block device carry the guest's data; ours are one group in one address space, number 0.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Polyblk.Frontends.Vduse;

/// <summary>struct vduse_dev_config, without the configuration space that follows it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct vduse_dev_config
{
    public fixed byte name[VduseAbi.VDUSE_NAME_MAX];
    public uint vendor_id;
    public uint device_id;
    public ulong features;
    public uint vq_num;
    public uint vq_align;
    public uint ngroups;
    public uint nas;
    public fixed uint reserved[11];
    public uint config_size;
}

[StructLayout(LayoutKind.Sequential)]
internal struct vduse_iotlb_entry
{
    public ulong offset;
    public ulong start;
    public ulong last;
    public byte perm;
}

/// <summary>struct vduse_config_data, without the bytes that follow it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vduse_config_data
{
    public uint offset;
    public uint length;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct vduse_vq_config
{
    public uint index;
    public ushort max_size;
    public ushort reserved1;
    public uint group;
    public fixed ushort reserved2[10];
}

/// <summary>The union of vduse_vq_state_split and vduse_vq_state_packed.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
internal struct vduse_vq_state_union
{
    [FieldOffset(0)] public ushort avail_index;
    [FieldOffset(0)] public ushort last_avail_counter;
    [FieldOffset(2)] public ushort last_avail_idx;
    [FieldOffset(4)] public ushort last_used_counter;
    [FieldOffset(6)] public ushort last_used_idx;
}

[StructLayout(LayoutKind.Sequential)]
internal struct vduse_vq_info
{
    public uint index;
    public uint num;
    public ulong desc_addr;
    public ulong driver_addr;
    public ulong device_addr;
    public vduse_vq_state_union state;
    public byte ready;
}

[StructLayout(LayoutKind.Sequential)]
internal struct vduse_vq_eventfd
{
    public uint index;
    public int fd;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct vduse_iova_umem
{
    public ulong uaddr;
    public ulong iova;
    public ulong size;
    public uint asid;
    public fixed uint reserved[5];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct vduse_iova_info
{
    public ulong start;
    public ulong last;
    public ulong capability;
    public uint asid;
    public fixed uint reserved[5];
}

/// <summary>struct vduse_dev_request: a message of the kernel.</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal struct vduse_dev_request
{
    [FieldOffset(0)] public uint type;
    [FieldOffset(4)] public uint request_id;
    [FieldOffset(24)] public uint vq_index;
    [FieldOffset(24)] public byte status;
    [FieldOffset(24)] public ulong iova_start;
    [FieldOffset(32)] public ulong iova_last;
    [FieldOffset(24)] public uint group;
    [FieldOffset(28)] public uint asid;
}

/// <summary>struct vduse_dev_response.</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal struct vduse_dev_response
{
    [FieldOffset(0)] public uint request_id;
    [FieldOffset(4)] public uint result;
    [FieldOffset(24)] public uint vq_index;
    [FieldOffset(28)] public vduse_vq_state_union vq_state;
}

/// <summary>Numbers of linux/vduse.h.</summary>
internal static class VduseAbi
{
    public const int VDUSE_NAME_MAX = 256;
    public const ulong VDUSE_API_VERSION = 0;
    public const ulong VDUSE_API_VERSION_1 = 1;
    public const byte VDUSE_ACCESS_RO = 1;
    public const byte VDUSE_ACCESS_WO = 2;
    public const byte VDUSE_ACCESS_RW = 3;
    public const int VDUSE_EVENTFD_DEASSIGN = -1;
    public const ulong VDUSE_IOVA_CAP_UMEM = 1;
    public const uint VDUSE_GET_VQ_STATE = 0;
    public const uint VDUSE_SET_STATUS = 1;
    public const uint VDUSE_UPDATE_IOTLB = 2;
    public const uint VDUSE_SET_VQ_GROUP_ASID = 3;
    public const uint VDUSE_REQ_RESULT_OK = 0;
    public const uint VDUSE_REQ_RESULT_FAILED = 1;
    public const uint VIRTIO_ID_BLOCK = 2;
    public const byte VIRTIO_CONFIG_S_DRIVER_OK = 4;

    public static readonly nuint VDUSE_GET_API_VERSION = Read<ulong>(0x00);
    public static readonly nuint VDUSE_SET_API_VERSION = Write<ulong>(0x01);
    public static readonly nuint VDUSE_CREATE_DEV = Write<vduse_dev_config>(0x02);
    public static readonly nuint VDUSE_DESTROY_DEV = Number(1, 0x03, VDUSE_NAME_MAX);
    public static readonly nuint VDUSE_IOTLB_GET_FD = ReadWrite<vduse_iotlb_entry>(0x10);
    public static readonly nuint VDUSE_DEV_GET_FEATURES = Read<ulong>(0x11);
    public static readonly nuint VDUSE_DEV_SET_CONFIG = Write<vduse_config_data>(0x12);
    public static readonly nuint VDUSE_DEV_INJECT_CONFIG_IRQ = Number(0, 0x13, 0);
    public static readonly nuint VDUSE_VQ_SETUP = Write<vduse_vq_config>(0x14);
    public static readonly nuint VDUSE_VQ_GET_INFO = ReadWrite<vduse_vq_info>(0x15);
    public static readonly nuint VDUSE_VQ_SETUP_KICKFD = Write<vduse_vq_eventfd>(0x16);
    public static readonly nuint VDUSE_VQ_INJECT_IRQ = Write<uint>(0x17);
    public static readonly nuint VDUSE_IOTLB_REG_UMEM = Write<vduse_iova_umem>(0x18);
    public static readonly nuint VDUSE_IOTLB_DEREG_UMEM = Write<vduse_iova_umem>(0x19);
    public static readonly nuint VDUSE_IOTLB_GET_INFO = ReadWrite<vduse_iova_info>(0x1a);

    private const nuint VDUSE_BASE = 0x81;

    private static nuint Read<T>(uint number) => Number(2, number, (uint)Unsafe.SizeOf<T>());

    private static nuint Write<T>(uint number) => Number(1, number, (uint)Unsafe.SizeOf<T>());

    private static nuint ReadWrite<T>(uint number) => Number(3, number, (uint)Unsafe.SizeOf<T>());

    /// <summary>_IOC(direction, VDUSE_BASE, number, size).</summary>
    private static nuint Number(nuint direction, uint number, uint size) => (direction << 30) | ((nuint)size << 16) | (VDUSE_BASE << 8) | number;
}
