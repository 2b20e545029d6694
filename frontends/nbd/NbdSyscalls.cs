using System.Runtime.InteropServices;
using Polyblk.Core.Block;

namespace Polyblk.Frontends.Nbd;

/// <summary>Vectored socket I/O. Results, or negative errnos. The runtime ignores SIGPIPE, so writev is safe on a closed peer.</summary>
internal static unsafe partial class NbdSyscalls
{
    public static long readv(int fd, IoVec* iov, int count)
    {
        nint rc = readv_(fd, iov, count);
        return rc < 0 ? -Marshal.GetLastPInvokeError() : rc;
    }

    public static long writev(int fd, IoVec* iov, int count)
    {
        nint rc = writev_(fd, iov, count);
        return rc < 0 ? -Marshal.GetLastPInvokeError() : rc;
    }

    [LibraryImport("libc", EntryPoint = "readv", SetLastError = true)]
    private static partial nint readv_(int fd, IoVec* iov, int count);

    [LibraryImport("libc", EntryPoint = "writev", SetLastError = true)]
    private static partial nint writev_(int fd, IoVec* iov, int count);
}
