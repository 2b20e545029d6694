using System.Runtime.InteropServices;

namespace Polyblk.Virtio;

/// <summary>The head of struct virtio_blk_req (VIRTIO 1.3, section 5.2.6).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct virtio_blk_outhdr
{
    public uint type;
    public uint ioprio;
    public ulong sector;
}

/// <summary>struct virtio_blk_discard_write_zeroes: a range of a discard or write-zeroes request.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct virtio_blk_discard_write_zeroes
{
    public ulong sector;
    public uint num_sectors;
    public uint flags;
}

/// <summary>Request types and statuses of virtio-blk.</summary>
public static class VirtioBlkProtocol
{
    public const uint VIRTIO_BLK_T_IN = 0;
    public const uint VIRTIO_BLK_T_OUT = 1;
    public const uint VIRTIO_BLK_T_FLUSH = 4;
    public const uint VIRTIO_BLK_T_GET_ID = 8;
    public const uint VIRTIO_BLK_T_DISCARD = 11;
    public const uint VIRTIO_BLK_T_WRITE_ZEROES = 13;
    public const byte VIRTIO_BLK_S_OK = 0;
    public const byte VIRTIO_BLK_S_IOERR = 1;
    public const byte VIRTIO_BLK_S_UNSUPP = 2;
    public const uint VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1;
}
