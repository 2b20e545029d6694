using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.GuestPrograms.Doors;

/// <summary>
/// A vhost-user-blk socket, connected again where the connection ends, as QEMU does with "reconnect": the ring and the record of
/// what is in flight stay, and the next server finishes it.
/// </summary>
internal sealed class ReconnectingDoor(string name, string socket) : Door(name)
{
    private const int BlockBytes = 4096;

    private readonly VhostUserClient _client = new(new VhostUserClientOptions
    {
        SocketPath = socket, Queues = 1, Depth = 1, BufferBytes = BlockBytes, Inflight = true,
    });

    public override void Read(long offset, Span<byte> data)
    {
        Do(ClientOperation.Read, offset, data.Length);
        _client.Queues[0].Buffer(0)[..data.Length].CopyTo(data);
    }

    public override void Write(long offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(_client.Queues[0].Buffer(0));
        Do(ClientOperation.Write, offset, data.Length);
    }

    public override void Flush() => Do(ClientOperation.Flush, 0, 0);

    public override void Dispose() => _client.Dispose();

    private void Do(ClientOperation operation, long offset, int length)
    {
        ClientQueue queue = _client.Queues[0];
        queue.Submit(0, operation, offset, length);
        queue.Publish();
        Span<ClientCompletion> done = stackalloc ClientCompletion[1];
        while (queue.Poll(done) == 0)
        {
            queue.Wait(5);
            if (_client.IsDisconnected)
            {
                _ = Patience.Try(() =>
                {
                    _client.Reconnect();
                    return true;
                });
            }
        }

        Check(done[0].Status, 0, $"{operation} of {length} bytes at {offset}");
    }
}
