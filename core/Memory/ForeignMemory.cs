// What memory of somebody else may be.
//
// An access to a mapping is answered by the file's file system. A reactor makes such accesses, and while one waits, everybody on
// that reactor waits. A file system in user space may keep it waiting for ever, one on a disk or a network for as long as those
// take, and one on top of others (overlayfs) hides which it is: fstatfs names the upper one only. So memory is taken from file
// systems that hold it in memory, and from no other: tmpfs (which memfds are on as well) and hugetlbfs.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;

namespace Polyblk.Core.Memory;

/// <summary>Tells whether memory that somebody shares can be mapped without harm to others.</summary>
public static unsafe class ForeignMemory
{
    internal const long HUGETLBFS_MAGIC = 0x958458f6;
    private const long TMPFS_MAGIC = 0x01021994;
    private const int O_ACCMODE = 3;

    // linux/magic.h: those that people try, for the message.
    private static readonly Dictionary<long, string> s_names = new()
    {
        [0xEF53] = "ext4",
        [0x58465342] = "XFS",
        [0x9123683E] = "btrfs",
        [0x794C7630] = "overlayfs",
        [0x65735546] = "FUSE",
        [0x6969] = "NFS",
        [0x2FC12FC1] = "ZFS",
        [0x5345434D] = "memfd_secret",
        [0x858458F6] = "ramfs",
    };

    /// <summary>Why the memory cannot be taken; null when it can.</summary>
    /// <param name="file">The descriptor that was shared.</param>
    public static string? WhyRefused(SafeFileHandle file)
    {
        ArgumentNullException.ThrowIfNull(file);
        long magic = FileSystemOf((int)file.DangerousGetHandle());
        if (magic is TMPFS_MAGIC or HUGETLBFS_MAGIC)
        {
            return null;
        }

        string name = s_names.GetValueOrDefault(magic, $"type 0x{magic:x}");
        return $"it is a file on {name}, where an access may wait, and everybody else's with it: "
            + "use a memfd, or a file on hugetlbfs or tmpfs (QEMU: memory-backend-memfd,share=on)";
    }

    /// <summary>Whether a descriptor allows reading only.</summary>
    public static bool IsReadOnly(SafeFileHandle file)
    {
        ArgumentNullException.ThrowIfNull(file);
        int flags = Libc.fcntl((int)file.DangerousGetHandle(), Libc.F_GETFL, 0);
        return flags >= 0 && (flags & O_ACCMODE) == Libc.O_RDONLY;
    }

    /// <summary>The magic number of the file system that a file is on (linux/magic.h); 0 where it cannot be told.</summary>
    internal static long FileSystemOf(int fd)
    {
        Libc.statfs info;
        return Libc.fstatfs(fd, &info) == 0 ? info.f_type : 0;
    }
}
