// A connected Unix stream socket that carries file descriptors, and the listening socket that makes such connections.
//
// Descriptors: the kernel installs every received descriptor at once, so each is put into the caller's FdList before anything else is
// looked at; the list closes what nobody took. Room is offered for a fixed number only: of a message with more the kernel drops the
// rest itself and says MSG_CTRUNC, which counts as an error of the sender.
//
// All sockets are non-blocking. Waiting is done in poll(2) together with an eventfd, by which another thread ends the wait for good.

using System.Text;
using Polyblk.Core.Block;

namespace Polyblk.Core.Interop;

/// <summary>Received descriptors that nobody has taken yet. Disposing it closes them.</summary>
public sealed class FdList : IDisposable
{
    private readonly int[] _fds = new int[UnixSocket.MaxFds];

    /// <summary>Descriptors in the list.</summary>
    public int Count { get; private set; }

    /// <summary>Adds a descriptor; the list owns it from here on.</summary>
    /// <returns>False when the list is full: the descriptor is closed.</returns>
    public bool Add(int fd)
    {
        if (Count == _fds.Length)
        {
            _ = Libc.close(fd);
            return false;
        }

        _fds[Count++] = fd;
        return true;
    }

    /// <summary>Takes the first descriptor out: the caller owns it. -1 when there is none.</summary>
    public int Take()
    {
        if (Count == 0)
        {
            return -1;
        }

        int fd = _fds[0];
        Array.Copy(_fds, 1, _fds, 0, --Count);
        return fd;
    }

    /// <summary>Closes what is left.</summary>
    public void Dispose()
    {
        for (int fd = Take(); fd >= 0; fd = Take())
        {
            _ = Libc.close(fd);
        }
    }
}

/// <summary>How a read or a write of a socket ended.</summary>
public enum SocketResult
{
    /// <summary>All bytes were moved.</summary>
    Done,

    /// <summary>The peer closed the connection at a message boundary (before the first byte).</summary>
    Closed,

    /// <summary>The connection broke, or was closed in the middle.</summary>
    Broken,

    /// <summary>Somebody asked for the end: <see cref="UnixSocket.Wake"/>.</summary>
    Woken,

    /// <summary>The peer sent more descriptors than a message may carry.</summary>
    TooManyFds,

    /// <summary>Nothing came within the time given.</summary>
    TimedOut,
}

/// <summary>A connected stream socket. Reads and writes are one thread's; <see cref="Wake"/> is any thread's.</summary>
public sealed unsafe class UnixSocket : IDisposable
{
    /// <summary>Most descriptors in one message (vhost-user: one for each of eight memory regions).</summary>
    public const int MaxFds = 8;

    private const int ControlBytes = 16 + (MaxFds * sizeof(int)); // CMSG_SPACE of MaxFds descriptors; a multiple of 8

    private readonly int _fd;
    private readonly int _wakeFd;

    /// <summary>Takes over a connected descriptor.</summary>
    /// <exception cref="IOException">No descriptors are left.</exception>
    public UnixSocket(int fd)
    {
        _fd = fd;
        _wakeFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (_wakeFd < 0)
        {
            _ = Libc.close(fd);
            throw new IOException($"No descriptor is left for a session: errno {-_wakeFd} (raise the limit: ulimit -n).");
        }
    }

    /// <summary>Connects to a listening socket.</summary>
    /// <exception cref="IOException">Nobody listens there, or the path is unusable.</exception>
    public static UnixSocket Connect(string path)
    {
        Libc.sockaddr_un address = UnixListener.Address(path, out uint length);
        int fd = Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0);
        if (fd < 0)
        {
            throw new IOException($"No socket can be made: errno {-fd}.");
        }

        int rc = Libc.connect(fd, &address, length);
        if (rc < 0)
        {
            _ = Libc.close(fd);
            throw new IOException($"Nothing answers at {path}: errno {-rc}.");
        }

