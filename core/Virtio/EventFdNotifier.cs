// Notifies by writing an eventfd that somebody else made.
//
// A reactor must never block, and the descriptor comes from outside: so it must be an eventfd and nothing else, and one that is in blocking
// mode (libblkio's are; its users read them) is only written when there is room: a counter that somebody filled up stands for a
// notification that is not taken yet anyway. The mode itself is the front-end's and is left alone.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;

namespace Polyblk.Core.Virtio;

/// <summary>Notifies by writing an eventfd. Owns the descriptor: dispose it when no queue uses it any more.</summary>
public sealed unsafe class EventFdNotifier : IVirtqueueNotifier, IDisposable
{
    private readonly SafeFileHandle _eventFd;
    private readonly int _fd;
    private readonly bool _mayBlock;

    /// <summary>Takes a descriptor over.</summary>
    /// <exception cref="IOException">It is no eventfd; it is still the caller's then.</exception>
    public EventFdNotifier(SafeFileHandle eventFd)
    {
        ArgumentNullException.ThrowIfNull(eventFd);
        _fd = (int)eventFd.DangerousGetHandle();
        string? kind = new FileInfo($"/proc/self/fd/{_fd}").LinkTarget;
        if (kind is null || !kind.Contains("[eventfd", StringComparison.Ordinal))
        {
            throw new IOException($"A descriptor for notifications must be an eventfd; this one is {kind ?? "closed"}.");
        }

        _eventFd = eventFd;
        _mayBlock = (Libc.fcntl(_fd, Libc.F_GETFL, 0) & Libc.O_NONBLOCK) == 0;
    }

    /// <inheritdoc/>
    public void Notify()
    {
        if (_mayBlock)
        {
            var room = new Libc.pollfd { fd = _fd, events = Libc.POLLOUT };
            if (Libc.poll(&room, 1, 0) != 1)
            {
                return;
            }
        }

        Libc.SignalEventFd(_fd);
    }

    /// <inheritdoc/>
    public void Dispose() => _eventFd.Dispose();
}
