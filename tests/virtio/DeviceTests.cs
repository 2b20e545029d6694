// The configuration space and the features of a virtio-blk device, derived from a block device's limits.

using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class DeviceTests
{
    private static readonly BlockLimits s_limits = new()
    {
        LogicalBlockSize = 512, PhysicalBlockSize = 4096, MinimumIoSize = 65536, OptimalIoSize = 196608, MaxSegments = 200, Discard = true,
        DiscardGranularity = 8192, MaxDiscardBytes = 1 << 20, MaxWriteZeroesBytes = 2 << 20,
    };

    [Fact]
    public void StructsAreTheSpecifications()
    {
        Assert.Equal(96, Unsafe.SizeOf<virtio_blk_config>());
        Assert.Equal(20, (int)Marshal.OffsetOf<virtio_blk_config>("blk_size"));
        Assert.Equal(32, (int)Marshal.OffsetOf<virtio_blk_config>("writeback"));
        Assert.Equal(34, (int)Marshal.OffsetOf<virtio_blk_config>("num_queues"));
        Assert.Equal(48, (int)Marshal.OffsetOf<virtio_blk_config>("max_write_zeroes_sectors"));
        Assert.Equal(60, (int)Marshal.OffsetOf<virtio_blk_config>("max_secure_erase_sectors"));
        Assert.Equal(16, Unsafe.SizeOf<virtq_desc>());
        Assert.Equal(16, Unsafe.SizeOf<pvirtq_desc>());
        Assert.Equal(8, Unsafe.SizeOf<virtq_used_elem>());
        Assert.Equal(16, Unsafe.SizeOf<DescStateSplit>());
        Assert.Equal(16, Unsafe.SizeOf<QueueRegionSplit>());
        Assert.Equal(32, Unsafe.SizeOf<DescStatePacked>());
        Assert.Equal(32, Unsafe.SizeOf<QueueRegionPacked>());
        Assert.Equal(16, (int)Marshal.OffsetOf<QueueRegionPacked>("used_idx"));
    }

    [Fact]
    public void TheConfigurationDescribesTheDevice()
    {
        var device = new VirtioBlkDevice(new HeldDrive(1 << 20, s_limits), new VirtioBlkDeviceOptions { Queues = 4, QueueSize = 128 });
        virtio_blk_config config = device.Config;
        Assert.Equal(2048UL, config.capacity);
        Assert.Equal(126u, config.seg_max);
        Assert.Equal(512u, config.blk_size);
        Assert.Equal(3, config.physical_block_exp);
        Assert.Equal(128, config.min_io_size);
        Assert.Equal(384u, config.opt_io_size);
        Assert.Equal(4, config.num_queues);
        Assert.Equal(2048u, config.max_discard_sectors);
        Assert.Equal(16u, config.discard_sector_alignment);
        Assert.Equal(4096u, config.max_write_zeroes_sectors);
        Assert.Equal(1, config.write_zeroes_may_unmap);
        Assert.Equal(1, config.writeback);
    }

    [Fact]
    public void ReadsAnyPartAndZeroesBeyond()
    {
        var device = new VirtioBlkDevice(new HeldDrive(1 << 20, s_limits), new VirtioBlkDeviceOptions());
        var bytes = new byte[256];
        Array.Fill(bytes, (byte)9);
        device.ReadConfig(0, bytes);
        Assert.Equal(2048UL, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        Assert.All(bytes[96..], b => Assert.Equal(0, b));
        device.ReadConfig(20, bytes.AsSpan(0, 4));
        Assert.Equal(512, BinaryPrimitives.ReadInt32LittleEndian(bytes));
        foreach (int offset in (int[])[96, 4000, int.MaxValue, -1])
        {
            Array.Fill(bytes, (byte)9);
            device.ReadConfig(offset, bytes.AsSpan(0, 8));
            Assert.All(bytes[..8], b => Assert.Equal(0, b));
        }
    }

    [Fact]
    public void TheCapacityFollowsTheDevice()
    {
        var drive = new HeldDrive(1 << 20);
        var device = new VirtioBlkDevice(drive, new VirtioBlkDeviceOptions());
        drive.Grow(2 << 20);
        Assert.Equal(4096UL, device.Config.capacity);
    }

    [Theory]
    [InlineData(32, new byte[] { 0 }, true, true)]
    [InlineData(32, new byte[] { 2 }, true, false)]
    [InlineData(32, new byte[] { 0, 0 }, true, false)]
    [InlineData(31, new byte[] { 0 }, true, false)]
    [InlineData(0, new byte[] { 0 }, true, false)]
    [InlineData(32, new byte[] { 0 }, false, false)]
    public void OnlyTheWriteBackByteCanBeWritten(int offset, byte[] value, bool negotiated, bool accepted)
    {
        var device = new VirtioBlkDevice(new HeldDrive(1 << 20), new VirtioBlkDeviceOptions());
        device.SetFeatures(VIRTIO_BLK_F_FLUSH | (negotiated ? VIRTIO_BLK_F_CONFIG_WCE : 0));
        Assert.Equal(accepted, device.TryWriteConfig(offset, value));
        Assert.Equal(accepted, device.WriteThrough);
        device.Reset();
        Assert.Equal(1, device.Config.writeback);
    }

    [Fact]
    public void FeaturesFollowTheDeviceAndTheOptions()
    {
        var all = new VirtioBlkDevice(new HeldDrive(1 << 20, s_limits), new VirtioBlkDeviceOptions { Queues = 2, OfferAccessPlatform = true });
        ulong expected = VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM | VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC
            | VIRTIO_BLK_F_MQ | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_FLUSH
            | VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_TOPOLOGY;
        Assert.Equal(expected, all.OfferedFeatures);
        Assert.False(all.Offers(VIRTIO_F_IN_ORDER));
        var least = new VirtioBlkDevice(
            new HeldDrive(1 << 20, new BlockLimits()),
            new VirtioBlkDeviceOptions { ReadOnly = true, OfferConfigWce = false, OfferPacked = false, OfferEventIdx = false });
        Assert.False(least.Offers(VIRTIO_F_EVENT_IDX));
        Assert.True(least.Offers(VIRTIO_BLK_F_RO));
        Assert.False(least.Offers(
            VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_F_RING_PACKED | VIRTIO_F_ACCESS_PLATFORM | VIRTIO_BLK_F_MQ));
    }

    [Theory]
    [InlineData("more than twenty bytes")]
    [InlineData("umläut")]
    public void ASerialThatDoesNotFitIsRefused(string serial) =>
        Assert.Throws<ArgumentException>(() => new VirtioBlkDevice(new HeldDrive(512), new VirtioBlkDeviceOptions { Serial = serial }));
}
