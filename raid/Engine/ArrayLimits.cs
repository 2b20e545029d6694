using Polyblk.Core.Block;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Engine;

/// <summary>What an array can do, from what its members can.</summary>
internal static class ArrayLimits
{
    private const int MaxSegments = 256;
    private const long MaxTransferBytes = 4L << 20;
    private const long MaxRangeBytes = 1L << 30;

    /// <summary>The limits of an array.</summary>
    public static BlockLimits Of(RaidGeometry geometry, IReadOnlyList<RaidMember> members, long exportedSize)
    {
        BlockLimits[] all = [.. members.Where(m => m.Drive is not null).Select(m => m.Way!.Limits)];
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
    public static long[] MaxPieceBytes(IReadOnlyList<RaidMember> members)
    {
        BlockLimits[] all = [.. members.Where(m => m.Drive is not null).Select(m => m.Way!.Limits)];
        long data = Round(all.Min(l => l.MaxTransferBytes));
        var result = new long[5];
        result[(int)BlockOperation.Read] = data;
        result[(int)BlockOperation.Write] = data;
        result[(int)BlockOperation.Flush] = 1;
        result[(int)BlockOperation.Discard] = Round(all.Min(l => l.MaxDiscardBytes));
        result[(int)BlockOperation.WriteZeroes] = Round(all.Min(l => l.MaxWriteZeroesBytes));
        return result;
    }

    /// <summary>
    /// Why a drive cannot join a running array, whose users have been told its limits; or null.
    /// </summary>
    public static string? WhyNotFit(RaidArray array, IBlockDevice drive)
    {
        BlockLimits has = array.Sums is null ? drive.Limits : ChecksummedDrive.LimitsOf(drive.Limits), needs = array.Limits;
        long bytes = array.Sums?.Layout.AreaEnd ?? (array.Geometry.DataOffset + array.Geometry.MemberDataSize);
        if (drive.SizeBytes < bytes)
        {
            return $"it has {drive.SizeBytes} bytes and a member needs {bytes}: take a larger one";
        }

        if (has.ReadOnly)
        {
            return "it is read-only: open it for writing";
        }

        if (has.LogicalBlockSize > needs.LogicalBlockSize)
        {
            return $"it has blocks of {has.LogicalBlockSize} bytes and the volume is addressed in blocks of {needs.LogicalBlockSize}: "
                + "take one with smaller blocks";
        }

        bool fits = has.BufferAlignment <= needs.BufferAlignment && has.MaxSegments >= needs.MaxSegments
            && (!has.VolatileCache || needs.VolatileCache)
            && (!has.NeedsCpuAccessForReads || needs.NeedsCpuAccessForReads)
            && (!has.NeedsCpuAccessForWrites || needs.NeedsCpuAccessForWrites)
            && MayTake(BlockOperation.Read, has.MaxTransferBytes) && MayTake(BlockOperation.Discard, has.MaxDiscardBytes)
            && MayTake(BlockOperation.WriteZeroes, has.MaxWriteZeroesBytes);
        return fits ? null
            : "it takes smaller or more strictly aligned requests than the drives that the volume was started with, or has a cache that they "
                + "have not: take one of their kind";

        bool MayTake(BlockOperation operation, long most) => Round(most) >= array.MaxPieceBytes(operation);
    }

    private static long Round(long bytes) => Math.Max(4096, bytes & ~4095L);
}
