using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.Compare.Clients;

/// <summary>A virtio-blk driver in user space, which attaches to vhost-user-blk sockets.</summary>
public interface IVirtioDriver
{
    /// <summary>For the report.</summary>
    string Name { get; }

    /// <summary>Whether its queues tell how many notifications were exchanged.</summary>
    bool CountsNotifications { get; }

    /// <summary>Attaches.</summary>
    /// <param name="socketPath">The back-end's socket.</param>
    /// <param name="queues">Queues to use, 1 to 256.</param>
    /// <param name="depth">Slots of a queue.</param>
    /// <param name="bufferBytes">Memory of a slot; a multiple of 4096.</param>
    /// <param name="readOnly">Whether the disk is one that takes no writes; a driver may refuse it otherwise.</param>
    /// <exception cref="IOException">Nobody answers, or the back-end refuses or lacks something; the message says
    /// what.</exception>
    IVirtioDisk Attach(string socketPath, int queues, int depth, int bufferBytes, bool readOnly = false);
}

/// <summary>An attached disk.</summary>
public interface IVirtioDisk : IDisposable
{
    /// <summary>Size in bytes.</summary>
    long CapacityBytes { get; }

    /// <summary>Its queues, each for one thread at a time.</summary>
    IReadOnlyList<IVirtioQueue> Queues { get; }

    /// <summary>Ends the attachment in order; no request is in flight.</summary>
    void Detach();
}

/// <summary>A queue with a fixed number of slots, polled.</summary>
public interface IVirtioQueue
{
    /// <summary>Requests that are not answered.</summary>
    int InFlight { get; }

    /// <summary>Notifications that were exchanged; 0 where the driver does not count them.</summary>
    long Notifications { get; }

    /// <summary>A slot's memory.</summary>
    Span<byte> Buffer(int slot);

    /// <summary>Prepares a request in a slot that is not in flight; it is on its way after <see cref="Publish"/>.</summary>
    void Submit(int slot, ClientOperation operation, long offsetBytes, long lengthBytes);

    /// <summary>Sends what was submitted.</summary>
    void Publish();

    /// <summary>Takes finished requests; returns how many.</summary>
    int Poll(Span<ClientCompletion> completions);
}
