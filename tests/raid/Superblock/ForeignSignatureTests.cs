// Signatures made by hand at the places where the formats' own tools put them.

using System.Buffers.Binary;
using System.Text;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Superblock;

public class ForeignSignatureTests
{
    private const int Size = (64 << 20) + (64 << 10) + 4096;

    private static string[] Names(byte[] drive) =>
        [.. ForeignSignatures.Detect(drive.Length, (offset, buffer) => drive.AsSpan((int)offset, buffer.Length).CopyTo(buffer))
            .Select(found => found.Name)];

    private static byte[] Drive(params (int Offset, string Latin1)[] contents)
    {
        var drive = new byte[Size];
        foreach (var (offset, text) in contents) Encoding.Latin1.GetBytes(text).CopyTo(drive, offset);
        return drive;
    }

    public static TheoryData<string, int, string> SingleMagics() => new()
    {
        { "XFS file system", 0, "XFSB" },
        { "btrfs file system", 0x10040, "_BHRfS_M" },
        { "NTFS file system", 3, "NTFS    " },
        { "exFAT file system", 3, "EXFAT   " },
        { "F2FS file system", 1024, "\x10\x20\xF5\xF2" },
        { "ISO 9660 file system", 32769, "CD001" },
        { "squashfs file system", 0, "hsqs" },
        { "swap space", 4086, "SWAPSPACE2" },
        { "swap space", 65526, "SWAP-SPACE" },
        { "LUKS encrypted volume", 0, "LUKS\xBA\xBE" },
        { "LUKS2 secondary header", 0x8000, "SKUL\xBA\xBE" },
        { "QCOW2 disk image", 0, "QFI\xFB" },
        { "btrfs file system", (64 << 20) + 64, "_BHRfS_M" },
        { "BitLocker volume", 3, "-FVE-FS-" },
        { "JFS file system", 32768, "JFS1" },
        { "ReiserFS file system", 65536 + 52, "ReIsEr2Fs" },
        { "GFS2 file system", 65536, "\x01\x16\x19\x70" },
        { "OCFS2 file system", 4096, "OCFSV2" },
        { "APFS container", 32, "NXSB" },
        { "VMFS file system", 2 << 20, "\x5E\xF1\xAB\x2F" },
        { "VMFS volume member", 1 << 20, "\x0D\xD0\x01\xC0" },
        { "bcachefs file system", 4096 + 24, "\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF" },
        { "bcachefs file system", (2 << 20) + 24, "\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF" },
        { "bcachefs file system", Size - (1 << 20) + 24, "\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF" },
        { "bcache device", 4096 + 24, "\xC6\x85\x73\xF6\x4E\x1A\x45\xCA\x82\x65\xF5\x7F\x48\xBA\x6D\x81" },
        { "Ceph BlueStore device", 0, "bluestore block device\n" },
        { "Stratis pool member", 512 + 4, "!Stra0tis\x86\xFF\x02^Arh" },
        { "Stratis pool member", 9 * 512 + 4, "!Stra0tis\x86\xFF\x02^Arh" },
        { "VDO volume", 0, "dmvdo001" },
        { "dm-integrity device", 0, "integrt\0" },
        { "DRBD device", Size - 4096 + 60, "\x83\x74\x02\x6D" },
        { "DRBD device", Size - 4096 + 60, "\x83\x74\x02\x6B" },
        { "LUKS2 secondary header", 0x400000, "SKUL\xBA\xBE" },
        { "Promise firmware RAID member", Size - 3087 * 512, "Promise Technology, Inc." },
        { "NVIDIA firmware RAID member", Size - 1024, "NVIDIA  " },
        { "LSI firmware RAID member", Size - 512, "$XIDE$" },
        { "JMicron firmware RAID member", Size - 512, "JM" },
        { "Adaptec firmware RAID member", Size - 512, "\x37\xFC\x4D\x1E" },
        { "Silicon Image firmware RAID member", Size - 512 + 0x60, "\0\0\0\x2F" },
        { "HighPoint firmware RAID member", Size - 11 * 512, "\xF3\x16\x78\x5A" },
        { "HighPoint firmware RAID member", 9 * 512 + 32, "\xF0\x16\x78\x5A" },
        { "DDF firmware RAID member", Size - 257 * 512, "\xDE\x11\xDE\x11" },
        { "polyblk array member", 0, "POLYBLK\x01" },
        { "polyblk array member", 65536, "POLYBLK\x01" },
        { "md RAID member (metadata 1.1)", 0, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 1.2)", 4096, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 1.0)", Size - 8192, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 0.90)", 64 << 20, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 0.90)", 64 << 20, "\xA9\x2B\x4E\xFC" },
        { "Intel firmware RAID member", Size - 1024, "Intel Raid ISM Cfg Sig. 1.1" },
        { "DDF firmware RAID member", Size - 512, "\xDE\x11\xDE\x11" },
        { "GPT partition table", 512, "EFI PART" },
        { "GPT partition table", 4096, "EFI PART" },
        { "GPT partition table (backup)", Size - 512, "EFI PART" },
        { "ZFS pool member", (128 << 10) + 4096, "\x0C\xB1\xBA\0\0\0\0\0" },
        { "ZFS pool member", (128 << 10) + 4096, "\0\0\0\0\0\xBA\xB1\x0C" },
        { "ZFS pool member", (64 << 20) - (512 << 10) + (128 << 10), "\x0C\xB1\xBA\0\0\0\0\0" },
    };

    [Theory]
    [MemberData(nameof(SingleMagics))]
    public void OneMagicIsFoundAndNothingElse(string name, int offset, string magic) =>
        Assert.Equal([name], Names(Drive((offset, magic))));

    [Theory]
    [InlineData(0x38, 0, 0, "ext2 file system")]
    [InlineData(0x3C, 0, 0, "ext3 file system")]
    [InlineData(0x3C, 0x2C2, 0x6B, "ext4 file system")]
    public void ExtFileSystemsAreToldApartByTheirFeatures(int compatible, int incompatible, int readOnly, string name)
    {
        byte[] drive = Drive((1080, "\x53\xEF"));
        BinaryPrimitives.WriteInt32LittleEndian(drive.AsSpan(1024 + 92), compatible);
        BinaryPrimitives.WriteInt32LittleEndian(drive.AsSpan(1024 + 96), incompatible);
        BinaryPrimitives.WriteInt32LittleEndian(drive.AsSpan(1024 + 100), readOnly);
        Assert.Equal([name], Names(drive));
    }

    [Fact]
    public void LvmNeedsLabelAndType()
    {
        Assert.Equal(["LVM physical volume"], Names(Drive((512, "LABELONE"), (536, "LVM2 001"))));
        Assert.DoesNotContain("LVM physical volume", Names(Drive((512, "LABELONE"))));
    }

    [Fact]
    public void FatBootSectorsAreNoPartitionTables()
    {
        Assert.Equal(["FAT32 file system"], Names(Drive((82, "FAT32   "), (446, "boot code here"), (510, "\x55\xAA"))));
        Assert.Equal(["FAT16 file system"], Names(Drive((54, "FAT16   "), (510, "\x55\xAA"))));
        Assert.DoesNotContain("MBR partition table", Names(Drive((510, "\x55\xAA"))));
    }

    [Fact]
    public void AnMbrPartitionIsFound() => Assert.Equal(
        ["MBR partition table"],
        Names(Drive((446, "\x80\0\0\0\x83\0\0\0\0\x08\0\0\0\x10\0\0"), (510, "\x55\xAA"))));

    [Theory]
    [InlineData(0, true)]
    [InlineData(12345, true)]
    [InlineData((1 << 20) - 1, true)]
    [InlineData(1 << 20, false)]
    public void WhatIsNotRecognisedInTheFirstMebibyteIsAFindingToo(int offset, bool isFound) => Assert.Equal(
        isFound ? [$"data that is not recognised, from byte {offset} on"] : [], Names(Drive((offset, "x"))));

    [Fact]
    public void EveryCopyIsReportedWithItsPlace()
    {
        const string uberblock = "\x0C\xB1\xBA\0\0\0\0\0";
        byte[] drive = Drive((128 << 10, uberblock), (384 << 10, uberblock), (4096, "\xFC\x4E\x2B\xA9"));
        Assert.Equal(
            [(0, 256 << 10), (256 << 10, 256 << 10), (4096, 4096)],
            ForeignSignatures.Detect(drive.Length, (at, b) => drive.AsSpan((int)at, b.Length).CopyTo(b))
                .Select(f => (f.WipeOffset, f.WipeBytes)));
    }

    /// <summary>
    /// The table of superblocks (sector 7) leads to copies that no fixed place does; the head of a GPT to a backup that is not
    /// last.
    /// </summary>
    [Fact]
    public void CopiesThatTheHeadNamesAreFound()
    {
        const string magic = "\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF";
        byte[] drive = Drive((3584, magic), (3584 + 18, "\x01"), (3584 + 24, "\0\x80"), ((0x8000 * 512) + 24, magic));
        Assert.Equal(["bcachefs file system", "data that is not recognised, from byte 3584 on"], Names(drive));
        drive = Drive((512, "EFI PART"), (512 + 32, "\0\x90"), (0x9000 * 512, "EFI PART"));
        Assert.Equal(["GPT partition table", "GPT partition table (backup)"], Names(drive));
        const string most = "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
        drive = Drive((512, "EFI PART"), (512 + 32, most), (3584, magic), (3584 + 18, "\xFF"), (3584 + 24, most));
        Assert.Contains("GPT partition table", Names(drive));
    }

    [Fact]
    public void AViaMemberNeedsItsSum()
    {
        Assert.Equal(["VIA firmware RAID member"], Names(Drive((Size - 512, "\x55\xAA\x01\xFF\x01"))));
        Assert.Empty(Names(Drive((Size - 512, "\x55\xAA\x03"))));
    }

    [Fact]
    public void EmptyAndTinyDrivesHoldNothing()
    {
        foreach (int size in new[] { 0, 1, 511, 512, 4095, 4096, 65536, 300_000, (1 << 20) + 512, Size })
            Assert.Empty(Names(new byte[size]));
    }

    [Fact]
    public void AnyContentsAreReadWithinTheDrive()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        for (int round = 0; round < 30; round++)
        {
            var drive = new byte[random.Next(0, 3 << 20)];
            random.NextBytes(drive);
            Assert.NotNull(Names(drive));
        }
    }
}
