// The virtio-blk device that one session or kernel device sees: its features, its configuration space, its serial, and the
// write-back switch. All queues of a session share it. What it says is derived from the block device's limits, once; only the
// capacity and the write-back byte change afterwards.

using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;
using Polyblk.Core.Block;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio;

/// <summary>Options of a <see cref="VirtioBlkDevice"/>.</summary>
public sealed record VirtioBlkDeviceOptions
{
    /// <summary>At most 20 bytes of ASCII (GET_ID).</summary>
    public string Serial { get; init; } = string.Empty;

    /// <summary>Refuse writes although the block device takes them.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Number of request queues: 1 to 65535.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Size of the queues: bounds the segments of a request. 0 when the driver decides.</summary>
    public int QueueSize { get; init; }

    /// <summary>Whether the write-back byte may be changed by the driver (CONFIG_WCE). VDUSE forbids it.</summary>
    public bool OfferConfigWce { get; init; } = true;

    /// <summary>Whether packed queues are offered.</summary>
    public bool OfferPacked { get; init; } = true;

    /// <summary>
    /// Whether notifications may be bound to an index (EVENT_IDX). A driver that sleeps is disturbed less with it; one that polls
    /// and sends single requests pays a full fence for each.
    /// </summary>
    public bool OfferEventIdx { get; init; } = true;

    /// <summary>Whether translated addresses are announced (ACCESS_PLATFORM). VDUSE requires it.</summary>
    public bool OfferAccessPlatform { get; init; }
}

/// <summary>A virtio-blk device without its transport. Control threads, but for the members that say otherwise.</summary>
public sealed unsafe class VirtioBlkDevice
{
    /// <summary>Bytes of a sector, the unit of the protocol whatever the block size.</summary>
    public const int SectorBytes = 512;

    /// <summary>Bytes of the serial.</summary>
    public const int SerialBytes = 20;

    /// <summary>Most ranges of one discard or write-zeroes request.</summary>
    public const int MaxRanges = 32;

    /// <summary>Largest range of a write-zeroes that is announced, in bytes.</summary>
    private const long AnnouncedZeroBytes = 4 << 20;

    private readonly IBlockDevice _device;
    private readonly byte[] _serial = new byte[SerialBytes];
    private virtio_blk_config _config;
    private ulong _features;
    private bool _writeThrough;

    /// <summary>Describes a block device.</summary>
    public VirtioBlkDevice(IBlockDevice device, VirtioBlkDeviceOptions options)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(options);
        if (options.Serial.Length > SerialBytes || options.Serial.Any(c => c is < ' ' or > '~'))
        {
            throw new ArgumentException($"The serial '{options.Serial}' must be at most {SerialBytes} printable ASCII characters.", nameof(options));
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(options.Queues, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.Queues, ushort.MaxValue);
        _device = device;
        Encoding.ASCII.GetBytes(options.Serial, _serial);
        ReadOnly = options.ReadOnly || device.Limits.ReadOnly;
        OfferedFeatures = Offer(options);
        _config = Describe(options);
    }

    /// <summary>Whether writes are refused.</summary>
    public bool ReadOnly { get; }

    /// <summary>The features to offer; a transport adds its own bits (vhost: LOG_ALL, PROTOCOL_FEATURES).</summary>
    public ulong OfferedFeatures { get; }

    /// <summary>The serial, 20 bytes padded with zeroes. Any thread.</summary>
    public ReadOnlySpan<byte> Serial => _serial;

    /// <summary>Whether every write must be durable before it completes. Any thread.</summary>
    public bool WriteThrough => Volatile.Read(ref _writeThrough);

    /// <summary>Largest range of a discard, in sectors.</summary>
    public uint MaxDiscardSectors => _config.max_discard_sectors;

    /// <summary>Largest range of a write-zeroes that is taken, in sectors; less is announced.</summary>
    public uint MaxWriteZeroesSectors => ToSectors(_device.Limits.MaxWriteZeroesBytes);

    /// <summary>Whether a feature is offered.</summary>
    public bool Offers(ulong feature) => (OfferedFeatures & feature) != 0;

    /// <summary>The configuration space with the present capacity.</summary>
    public virtio_blk_config Config
    {
        get
        {
            virtio_blk_config config = _config;
            config.capacity = (ulong)_device.SizeBytes / SectorBytes;
            return config;
        }
    }

    /// <summary>
    /// The driver's choice of features. Decides write-back or write-through: CONFIG_WCE leaves it to the config byte, otherwise
    /// FLUSH means write-back (VIRTIO 1.3, section 5.2.5).
    /// </summary>
    public void SetFeatures(ulong features)
    {
        _features = features;
        UpdateWriteThrough();
    }

