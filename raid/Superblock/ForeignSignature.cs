// Finds out whether a drive holds something already: a file system, another array, a partition table, a disk image.
//
// Theory of operation: every format puts a magic number at a known place. The head of the drive and its tail are read once
// through a callback, and a table of checks looks at them. A hit is enough for a refusal, so the checks are generous where a
// format is; the few formats with short magics (MBR, FAT, ext) are checked for more than the magic. Offsets and magics are from
// the formats' own descriptions and from <linux/magic.h>.

using System.Buffers.Binary;

namespace Polyblk.Raid.Superblock;

/// <summary>Something found on a drive.</summary>
/// <param name="Name">What it is, for people: "ext4 file system".</param>
/// <param name="Offset">Where its signature is, in bytes.</param>
/// <param name="IsPart">Whether the drive is a part of something that others put together: an array, a volume group, an encrypted volume.</param>
public readonly record struct ForeignSignature(string Name, long Offset, bool IsPart = false);

/// <summary>Reads <paramref name="buffer"/> in full from a drive; throws an <see cref="IOException"/> when it cannot.</summary>
/// <param name="offset">The byte offset, a multiple of 4096 unless it is near the end of the drive.</param>
/// <param name="buffer">What to fill.</param>
public delegate void SignatureReader(long offset, Span<byte> buffer);

/// <summary>Detects what a drive holds.</summary>
public static class ForeignSignatures
{
    private const int HeadBytes = (1 << 20) + (64 << 10);
    private const int TailBytes = (512 << 10) + (256 << 10);

    private static ReadOnlySpan<byte> Luks => [(byte)'L', (byte)'U', (byte)'K', (byte)'S', 0xBA, 0xBE];
    private static ReadOnlySpan<byte> LuksSecondary => [(byte)'S', (byte)'K', (byte)'U', (byte)'L', 0xBA, 0xBE];
    private static ReadOnlySpan<byte> Qcow => [(byte)'Q', (byte)'F', (byte)'I', 0xFB];

    private static ReadOnlySpan<byte> BcacheMagic =>
        [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81];

    /// <summary>Everything found, in order of the checks; empty when the drive seems unused.</summary>
    /// <param name="size">The drive's size in bytes.</param>
    /// <param name="read">Reads from the drive.</param>
    public static IReadOnlyList<ForeignSignature> Detect(long size, SignatureReader read)
    {
        var (head, tail, tailAt) = Buffers(size);
        read(0, head);
        read(tailAt, tail);
        return Examine(size, head, tail, tailAt);
    }

    /// <summary>As <see cref="Detect"/>, for drives that are read asynchronously.</summary>
    /// <param name="size">The drive's size in bytes.</param>
    /// <param name="read">Reads from the drive: see <see cref="SignatureReader"/>.</param>
    public static async Task<IReadOnlyList<ForeignSignature>> DetectAsync(long size, Func<long, Memory<byte>, Task> read)
    {
        var (head, tail, tailAt) = Buffers(size);
        await read(0, head).ConfigureAwait(false);
        await read(tailAt, tail).ConfigureAwait(false);
        return Examine(size, head, tail, tailAt);
    }

    private static (byte[] Head, byte[] Tail, long TailAt) Buffers(long size)
    {
        // The tail begins on a page boundary, for drives that are read with O_DIRECT; the ZFS labels there need it whole.
        long tailAt = Math.Max(0, (size - TailBytes) & ~4095L);
        return (new byte[(int)Math.Min(size, HeadBytes)], new byte[(int)(size - tailAt)], tailAt);
    }

    private static List<ForeignSignature> Examine(long size, byte[] head, byte[] tail, long tailAt)
    {
        var view = new DriveView(size, head, tail, tailAt);
        var found = new List<ForeignSignature>();
        DetectFileSystems(view, found);
        DetectVolumes(view, found);
        DetectArrays(view, found);
        DetectPartitions(view, found);
        return found;
    }

