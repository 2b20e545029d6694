// The listening socket of a door that is a Unix socket. It does not block; waiting is done in poll(2) together with an eventfd,
// by which another thread ends the wait for good. Clients do not get the last descriptors of the process; and as a process that
// is out of them cannot even refuse a connection, one is kept back for that.

using System.Text;
using Polyblk.Core.Block;
using Tmds.Linux;

namespace Polyblk.Core.Interop;

/// <summary>A listening socket at a path.</summary>
public sealed unsafe class UnixListener : IDisposable
{
    private readonly int _fd;
    private readonly int _wakeFd;
    private int _spareFd;
    private bool _isReleased;

    private UnixListener(string path, int fd, int wakeFd)
    {
        Path = path;
        _fd = fd;
        _wakeFd = wakeFd;
        _spareFd = OpenSpare();
    }

    /// <summary>Where it listens.</summary>
    public string Path { get; }

    /// <summary>
    /// Listens at a path. Directories are made when missing. A socket that a dead process left there is replaced; one on which
    /// somebody listens, and a file that is no socket, are left alone. When the path appears, the socket listens and has its
    /// mode.
    /// </summary>
    /// <param name="path">At most 107 bytes of UTF-8.</param>
    /// <param name="mode">Who may connect: write permission decides (unix(7)).</param>
    /// <param name="takesDescriptors">
    /// Whether clients may send descriptors. Otherwise the kernel refuses them where it can (Linux 6.16); an older one drops them
    /// when the message is read, on the thread that reads, which then waits for the end of a socket that lingers.
    /// </param>
    /// <exception cref="IOException">The path cannot be used; the message says why and what to do.</exception>
    public static UnixListener Listen(string path, UnixFileMode mode, bool takesDescriptors = false)
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

        if (!takesDescriptors)
        {
            // Connections have what their listener had when they were made. An older kernel does not know it.
            int no = 0;
            _ = Libc.setsockopt(fd, Libc.SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(int));
        }

        // Bound and listening under another name first: whoever sees the path can connect to it at once.
        // The mode of the descriptor becomes that of the new path: nobody else can connect before the mode is set below.
        _ = Libc.fchmod(fd, 0x180);
        sockaddr_un address = Address(staging, out uint length);
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
    /// Goes on with a socket that listens at a path already: another process made it, or another object of this one
    /// (<see cref="Release"/>). Who waits to be accepted goes on waiting.
    /// </summary>
    /// <param name="path">Where it listens.</param>
    /// <param name="fd">Its descriptor; this object owns it, also where this throws.</param>
    /// <exception cref="IOException">It does not listen, or no descriptor is left.</exception>
    public static UnixListener Adopt(string path, int fd)
    {
        int listens = 0;
        uint length = sizeof(int);
        bool isListening = Libc.getsockopt(fd, Libc.SOL_SOCKET, Libc.SO_ACCEPTCONN, &listens, &length) == 0 && listens == 1;
        int wakeFd = isListening ? Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK) : -1;
        if (wakeFd < 0)
        {
            _ = Libc.close(fd);
            throw new IOException(isListening
                ? "No descriptor is left for a socket (raise the limit: ulimit -n)."
                : $"What was handed over for {path} does not listen.");
        }

        return new UnixListener(path, fd, wakeFd);
    }

    /// <summary>
    /// Gives the listening socket to the caller, who owns it from here on: it listens at its path as before. Not while somebody
    /// is in <see cref="Accept"/>.
    /// </summary>
    public int Release()
    {
        _isReleased = true;
        return _fd;
    }

    /// <summary>
    /// Waits for a connection: its descriptor; or -ECANCELED after <see cref="Wake"/>; or another negative errno. Where
    /// <see cref="IsShortage"/> holds for it wait a little: the client that came was refused, so it sees its end instead of waiting.
    /// </summary>
    public int Accept()
    {
        pollfd* fds = stackalloc pollfd[2];
        while (true)
        {
            fds[0] = new pollfd { fd = _wakeFd, events = Libc.POLLIN };
            fds[1] = new pollfd { fd = _fd, events = Libc.POLLIN };
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
            if (fd >= LastFreeDescriptor())
            {
                DescriptorCloser.OfPeer(fd).CloseConnection(fd);
                return -Errno.EMFILE;
            }

            if (fd is -Errno.EMFILE or -ENFILE)
            {
                RefuseOne();
            }

            if (fd is not -Errno.EAGAIN and not -Errno.EINTR and not -ECONNABORTED)
            {
                return fd;
            }
        }
    }

    /// <summary>Whether an error of <see cref="Accept"/> passes when somebody gives something back.</summary>
    public static bool IsShortage(int errno) => errno is Errno.EMFILE or ENFILE or Errno.ENOMEM or Errno.ENOBUFS;

    /// <summary>Ends <see cref="Accept"/> now and later. Any thread.</summary>
    public void Wake() => Libc.SignalEventFd(_wakeFd);

    /// <summary>Stops listening and removes the path.</summary>
    public void Dispose()
    {
        if (_isReleased)
        {
            Close(-1, _wakeFd);
            Close(-1, _spareFd);
            return;
        }

        // First the path, while it still is ours: after close another process may listen there.
        if (Libc.IsSocket(Path))
        {
            File.Delete(Path);
        }

        Close(_fd, _wakeFd);
        if (_spareFd >= 0)
        {
            _ = Libc.close(_spareFd);
        }
    }

    /// <summary>
    /// The number (descriptors are given out from below) from which on clients get none: the last ones are the process's own. A
    /// .NET process that has none left ends with "Out of memory" or SIGABRT as soon as its runtime wants one; a client must not
    /// bring it there.
    /// </summary>
    private static int LastFreeDescriptor()
    {
        Libc.rlimit limit;
        if (Libc.getrlimit(Libc.RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > int.MaxValue)
        {
            return int.MaxValue;
        }

        return (int)(limit.rlim_cur - Math.Min(OwnDescriptors, limit.rlim_cur / 4));
    }

    /// <summary>
    /// Out of descriptors for good: takes the connection that waits by means of the one that is kept for this, and closes it.
    /// </summary>
    private void RefuseOne()
    {
        if (_spareFd >= 0)
        {
            _ = Libc.close(_spareFd);
        }

        int fd = Libc.accept4(_fd, Libc.SOCK_CLOEXEC);
        if (fd >= 0)
        {
            DescriptorCloser.OfPeer(fd).CloseConnection(fd);
        }

        _spareFd = OpenSpare();
    }

    private static int OpenSpare() => Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);

    internal static sockaddr_un Address(string path, out uint length)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(path);
        if (bytes.Length == 0 || bytes.Length >= Libc.SunPathBytes || Array.IndexOf(bytes, (byte)0) >= 0)
        {
            throw new IOException($"'{path}' is no path for a socket: 1 to {Libc.SunPathBytes - 1} bytes are allowed, it has {bytes.Length}. Choose a shorter one.");
        }

        sockaddr_un address = default;
        address.sun_family = Libc.AF_UNIX;
        for (int i = 0; i < bytes.Length; i++)
        {
            address.sun_path[i] = bytes[i];
        }

        length = (uint)(sizeof(ushort) + bytes.Length + 1);
        return address;
    }

    private const int SO_PASSRIGHTS = 83;
    private const ulong OwnDescriptors = 64;
    private const string StagingSuffix = ".new";
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

        sockaddr_un address = Address(path, out uint length);
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
