// The shared structures of virtqueues (VIRTIO 1.3, sections 2.7 and 2.8). Little-endian, as the processor is.

using System.Runtime.InteropServices;

namespace Polyblk.Virtio;

/// <summary>struct virtq_desc: an entry of a split queue's table, and of an indirect table.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct virtq_desc
{
    public ulong addr;
    public uint len;
    public ushort flags;
    public ushort next;
}

/// <summary>struct virtq_used_elem.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct virtq_used_elem
{
    public uint id;
    public uint len;
}

/// <summary>struct pvirtq_desc: an entry of a packed queue's ring, and of its indirect tables.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct pvirtq_desc
{
    public ulong addr;
    public uint len;
    public ushort id;
    public ushort flags;
}

/// <summary>struct pvirtq_event_suppress.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct pvirtq_event_suppress
{
    public ushort off_wrap;
    public ushort flags;
}

/// <summary>Constants and sizes of the rings.</summary>
public static class RingLayout
{
    public const ushort VIRTQ_DESC_F_NEXT = 1;
    public const ushort VIRTQ_DESC_F_WRITE = 2;
    public const ushort VIRTQ_DESC_F_INDIRECT = 4;
    public const ushort VIRTQ_DESC_F_AVAIL = 1 << 7;
    public const ushort VIRTQ_DESC_F_USED = 1 << 15;
    public const ushort VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
    public const ushort VIRTQ_USED_F_NO_NOTIFY = 1;
    public const ushort RING_EVENT_FLAGS_ENABLE = 0;
    public const ushort RING_EVENT_FLAGS_DISABLE = 1;
    public const ushort RING_EVENT_FLAGS_DESC = 2;

    /// <summary>Bytes of a descriptor of either kind.</summary>
    public const int DescriptorBytes = 16;

    /// <summary>Bytes of a split queue's available ring.</summary>
    public static ulong AvailBytes(int size, bool eventIdx) => 4 + (2 * (ulong)size) + (eventIdx ? 2UL : 0);

    /// <summary>Bytes of a split queue's used ring.</summary>
    public static ulong UsedBytes(int size, bool eventIdx) => 4 + (8 * (ulong)size) + (eventIdx ? 2UL : 0);
}
