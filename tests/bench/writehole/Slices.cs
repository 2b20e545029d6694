// Disks that are cut into slices, which the kernel finds when it sees the disk: a partition table of the PC, with all slices as
// logical partitions.

using System.Buffers.Binary;

namespace Polyblk.Bench.WriteHole;

/// <summary>Makes disks with slices for arrays.</summary>
internal static class Slices
{
    private const int SectorBytes = 512;
    private const int SectorsOfMib = 2048;
    private const int Entries = 446;
    private const int EntryBytes = 16;
    private const byte Extended = 0x0F;
    private const byte LinuxData = 0x83;

    /// <summary>
    /// Makes a sparse file with slices of that size: the partitions 5, 6, and so on. Before each is a MiB for its table.
    /// </summary>
    public static void Make(string path, int mib, int count)
    {
        uint slot = (uint)(mib + 1) * SectorsOfMib;
        using FileStream disk = File.Create(path);
        disk.SetLength((long)SectorBytes * (SectorsOfMib + (slot * count)));
        Write(disk, 0, (Extended, SectorsOfMib, slot * (uint)count));
        for (uint i = 0; i < count; i++)
        {
            // A slice is told from its own table on, the next table from the first one on.
            (byte, uint, uint) slice = (LinuxData, SectorsOfMib, slot - SectorsOfMib);
            (byte, uint, uint)[] entries = i + 1 < count ? [slice, (Extended, (i + 1) * slot, slot)] : [slice];
            Write(disk, SectorsOfMib + (i * slot), entries);
        }
    }

    private static void Write(FileStream disk, uint sector, params (byte Kind, uint First, uint Count)[] entries)
    {
        byte[] table = new byte[SectorBytes];
        for (int i = 0; i < entries.Length; i++)
        {
            Span<byte> entry = table.AsSpan(Entries + (i * EntryBytes), EntryBytes);
            entry[4] = entries[i].Kind;
            BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], entries[i].First);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], entries[i].Count);
        }

        table[^2] = 0x55;
        table[^1] = 0xAA;
        disk.Position = (long)sector * SectorBytes;
        disk.Write(table);
    }
}