        return new UnixSocket(fd);
    }

    /// <summary>Makes two sockets that are connected to each other.</summary>
    public static (UnixSocket Left, int RightFd) Pair()
    {
        int* pair = stackalloc int[2];
        int rc = Libc.socketpair(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0, pair);
        return rc < 0 ? throw new IOException($"No pair of sockets can be made: errno {-rc}.") : (new UnixSocket(pair[0]), pair[1]);
    }

    /// <summary>The descriptor; this object owns it.</summary>
    internal int Descriptor => _fd;

    /// <summary>Ends every wait of this socket now and later. Any thread.</summary>
    public void Wake() => Libc.SignalEventFd(_wakeFd);

    /// <summary>Reads exactly <paramref name="count"/> bytes and the descriptors that come with them.</summary>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="count">How many, at least 1.</param>
    /// <param name="fds">Receives the descriptors.</param>
    /// <param name="timeoutMs">Longest wait for each piece in milliseconds; -1 waits for ever.</param>
    public SocketResult Receive(byte* buffer, int count, FdList fds, int timeoutMs = -1)
    {
        ArgumentNullException.ThrowIfNull(fds);
        byte* control = stackalloc byte[ControlBytes];
        int done = 0;
        while (done < count)
        {
            var vector = new IoVec(buffer + done, (nuint)(count - done));
            var message = new Libc.msghdr { msg_iov = &vector, msg_iovlen = 1, msg_control = control, msg_controllen = ControlBytes };
            long got = Libc.recvmsg(_fd, &message, Libc.MSG_DONTWAIT | Libc.MSG_CMSG_CLOEXEC);
            if (got == -Errno.EAGAIN)
            {
                SocketResult wait = Wait(Libc.POLLIN, timeoutMs);
                if (wait != SocketResult.Done)
                {
                    return wait;
                }

                continue;
            }

            if (got == -Errno.EINTR)
            {
                continue;
            }

            if (got <= 0)
            {
                return got == 0 && done == 0 ? SocketResult.Closed : SocketResult.Broken;
            }

            done += (int)got;
            if (!TakeFds(&message, fds))
            {
                return SocketResult.TooManyFds;
            }
        }

        return SocketResult.Done;
    }

    /// <summary>Sends bytes, with descriptors attached to the first of them. The descriptors stay the caller's.</summary>
    public SocketResult Send(byte* buffer, int count, ReadOnlySpan<int> fds = default, int timeoutMs = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(fds.Length, MaxFds);
        byte* control = stackalloc byte[ControlBytes];
        int done = 0;
        while (done < count)
        {
            var vector = new IoVec(buffer + done, (nuint)(count - done));
            var message = new Libc.msghdr { msg_iov = &vector, msg_iovlen = 1 };
            if (done == 0 && !fds.IsEmpty)
            {
                AttachFds(&message, control, fds);
            }

            long sent = Libc.sendmsg(_fd, &message, Libc.MSG_DONTWAIT | Libc.MSG_NOSIGNAL);
            if (sent == -Errno.EAGAIN)
            {
                SocketResult wait = Wait(Libc.POLLOUT, timeoutMs);
                if (wait != SocketResult.Done)
                {
                    return wait;
                }

                continue;
            }

            if (sent == -Errno.EINTR)
            {
                continue;
            }

            if (sent < 0)
            {
                return SocketResult.Broken;
            }

            done += (int)sent;
        }

        return SocketResult.Done;
    }

    /// <summary>The user at the other end when the connection was made; null where the kernel does not tell.</summary>
    public uint? PeerUser
    {
        get
        {
            Libc.ucred peer;
            uint length = (uint)sizeof(Libc.ucred);
            return Libc.getsockopt(_fd, Libc.SOL_SOCKET, Libc.SO_PEERCRED, &peer, &length) == 0 ? peer.uid : null;
        }
    }

    /// <summary>Breaks the connection in both directions; the peer sees its end. Any thread.</summary>
    public void Shutdown() => _ = Libc.shutdown(_fd, Libc.SHUT_RDWR);

    /// <inheritdoc/>
    public void Dispose()
    {
        _ = Libc.close(_fd);
        _ = Libc.close(_wakeFd);
    }

    private SocketResult Wait(short events, int timeoutMs)
    {
        Libc.pollfd* fds = stackalloc Libc.pollfd[2];
        fds[0] = new Libc.pollfd { fd = _wakeFd, events = Libc.POLLIN };
        fds[1] = new Libc.pollfd { fd = _fd, events = events };
        int rc = Libc.poll(fds, 2, timeoutMs);
        if (fds[0].revents != 0)
        {
            return SocketResult.Woken;
        }

        return rc == 0 ? SocketResult.TimedOut : SocketResult.Done;
    }

    private static bool TakeFds(Libc.msghdr* message, FdList fds)
    {
        bool all = true;
        byte* at = (byte*)message->msg_control;
        byte* end = at + message->msg_controllen;
        while (end - at >= sizeof(Libc.cmsghdr))
        {
            var header = (Libc.cmsghdr*)at;
            if (header->cmsg_len < (nuint)sizeof(Libc.cmsghdr) || header->cmsg_len > (nuint)(end - at))
            {
                break;
            }

            if (header->cmsg_level == Libc.SOL_SOCKET && header->cmsg_type == Libc.SCM_RIGHTS)
            {
                int count = (int)(header->cmsg_len - (nuint)sizeof(Libc.cmsghdr)) / sizeof(int);
                int* received = (int*)(at + sizeof(Libc.cmsghdr));
                for (int i = 0; i < count; i++)
                {
                    all &= fds.Add(received[i]);
                }
            }

            at += (header->cmsg_len + 7) & ~(nuint)7;
        }

        return all && (message->msg_flags & Libc.MSG_CTRUNC) == 0;
    }

    private static void AttachFds(Libc.msghdr* message, byte* control, ReadOnlySpan<int> fds)
    {
        var header = (Libc.cmsghdr*)control;
        header->cmsg_len = (nuint)(sizeof(Libc.cmsghdr) + (fds.Length * sizeof(int)));
        header->cmsg_level = Libc.SOL_SOCKET;
        header->cmsg_type = Libc.SCM_RIGHTS;
        fds.CopyTo(new Span<int>(control + sizeof(Libc.cmsghdr), fds.Length));
        message->msg_control = control;
        message->msg_controllen = (header->cmsg_len + 7) & ~(nuint)7;
    }
}

