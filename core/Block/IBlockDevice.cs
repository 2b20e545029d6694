using Polyblk.Core.Reactors;

namespace Polyblk.Core.Block;

/// <summary>
/// A drive, an array or a wrapper of one. The device is shared by all reactors; each of them opens a queue of its own.
/// Disposing it, on a control thread, comes after all its queues are disposed.
/// </summary>
public interface IBlockDevice : IAsyncDisposable
{
    /// <summary>A name for messages: a path, an array's name.</summary>
    string Name { get; }

    /// <summary>
    /// Size in bytes; a multiple of the logical block size. May grow while queues are open: see <see cref="Resized"/>.
    /// </summary>
    long SizeBytes { get; }

    /// <summary>Needs and abilities. Fixed for the life of the device.</summary>
    BlockLimits Limits { get; }

    /// <summary>Raised on a control thread after <see cref="SizeBytes"/> has changed.</summary>
    event Action<IBlockDevice>? Resized;

    /// <summary>
    /// Opens this device on a reactor. Call it on the reactor's thread (<see cref="Reactor.InvokeAsync(Action)"/>).
    /// </summary>
    /// <exception cref="IOException">The device cannot be opened there; the message says why.</exception>
    IBlockQueue OpenQueue(Reactor reactor);
}

/// <summary>
/// One reactor's way to a device. All calls are made on that reactor's thread. Dispose it there, when none of its requests is in
/// flight.
/// </summary>
public interface IBlockQueue : IDisposable
{
    /// <summary>
    /// Takes a request and completes it later, or at once inside this call. Never fails otherwise and never blocks: a device that
    /// has no room keeps the request in a list of its own. A bad range completes with -EINVAL, a write to a read-only device with
    /// -EROFS.
    /// </summary>
    void Submit(BlockRequest request);
}
