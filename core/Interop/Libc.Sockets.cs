// libc for Unix sockets that pass file descriptors: what System.Net.Sockets cannot do (SCM_RIGHTS). And paths without
// following links.

using Tmds.Linux;

namespace Polyblk.Core.Interop;

public static unsafe partial class Libc
{
    public static int AF_UNIX => LibC.AF_UNIX;
    public static int SOCK_STREAM => LibC.SOCK_STREAM;
    public static int SOCK_NONBLOCK => LibC.SOCK_NONBLOCK;
    public static int SOCK_CLOEXEC => LibC.SOCK_CLOEXEC;
    public static int SOL_SOCKET => LibC.SOL_SOCKET;
    public static int SCM_RIGHTS => LibC.SCM_RIGHTS;
    public static int MSG_CTRUNC => LibC.MSG_CTRUNC;
    public static int MSG_DONTWAIT => LibC.MSG_DONTWAIT;
    public static int MSG_NOSIGNAL => LibC.MSG_NOSIGNAL;
    public static int MSG_CMSG_CLOEXEC => LibC.MSG_CMSG_CLOEXEC;
    public static int SO_PEERCRED => LibC.SO_PEERCRED;
    public static int SO_ACCEPTCONN => LibC.SO_ACCEPTCONN;
    public static int SHUT_RDWR => LibC.SHUT_RDWR;
    public static short POLLIN => LibC.POLLIN;
    public static short POLLOUT => LibC.POLLOUT;
    public static short POLLERR => LibC.POLLERR;
    public static short POLLHUP => LibC.POLLHUP;
    public static int F_GETFD => LibC.F_GETFD;
    public static int F_GETFL => LibC.F_GETFL;
    public static int F_SETFL => LibC.F_SETFL;
    public static int FD_CLOEXEC => LibC.FD_CLOEXEC;

    /// <summary>Bytes of <c>sun_path</c>, with its terminating zero (unix(7)).</summary>
    public static int SunPathBytes => sockaddr_un.sun_path_length;

    public static int socket(int domain, int type, int protocol) => Result(LibC.socket(domain, type, protocol));

    public static int bind(int fd, sockaddr_un* address, uint length) => Result(LibC.bind(fd, (sockaddr*)address, length));

    public static int connect(int fd, sockaddr_un* address, uint length) => Result(LibC.connect(fd, (sockaddr*)address, length));

    public static int listen(int fd, int backlog) => Result(LibC.listen(fd, backlog));

    public static int accept4(int fd, int flags) => Result(LibC.accept4(fd, null, null, flags));

    public static int shutdown(int fd, int how) => Result(LibC.shutdown(fd, how));

    public static int getsockname(int fd, sockaddr_un* address, uint* length) =>
        Result(LibC.getsockname(fd, (sockaddr*)address, (socklen_t*)length));

    public static int getsockopt(int fd, int level, int name, void* value, uint* length) =>
        Result(LibC.getsockopt(fd, level, name, value, (socklen_t*)length));

    public static int setsockopt(int fd, int level, int name, void* value, uint length) =>
        Result(LibC.setsockopt(fd, level, name, value, length));

    public static int socketpair(int domain, int type, int protocol, int* pair) =>
        Result(LibC.socketpair(domain, type, protocol, pair));

    public static int fchmod(int fd, uint mode) => Result(LibC.fchmod(fd, (ushort)mode));

    public static int chmod(string path, uint mode) => WithPath(path, mode, &ChangeMode);

    private static int ChangeMode(byte* path, uint mode) => Result(LibC.chmod(path, (ushort)mode));

    public static int chown(string path, uint owner, uint group) => WithPath(path, (owner, group), &ChangeOwner);

    private static int ChangeOwner(byte* path, (uint Owner, uint Group) a) => Result(LibC.chown(path, a.Owner, a.Group));

    /// <summary>chown(2) of the path itself, were it a symbolic link.</summary>
    public static int lchown(string path, uint owner, uint group) => WithPath(path, (owner, group), &ChangeOwnerOfLink);

    private static int ChangeOwnerOfLink(byte* path, (uint Owner, uint Group) a) => Result(LibC.lchown(path, a.Owner, a.Group));

    public static int fchown(int fd, uint owner, uint group) => Result(LibC.fchown(fd, owner, group));

    /// <summary>The owner and the group of what lies at the path; a symbolic link counts as itself.</summary>
    /// <returns>0 or a negative errno.</returns>
    public static int OwnerOf(string path, out uint owner, out uint group)
    {
        Tmds.Linux.statx status;
        int rc = WithPath(path, (nint)(&status), &ReadOwner);
        (owner, group) = (status.stx_uid, status.stx_gid);
        return rc;
    }

    private static int ReadOwner(byte* path, nint status) => statx(
        LibC.AT_FDCWD, path, LibC.AT_SYMLINK_NOFOLLOW, LibC.STATX_UID | LibC.STATX_GID, (Tmds.Linux.statx*)status);

    public static int poll(pollfd* fds, nuint count, int timeoutMs) => Result(poll_(fds, count, timeoutMs));

    public static long sendmsg(int fd, msghdr* message, int flags) => Result((long)LibC.sendmsg(fd, message, flags));

    public static long recvmsg(int fd, msghdr* message, int flags) => Result((long)LibC.recvmsg(fd, message, flags));

    public static int statx(int directory, byte* path, int flags, uint mask, Tmds.Linux.statx* buffer) =>
        Result(LibC.statx(directory, path, flags, mask, buffer));

    /// <summary>Whether something lies at the path; a symbolic link counts as itself.</summary>
    public static bool Exists(string path) => TypeOf(path) >= 0;

    /// <summary>Whether the path itself is a socket.</summary>
    public static bool IsSocket(string path) => TypeOf(path) == (ushort)LibC.S_IFSOCK;

    /// <summary>
    /// Which file a descriptor is, from what the kernel knows already: a file system that would ask its server does not
    /// (AT_STATX_DONT_SYNC).
    /// </summary>
    /// <returns>0 or a negative errno.</returns>
    public static int IdentifyWithoutSync(int fd, out ulong device, out ulong inode)
    {
        byte empty = 0;
        Tmds.Linux.statx status;
        int rc = statx(fd, &empty, LibC.AT_EMPTY_PATH | AT_STATX_DONT_SYNC, LibC.STATX_INO, &status);
        device = ((ulong)status.stx_dev_major << 32) | status.stx_dev_minor;
        inode = status.stx_ino;
        return rc;
    }

    private static int TypeOf(string path) => WithPath(path, 0, &ReadType);

    private static int ReadType(byte* path, int unused)
    {
        Tmds.Linux.statx status;
        int rc = statx(LibC.AT_FDCWD, path, LibC.AT_SYMLINK_NOFOLLOW, LibC.STATX_TYPE, &status);
        return rc < 0 ? rc : status.stx_mode & (ushort)LibC.S_IFMT;
    }
}