    private static void DetectFileSystems(DriveView view, List<ForeignSignature> found)
    {
        if (view.U16(1080) == 0xEF53) found.Add(new(ExtName(view), 1080));
        Magic(view, found, 0, "XFSB"u8, "XFS file system");
        Magic(view, found, 0x10040, "_BHRfS_M"u8, "btrfs file system");
        Magic(view, found, 3, "NTFS    "u8, "NTFS file system");
        Magic(view, found, 3, "EXFAT   "u8, "exFAT file system");
        if (view.U16(510) == 0xAA55)
        {
            Magic(view, found, 82, "FAT32   "u8, "FAT32 file system");
            Magic(view, found, 54, "FAT16   "u8, "FAT16 file system");
            Magic(view, found, 54, "FAT12   "u8, "FAT12 file system");
        }
        if (view.U32(1024) == 0xF2F52010) found.Add(new("F2FS file system", 1024));
        Magic(view, found, 32769, "CD001"u8, "ISO 9660 file system");
        Magic(view, found, 0, "hsqs"u8, "squashfs file system");
        for (int pageSize = 4096; pageSize <= 65536; pageSize *= 2)
        {
            Magic(view, found, pageSize - 10, "SWAPSPACE2"u8, "swap space");
            Magic(view, found, pageSize - 10, "SWAP-SPACE"u8, "swap space");
        }
    }

    private static string ExtName(DriveView view)
    {
        const uint hasJournal = 0x4, ext4Incompatible = 0x40 | 0x80 | 0x200, ext4ReadOnly = 0x8 | 0x10 | 0x20 | 0x40 | 0x400;
        if ((view.U32(1024 + 96) & ext4Incompatible) != 0 || (view.U32(1024 + 100) & ext4ReadOnly) != 0) return "ext4 file system";
        return (view.U32(1024 + 92) & hasJournal) != 0 ? "ext3 file system" : "ext2 file system";
    }

    private static void DetectVolumes(DriveView view, List<ForeignSignature> found)
    {
        for (int sector = 0; sector < 4; sector++)
        {
            if (view.Has(sector * 512, "LABELONE"u8) && view.Has(sector * 512 + 24, "LVM2 001"u8))
                found.Add(new("LVM physical volume", sector * 512, IsPart: true));
        }
        Magic(view, found, 0, Luks, "LUKS encrypted volume", isPart: true);
        for (int offset = 0x4000; offset < HeadBytes; offset *= 2)
            Magic(view, found, offset, LuksSecondary, "LUKS2 secondary header", isPart: true);
        DetectZfs(view, found);
        Magic(view, found, 4096 + 24, BcacheMagic, "bcache device", isPart: true);
        Magic(view, found, 0, Qcow, "QCOW2 disk image");
        Magic(view, found, 0, "KDMV"u8, "VMDK disk image");
        Magic(view, found, 0, "vhdxfile"u8, "VHDX disk image");
    }

    /// <summary>A ZFS label is 256 KiB, two at either end; its uberblocks fill the upper half. Either byte order.</summary>
    private static void DetectZfs(DriveView view, List<ForeignSignature> found)
    {
        const int label = 256 << 10, uberblock = 1 << 10;
        const ulong magic = 0x00BAB10C;
        long aligned = view.Size & ~(label - 1L);
        foreach (long at in new[] { 0, label, aligned - 2 * label, aligned - label })
        {
            if (at < 0) continue;
            for (long offset = at + label / 2; offset < at + label; offset += uberblock)
            {
                ulong value = view.U64(offset);
                if (value != magic && BinaryPrimitives.ReverseEndianness(value) != magic) continue;
                found.Add(new("ZFS pool member", offset, IsPart: true));
                return;
            }
        }
    }

