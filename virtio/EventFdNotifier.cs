// Notifies by writing an eventfd that somebody else made.
//
// A reactor must never block, and the descriptor comes from outside: so it must be an eventfd and nothing else, and one that is
// in blocking mode (libblkio's are; its users read them) is only written when there is room: a counter that somebody filled up
// stands for a notification that is not taken yet anyway. The mode itself is the front-end's and is left alone.
//
// That is not enough against somebody who means harm: the mode belongs to the open file, which he holds as well, so he can make
// it blocking, or fill the counter, between our look and our write. A look before each write costs a system call and does not
// close that gap. So each write says when it begins and ends, and NotifierWatch looks from a thread of its own whether one has
// stood for a while with the counter full. It then reads the counter, which makes room for the write, and the notifier is given
// up.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Virtio;

/// <summary>Notifies by writing an eventfd. Owns the descriptor: dispose it when no queue uses it any more.</summary>
public sealed unsafe class EventFdNotifier : IVirtqueueNotifier, IDisposable
{
    /// <summary>
    /// How often a full counter is read before the write is left to the next look: he who filled it may do so again at once.
    /// </summary>
    private const int ReadsPerLook = 10_000;

    private readonly SafeFileHandle _eventFd;
    private readonly int _fd;
    private readonly bool _mayBlock;
    private readonly Action? _onStuck;

    // Grows when a write begins and when it has ended: odd while it lasts. Written by the thread that notifies, read by the
    // watch.
    private long _turns;
    private long _turnsSeen;
    private volatile bool _isGivenUp;

    /// <summary>Takes a descriptor over.</summary>
    /// <param name="eventFd">The descriptor.</param>
    /// <param name="onStuck">Told once, on another thread, when a write had to be freed; nothing is notified any more
    /// then.</param>
    /// <exception cref="IOException">It is no eventfd; it is still the caller's then.</exception>
    public EventFdNotifier(SafeFileHandle eventFd, Action? onStuck = null)
    {
        ArgumentNullException.ThrowIfNull(eventFd);
        EventFd.Require(eventFd);
        _fd = (int)eventFd.DangerousGetHandle();
        _eventFd = eventFd;
        _onStuck = onStuck;
        _mayBlock = (Libc.fcntl(_fd, Libc.F_GETFL, 0) & Libc.O_NONBLOCK) == 0;
        NotifierWatch.Add(this);
    }

    /// <summary>The descriptor, to duplicate it.</summary>
    public SafeFileHandle Descriptor => _eventFd;

    /// <inheritdoc/>
    /// <remarks>By one thread at a time.</remarks>
    public void Notify()
    {
        if (_isGivenUp || (_mayBlock && !HasRoom()))
        {
            return;
        }

        Volatile.Write(ref _turns, _turns + 1);
        Libc.SignalEventFd(_fd);
        Volatile.Write(ref _turns, _turns + 1);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NotifierWatch.Remove(this);
        _eventFd.Dispose();
    }

    /// <summary>
    /// Frees a write that has stood since the look before. Called by the watch only, which keeps the descriptor from being closed
    /// meanwhile.
    /// </summary>
    /// <returns>What to tell the owner of, or null.</returns>
    internal Action? FreeStuckWrite()
    {
        long turns = Volatile.Read(ref _turns);
        bool stands = turns == _turnsSeen && (turns & 1) != 0;
        _turnsSeen = turns;

        // With room it only waits for a processor: what is in the counter is then the driver's to read.
        if (!stands || HasRoom())
        {
            return null;
        }

        bool isNews = !_isGivenUp;
        _isGivenUp = true;
        ulong count;
        var vector = new IoVec((byte*)&count, sizeof(ulong));
        for (int i = 0; i < ReadsPerLook && Volatile.Read(ref _turns) == turns; i++)
        {
            // Without waiting, whatever the mode is: somebody else may have read it.
            Libc.preadv2(_fd, &vector, 1, -1, (int)Core.Uring.UringAbi.RWF_NOWAIT);
            Thread.Yield();
        }

        return isNews ? _onStuck : null;
    }

    private bool HasRoom()
    {
        var room = new pollfd { fd = _fd, events = Libc.POLLOUT };
        return Libc.poll(&room, 1, 0) == 1;
    }
}
