// Signatures made by hand at the places where the formats' own tools put them.

using System.Buffers.Binary;
using System.Text;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Superblock;

public class ForeignSignatureTests
{
    private const int Size = (4 << 20) + 4096;

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
        { "polyblk array member", 0, "POLYBLK\x01" },
        { "polyblk array member", 65536, "POLYBLK\x01" },
        { "md RAID member (metadata 1.1)", 0, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 1.2)", 4096, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 1.0)", Size - 8192, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 0.90)", (4 << 20) - 65536, "\xFC\x4E\x2B\xA9" },
        { "md RAID member (metadata 0.90)", (4 << 20) - 65536, "\xA9\x2B\x4E\xFC" },
        { "Intel firmware RAID member", Size - 1024, "Intel Raid ISM Cfg Sig. 1.1" },
        { "DDF firmware RAID member", Size - 512, "\xDE\x11\xDE\x11" },
        { "GPT partition table", 512, "EFI PART" },
        { "GPT partition table", 4096, "EFI PART" },
        { "GPT partition table (backup)", Size - 512, "EFI PART" },
        { "ZFS pool member", (128 << 10) + 4096, "\x0C\xB1\xBA\0\0\0\0\0" },
        { "ZFS pool member", (128 << 10) + 4096, "\0\0\0\0\0\xBA\xB1\x0C" },
        { "ZFS pool member", (4 << 20) - (512 << 10) + (128 << 10), "\x0C\xB1\xBA\0\0\0\0\0" },
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
        Assert.Empty(Names(Drive((512, "LABELONE"))));
    }

    [Fact]
    public void FatBootSectorsAreNoPartitionTables()
    {
        Assert.Equal(["FAT32 file system"], Names(Drive((82, "FAT32   "), (446, "boot code here"), (510, "\x55\xAA"))));
        Assert.Equal(["FAT16 file system"], Names(Drive((54, "FAT16   "), (510, "\x55\xAA"))));
        Assert.Empty(Names(Drive((510, "\x55\xAA"))));
    }

    [Fact]
    public void AnMbrPartitionIsFound() => Assert.Equal(
        ["MBR partition table"],
        Names(Drive((446, "\x80\0\0\0\x83\0\0\0\0\x08\0\0\0\x10\0\0"), (510, "\x55\xAA"))));

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
