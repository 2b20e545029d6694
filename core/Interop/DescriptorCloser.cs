// Closes what other processes gave.
//
// close(2) may wait, and nothing ends that wait: a file of a FUSE server that does not answer FLUSH, a socket that lingers
// (SO_LINGER), a file on a network. Whoever sends a descriptor (unix(7), SCM_RIGHTS) chooses what it is, and may keep no other of
// it, so that ours is the last. So descriptors of others are closed by a thread that nothing waits for, with two exceptions that
// are closed at once: files in memory (memfd, tmpfs, hugetlbfs) and eventfds, which are nearly all that a front-end has a reason
// to send.
//
// A connection is such a thing too: a descriptor in a message that was not read yet is closed with the socket that it lies in.
//
// Each user has a closer: one who makes his hang has no hold on what others gave. The thread exists only while there is something
// to close. What waits is bounded by those who receive: with as many as Places a closer is full, whoever then receives one more
// that may hang ends with its connection, and no new connection of that user is taken. So there are never more than Places and
// what those connections give at the last that were there before.

using Microsoft.Win32.SafeHandles;

namespace Polyblk.Core.Interop;

/// <summary>Closes descriptors that came from one user's processes. Any thread; nothing here waits for a file.</summary>
#pragma warning disable CA1001 // One a user, for as long as the process lives.
public sealed unsafe class DescriptorCloser
#pragma warning restore CA1001
{
    /// <summary>Descriptors that may wait for their end at a time: a hundredth of what a service may have by default.</summary>
    public const int DefaultPlaces = 256;

    private const int StackBytes = 64 << 10;
    private const nuint FIONREAD = 0x541B;

    private static readonly TimeSpan s_rest = TimeSpan.FromMilliseconds(100);
    private static readonly Lock s_lock = new();
    private static readonly Dictionary<uint, DescriptorCloser> s_ofUsers = [];

    /// <summary>For those whose sender is not asked for: a client's, which gets what its server gives.</summary>
    public static DescriptorCloser Default { get; } = new("others", DefaultPlaces, static fd => _ = Libc.close(fd));

    private readonly string _whose;
    private readonly int _places;
    private readonly Action<int> _close;
    private readonly Lock _lock = new();
    private readonly Queue<int> _queue = [];
    private readonly Timer _again;
    private bool _runs;
    private int _waiting;

    /// <summary>Makes one of its own. For tests.</summary>
    /// <param name="whose">Whose descriptors it closes, for messages: "user 1000".</param>
    /// <param name="places">With how many it is full, at least 1.</param>
    /// <param name="close">What closes one.</param>
    internal DescriptorCloser(string whose, int places, Action<int> close)
    {
        _whose = whose;
        _places = places;
        _close = close;
        _again = new Timer(static closer => ((DescriptorCloser)closer!).StartAgain(), this, Timeout.Infinite, Timeout.Infinite);
    }

    /// <summary>Descriptors that wait, with the one that is being closed.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>Whether it has as many as it may.</summary>
    public bool IsFull => Waiting >= _places;

    /// <summary>What to say when it is full.</summary>
    public string WhyFull => $"{Waiting} descriptors that {_whose} gave wait for their end, and no more are taken: "
        + "closing one of them does not end (a file of a FUSE server that does not answer, a socket that lingers)";

    /// <summary>The closer of a user's descriptors.</summary>
    /// <param name="user">The user (<see cref="PeerCredentials.UserId"/>).</param>
    public static DescriptorCloser OfUser(uint user)
    {
        lock (s_lock)
        {
            if (!s_ofUsers.TryGetValue(user, out DescriptorCloser? closer))
            {
                closer = new DescriptorCloser($"user {user}", DefaultPlaces, static fd => _ = Libc.close(fd));
                s_ofUsers[user] = closer;
            }

            return closer;
        }
    }

    /// <summary>The closer of whoever is at the other end of a Unix socket.</summary>
    public static DescriptorCloser OfPeer(int socket) => OfUser(PeerCredentials.Of(socket).UserId);

    /// <summary>
    /// Whether a descriptor's close ends at once for certain. Answered without asking the file, which might hang as well: only
    /// files in memory have seals (fcntl(2), F_GET_SEALS), sealed or not.
    /// </summary>
    public static bool IsHarmless(int fd) => Libc.fcntl(fd, Libc.F_GET_SEALS, 0) >= 0 || EventFd.Is(fd);

    /// <summary>Closes a descriptor, now or in a while. It is the closer's from here on.</summary>
    public void Close(int fd)
    {
        if (IsHarmless(fd))
        {
            _ = Libc.close(fd);
        }
        else
        {
            Enqueue(fd);
        }
    }

    /// <summary>
    /// Ends a connection whose other end is the user's: the peer sees its end at once, whenever the descriptor is closed.
    /// </summary>
    /// <param name="fd">A connected Unix socket; it is the closer's from here on.</param>
    public void CloseConnection(int fd)
    {
        // After the shutdown nothing is added any more.
        _ = Libc.shutdown(fd, Libc.SHUT_RDWR);
        int unread;
        if (Libc.ioctl(fd, FIONREAD, &unread) == 0 && unread == 0)
        {
            _ = Libc.close(fd);
        }
        else
        {
            Enqueue(fd);
        }
    }

    private void Enqueue(int fd)
    {
        lock (_lock)
        {
            _queue.Enqueue(fd);
            _waiting++;
            Start();
        }
    }

    /// <summary>Sees to it that somebody closes what waits. Under the lock.</summary>
    private void Start()
    {
        if (_runs || _queue.Count == 0)
        {
            return;
        }

        try
        {
            new Thread(Run, StackBytes) { IsBackground = true, Name = "descriptor closer" }.Start();
            _runs = true;
        }
        catch (Exception e) when (e is OutOfMemoryException or ThreadStartException)
        {
            // A process without a descriptor gets no thread either: later, for what waits here may be what is missing.
            _again.Change(s_rest, Timeout.InfiniteTimeSpan);
        }
    }

    private void StartAgain()
    {
        lock (_lock)
        {
            Start();
        }
    }

    private void Run()
    {
        while (true)
        {
            int fd;
            lock (_lock)
            {
                if (!_queue.TryDequeue(out fd))
                {
                    _runs = false;
                    return;
                }
            }

            _close(fd);
            lock (_lock)
            {
                _waiting--;
            }
        }
    }
}

/// <summary>A descriptor that another process gave, with the one owner it has. Its end waits for nothing.</summary>
/// <param name="fd">The descriptor.</param>
/// <param name="closer">Closes it.</param>
public sealed class ForeignDescriptor(int fd, DescriptorCloser closer) : IDisposable
{
    private int _fd = fd;

    /// <summary>To look at it; valid until it is taken over or disposed.</summary>
    public SafeFileHandle File { get; } = new(fd, ownsHandle: false);

    /// <summary>Who closes it.</summary>
    public DescriptorCloser Closer => closer;

    /// <summary>Gives it to the caller, who owns it from here on.</summary>
    public int TakeOver() => Interlocked.Exchange(ref _fd, -1);

    /// <inheritdoc/>
    public void Dispose()
    {
        int fd = TakeOver();
        if (fd >= 0)
        {
            closer.Close(fd);
        }

        File.Dispose();
    }
}
