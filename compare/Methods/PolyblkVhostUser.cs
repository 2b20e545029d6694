using Polyblk.Compare.Load;

namespace Polyblk.Compare.Methods;

/// <summary>This program's vhost-user-blk frontend: one socket of a shared server.</summary>
public sealed class PolyblkVhostUser(string name, string description, PolyblkServer server, string volume, int socketIndex, int queues) : IDeliveryMethod
{
    public string Name => name;

    public string Description => description;

    public MethodAvailability Check() => MethodAvailability.Yes;

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        await server.AddUserAsync(scratch, cancellation).ConfigureAwait(false);
        string path = PolyblkServer.SocketPath(scratch, volume, socketIndex);
        return new Running(server, new VhostUserEndpoint(path, queues, scratch.SpanBytes));
    }

    private sealed class Running(PolyblkServer server, VhostUserEndpoint endpoint) : IRunningMethod
    {
        public LoadEndpoint Endpoint => endpoint;

        public IReadOnlyList<int> ProcessIds => [server.ProcessId];

        public IReadOnlyList<string> Commands => server.Commands;

        public ValueTask DisposeAsync() => server.RemoveUserAsync();
    }
}
