// Block devices that are memory: RAM disks (brd), compressed memory (zram).
//
// Their drivers do the whole request inside the system call. Where such a driver cannot promise the kernel not to wait, io_uring
// hands every request to a worker thread: two context switches for a copy. So they are served like files in memory, inside
// Submit. Their content dies with the machine, so a flush has nothing to do. Persistent memory (pmem) is not among them: it
// outlives the machine and needs its flush.

namespace Polyblk.Drives.Files;

/// <summary>Knows the block devices whose requests never wait for hardware.</summary>
internal static class MemoryDevices
{
    private static readonly string[] s_prefixes = ["ram", "zram"];

    /// <summary>Whether a device is one of them.</summary>
    /// <param name="sysfsQueue">The <c>queue</c> directory of its disk in sysfs; the parent is named after the disk.</param>
    public static bool Includes(string sysfsQueue)
    {
        string disk = Path.GetDirectoryName(sysfsQueue)!;
        return IsMemory(Path.GetFileName(disk)) && !HasBackingDevice(disk);
    }

    /// <summary>Whether a disk's name is one of these drivers' followed by a number.</summary>
    internal static bool IsMemory(string disk) =>
        s_prefixes.Any(prefix => disk.StartsWith(prefix, StringComparison.Ordinal)
            && disk.Length > prefix.Length && disk.AsSpan(prefix.Length).IndexOfAnyExceptInRange('0', '9') < 0);

    /// <summary>A zram device that writes idle pages back to a real drive may wait for it.</summary>
    private static bool HasBackingDevice(string disk)
    {
        string attribute = Path.Combine(disk, "backing_dev");
        return File.Exists(attribute) && File.ReadAllText(attribute).Trim() is not ("" or "none");
    }
}
