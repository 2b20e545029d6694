// The checks themselves: one line a magic where that is enough.

using System.Buffers.Binary;

namespace Polyblk.Raid.Superblock;

/// <content>What each format looks like.</content>
public static partial class ForeignSignatures
{
    private const uint MdMagic = 0xA92B4EFC;

    private static ReadOnlySpan<byte> Luks => [(byte)'L', (byte)'U', (byte)'K', (byte)'S', 0xBA, 0xBE];
    private static ReadOnlySpan<byte> LuksSecondary => [(byte)'S', (byte)'K', (byte)'U', (byte)'L', 0xBA, 0xBE];
    private static ReadOnlySpan<byte> Qcow => [(byte)'Q', (byte)'F', (byte)'I', 0xFB];
    private static ReadOnlySpan<byte> Stratis => "!Stra0tis"u8;

    private static ReadOnlySpan<byte> BcacheMagic =>
        [0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81];

    private static ReadOnlySpan<byte> BcachefsMagic =>
        [0xC6, 0x85, 0x73, 0xF6, 0x66, 0xCE, 0x90, 0xA9, 0xD9, 0x6A, 0x60, 0xCF, 0x80, 0x3D, 0xF7, 0xEF];

    /// <summary>
    /// Places of copies that a head names: bcachefs's table of superblocks (sector 7), GPT's backup on a drive that has grown
    /// since.
    /// </summary>
    private static IEnumerable<long> AnnouncedCopies(DriveView view)
    {
        const int layout = 7 * 512, countAt = layout + 18, offsetsAt = layout + 24, most = 61;
        var places = new List<long>();
        if (view.Has(layout, BcachefsMagic) || view.Has(layout, BcacheMagic))
        {
            int count = Math.Min(view.U16(countAt) & 0xFF, most);
            places.AddRange(Enumerable.Range(0, count).Select(i => (long)Math.Min(view.U64(offsetsAt + i * 8), 1UL << 52) * 512));
        }

        foreach (long block in new[] { 512L, 4096L })
        {
            if (view.Has(block, "EFI PART"u8)) places.Add((long)Math.Min(view.U64(block + 32), 1UL << 50) * block);
        }

        return places;
    }

