using Polyblk.Compare.Clients.Nbd;

namespace Polyblk.GuestPrograms.Doors;

/// <summary>An NBD export. Where the connection ends, what was not answered is sent once more by the next one.</summary>
internal sealed class NbdDoor(string name, string socket, string export) : Door(name)
{
    private NbdClient _client = new(socket, export);

    public override void Read(long offset, Span<byte> data)
    {
        while (true)
        {
            try
            {
                Check(_client.Read(offset, data), 0, $"reading {data.Length} bytes at {offset}");
                return;
            }
            catch (IOException) when (_client.IsBroken)
            {
                Reconnect();
            }
        }
    }

    public override void Write(long offset, ReadOnlySpan<byte> data)
    {
        while (true)
        {
            try
            {
                Check(_client.Write(offset, data), 0, $"writing {data.Length} bytes at {offset}");
                return;
            }
            catch (IOException) when (_client.IsBroken)
            {
                Reconnect();
            }
        }
    }

    /// <summary>Nothing: the client has no flush, and a killed server loses nothing that it has answered.</summary>
    public override void Flush()
    {
    }

    public override void Dispose() => _client.Dispose();

    private void Reconnect()
    {
        _client.Dispose();
        _client = Patience.Try(() => new NbdClient(socket, export));
    }
}
