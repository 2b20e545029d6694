// A connected Unix stream socket that carries file descriptors. UnixListener makes such connections.
//
// Descriptors: the kernel installs every received descriptor at once, so each is put into the caller's FdList before anything
// else is looked at; the list closes what nobody took, by way of a DescriptorCloser, as the end of any of them may wait. A list
// has room for a fixed number, and more are an error of the sender. The kernel gets room for all that one message can have all
// the same: those for which there is none it would drop itself, on the thread that receives, which waits for their end. Only one
// thread receives at a time, so that no more than the descriptors of one message are beyond what the lists hold. (Where the
// process has no descriptor left the kernel does drop the rest. That closes files without a flush; only a socket that lingers can
// make it wait.)
//
// All sockets are non-blocking. Waiting is done in poll(2) together with an eventfd, by which another thread ends the wait for
// good.

using Polyblk.Core.Block;
using Tmds.Linux;

namespace Polyblk.Core.Interop;

/// <summary>Received descriptors that nobody has taken yet. Disposing it closes them.</summary>
/// <param name="closer">Closes those of the sender; by default one for all whose sender nobody asked for.</param>
public sealed class FdList(DescriptorCloser? closer = null) : IDisposable
{
    private readonly int[] _fds = new int[UnixSocket.MaxFds];
    private readonly DescriptorCloser _closer = closer ?? DescriptorCloser.Default;

    /// <summary>Descriptors in the list.</summary>
    public int Count { get; private set; }

    /// <summary>Adds a descriptor; the list owns it from here on.</summary>
    /// <returns>
    /// <see cref="SocketResult.Done"/>; or <see cref="SocketResult.TooManyFds"/> or <see cref="SocketResult.FdsRefused"/>: the
    /// descriptor is, or will be, closed.
    /// </returns>
    public SocketResult Add(int fd)
    {
        bool isFull = Count == _fds.Length;
        if (isFull || (_closer.IsFull && !DescriptorCloser.IsHarmless(fd)))
        {
            _closer.Close(fd);
            return isFull ? SocketResult.TooManyFds : SocketResult.FdsRefused;
        }

        _fds[Count++] = fd;
        return SocketResult.Done;
    }

    /// <summary>Takes the first descriptor out: the caller owns it, and its end waits for nothing. There must be one.</summary>
    public ForeignDescriptor TakeForeign() => new(Take(), _closer);

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
            _closer.Close(fd);
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

    /// <summary>The peer sent a descriptor whose end may wait, and too many of its user's wait already.</summary>
    FdsRefused,

    /// <summary>Nothing came within the time given.</summary>
    TimedOut,
}

/// <summary>A connected stream socket. Reads and writes are one thread's; <see cref="Wake"/> is any thread's.</summary>
public sealed unsafe class UnixSocket : IDisposable
{
    /// <summary>Most descriptors in one message (vhost-user: one for each of eight memory regions).</summary>
    public const int MaxFds = 8;

    private const int SCM_MAX_FD = 253; // include/net/scm.h
    private const int SendControlBytes = 16 + (MaxFds * sizeof(int)); // CMSG_SPACE of MaxFds descriptors; a multiple of 8
    private const int ReceiveControlBytes = 16 + ((SCM_MAX_FD + 1) * sizeof(int)); // CMSG_SPACE of as many as can come

    private static readonly Lock s_receiving = new();

    private readonly int _fd;
    private readonly int _wakeFd;
    private readonly bool _isGiven;
    private bool _isReleased;
    private bool _isDisposed;

    /// <summary>Takes over a connection that this process made or accepted; where it throws the descriptor is closed.</summary>
    /// <exception cref="IOException">No descriptors are left.</exception>
    public UnixSocket(int fd)
        : this(fd, DescriptorCloser.OfPeer(fd), isGiven: false)
    {
    }

    /// <summary>Takes over a socket, or whatever it is, that the peer gave; where it throws the descriptor is closed.</summary>
    /// <exception cref="IOException">No descriptors are left.</exception>
    public UnixSocket(ForeignDescriptor given)
        : this(Checked(given).TakeOver(), given.Closer, isGiven: true)
    {
    }

    private UnixSocket(int fd, DescriptorCloser closer, bool isGiven)
    {
        _fd = fd;
        Closer = closer;
        _isGiven = isGiven;
        _wakeFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (_wakeFd < 0)
        {
            Close();
            throw new IOException($"No descriptor is left for a session: errno {-_wakeFd} (raise the limit: ulimit -n).");
        }
    }

    /// <summary>Closes what the peer gives.</summary>
    public DescriptorCloser Closer { get; }