    /// <summary>Copies a part of the configuration space; bytes beyond its end are zero.</summary>
    public void ReadConfig(int offset, Span<byte> destination)
    {
        destination.Clear();
        virtio_blk_config config = Config;
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<virtio_blk_config>(in config));
        if ((uint)offset < (uint)bytes.Length)
        {
            bytes = bytes[offset..];
            bytes[..Math.Min(bytes.Length, destination.Length)].CopyTo(destination);
        }
    }

    /// <summary>
    /// A write of the driver to the configuration space. Only the write-back byte can be written, and only with CONFIG_WCE
    /// negotiated.
    /// </summary>
    /// <returns>False when the write is refused.</returns>
    public bool TryWriteConfig(int offset, ReadOnlySpan<byte> source)
    {
        int writeback = (int)Marshal.OffsetOf<virtio_blk_config>(nameof(virtio_blk_config.writeback));
        if (offset != writeback || source.Length != 1 || source[0] > 1 || (_features & VIRTIO_BLK_F_CONFIG_WCE) == 0)
        {
            return false;
        }

        _config.writeback = source[0];
        UpdateWriteThrough();
        return true;
    }

    /// <summary>Back to the state after creation (device reset).</summary>
    public void Reset()
    {
        _config.writeback = 1;
        SetFeatures(0);
    }

    private void UpdateWriteThrough()
    {
        bool writeBack = (_features & VIRTIO_BLK_F_CONFIG_WCE) != 0 ? _config.writeback != 0 : (_features & VIRTIO_BLK_F_FLUSH) != 0;
        Volatile.Write(ref _writeThrough, !writeBack && _device.Limits.VolatileCache);
    }

    private ulong Offer(VirtioBlkDeviceOptions options)
    {
        ulong features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE
            | VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_FLUSH;
        features |= options.OfferEventIdx ? VIRTIO_F_EVENT_IDX : 0;
        features |= options.Queues > 1 ? VIRTIO_BLK_F_MQ : 0;
        features |= options.OfferConfigWce ? VIRTIO_BLK_F_CONFIG_WCE : 0;
        features |= options.OfferPacked ? VIRTIO_F_RING_PACKED : 0;
        features |= options.OfferAccessPlatform ? VIRTIO_F_ACCESS_PLATFORM : 0;
        features |= ReadOnly ? VIRTIO_BLK_F_RO : VIRTIO_BLK_F_WRITE_ZEROES;
        features |= !ReadOnly && _device.Limits.Discard ? VIRTIO_BLK_F_DISCARD : 0;
        return features;
    }

    private virtio_blk_config Describe(VirtioBlkDeviceOptions options)
    {
        BlockLimits limits = _device.Limits;
        int segments = Math.Min(limits.MaxSegments, VirtioBlkQueue.MaxSegments - 2);
        segments = options.QueueSize == 0 ? Math.Min(segments, 126) : Math.Min(segments, Math.Max(1, options.QueueSize - 2));
        var config = new virtio_blk_config
        {
            seg_max = (uint)segments,
            blk_size = (uint)limits.LogicalBlockSize,
            physical_block_exp = (byte)BitOperations.Log2((uint)Math.Max(1, limits.PhysicalBlockSize / limits.LogicalBlockSize)),
            min_io_size = (ushort)Math.Clamp(limits.MinimumIoSize / limits.LogicalBlockSize, 1, ushort.MaxValue),
            opt_io_size = (uint)(limits.OptimalIoSize / limits.LogicalBlockSize),
            writeback = 1,
            num_queues = (ushort)options.Queues,
        };
        if ((OfferedFeatures & VIRTIO_BLK_F_DISCARD) != 0)
        {
            config.max_discard_sectors = ToSectors(limits.MaxDiscardBytes);
            config.max_discard_seg = MaxRanges;
            config.discard_sector_alignment = (uint)Math.Max(1, limits.DiscardGranularity / SectorBytes);
        }

        if ((OfferedFeatures & VIRTIO_BLK_F_WRITE_ZEROES) != 0)
        {
            // Less than is taken: a driver that keeps to it has little outstanding when its ring is stopped. More is taken of
            // drivers that read what earlier versions announced.
            long zero = Math.Min(limits.MaxWriteZeroesBytes, AnnouncedZeroBytes);
            bool isCut = zero < limits.MaxWriteZeroesBytes && limits.OptimalIoSize > 0 && limits.OptimalIoSize <= zero;
            zero -= isCut ? zero % limits.OptimalIoSize : 0;
            config.max_write_zeroes_sectors = ToSectors(zero);
            config.max_write_zeroes_seg = 1;
            config.write_zeroes_may_unmap = (byte)(limits.Discard ? 1 : 0);
        }

        return config;
    }

    private static uint ToSectors(long bytes) => (uint)Math.Min(bytes / SectorBytes, int.MaxValue / SectorBytes * SectorBytes);
}
