// What memory of somebody else may be.
//
// An access to a mapping is answered by the file's file system. A reactor makes such accesses, and while one waits, everybody on
// that reactor waits. A file system in user space may keep it waiting for ever, one on a disk or a network for as long as those
// take, and one on top of others (overlayfs) hides which it is. So memory is taken from file systems that hold it in memory, and
// from no other: tmpfs (which memfds are on as well) and hugetlbfs. Those are told by what only their files have: seals.
//
// The question itself may hang in the same way: fstatfs(2) and fstat(2) of a file on FUSE ask its server. So nothing is asked
// that a file system answers before it is known which one it is.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;

namespace Polyblk.Virtio.Memory;

/// <summary>Tells whether memory that somebody shares can be mapped without harm to others.</summary>
public static unsafe class ForeignMemory
{
    internal const long HUGETLBFS_MAGIC = 0x958458f6;
    private const int O_ACCMODE = 3;

    /// <summary>Why the memory cannot be taken; null when it can.</summary>
    /// <param name="file">The descriptor that was shared.</param>
    public static string? WhyRefused(SafeFileHandle file)
    {
        ArgumentNullException.ThrowIfNull(file);
        int fd = (int)file.DangerousGetHandle();
        return Libc.fcntl(fd, Libc.F_GET_SEALS, 0) >= 0
            ? null
            : $"it is a file on {NameOfFileSystem(fd)}, where an access may wait, and everybody else's with it: "
                + "use a memfd, or a file on hugetlbfs or tmpfs (QEMU: memory-backend-memfd,share=on)";
    }

    /// <summary>Whether a descriptor allows reading only.</summary>
    public static bool IsReadOnly(SafeFileHandle file)
    {
        ArgumentNullException.ThrowIfNull(file);
        int flags = Libc.fcntl((int)file.DangerousGetHandle(), Libc.F_GETFL, 0);
        return flags >= 0 && (flags & O_ACCMODE) == Libc.O_RDONLY;
    }

    /// <summary>
    /// The magic number of the file system that a file is on (linux/magic.h); 0 where it cannot be told. The file system is
    /// asked: only of memory that is taken.
    /// </summary>
    internal static long FileSystemOf(int fd)
    {
        Libc.statfs info;
        return Libc.fstatfs(fd, &info) == 0 ? info.f_type : 0;
    }

    /// <summary>
    /// The name of a file's file system, from this process's table of mounts (proc(5), fdinfo and mountinfo): no file system is
    /// asked.
    /// </summary>
    private static string NameOfFileSystem(int fd)
    {
        const string Mount = "mnt_id:";
        const string Separator = " - ";
        try
        {
            string? line = File.ReadLines($"/proc/self/fdinfo/{fd}").FirstOrDefault(l => l.StartsWith(Mount, StringComparison.Ordinal));
            string id = (line?[Mount.Length..].Trim() ?? string.Empty) + " ";
            string? mount = File.ReadLines("/proc/self/mountinfo").FirstOrDefault(l => l.StartsWith(id, StringComparison.Ordinal));
            return mount?.Split(Separator)[^1].Split(' ')[0] ?? "a file system that is not mounted here";
        }
        catch (IOException)
        {
            return "an unknown file system";
        }
    }
}