    /// <summary>Connects to a listening socket.</summary>
    /// <exception cref="IOException">Nobody listens there, or the path is unusable.</exception>
    public static UnixSocket Connect(string path)
    {
        sockaddr_un address = UnixListener.Address(path, out uint length);
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

    /// <summary>
    /// Whether the last <see cref="Receive"/> ended after it had read some of its bytes, and not all: the stream cannot be gone
    /// on with.
    /// </summary>
    public bool IsAmidRead { get; private set; }

    /// <summary>
    /// Gives the descriptor to the caller, who owns it from here on; the connection stays. What has come and was not read is in
    /// it still.
    /// </summary>
    public int Release()
    {
        _isReleased = true;
        return _fd;
    }

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
        int done = 0;
        IsAmidRead = false;
        while (done < count)
        {
            long got = ReceiveSome(buffer + done, count - done, fds, out SocketResult taken);
            if (got == -Errno.EAGAIN)
            {
                SocketResult wait = Wait(Libc.POLLIN, timeoutMs);
                if (wait != SocketResult.Done)
                {
                    IsAmidRead = done > 0;
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
            if (taken != SocketResult.Done)
            {
                return taken;
            }
        }

        return SocketResult.Done;
    }

    /// <summary>Sends bytes, with descriptors attached to the first of them. The descriptors stay the caller's.</summary>
    public SocketResult Send(byte* buffer, int count, ReadOnlySpan<int> fds = default, int timeoutMs = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(fds.Length, MaxFds);
        byte* control = stackalloc byte[SendControlBytes];
        int done = 0;
        while (done < count)
        {
            var vector = new IoVec(buffer + done, (nuint)(count - done));
            var message = new msghdr { msg_iov = (iovec*)&vector, msg_iovlen = 1 };
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

    /// <summary>Who is at the other end.</summary>
    public PeerCredentials Peer => PeerCredentials.Of(_fd);

    /// <summary>Breaks the connection in both directions; the peer sees its end. Any thread.</summary>
    public void Shutdown() => _ = Libc.shutdown(_fd, Libc.SHUT_RDWR);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return; // The numbers may be somebody else's by now.
        }

        _isDisposed = true;
        if (!_isReleased)
        {
            Close();
        }

        _ = Libc.close(_wakeFd);
    }

    private static ForeignDescriptor Checked(ForeignDescriptor given)
    {
        ArgumentNullException.ThrowIfNull(given);
        return given;
    }

    private void Close()
    {
        if (_isGiven)
        {
            Closer.Close(_fd);
        }
        else
        {
            Closer.CloseConnection(_fd);
        }
    }

    /// <summary>Receives what is there, without waiting.</summary>
    private long ReceiveSome(byte* buffer, int count, FdList fds, out SocketResult taken)
    {
        byte* control = stackalloc byte[ReceiveControlBytes];
        var vector = new IoVec(buffer, (nuint)count);
        var message = new msghdr
        {
            msg_iov = (iovec*)&vector, msg_iovlen = 1, msg_control = control, msg_controllen = ReceiveControlBytes,
        };
        lock (s_receiving)
        {
            long got = Libc.recvmsg(_fd, &message, Libc.MSG_DONTWAIT | Libc.MSG_CMSG_CLOEXEC);
            taken = got > 0 ? TakeFds(&message, fds) : SocketResult.Done;
            return got;
        }
    }

    private SocketResult Wait(short events, int timeoutMs)
    {
        pollfd* fds = stackalloc pollfd[2];
        fds[0] = new pollfd { fd = _wakeFd, events = Libc.POLLIN };
        fds[1] = new pollfd { fd = _fd, events = events };
        int rc = Libc.poll(fds, 2, timeoutMs);
        if (fds[0].revents != 0)
        {
            return SocketResult.Woken;
        }

        return rc == 0 ? SocketResult.TimedOut : SocketResult.Done;
    }

    private static SocketResult TakeFds(msghdr* message, FdList fds)
    {
        SocketResult result = (message->msg_flags & Libc.MSG_CTRUNC) == 0 ? SocketResult.Done : SocketResult.TooManyFds;
        byte* at = (byte*)message->msg_control;
        byte* end = at + (uint)message->msg_controllen;
        while (end - at >= sizeof(cmsghdr))
        {
            var header = (cmsghdr*)at;
            uint length = header->cmsg_len;
            if (length < sizeof(cmsghdr) || length > end - at)
            {
                break;
            }

            if (header->cmsg_level == Libc.SOL_SOCKET && header->cmsg_type == Libc.SCM_RIGHTS)
            {
                int count = ((int)length - sizeof(cmsghdr)) / sizeof(int);
                int* received = (int*)(at + sizeof(cmsghdr));
                for (int i = 0; i < count; i++)
                {
                    SocketResult added = fds.Add(received[i]);
                    result = result == SocketResult.Done ? added : result;
                }
            }

            at += (length + 7) & ~7u;
        }

        return result;
    }

    private static void AttachFds(msghdr* message, byte* control, ReadOnlySpan<int> fds)
    {
        var header = (cmsghdr*)control;
        int length = sizeof(cmsghdr) + (fds.Length * sizeof(int));
        header->cmsg_len = length;
        header->cmsg_level = Libc.SOL_SOCKET;
        header->cmsg_type = Libc.SCM_RIGHTS;
        fds.CopyTo(new Span<int>(control + sizeof(cmsghdr), fds.Length));
        message->msg_control = control;
        message->msg_controllen = (length + 7) & ~7;
    }
}
