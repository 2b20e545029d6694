using System.Runtime.InteropServices;

namespace Polyblk.Virtio;

/// <summary>
/// struct virtio_blk_config (VIRTIO 1.3, section 5.2.4): 96 bytes, little-endian, packed. The first 60 end with the write-zeroes
/// fields.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public struct virtio_blk_config
{
    public ulong capacity;
    public uint size_max;
    public uint seg_max;
    public ushort cylinders;
    public byte heads;
    public byte sectors;
    public uint blk_size;
    public byte physical_block_exp;
    public byte alignment_offset;
    public ushort min_io_size;
    public uint opt_io_size;
    public byte writeback;
    public byte unused0;
    public ushort num_queues;
    public uint max_discard_sectors;
    public uint max_discard_seg;
    public uint discard_sector_alignment;
    public uint max_write_zeroes_sectors;
    public uint max_write_zeroes_seg;
    public byte write_zeroes_may_unmap;
    public byte unused1_0;
    public byte unused1_1;
    public byte unused1_2;
    public uint max_secure_erase_sectors;
    public uint max_secure_erase_seg;
    public uint secure_erase_sector_alignment;
    public uint zone_sectors;
    public uint max_open_zones;
    public uint max_active_zones;
    public uint max_append_sectors;
    public uint write_granularity;
    public byte model;
    public byte unused2_0;
    public byte unused2_1;
    public byte unused2_2;
}