/// <summary>A listening socket at a path.</summary>
public sealed unsafe class UnixListener : IDisposable
{
    private readonly int _fd;
    private readonly int _wakeFd;
    private int _spareFd = MakeSpare();

    private UnixListener(string path, int fd, int wakeFd)
    {
        Path = path;
        _fd = fd;
        _wakeFd = wakeFd;
    }

    /// <summary>Where it listens.</summary>
    public string Path { get; }

    /// <summary>
    /// Listens at a path. Directories are made when missing. A socket that a dead process left there is replaced; one on which somebody
    /// listens, and a file that is no socket, are left alone. When the path appears, the socket listens and has its mode.
    /// </summary>
    /// <param name="path">At most 107 bytes of UTF-8.</param>
    /// <param name="mode">Who may connect: write permission decides (unix(7)).</param>
    /// <exception cref="IOException">The path cannot be used; the message says why and what to do.</exception>
    public static UnixListener Listen(string path, UnixFileMode mode)
    {
        _ = Address(path, out _);
        string? directory = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path));
        if (directory is not null)
        {
            Directory.CreateDirectory(directory);
        }

        RemoveStale(path);
        string staging = StagingPath(path);
        RemoveStale(staging);
        int fd = Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, 0);
        int wakeFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (fd < 0 || wakeFd < 0)
        {
            Close(fd, wakeFd);
            throw new IOException("No descriptor is left for a socket (raise the limit: ulimit -n).");
        }

        // Bound and listening under another name first: whoever sees the path can connect to it at once.
        // The mode of the descriptor becomes that of the new path: nobody else can connect before the mode is set below.
        _ = Libc.fchmod(fd, 0x180);
        Libc.sockaddr_un address = Address(staging, out uint length);
        int rc = Libc.bind(fd, &address, length);
        if (rc < 0)
        {
            Close(fd, wakeFd);
            throw new IOException(BindMessage(path, -rc));
        }

        rc = Libc.listen(fd, 64);
        if (rc < 0)
        {
            Close(fd, wakeFd);
            File.Delete(staging);
            throw new IOException($"Listening at {path} failed: errno {-rc}.");
        }

        _ = Libc.chmod(staging, (uint)mode);
        Publish(staging, path, fd, wakeFd);
        return new UnixListener(path, fd, wakeFd);
    }

    /// <summary>
    /// Waits for a connection: its descriptor; or -ECANCELED after <see cref="Wake"/>; or another negative errno. Where no
    /// descriptor is left (-EMFILE, -ENFILE) the connection was accepted with one that is kept for that, and closed: its maker
    /// learns of it at once.
    /// </summary>
    public int Accept()
    {
        Libc.pollfd* fds = stackalloc Libc.pollfd[2];
        while (true)
        {
            fds[0] = new Libc.pollfd { fd = _wakeFd, events = Libc.POLLIN };
            fds[1] = new Libc.pollfd { fd = _fd, events = Libc.POLLIN };
            int rc = Libc.poll(fds, 2, -1);
            if (rc < 0 && rc != -Errno.EINTR)
            {
                return rc;
            }

            if (fds[0].revents != 0)
            {
                return -Errno.ECANCELED;
            }

            int fd = Libc.accept4(_fd, Libc.SOCK_CLOEXEC);
            if (fd is -EMFILE or -ENFILE)
            {
                RefuseWithSpare();
                return fd;
            }

            if (fd is not -Errno.EAGAIN and not -Errno.EINTR and not -ECONNABORTED)
            {
                return fd;
            }
        }
    }

    private void RefuseWithSpare()
    {
        if (_spareFd >= 0)
        {
            _ = Libc.close(_spareFd);
        }

        int refused = Libc.accept4(_fd, Libc.SOCK_CLOEXEC);
        if (refused >= 0)
        {
            _ = Libc.close(refused);
        }

        _spareFd = MakeSpare();
    }

    private static int MakeSpare() => Libc.eventfd(0, Libc.EFD_CLOEXEC);

    /// <summary>Ends <see cref="Accept"/> now and later. Any thread.</summary>
    public void Wake() => Libc.SignalEventFd(_wakeFd);

    /// <summary>Stops listening and removes the path.</summary>
    public void Dispose()
    {
        // First the path, while it still is ours: after close another process may listen there.
        if (Libc.IsSocket(Path))
        {
            File.Delete(Path);
        }

        Close(_fd, _wakeFd);
        Close(_spareFd, -1);
        _spareFd = -1;
    }

    internal static Libc.sockaddr_un Address(string path, out uint length)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(path);
        if (bytes.Length == 0 || bytes.Length >= Libc.SunPathBytes || Array.IndexOf(bytes, (byte)0) >= 0)
        {
            throw new IOException($"'{path}' is no path for a socket: 1 to {Libc.SunPathBytes - 1} bytes are allowed, it has {bytes.Length}. Choose a shorter one.");
        }

        Libc.sockaddr_un address = default;
        address.sun_family = Libc.AF_UNIX;
        for (int i = 0; i < bytes.Length; i++)
        {
            address.sun_path[i] = bytes[i];
        }

        length = (uint)(sizeof(ushort) + bytes.Length + 1);
        return address;
    }

    private const string StagingSuffix = ".new";
    private const int EMFILE = 24;
    private const int ENFILE = 23;
    private const int ECONNABORTED = 103;
    private const int ECONNREFUSED = 111;
    private const int EADDRINUSE = 98;

    private static string StagingPath(string path) =>
        Encoding.UTF8.GetByteCount(path) + StagingSuffix.Length < Libc.SunPathBytes ? path + StagingSuffix : path;

    private static void Publish(string staging, string path, int fd, int wakeFd)
    {
        if (staging == path)
        {
            return;
        }

        try
        {
            File.Move(staging, path, overwrite: false);
        }
        catch (IOException)
        {
            Close(fd, wakeFd);
            File.Delete(staging);
            throw new IOException(BindMessage(path, EADDRINUSE));
        }
    }

    private static void RemoveStale(string path)
    {
        if (!Libc.Exists(path))
        {
            return;
        }

        Libc.sockaddr_un address = Address(path, out uint length);
        int fd = Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, 0);
        if (fd < 0)
        {
            throw new IOException($"No socket can be made: errno {-fd}.");
        }

        int rc = Libc.connect(fd, &address, length);
        _ = Libc.close(fd);
        if (rc == -ECONNREFUSED && Libc.IsSocket(path))
        {
            File.Delete(path);
            return;
        }

        throw new IOException(rc is 0 or -Errno.EAGAIN
            ? $"Another process listens at {path}: stop it, or choose another socket path."
            : $"{path} exists and is no socket that can be replaced (errno {-rc}): remove it, or choose another socket path.");
    }

    private static string BindMessage(string path, int errno) => errno switch
    {
        Errno.EACCES or Errno.EPERM => $"No permission to make the socket {path}: choose a directory that you may write to.",
        EADDRINUSE => $"{path} has just been taken by another process: choose another socket path.",
        Errno.EROFS => $"{path} lies on a read-only file system: choose another socket path.",
        _ => $"The socket {path} cannot be made: errno {errno}.",
    };

    private static void Close(int fd, int wakeFd)
    {
        if (fd >= 0)
        {
            _ = Libc.close(fd);
        }

        if (wakeFd >= 0)
        {
            _ = Libc.close(wakeFd);
        }
    }
}
