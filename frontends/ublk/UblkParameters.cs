// From a volume's limits to the parameters of the kernel's block device.

using System.Numerics;
using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>Builds ublk_params. The kernel then splits requests so that each fits the volume's limits.</summary>
internal static class UblkParameters
{
    /// <summary>Default for the largest read or write, in bytes.</summary>
    public const int DefaultMaxIoBytes = 1 << 20;

    /// <summary>Smallest largest request, in bytes: a page, on every machine that Linux runs on.</summary>
    public const int MinMaxIoBytes = 64 << 10;

    private const int SectorShift = 9;

    /// <summary>The largest read or write of the device in bytes: a multiple of the page.</summary>
    /// <param name="limits">The volume's limits.</param>
    /// <param name="wanted">What the user asked for, or null.</param>
    /// <exception cref="FrontendException">No size suits both.</exception>
    public static int MaxIoBytes(BlockLimits limits, int? wanted)
    {
        int page = Environment.SystemPageSize;
        if (wanted is int asked && (asked < MinMaxIoBytes || asked > MaxIoBytesAllowed || asked % page != 0))
        {
            throw new FrontendOptionException($"The largest request must be {MinMaxIoBytes >> 10} KiB to {MaxIoBytesAllowed >> 20} MiB and whole pages, not {asked} bytes.");
        }

        if (limits.MaxTransferBytes < page)
        {
            throw new FrontendException($"The volume takes at most {limits.MaxTransferBytes} bytes a request; ublk needs {page} at least.");
        }

        // A whole stripe in one request saves a parity array the read-modify-write, so it is worth larger buffers.
        int preferred = wanted ?? (int)Math.Clamp(BitOperations.RoundUpToPowerOf2((uint)limits.OptimalIoSize), DefaultMaxIoBytes, 4 << 20);
        return (int)Math.Min(preferred, limits.MaxTransferBytes) / page * page;
    }

    /// <summary>The parameters of a new device.</summary>
    /// <param name="limits">The volume's limits.</param>
    /// <param name="sizeBytes">Its size in bytes.</param>
    /// <param name="readOnly">Whether to refuse writes although the volume takes them.</param>
    /// <param name="maxIoBytes">The largest read or write in bytes.</param>
    /// <param name="plan">How data is moved.</param>
    public static ublk_params Build(BlockLimits limits, long sizeBytes, bool readOnly, int maxIoBytes, UblkPlan plan)
    {
        var parameters = new ublk_params
        {
            len = (uint)Unsafe.SizeOf<ublk_params>(),
            types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD,
        };
        parameters.basic = BuildBasic(limits, sizeBytes, readOnly, maxIoBytes);
        parameters.discard = BuildDiscard(limits);
        if (plan.Mode == UblkCopyMode.ZeroCopy)
        {
            // The drive gets the consumer's own pages, so the consumer must align them as the drive needs it.
            uint alignment = (uint)Math.Clamp(limits.BufferAlignment, 4, Environment.SystemPageSize);
            parameters.types |= UBLK_PARAM_TYPE_DMA_ALIGN | UBLK_PARAM_TYPE_SEGMENT;
            parameters.dma.alignment = BitOperations.RoundUpToPowerOf2(alignment) - 1;
            parameters.seg.seg_boundary_mask = uint.MaxValue;
            parameters.seg.max_segment_size = (uint)maxIoBytes;
            parameters.seg.max_segments = (ushort)Math.Clamp(maxIoBytes / Environment.SystemPageSize, 1, ushort.MaxValue);
        }

        return parameters;
    }

    /// <summary>
    /// Whether the driver can tell the optimal size to the consumer: it takes powers of two only. For others the right options of
    /// mkfs are in the attach commands.
    /// </summary>
    public static bool CanExpressOptimalIo(BlockLimits limits) => limits.OptimalIoSize == 0 || BitOperations.IsPow2(limits.OptimalIoSize);

    private const int MaxIoBytesAllowed = UblkAbi.MaxIoBytes;

    private static ublk_param_basic BuildBasic(BlockLimits limits, long sizeBytes, bool readOnly, int maxIoBytes)
    {
        uint attributes = 0;
        attributes |= readOnly || limits.ReadOnly ? UBLK_ATTR_READ_ONLY : 0;

        // The driver looks at FUA only where there is a cache that it would bypass.
        attributes |= limits.VolatileCache ? UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA : 0;
        int logical = BitOperations.Log2((uint)limits.LogicalBlockSize);
        int physical = Math.Max(logical, BitOperations.Log2((uint)limits.PhysicalBlockSize));
        int minimum = BitOperations.IsPow2(limits.MinimumIoSize) ? Math.Max(physical, BitOperations.Log2((uint)limits.MinimumIoSize)) : physical;
        int optimal = limits.OptimalIoSize > 0 && CanExpressOptimalIo(limits)
            ? Math.Max(minimum, BitOperations.Log2((uint)limits.OptimalIoSize))
            : minimum;
        return new ublk_param_basic
        {
            attrs = attributes,
            logical_bs_shift = (byte)logical,
            physical_bs_shift = (byte)physical,
            io_min_shift = (byte)minimum,
            io_opt_shift = (byte)optimal,
            max_sectors = (uint)(maxIoBytes >> SectorShift),
            dev_sectors = (ulong)(sizeBytes >> SectorShift),
        };
    }

    private static ublk_param_discard BuildDiscard(BlockLimits limits) => new()
    {
        discard_granularity = (uint)Math.Max(limits.DiscardGranularity, limits.LogicalBlockSize),
        max_discard_sectors = limits.Discard ? Sectors(limits.MaxDiscardBytes, limits) : 0,
        max_write_zeroes_sectors = Sectors(limits.MaxWriteZeroesBytes, limits),

        // The driver takes discards of one range only.
        max_discard_segments = 1,
    };

    private static uint Sectors(long bytes, BlockLimits limits)
    {
        // Below 4 GiB: a request's length is 32 bits of bytes in places of the block layer.
        long whole = Math.Min(bytes, uint.MaxValue) / limits.LogicalBlockSize * limits.LogicalBlockSize;
        return (uint)(whole >> SectorShift);
    }
}
