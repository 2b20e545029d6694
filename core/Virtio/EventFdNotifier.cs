using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;

namespace Polyblk.Core.Virtio;

/// <summary>Notifies by writing an eventfd. Owns the descriptor: dispose it when no queue uses it any more.</summary>
public sealed class EventFdNotifier(SafeFileHandle eventFd) : IVirtqueueNotifier, IDisposable
{
    private readonly int _fd = (int)eventFd.DangerousGetHandle();

    /// <inheritdoc/>
    public void Notify() => Libc.SignalEventFd(_fd);

    /// <inheritdoc/>
    public void Dispose() => eventFd.Dispose();
}
