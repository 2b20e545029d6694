// libc for Unix sockets that pass file descriptors: what System.Net.Sockets cannot do (SCM_RIGHTS).

using System.Runtime.InteropServices;

namespace Polyblk.Core.Interop;

public static unsafe partial class Libc
{
    public const int AF_UNIX = 1;
    public const int SOCK_STREAM = 1;
    public const int SOCK_NONBLOCK = 0x800;
    public const int SOCK_CLOEXEC = 0x80000;
    public const int SOL_SOCKET = 1;
    public const int SCM_RIGHTS = 1;
    public const int MSG_CTRUNC = 8;
    public const int MSG_DONTWAIT = 0x40;
    public const int MSG_NOSIGNAL = 0x4000;
    public const int MSG_CMSG_CLOEXEC = 0x40000000;
    public const int SO_PEERCRED = 17;
    public const int SHUT_RDWR = 2;
    public const short POLLIN = 1;
    public const short POLLOUT = 4;
    public const short POLLERR = 8;
    public const short POLLHUP = 16;
    public const int F_GETFL = 3;
    public const int F_SETFL = 4;

    /// <summary>Bytes of <c>sun_path</c>, with its terminating zero (unix(7)).</summary>
    public const int SunPathBytes = 108;

    [StructLayout(LayoutKind.Sequential)]
    public struct sockaddr_un
    {
        public ushort sun_family;
        public fixed byte sun_path[SunPathBytes];
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct pollfd
    {
        public int fd;
        public short events;
        public short revents;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct msghdr
    {
        public void* msg_name;
        public uint msg_namelen;
        public Block.IoVec* msg_iov;
        public nuint msg_iovlen;
        public void* msg_control;
        public nuint msg_controllen;
        public int msg_flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct cmsghdr
    {
        public nuint cmsg_len;
        public int cmsg_level;
        public int cmsg_type;
    }

    public static int socket(int domain, int type, int protocol) => (int)Result(socket_(domain, type, protocol));

    public static int bind(int fd, sockaddr_un* address, uint length) => (int)Result(bind_(fd, address, length));

    public static int connect(int fd, sockaddr_un* address, uint length) => (int)Result(connect_(fd, address, length));

    public static int listen(int fd, int backlog) => (int)Result(listen_(fd, backlog));

    public static int accept4(int fd, int flags) => (int)Result(accept4_(fd, null, null, flags));

    public static int shutdown(int fd, int how) => (int)Result(shutdown_(fd, how));

    /// <summary>struct ucred: who made a connection.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct ucred
    {
        public int pid;
        public uint uid;
        public uint gid;
    }

    public static int getsockopt(int fd, int level, int name, void* value, uint* length) =>
        (int)Result(getsockopt_(fd, level, name, value, length));

    public static int setsockopt(int fd, int level, int name, void* value, uint length) =>
        (int)Result(setsockopt_(fd, level, name, value, length));

    public static int socketpair(int domain, int type, int protocol, int* pair) => (int)Result(socketpair_(domain, type, protocol, pair));

    public static int fchmod(int fd, uint mode) => (int)Result(fchmod_(fd, mode));

    public static int chmod(string path, uint mode) => (int)Result(chmod_(path, mode));

    public static int poll(pollfd* fds, nuint count, int timeoutMs) => (int)Result(poll_(fds, count, timeoutMs));

    public static long sendmsg(int fd, msghdr* message, int flags) => Result(sendmsg_(fd, message, flags));

    public static long recvmsg(int fd, msghdr* message, int flags) => Result(recvmsg_(fd, message, flags));

    /// <summary>Whether something lies at the path; a symbolic link counts as itself.</summary>
    public static bool Exists(string path) => TypeOf(path) >= 0;

    /// <summary>Whether the path itself is a socket.</summary>
    public static bool IsSocket(string path) => TypeOf(path) == S_IFSOCK;

    private const int AT_FDCWD = -100;
    private const int AT_SYMLINK_NOFOLLOW = 0x100;
    private const int AT_EMPTY_PATH = 0x1000;
    private const int AT_STATX_DONT_SYNC = 0x4000;
    private const uint STATX_TYPE = 1;
    private const uint STATX_INO = 0x100;
    private const int S_IFSOCK = 0xC000;
    private const int StatxBytes = 256;
    private const int StatxModeOffset = 28;
    private const int StatxInodeOffset = 32;
    private const int StatxDeviceOffset = 136; // the major number, then the minor one

    /// <summary>
    /// Which file a descriptor is, from what the kernel knows already: a file system that would ask its server does not
    /// (AT_STATX_DONT_SYNC).
    /// </summary>
    /// <returns>0 or a negative errno.</returns>
    public static int IdentifyWithoutSync(int fd, out ulong device, out ulong inode)
    {
        byte* statx = stackalloc byte[StatxBytes];
        int rc = (int)Result(statx_(fd, string.Empty, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, statx));
        device = ((ulong)*(uint*)(statx + StatxDeviceOffset) << 32) | *(uint*)(statx + StatxDeviceOffset + 4);
        inode = *(ulong*)(statx + StatxInodeOffset);
        return rc;
    }

    private static int TypeOf(string path)
    {
        byte* statx = stackalloc byte[StatxBytes];
        long rc = Result(statx_(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, statx));
        return rc < 0 ? (int)rc : (int)(*(ushort*)(statx + StatxModeOffset) & S_IFMT);
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx_(int directory, string path, int flags, uint mask, void* statx);

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int socket_(int domain, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    private static partial int bind_(int fd, void* address, uint length);

    [LibraryImport("libc", EntryPoint = "connect", SetLastError = true)]
    private static partial int connect_(int fd, void* address, uint length);

    [LibraryImport("libc", EntryPoint = "listen", SetLastError = true)]
    private static partial int listen_(int fd, int backlog);

    [LibraryImport("libc", EntryPoint = "accept4", SetLastError = true)]
    private static partial int accept4_(int fd, void* address, uint* length, int flags);

    [LibraryImport("libc", EntryPoint = "shutdown", SetLastError = true)]
    private static partial int shutdown_(int fd, int how);

    [LibraryImport("libc", EntryPoint = "getsockopt", SetLastError = true)]
    private static partial int getsockopt_(int fd, int level, int name, void* value, uint* length);

    [LibraryImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
    private static partial int setsockopt_(int fd, int level, int name, void* value, uint length);

    [LibraryImport("libc", EntryPoint = "socketpair", SetLastError = true)]
    private static partial int socketpair_(int domain, int type, int protocol, int* pair);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    private static partial int fchmod_(int fd, uint mode);

    [LibraryImport("libc", EntryPoint = "chmod", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int chmod_(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static partial int poll_(pollfd* fds, nuint count, int timeout);

    [LibraryImport("libc", EntryPoint = "sendmsg", SetLastError = true)]
    private static partial nint sendmsg_(int fd, msghdr* message, int flags);

    [LibraryImport("libc", EntryPoint = "recvmsg", SetLastError = true)]
    private static partial nint recvmsg_(int fd, msghdr* message, int flags);
}
