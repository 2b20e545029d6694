// What lies in the area of checksums, little-endian. Both kinds of blocks carry the member's UUID: what another array left there,
// or wrote there by mistake, is no page of this one.
//
// A page: 0 magic u32   4 crc32c u32 (of what follows)   8 member UUID[16]   24 page number i64   32 sums: 1016 u32
// A sum is that of Crc32C.ComputeInterleaved; 0 is "none": nothing is known of the block. One that comes out as 0 is kept as 1.
//
// The header, in two slots that are written alternately:
//    0 magic u64   8 version u32   12 crc32c u32 (of what follows)   16 member UUID[16]   32 sequence u64   40 data bytes i64
//   48 region shift u32   64 regions ever used: 128 u64   1088 regions that are being written: 128 u64

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Checksums;

/// <summary>Pages of sums, and sums; see the top of the file.</summary>
internal static class ChecksumPage
{
    /// <summary>Bytes before the first sum.</summary>
    public const int HeaderBytes = 32;

    private const uint Magic = 0x534D_5553; // "SUMS"
    private const int CrcAt = 4, UuidAt = 8, NumberAt = 24;

    /// <summary>The sum of a block of zeroes.</summary>
    public static readonly uint OfZeroes = Sum(new byte[ChecksumLayout.BlockBytes]);

    /// <summary>The sum of a block; never 0.</summary>
    public static uint Sum(ReadOnlySpan<byte> block) => Math.Max(1, Crc32C.ComputeInterleaved(block));

    /// <summary>A sum that is not that of the block, whatever the block: what was wrong with it stays found.</summary>
    public static uint Spoil(uint sum) => (sum ^ 0x8000_0000) == 0 ? 1 : sum ^ 0x8000_0000;

    /// <summary>Fills in what is before the sums.</summary>
    public static void Seal(Span<byte> page, Guid member, int number)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(page, Magic);
        member.TryWriteBytes(page[UuidAt..], bigEndian: true, out _);
        BinaryPrimitives.WriteInt64LittleEndian(page[NumberAt..], number);
        BinaryPrimitives.WriteUInt32LittleEndian(page[CrcAt..], Crc32C.Compute(page[UuidAt..]));
    }

    /// <summary>Whether it is that page of that member, as it was written.</summary>
    public static bool IsSound(ReadOnlySpan<byte> page, Guid member, int number) =>
        BinaryPrimitives.ReadUInt32LittleEndian(page) == Magic
        && BinaryPrimitives.ReadUInt32LittleEndian(page[CrcAt..]) == Crc32C.Compute(page[UuidAt..])
        && new Guid(page.Slice(UuidAt, 16), bigEndian: true) == member
        && BinaryPrimitives.ReadInt64LittleEndian(page[NumberAt..]) == number;
}

/// <summary>The header; see the top of the file.</summary>
/// <param name="Sequence">Its number; the lowest bit is the slot.</param>
/// <param name="Used">Regions that have been written to, a bit each: what their pages say counts.</param>
/// <param name="Dirty">Regions that may be written to: what their pages say does not count after a crash.</param>
internal sealed record ChecksumHeader(ulong Sequence, ulong[] Used, ulong[] Dirty)
{
    private const int Words = ChecksumLayout.MaxRegions / 64;
    private const uint Version = 1;
    private const int CrcAt = 12, UuidAt = 16, SequenceAt = 32, DataAt = 40, ShiftAt = 48, UsedAt = 64;
    private const int DirtyAt = UsedAt + (Words * 8);

    private static ReadOnlySpan<byte> Magic => "POLYSUMS"u8;

    /// <summary>The header of a member of which no block has a sum.</summary>
    public static ChecksumHeader Empty => new(0, new ulong[Words], new ulong[Words]);

    /// <summary>Whether a region has its bit.</summary>
    public static bool Has(ulong[] regions, int region) => ((regions[region >> 6] >> region) & 1) != 0;

    /// <summary>The block.</summary>
    public byte[] ToBlock(ChecksumLayout layout, Guid member)
    {
        var block = new byte[ChecksumLayout.BlockBytes];
        Magic.CopyTo(block);
        BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(8), Version);
        member.TryWriteBytes(block.AsSpan(UuidAt), bigEndian: true, out _);
        BinaryPrimitives.WriteUInt64LittleEndian(block.AsSpan(SequenceAt), Sequence);
        BinaryPrimitives.WriteInt64LittleEndian(block.AsSpan(DataAt), layout.DataBytes);
        BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(ShiftAt), layout.RegionShift);
        MemoryMarshal.AsBytes<ulong>(Used).CopyTo(block.AsSpan(UsedAt));
        MemoryMarshal.AsBytes<ulong>(Dirty).CopyTo(block.AsSpan(DirtyAt));
        BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(CrcAt), Crc32C.Compute(block.AsSpan(UuidAt)));
        return block;
    }

    /// <summary>The header in a slot; null where none of this member is there.</summary>
    public static ChecksumHeader? Parse(ReadOnlySpan<byte> block, ChecksumLayout layout, Guid member)
    {
        bool isIts = block[..Magic.Length].SequenceEqual(Magic)
            && BinaryPrimitives.ReadUInt32LittleEndian(block[8..]) == Version
            && BinaryPrimitives.ReadUInt32LittleEndian(block[CrcAt..]) == Crc32C.Compute(block[UuidAt..])
            && new Guid(block.Slice(UuidAt, 16), bigEndian: true) == member
            && BinaryPrimitives.ReadInt64LittleEndian(block[DataAt..]) == layout.DataBytes
            && BinaryPrimitives.ReadInt32LittleEndian(block[ShiftAt..]) == layout.RegionShift;
        return !isIts ? null : new ChecksumHeader(
            BinaryPrimitives.ReadUInt64LittleEndian(block[SequenceAt..]),
            MemoryMarshal.Cast<byte, ulong>(block.Slice(UsedAt, Words * 8)).ToArray(),
            MemoryMarshal.Cast<byte, ulong>(block.Slice(DirtyAt, Words * 8)).ToArray());
    }
}
