using Polyblk.Core.Block;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Engine;

/// <summary>What an array can do, from what its members can.</summary>
internal static class ArrayLimits
{
    private const int MaxSegments = 256;
    private const long MaxTransferBytes = 4L << 20;
    private const long MaxRangeBytes = 1L << 30;

    /// <summary>The limits of an array.</summary>
    public static BlockLimits Of(RaidGeometry geometry, RaidMember[] members, long exportedSize)
    {
        BlockLimits[] all = [.. members.Where(m => m.Drive is not null).Select(m => m.Drive!.Limits)];
        int blockSize = all.Max(l => l.LogicalBlockSize);
        bool striped = geometry.Level != RaidLevel.Raid1;
        return new BlockLimits
        {
            LogicalBlockSize = blockSize,
            PhysicalBlockSize = all.Max(l => l.PhysicalBlockSize),
            MinimumIoSize = Math.Max(striped ? geometry.MinimalIoSize : 0, all.Max(l => l.MinimumIoSize)),
            OptimalIoSize = striped ? (int)Math.Min(geometry.OptimalIoSize, exportedSize) : all.Max(l => l.OptimalIoSize),
            BufferAlignment = all.Max(l => l.BufferAlignment),
            MaxTransferBytes = MaxTransferBytes,
            MaxSegments = Math.Min(MaxSegments, all.Min(l => l.MaxSegments)),
            VolatileCache = all.Any(l => l.VolatileCache),

            // A parity array zeroes what is discarded, stripe by stripe: parity stays right whatever the members make of a
            // discard. Copies must read the same afterwards: a mirror discards only when all its members do.
            Discard = geometry.HasParity || (geometry.CopyCount > 1 ? all.All(l => l.Discard) : all.Any(l => l.Discard)),
            DiscardGranularity = geometry.HasParity ? (int)geometry.StripeDataSize : all.Max(l => l.DiscardGranularity),
            MaxDiscardBytes = MaxRangeBytes,
            MaxWriteZeroesBytes = MaxRangeBytes,
            ReadOnly = all.Any(l => l.ReadOnly),
            NeedsCpuAccessForWrites = geometry.HasParity || all.Any(l => l.NeedsCpuAccessForWrites),

            // A parity array computes what it cannot read. It then refuses a read into memory that only the kernel reaches, with
            // -EFAULT, and the submitter sends it again with other memory: healthy arrays are read without a copy.
            NeedsCpuAccessForReads = all.Any(l => l.NeedsCpuAccessForReads),
        };
    }

    /// <summary>The longest request that every member takes, by <see cref="BlockOperation"/>; multiples of 4096.</summary>
    public static long[] MaxPieceBytes(RaidMember[] members)
    {
        BlockLimits[] all = [.. members.Where(m => m.Drive is not null).Select(m => m.Drive!.Limits)];
        long data = Round(all.Min(l => l.MaxTransferBytes));
        var result = new long[5];
        result[(int)BlockOperation.Read] = data;
        result[(int)BlockOperation.Write] = data;
        result[(int)BlockOperation.Flush] = 1;
        result[(int)BlockOperation.Discard] = Round(all.Min(l => l.MaxDiscardBytes));
        result[(int)BlockOperation.WriteZeroes] = Round(all.Min(l => l.MaxWriteZeroesBytes));
        return result;
    }

    private static long Round(long bytes) => Math.Max(4096, bytes & ~4095L);
}
