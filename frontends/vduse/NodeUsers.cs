// Who uses a device node: asked before it is taken away.
//
// A container sees the node under another name and mounts it in a namespace of its own, so names prove nothing. The kernel itself
// says whether a block device is claimed (mounted anywhere, part of an array or a device mapper table, used as swap): an
// exclusive open is refused then. Descriptors are compared by device number.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Frontends.Vduse;

/// <summary>Finds the users of a device node.</summary>
internal static class NodeUsers
{
    private const string Claimed = "it is mounted, or part of something that is (an array, a device mapper table, swap)";
    private const int O_PATH = 0x200000;
    private const uint S_IFBLK = 0x6000;
    private const uint S_IFCHR = 0x2000;
    private const int Looks = 10;

    private static readonly TimeSpan LookInterval = TimeSpan.FromMilliseconds(100);

    /// <summary>The kind and number of a device.</summary>
    private readonly record struct Device(uint Kind, ulong Number);

    /// <summary>
    /// What the first user that is found does with it, as the end of a sentence; null when nobody uses it. Partitions count.
    /// </summary>
    public static string? Find(string node)
    {
        if (DeviceOf(node) is not { } device)
        {
            return null;
        }

        if (device.Kind == S_IFBLK && IsClaimed(node))
        {
            return Claimed;
        }

        HashSet<Device> devices = [device, .. PartitionsOf(node)];
        foreach (string process in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(process), out int pid) && HasOpen(process, devices))
            {
                return $"process {pid} has it open";
            }
        }

        return null;
    }

    /// <summary>As <see cref="Find"/>, after a moment for those who only look at the device: udev probes each new disk.</summary>
    public static async Task<string?> FindLastingAsync(string node, TimeProvider clock, CancellationToken cancellation)
    {
        string? user = Find(node);
        for (int i = 1; i < Looks && user is not null && user != Claimed; i++)
        {
            await Task.Delay(LookInterval, clock, cancellation).ConfigureAwait(false);
            user = Find(node);
        }

        return user;
    }

    private static bool IsClaimed(string node)
    {
        // open(2): without O_CREAT, O_EXCL fails with EBUSY on a block device that the system uses.
        int fd = Libc.open(node, Libc.O_RDONLY | Libc.O_EXCL | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
        if (fd >= 0)
        {
            _ = Libc.close(fd);
        }

        return fd == -Errno.EBUSY;
    }

    private static IEnumerable<Device> PartitionsOf(string node)
    {
        string name = Path.GetFileName(node);
        string folder = "/sys/block/" + name;
        return Directory.Exists(folder)
            ? Directory.EnumerateDirectories(folder, name + "*").Select(p => DeviceOf("/dev/" + Path.GetFileName(p))).OfType<Device>()
            : [];
    }

    private static bool HasOpen(string process, HashSet<Device> devices)
    {
        try
        {
            return Directory.EnumerateFiles(Path.Combine(process, "fd")).Any(
                fd => new FileInfo(fd).LinkTarget?.StartsWith("/dev/", StringComparison.Ordinal) == true && DeviceOf(fd) is { } device && devices.Contains(device));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The process ended meanwhile, or is not ours to look at.
            return false;
        }
    }

    /// <summary>The device behind a path, without opening it.</summary>
    private static unsafe Device? DeviceOf(string path)
    {
        int fd = Libc.open(path, O_PATH | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return null;
        }

        stat stat;
        int rc = Libc.fstat(fd, &stat);
        _ = Libc.close(fd);
        uint kind = (ushort)(stat.st_mode & Libc.S_IFMT);
        return rc == 0 && kind is S_IFBLK or S_IFCHR ? new Device(kind, stat.st_rdev) : null;
    }
}
