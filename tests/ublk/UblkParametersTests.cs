// From limits to parameters, and the sizes of what the kernel reads.

using Polyblk.Core.Block;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk.Tests;

public sealed class UblkParametersTests
{
    private static readonly UblkPlan Copying = new(UblkCopyMode.Copy, false, false, "test");

    [Fact]
    public unsafe void Structures_have_the_kernels_sizes()
    {
        Assert.Equal((32, 64, 24, 16, 152), (sizeof(ublksrv_ctrl_cmd), sizeof(ublksrv_ctrl_dev_info), sizeof(ublksrv_io_desc), sizeof(ublksrv_io_cmd), sizeof(ublk_params)));
        ublk_params parameters = default;
        Assert.Equal(
            (76L, 108L, 120L),
            ((byte*)&parameters.zoned - (byte*)&parameters, (byte*)&parameters.dma - (byte*)&parameters, (byte*)&parameters.seg - (byte*)&parameters));
        Assert.Equal(98304, DescriptorStrideBytes); // 4096 descriptors, whatever the depth
        Assert.Equal(0x80000000L + (5L << 41) + (9L << 25), UserCopyOffset(5, 9));
    }

    [Fact]
    public void Describes_a_raid_volume()
    {
        var limits = new BlockLimits
        {
            LogicalBlockSize = 4096, PhysicalBlockSize = 4096, MinimumIoSize = 64 << 10, OptimalIoSize = 512 << 10, Discard = true,
            DiscardGranularity = 64 << 10, MaxDiscardBytes = 1L << 40, MaxWriteZeroesBytes = 1 << 30,
        };
        ublk_params p = UblkParameters.Build(limits, 1L << 44, readOnly: false, 1 << 20, Copying);
        Assert.Equal(152u, p.len);
        Assert.Equal(UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD, p.types);
        Assert.Equal(UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA, p.basic.attrs);
        Assert.Equal((12, 12, 16, 19), (p.basic.logical_bs_shift, p.basic.physical_bs_shift, p.basic.io_min_shift, p.basic.io_opt_shift));
        Assert.Equal((2048u, 1ul << 35), (p.basic.max_sectors, p.basic.dev_sectors));
        Assert.Equal((65536u, 1), (p.discard.discard_granularity, p.discard.max_discard_segments));
        Assert.Equal(((uint.MaxValue >> 12 << 12) >> 9, 1u << 21), (p.discard.max_discard_sectors, p.discard.max_write_zeroes_sectors));
    }

    [Fact]
    public void A_write_through_read_only_volume_without_discard()
    {
        var limits = new BlockLimits { VolatileCache = false, ReadOnly = true };
        ublk_params p = UblkParameters.Build(limits, 1 << 20, readOnly: false, 1 << 20, Copying);
        Assert.Equal(UBLK_ATTR_READ_ONLY, p.basic.attrs);
        Assert.Equal(0u, p.discard.max_discard_sectors);
        Assert.NotEqual(0u, p.discard.discard_granularity); // the driver refuses 0
        Assert.Equal(UBLK_ATTR_READ_ONLY, UblkParameters.Build(limits with { ReadOnly = false }, 1 << 20, readOnly: true, 1 << 20, Copying).basic.attrs);
    }

    [Fact]
    public void A_stripe_that_is_no_power_of_two_is_not_rounded_to_a_wrong_one()
    {
        var limits = new BlockLimits { MinimumIoSize = 64 << 10, OptimalIoSize = 192 << 10 };
        Assert.False(UblkParameters.CanExpressOptimalIo(limits));
        ublk_params p = UblkParameters.Build(limits, 1 << 20, false, 1 << 20, Copying);
        Assert.Equal((16, 16), (p.basic.io_min_shift, p.basic.io_opt_shift));
        AttachCommand mkfs = UblkAttach.Build("/dev/ublkb7", "/run/x", "vol_A", 1 << 30, limits, readOnly: false)[0];
        Assert.Equal("mkfs.xfs -d su=65536,sw=3 /dev/ublkb7", mkfs.Text);
    }

    [Theory]
    [InlineData(1, 3)]
    [InlineData(512, 511)]
    [InlineData(4096, 4095)]
    [InlineData(65536, 4095)]
    public void Zero_copy_makes_the_consumer_align_its_memory(int alignment, uint mask)
    {
        var plan = new UblkPlan(UblkCopyMode.ZeroCopy, true, true, "test");
        ublk_params p = UblkParameters.Build(new BlockLimits { BufferAlignment = alignment }, 1 << 20, false, 1 << 20, plan);
        Assert.Equal(mask, p.dma.alignment);
        Assert.Equal(UBLK_PARAM_TYPE_DMA_ALIGN | UBLK_PARAM_TYPE_SEGMENT, p.types & (UBLK_PARAM_TYPE_DMA_ALIGN | UBLK_PARAM_TYPE_SEGMENT));
        Assert.Equal((1u << 20, 256), (p.seg.max_segment_size, p.seg.max_segments));
        Assert.Equal(0ul, (p.seg.seg_boundary_mask + 1) & p.seg.seg_boundary_mask);
    }

    [Fact]
    public void The_largest_request_fits_volume_and_stripe()
    {
        var limits = new BlockLimits();
        Assert.Equal(1 << 20, UblkParameters.MaxIoBytes(limits, null));
        Assert.Equal(2 << 20, UblkParameters.MaxIoBytes(limits with { OptimalIoSize = 1536 << 10 }, null));
        Assert.Equal(4 << 20, UblkParameters.MaxIoBytes(limits with { OptimalIoSize = 16 << 20 }, null));
        Assert.Equal(128 << 10, UblkParameters.MaxIoBytes(limits with { MaxTransferBytes = 130 << 10 }, null));
        Assert.Equal(256 << 10, UblkParameters.MaxIoBytes(limits, 256 << 10));
        Assert.Throws<FrontendOptionException>(() => UblkParameters.MaxIoBytes(limits, 5000));
        Assert.Throws<FrontendException>(() => UblkParameters.MaxIoBytes(limits with { MaxTransferBytes = 512 }, null));
    }

    [Fact]
    public void Every_attach_command_names_the_device_and_kubernetes_the_stable_link()
    {
        IReadOnlyList<AttachCommand> commands = UblkAttach.Build("/dev/ublkb7", "/run/polyblk/ublk/Vol_A", "Vol_A", 1 << 30, new BlockLimits(), readOnly: false);
        AttachCommand kubernetes = commands.Single(c => c.Consumer == "kubernetes");
        Assert.Contains("path: /run/polyblk/ublk/Vol_A", kubernetes.Text, StringComparison.Ordinal);
        Assert.Contains("name: vol-a\n", kubernetes.Text.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        Assert.All(commands.Where(c => c != kubernetes), c => Assert.Contains("/dev/ublkb7", c.Text, StringComparison.Ordinal));
        Assert.All(commands.Where(c => c != kubernetes), c => Assert.Equal(c.Text, string.Join(' ', c.Arguments)));
        IReadOnlyList<AttachCommand> readOnly = UblkAttach.Build("/dev/ublkb7", "/run/x", "v", 1 << 30, new BlockLimits(), readOnly: true);
        Assert.DoesNotContain(readOnly, c => c.Text.Contains("mkfs", StringComparison.Ordinal));
        Assert.Contains(readOnly, c => c.Text.Contains("/dev/data:r ", StringComparison.Ordinal));
    }
}
