using Polyblk.Blkio;

namespace Polyblk.GuestPrograms.Doors;

/// <summary>A vhost-user-blk socket, through libblkio.</summary>
internal sealed class SocketDoor(string name, string path) : Door(name)
{
    private readonly BlkioClient _client = new(path);

    public override void Read(long offset, Span<byte> data) =>
        Check(_client.Read(offset, data), 0, $"reading {data.Length} bytes at {offset}");

    public override void Write(long offset, ReadOnlySpan<byte> data) =>
        Check(_client.Write(offset, data), 0, $"writing {data.Length} bytes at {offset}");

    public override void Flush() => Check(_client.Flush(), 0, "flushing");

    public override void Dispose() => _client.Dispose();
}