    private static void DetectFileSystems(DriveView view, List<ForeignSignature> found)
    {
        if (view.U16(1080) == 0xEF53) found.Add(new(ExtName(view), 1080));
        Magic(view, found, 0, "XFSB"u8, "XFS file system");
        foreach (long mirror in new[] { 64L << 10, 64L << 20, 256L << 30, 1L << 50 })
            Magic(view, found, mirror + 64, "_BHRfS_M"u8, "btrfs file system");
        Magic(view, found, 3, "NTFS    "u8, "NTFS file system");
        Magic(view, found, 3, "EXFAT   "u8, "exFAT file system");
        Magic(view, found, 3, "-FVE-FS-"u8, "BitLocker volume");
        if (view.U16(510) == 0xAA55)
        {
            Magic(view, found, 82, "FAT32   "u8, "FAT32 file system");
            Magic(view, found, 54, "FAT16   "u8, "FAT16 file system");
            Magic(view, found, 54, "FAT12   "u8, "FAT12 file system");
        }
        foreach (long copy in new[] { 1024L, 4096 + 1024 })
            if (view.U32(copy) == 0xF2F52010) found.Add(new("F2FS file system", copy));
        Magic(view, found, 32769, "CD001"u8, "ISO 9660 file system");
        Magic(view, found, 32769, "BEA01"u8, "UDF file system");
        Magic(view, found, 0, "hsqs"u8, "squashfs file system");
        Magic(view, found, 32, "NXSB"u8, "APFS container");
        Magic(view, found, 32768, "JFS1"u8, "JFS file system");
        Magic(view, found, 65536 + 52, "ReIsEr"u8, "ReiserFS file system");
        if (view.U32BigEndian(65536) == 0x01161970) found.Add(new("GFS2 file system", 65536));
        for (int offset = 1024; offset <= 8192; offset *= 2)
            Magic(view, found, offset, "OCFSV2"u8, "OCFS2 file system");
        DetectNilfs(view, found);
        DetectBcachefs(view, found);
        Magic(view, found, 2 << 20, [0x5E, 0xF1, 0xAB, 0x2F], "VMFS file system");
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

    /// <summary>
    /// Two superblocks, the second 4 KiB before the end. Their magic has two bytes: the size of the drive must be in them too.
    /// </summary>
    private static void DetectNilfs(DriveView view, List<ForeignSignature> found)
    {
        foreach (long at in new[] { 1024L, (view.Size / 512 - 8) * 512 })
            if (view.U16(at + 6) == 0x3434 && view.U64(at + 32) == (ulong)view.Size) found.Add(new("NILFS2 file system", at));
    }

    /// <summary>
    /// At 4 KiB, at the places of its own table, and where the tools look when that is lost: 2 MiB, and 1 MiB before the end.
    /// </summary>
    private static void DetectBcachefs(DriveView view, List<ForeignSignature> found)
    {
        IEnumerable<long> places = [4096, 2 << 20, (view.Size - (1 << 20)) & ~511L, .. AnnouncedCopies(view)];
        foreach (long at in places.Distinct())
        {
            Magic(view, found, at + 24, BcachefsMagic, "bcachefs file system");
            if (at != 4096) Magic(view, found, at + 24, BcacheMagic, "bcachefs file system");
        }
    }

    private static void DetectVolumes(DriveView view, List<ForeignSignature> found)
    {
        for (int sector = 0; sector < 4; sector++)
        {
            if (view.Has(sector * 512, "LABELONE"u8) && view.Has(sector * 512 + 24, "LVM2 001"u8))
                found.Add(new("LVM physical volume", sector * 512, IsPart: true));
        }
        Magic(view, found, 0, Luks, "LUKS encrypted volume", isPart: true);
        for (int offset = 0x4000; offset <= 0x400000; offset *= 2)
            Magic(view, found, offset, LuksSecondary, "LUKS2 secondary header", isPart: true);
        DetectZfs(view, found);
        Magic(view, found, 4096 + 24, BcacheMagic, "bcache device", isPart: true);
        foreach (long copy in new[] { 0, 1L << 30, 10L << 30, 100L << 30, 1000L << 30 })
            Magic(view, found, copy, "bluestore block device"u8, "Ceph BlueStore device", isPart: true);
        foreach (long copy in new[] { 512L, 9 * 512L })
            Magic(view, found, copy + 4, Stratis, "Stratis pool member", isPart: true);
        Magic(view, found, 0, "dmvdo001"u8, "VDO volume", isPart: true);
        Magic(view, found, 0, "integrt\0"u8, "dm-integrity device", isPart: true);
        Magic(view, found, 0, "verity\0\0"u8, "dm-verity hash device", isPart: true);
        Magic(view, found, 0, "SnAp"u8, "LVM snapshot store", isPart: true);
        Magic(view, found, 1 << 20, [0x0D, 0xD0, 0x01, 0xC0], "VMFS volume member", isPart: true);

        // Internal metadata of DRBD 8 and 9: the last 4 KiB, big-endian.
        if (view.U32BigEndian(view.Size - 4096 + 60) is 0x8374026B or 0x8374026C or 0x8374026D)
            found.Add(new("DRBD device", view.Size - 4096, IsPart: true) { WipeBytes = 8192 });
        Magic(view, found, 0, "DRBDdlh*"u8, "DRBD proxy log", isPart: true);
        Magic(view, found, 0, Qcow, "QCOW2 disk image");
        Magic(view, found, 0, "KDMV"u8, "VMDK disk image");
        Magic(view, found, 0, "vhdxfile"u8, "VHDX disk image");
    }

    /// <summary>
    /// A ZFS label is 256 KiB, two at either end; its uberblocks fill the upper half. Either byte order. Each label counts.
    /// </summary>
    private static void DetectZfs(DriveView view, List<ForeignSignature> found)
    {
        const int label = 256 << 10, uberblock = 1 << 10;
        const ulong magic = 0x00BAB10C;
        long aligned = view.Size & ~(label - 1L);
        foreach (long at in new[] { 0, label, aligned - 2 * label, aligned - label }.Where(a => a >= 0).Distinct())
        {
            for (long offset = at + label / 2; offset < at + label; offset += uberblock)
            {
                ulong value = view.U64(offset);
                if (value != magic && BinaryPrimitives.ReverseEndianness(value) != magic) continue;
                found.Add(new("ZFS pool member", offset, IsPart: true) { WipeOffset = at, WipeBytes = label });
                break;
            }
        }
    }

    private static void DetectArrays(DriveView view, List<ForeignSignature> found)
    {
        Magic(view, found, 0, SuperblockFormat.Magic[..7], "polyblk array member", isPart: true);
        Magic(view, found, SuperblockFormat.SecondSlotOffset, SuperblockFormat.Magic[..7], "polyblk array member", isPart: true);
        // md: 1.1 at the start, 1.2 after 4 KiB, 1.0 8 KiB before the end (rounded to 4 KiB), 0.90 64 KiB before the end
        // (rounded).
        if (view.U32(0) == MdMagic) found.Add(new("md RAID member (metadata 1.1)", 0, IsPart: true));
        if (view.U32(4096) == MdMagic) found.Add(new("md RAID member (metadata 1.2)", 4096, IsPart: true));
        long version10 = ((view.Size / 512 - 16) & ~7L) * 512;
        if (view.U32(version10) == MdMagic) found.Add(new("md RAID member (metadata 1.0)", version10, IsPart: true));
        long version090 = (view.Size & ~65535L) - 65536;
        if (view.U32(version090) == MdMagic || view.U32BigEndian(version090) == MdMagic)
            found.Add(new("md RAID member (metadata 0.90)", version090, IsPart: true));
        foreach (long block in new[] { 512L, 4096L })
        {
            Magic(view, found, view.Size - 2 * block, "Intel Raid ISM Cfg Sig. "u8, "Intel firmware RAID member", isPart: true);
            foreach (long anchor in new[] { view.Size - block, view.Size - 257 * block })
            {
                if (view.U32(anchor) == 0xDE11DE11 || view.U32BigEndian(anchor) == 0xDE11DE11)
                    found.Add(new("DDF firmware RAID member", anchor, IsPart: true));
            }
        }
    }

    /// <summary>
    /// Metadata of mainboards and controllers, in sectors counted from the end; dmraid and firmware look for them.
    /// </summary>
    private static void DetectFirmwareArrays(DriveView view, List<ForeignSignature> found)
    {
        ReadOnlySpan<int> promise = [16, 63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087];
        foreach (int sectors in promise)
            Magic(
                view, found, FromEnd(view, sectors), "Promise Technology, Inc."u8, "Promise firmware RAID member", isPart: true);
        Magic(view, found, FromEnd(view, 2), "NVIDIA"u8, "NVIDIA firmware RAID member", isPart: true);
        Magic(view, found, FromEnd(view, 1), "$XIDE$"u8, "LSI firmware RAID member", isPart: true);
        Magic(view, found, FromEnd(view, 1), "JM"u8, "JMicron firmware RAID member", isPart: true);
        if (view.U32BigEndian(FromEnd(view, 1)) == 0x37FC4D1E)
            found.Add(new("Adaptec firmware RAID member", FromEnd(view, 1), IsPart: true));
        if (view.U32(FromEnd(view, 1) + 0x60) == 0x2F000000)
            found.Add(new("Silicon Image firmware RAID member", FromEnd(view, 1), IsPart: true));
        if (view.U16(FromEnd(view, 1)) == 0xAA55 && IsVia(view.At(FromEnd(view, 1), 51)))
            found.Add(new("VIA firmware RAID member", FromEnd(view, 1), IsPart: true));
        foreach (long at in new[] { FromEnd(view, 11), 9 * 512 + 32 })
            if (view.U32(at) is 0x5A7816F0 or 0x5A7816F3 or 0x5A7816FD)
                found.Add(new("HighPoint firmware RAID member", at, IsPart: true));
    }

    private static long FromEnd(DriveView view, int sectors) => (view.Size / 512 - sectors) * 512;

    /// <summary>A version of at most 2, and the sum of the first 50 bytes in the next.</summary>
    private static bool IsVia(ReadOnlySpan<byte> sector)
    {
        if (sector.IsEmpty || sector[2] > 2) return false;
        byte sum = 0;
        foreach (byte value in sector[..50]) sum += value;
        return sum == sector[50];
    }

    private static void DetectPartitions(DriveView view, List<ForeignSignature> found)
    {
        foreach (long block in new[] { 512L, 4096L })
        {
            Magic(view, found, block, "EFI PART"u8, "GPT partition table");
            Magic(view, found, view.Size - block, "EFI PART"u8, "GPT partition table (backup)");
        }
        foreach (long copy in AnnouncedCopies(view))
            if (!found.Exists(f => f.Offset == copy)) Magic(view, found, copy, "EFI PART"u8, "GPT partition table (backup)");
        if (view.U16(510) == 0xAA55 && HasMbrPartition(view)) found.Add(new("MBR partition table", 510));
    }

    /// <summary>
    /// Boot sectors of file systems end in 0x55AA too: four rows must look like partitions, and one must be one.
    /// </summary>
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
}
