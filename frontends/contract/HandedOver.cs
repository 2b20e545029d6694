// What goes over to a successor in another process, so that who uses an export does not notice: the socket that listens, and of
// each session its connection, the descriptors that its client gave, and what its frontend writes down about it.
//
// Only the frontend understands the state of its sessions. A successor of another version that does not is free to refuse it: the
// session ends then, as after a kill.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends;

/// <summary>An export whose socket and sessions can go over to another process.</summary>
public interface IMovableExport : IExport
{
    /// <summary>
    /// Ends the export without its clients' knowing: stops taking requests, answers those in flight, and gives away what a
    /// successor needs (<see cref="ExportSpec.HandedOver"/>). Sessions that cannot go over end as by <see
    /// cref="StopMode.HandOver"/>.
    /// </summary>
    /// <returns>What goes over; the caller owns it.</returns>
    Task<HandedOverExport> HandOverAsync();
}

/// <summary>What an export hands over. Disposing it closes what is in it: clients see the end of their connections.</summary>
/// <param name="listener">The socket that listens.</param>
/// <param name="sessions">Its sessions.</param>
public sealed class HandedOverExport(SafeFileHandle listener, IReadOnlyList<HandedOverSession> sessions) : IDisposable
{
    /// <summary>The socket that listens; clients that connect meanwhile wait in it.</summary>
    public SafeFileHandle Listener => listener;

    /// <summary>Its sessions.</summary>
    public IReadOnlyList<HandedOverSession> Sessions => sessions;

    /// <summary>Takes the number out of a handle: the caller owns the descriptor from here on.</summary>
    public static int Take(SafeFileHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        int fd = (int)descriptor.DangerousGetHandle();
        descriptor.SetHandleAsInvalid();
        return fd;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        listener.Dispose();
        foreach (HandedOverSession session in sessions)
        {
            session.Dispose();
        }
    }
}

/// <summary>One session that is handed over.</summary>
/// <param name="connection">The connection of its client.</param>
/// <param name="state">What its frontend wrote down about it.</param>
/// <param name="descriptors">Descriptors of the client that the state speaks of, in its order.</param>
public sealed class HandedOverSession(SafeFileHandle connection, byte[] state, IReadOnlyList<SafeFileHandle> descriptors) : IDisposable
{
    private readonly DescriptorCloser _closer = DescriptorCloser.OfPeer((int)connection.DangerousGetHandle());

    /// <summary>The connection of its client.</summary>
    public SafeFileHandle Connection => connection;

    /// <summary>What its frontend wrote down about it.</summary>
    public ReadOnlyMemory<byte> State => state;

    /// <summary>Descriptors of the client, in the order in which the state speaks of them.</summary>
    public IReadOnlyList<SafeFileHandle> Descriptors => descriptors;

    /// <summary>
    /// Closes what is left in it; nothing here waits for what its client gave. The connection is not shut down: a successor may
    /// have it.
    /// </summary>
    public void Dispose()
    {
        foreach (SafeFileHandle descriptor in (IEnumerable<SafeFileHandle>)[.. descriptors, connection])
        {
            if (!descriptor.IsInvalid && !descriptor.IsClosed)
            {
                _closer.Close(HandedOverExport.Take(descriptor));
            }
        }
    }
}
