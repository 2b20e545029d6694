// The system calls of the control plane that neither the framework nor the core wraps.

using System.Runtime.InteropServices;
using Polyblk.Core.Interop;

namespace Polyblk.Cli.Interop;

/// <summary>flock, kill, fsync of directories, flags of descriptors. Results, or negative errnos.</summary>
internal static partial class Native
{
    public const int LOCK_SH = 1;
    public const int LOCK_EX = 2;
    public const int LOCK_NB = 4;
    public const int SIGINT = 2;
    public const int SIGKILL = 9;
    public const int SIGTERM = 15;
    public const int EWOULDBLOCK = 11;
    public const int FD_CLOEXEC = 1;

    private const int F_GETFD = 1;

    /// <summary>The flags of a descriptor, or a negative errno when it is not open.</summary>
    public static int DescriptorFlags(int fd)
    {
        int flags = fcntl(fd, F_GETFD, 0);
        return flags < 0 ? -Marshal.GetLastPInvokeError() : flags;
    }

    public static int Flock(int fd, int operation) => flock(fd, operation) < 0 ? -Marshal.GetLastPInvokeError() : 0;

    public static int Kill(int pid, int signal) => kill(pid, signal) < 0 ? -Marshal.GetLastPInvokeError() : 0;

    /// <summary>Makes renames and new names in a directory durable.</summary>
    public static int SyncDirectory(string path)
    {
        int fd = Libc.open(path, Libc.O_RDONLY | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return fd;
        }

        int rc = fsync(fd) < 0 ? -Marshal.GetLastPInvokeError() : 0;
        _ = Libc.close(fd);
        return rc;
    }

    // fcntl is variadic; on x64 and arm64 Linux an int in its place is passed like a named one.
    [LibraryImport("libc", SetLastError = true)]
    private static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int flock(int fd, int operation);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int kill(int pid, int signal);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fsync(int fd);
}
