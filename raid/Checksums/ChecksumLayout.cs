// Where the checksums of a member lie: in an area of its drive, behind the data.
//
//   0     header, first slot      4096  header, second slot      8192  pages
//
// A page has the sums of 1016 blocks of 4096 bytes, 4 bytes each, in the order of the blocks: the place of a sum follows from the
// place of the block, so that a block which was written somewhere else is found at both places. Pages are counted in regions of a
// power of two of them, at most 8192 regions on a member, whose state is in the header.

using System.Numerics;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Checksums;

/// <summary>See the top of the file. All offsets and lengths are in bytes of the drive.</summary>
/// <param name="DataOffset">Where the data begins, a multiple of 4096.</param>
/// <param name="DataBytes">How long it is, a multiple of 4096.</param>
/// <param name="AreaOffset">Where the area begins, behind the data; a multiple of 4096.</param>
internal sealed record ChecksumLayout(long DataOffset, long DataBytes, long AreaOffset)
{
    /// <summary>Bytes of a block with a sum, and of a page of sums.</summary>
    public const int BlockBytes = 4096;

    /// <summary>Sums in a page.</summary>
    public const int SumsInPage = (BlockBytes - ChecksumPage.HeaderBytes) / sizeof(uint);

    /// <summary>The most regions of a member.</summary>
    public const int MaxRegions = 8192;

    private const int HeaderSlots = 2;

    /// <summary>The end of the data.</summary>
    public long DataEnd => DataOffset + DataBytes;

    /// <summary>Blocks with a sum.</summary>
    public long Blocks => DataBytes / BlockBytes;

    /// <summary>Pages of sums.</summary>
    public int Pages { get; } = PagesOf(DataBytes);

    /// <summary>Log2 of the pages in a region.</summary>
    public int RegionShift { get; } =
        BitOperations.Log2(BitOperations.RoundUpToPowerOf2((uint)((PagesOf(DataBytes) + MaxRegions - 1) / MaxRegions)));

    /// <summary>Regions.</summary>
    public int Regions => (Pages + (1 << RegionShift) - 1) >> RegionShift;

    /// <summary>The end of the area.</summary>
    public long AreaEnd => AreaOffset + AreaBytes(DataBytes);

    /// <summary>Where a page lies.</summary>
    public long PageOffset(int page) => AreaOffset + ((HeaderSlots + (long)page) * BlockBytes);

    /// <summary>The slot of the header that has a sequence number.</summary>
    public long HeaderOffset(ulong sequence) => AreaOffset + ((long)(sequence & 1) * BlockBytes);

    /// <summary>The region of a page.</summary>
    public int RegionOf(int page) => page >> RegionShift;

    /// <summary>The first page of a region.</summary>
    public int FirstPage(int region) => region << RegionShift;

    /// <summary>The page after the last one of a region.</summary>
    public int EndPage(int region) => Math.Min(Pages, (region + 1) << RegionShift);

    /// <summary>The layout of an array's members; null where they have no checksums.</summary>
    public static ChecksumLayout? Of(ArraySuperblock superblock) => superblock.ChecksumOffset == 0 ? null
        : new ChecksumLayout(superblock.MemberDataOffset, superblock.MemberDataSize, superblock.ChecksumOffset);

    /// <summary>How long the area is for so much data.</summary>
    public static long AreaBytes(long dataBytes) => (HeaderSlots + (long)PagesOf(dataBytes)) * BlockBytes;

    /// <summary>How much of a drive is left for a member with its data, in bytes from the drive's start; at least 0.</summary>
    public static long BytesWithoutArea(long driveBytes, long dataOffset) =>
        Math.Max(0, driveBytes - AreaBytes(Math.Max(0, driveBytes - dataOffset)));

    private static int PagesOf(long dataBytes) => checked((int)(((dataBytes / BlockBytes) + SumsInPage - 1) / SumsInPage));
}
