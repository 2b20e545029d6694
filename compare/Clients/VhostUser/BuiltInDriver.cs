namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>This program's own driver.</summary>
public sealed class BuiltInDriver : IVirtioDriver
{
    /// <inheritdoc/>
    public string Name => "the built-in virtio driver";

    /// <inheritdoc/>
    public bool CountsNotifications => true;

    /// <inheritdoc/>
    public IVirtioDisk Attach(string socketPath, int queues, int depth, int bufferBytes, bool readOnly = false) =>
        new VhostUserClient(new VhostUserClientOptions { SocketPath = socketPath, Queues = queues, Depth = depth, BufferBytes = bufferBytes });
}
