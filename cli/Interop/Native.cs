// The system calls of the control plane.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Cli.Interop;

/// <summary>flock, kill, fsync of directories, flags of descriptors. Results, or negative errnos.</summary>
internal static class Native
{
    public const int LOCK_SH = Libc.LOCK_SH;
    public const int LOCK_EX = Libc.LOCK_EX;
    public const int LOCK_NB = Libc.LOCK_NB;
    public const int EWOULDBLOCK = Errno.EAGAIN;

    public static int SIGINT => Libc.SIGINT;
    public static int SIGKILL => Libc.SIGKILL;
    public static int SIGTERM => Libc.SIGTERM;
    public static int FD_CLOEXEC => Libc.FD_CLOEXEC;

    /// <summary>The flags of a descriptor, or a negative errno when it is not open.</summary>
    public static int DescriptorFlags(int fd) => Libc.fcntl(fd, Libc.F_GETFD, 0);

    public static int Flock(int fd, int operation) => Libc.flock(fd, operation);

    public static int Kill(int pid, int signal) => Libc.kill(pid, signal);

    /// <summary>Makes renames and new names in a directory durable.</summary>
    public static int SyncDirectory(string path)
    {
        int fd = Libc.open(path, Libc.O_RDONLY | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return fd;
        }

        int rc = Libc.fsync(fd);
        _ = Libc.close(fd);
        return rc;
    }
}