    private static void DetectArrays(DriveView view, List<ForeignSignature> found)
    {
        Magic(view, found, 0, SuperblockFormat.Magic[..7], "polyblk array member", isPart: true);
        Magic(view, found, SuperblockFormat.SecondSlotOffset, SuperblockFormat.Magic[..7], "polyblk array member", isPart: true);
        // md: 1.1 at the start, 1.2 after 4 KiB, 1.0 8 KiB before the end (rounded to 4 KiB), 0.90 64 KiB before the end (rounded).
        const uint md = 0xA92B4EFC;
        if (view.U32(0) == md) found.Add(new("md RAID member (metadata 1.1)", 0, IsPart: true));
        if (view.U32(4096) == md) found.Add(new("md RAID member (metadata 1.2)", 4096, IsPart: true));
        long version10 = ((view.Size / 512 - 16) & ~7L) * 512;
        if (view.U32(version10) == md) found.Add(new("md RAID member (metadata 1.0)", version10, IsPart: true));
        long version090 = (view.Size & ~65535L) - 65536;
        uint old = view.U32(version090);
        if (old == md || BinaryPrimitives.ReverseEndianness(old) == md)
            found.Add(new("md RAID member (metadata 0.90)", version090, IsPart: true));
        foreach (long block in new[] { 512L, 4096L })
        {
            Magic(view, found, view.Size - 2 * block, "Intel Raid ISM Cfg Sig. "u8, "Intel firmware RAID member", isPart: true);
            if (BinaryPrimitives.ReverseEndianness(view.U32(view.Size - block)) == 0xDE11DE11)
                found.Add(new("DDF firmware RAID member", view.Size - block, IsPart: true));
        }
    }

    private static void DetectPartitions(DriveView view, List<ForeignSignature> found)
    {
        foreach (long block in new[] { 512L, 4096L })
        {
            Magic(view, found, block, "EFI PART"u8, "GPT partition table");
            Magic(view, found, view.Size - block, "EFI PART"u8, "GPT partition table (backup)");
        }
        if (view.U16(510) == 0xAA55 && HasMbrPartition(view)) found.Add(new("MBR partition table", 510));
    }

    /// <summary>Boot sectors of file systems end in 0x55AA too: four rows must look like partitions, and one must be one.</summary>
    private static bool HasMbrPartition(DriveView view)
    {
        bool any = false;
        for (int row = 446; row < 510; row += 16)
        {
            if ((view.U16(row) & 0x7F) != 0) return false;
            bool used = (view.U16(row + 4) & 0xFF) != 0;
            if (used && view.U32(row + 12) == 0) return false;
            any |= used;
        }
        return any;
    }

    private static void Magic(
        DriveView view, List<ForeignSignature> found, long offset, ReadOnlySpan<byte> magic, string name, bool isPart = false)
    {
        if (view.Has(offset, magic)) found.Add(new ForeignSignature(name, offset, isPart));
    }

    /// <summary>The head and the tail of a drive; what lies between or outside reads as zeroes.</summary>
    private sealed class DriveView(long size, byte[] head, byte[] tail, long tailAt)
    {
        public long Size => size;

        public bool Has(long offset, ReadOnlySpan<byte> magic) => At(offset, magic.Length).SequenceEqual(magic);

        public ushort U16(long offset) => At(offset, 2) is { IsEmpty: false } b ? BinaryPrimitives.ReadUInt16LittleEndian(b) : (ushort)0;

        public uint U32(long offset) => At(offset, 4) is { IsEmpty: false } b ? BinaryPrimitives.ReadUInt32LittleEndian(b) : 0;

        public ulong U64(long offset) => At(offset, 8) is { IsEmpty: false } b ? BinaryPrimitives.ReadUInt64LittleEndian(b) : 0;

        /// <summary>The bytes, or none where they were not read.</summary>
        private ReadOnlySpan<byte> At(long offset, int length)
        {
            if (offset >= 0 && offset + length <= head.Length) return head.AsSpan((int)offset, length);
            long inTail = offset - tailAt;
            return inTail >= 0 && inTail + length <= tail.Length ? tail.AsSpan((int)inTail, length) : default;
        }
    }
}
