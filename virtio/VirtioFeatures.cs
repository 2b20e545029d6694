namespace Polyblk.Virtio;

/// <summary>Feature bits of virtio-blk and of the rings (VIRTIO 1.3, sections 5.2.3 and 6), and those that vhost adds.</summary>
public static class VirtioFeatures
{
    public const ulong VIRTIO_BLK_F_SIZE_MAX = 1UL << 1;
    public const ulong VIRTIO_BLK_F_SEG_MAX = 1UL << 2;
    public const ulong VIRTIO_BLK_F_GEOMETRY = 1UL << 4;
    public const ulong VIRTIO_BLK_F_RO = 1UL << 5;
    public const ulong VIRTIO_BLK_F_BLK_SIZE = 1UL << 6;
    public const ulong VIRTIO_BLK_F_FLUSH = 1UL << 9;
    public const ulong VIRTIO_BLK_F_TOPOLOGY = 1UL << 10;
    public const ulong VIRTIO_BLK_F_CONFIG_WCE = 1UL << 11;
    public const ulong VIRTIO_BLK_F_MQ = 1UL << 12;
    public const ulong VIRTIO_BLK_F_DISCARD = 1UL << 13;
    public const ulong VIRTIO_BLK_F_WRITE_ZEROES = 1UL << 14;
    public const ulong VHOST_F_LOG_ALL = 1UL << 26;
    public const ulong VIRTIO_F_INDIRECT_DESC = 1UL << 28;
    public const ulong VIRTIO_F_EVENT_IDX = 1UL << 29;
    public const ulong VHOST_USER_F_PROTOCOL_FEATURES = 1UL << 30;
    public const ulong VIRTIO_F_VERSION_1 = 1UL << 32;
    public const ulong VIRTIO_F_ACCESS_PLATFORM = 1UL << 33;
    public const ulong VIRTIO_F_RING_PACKED = 1UL << 34;
    public const ulong VIRTIO_F_IN_ORDER = 1UL << 35;
    public const ulong VIRTIO_F_RING_RESET = 1UL << 40;
}
