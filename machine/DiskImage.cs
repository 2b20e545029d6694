// A disk image of the user's own: what it is, and whether a machine could boot from it. It is only ever read.

using System.Buffers.Binary;
using System.Text.Json;

namespace Polyblk.Machine;

/// <summary>An image that a machine can boot from.</summary>
/// <param name="Path">Where it is, absolute.</param>
/// <param name="Format">Its format by QEMU's name, as in <c>qcow2</c> or <c>raw</c>.</param>
public sealed record DiskImage(string Path, string Format)
{
    private const int SectorBytes = 512;

    /// <summary>The least that any boot code fills.</summary>
    private const int CodeBytes = 16;

    /// <summary>The last two bytes of a boot sector (0x55, 0xAA), which a protective MBR of a GPT has as well.</summary>
    private const ushort BootSignature = 0xAA55;

    /// <summary>
    /// Looks at an image. QEMU is told the format that is found here, so that nothing that a guest writes can change what it is
    /// taken for.
    /// </summary>
    /// <exception cref="InvalidDataException">There is no such file, or nothing to boot in it; the message says so.</exception>
    /// <exception cref="MachineException">A program is not installed here.</exception>
    public static DiskImage Open(string path)
    {
        path = System.IO.Path.GetFullPath(path);
        CheckReadable(path);
        string format;
        byte[] sector;
        try
        {
            using JsonDocument facts = JsonDocument.Parse(HostProgram.Run("qemu-img", "info", "--output=json", "--force-share", path));
            format = facts.RootElement.GetProperty("format").GetString()!;
            sector = ReadBootSector(path, format);
        }
        catch (Exception e) when (e is MachineException && HostProgram.IsInstalled("qemu-img"))
        {
            throw new InvalidDataException($"{path} is no disk image that QEMU can read: {e.Message}", e);
        }

        if (BinaryPrimitives.ReadUInt16LittleEndian(sector.AsSpan(SectorBytes - sizeof(ushort))) != BootSignature)
            throw new InvalidDataException($"{path} ({format}) has no boot sector. --guest-image takes a disk that a BIOS boots, such as a distribution's cloud image.");
        if (sector.AsSpan(0, CodeBytes).IndexOfAnyExcept((byte)0) < 0)
            throw new InvalidDataException($"{path} ({format}) has partitions, but no code that a BIOS starts; it may boot by UEFI only. Boot it as you do, and name it with --guest-ssh.");
        return new DiskImage(path, format);
    }

    private static void CheckReadable(string path)
    {
        if (Directory.Exists(path)) throw new InvalidDataException($"{path} is a folder, and --guest-image takes a disk image.");
        if (!File.Exists(path)) throw new InvalidDataException($"There is no file {path} to boot a machine from.");
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 0);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new InvalidDataException($"{path} cannot be read: {e.Message}", e);
        }
    }

    private static byte[] ReadBootSector(string path, string format)
    {
        string copy = System.IO.Path.GetTempFileName();
        try
        {
            _ = HostProgram.Run("qemu-img", "dd", "-U", "-f", format, "-O", "raw", $"bs={SectorBytes}", "count=1", $"if={path}", $"of={copy}");
            byte[] sector = File.ReadAllBytes(copy);
            Array.Resize(ref sector, SectorBytes); // a file may be shorter
            return sector;
        }
        finally
        {
            File.Delete(copy);
        }
    }
}
