using Polyblk.Blkio;
using Polyblk.Core.Interop;
using Polyblk.Virtio.Memory;

namespace Polyblk.GuestPrograms.Coherence;

/// <summary>One way to the volume. Offsets and lengths are multiples of 4096. One thread at a time.</summary>
internal abstract class Door(string name) : IDisposable
{
    /// <summary>Longest request.</summary>
    public const int MaxBytes = 1 << 20;

    /// <summary>How it is called in messages.</summary>
    public string Name { get; } = name;

    /// <summary>Opens <c>NAME=NODE</c>, a block device, or <c>NAME=SOCKET</c>, a vhost-user-blk socket.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static Door Open(string argument)
    {
        string[] parts = argument.Split('=', 2);
        return Libc.IsSocket(parts[1]) ? new SocketDoor(parts[0], parts[1]) : new DeviceDoor(parts[0], parts[1]);
    }

    /// <exception cref="IOException">The request failed.</exception>
    public abstract void Read(long offset, Span<byte> data);

    /// <exception cref="IOException">The request failed.</exception>
    public abstract void Write(long offset, ReadOnlySpan<byte> data);

    /// <exception cref="IOException">The request failed.</exception>
    public abstract void Flush();

    public abstract void Dispose();

    protected void Check(long result, long expected, string what)
    {
        if (result != expected)
        {
            throw new IOException($"{Name}: {what} gave {result}");
        }
    }
}

/// <summary>A vhost-user-blk socket, through libblkio.</summary>
internal sealed class SocketDoor(string name, string path) : Door(name)
{
    private readonly BlkioClient _client = new(path);

    public override void Read(long offset, Span<byte> data) => Check(_client.Read(offset, data), 0, $"reading {data.Length} bytes at {offset}");

    public override void Write(long offset, ReadOnlySpan<byte> data) => Check(_client.Write(offset, data), 0, $"writing {data.Length} bytes at {offset}");

    public override void Flush() => Check(_client.Flush(), 0, "flushing");

    public override void Dispose() => _client.Dispose();
}

/// <summary>A block device of the kernel, past its page cache.</summary>
internal sealed unsafe class DeviceDoor : Door
{
    private readonly int _fd;
    private readonly MappedRegion _buffer = MappedRegion.CreateAnonymous(MaxBytes);

    public DeviceDoor(string name, string node)
        : base(name)
    {
        _fd = Libc.open(node, Libc.O_RDWR | Libc.O_DIRECT | Libc.O_CLOEXEC);
        if (_fd < 0)
        {
            throw new IOException($"{name}: {node} cannot be opened (errno {-_fd})");
        }
    }

    public override void Read(long offset, Span<byte> data)
    {
        Check(Libc.pread(_fd, _buffer.Address, (nuint)data.Length, offset), data.Length, $"reading {data.Length} bytes at {offset}");
        new Span<byte>(_buffer.Address, data.Length).CopyTo(data);
    }

    public override void Write(long offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(new Span<byte>(_buffer.Address, data.Length));
        Check(Libc.pwrite(_fd, _buffer.Address, (nuint)data.Length, offset), data.Length, $"writing {data.Length} bytes at {offset}");
    }

    public override void Flush() => Check(Libc.fdatasync(_fd), 0, "flushing");

    public override void Dispose()
    {
        _ = Libc.close(_fd);
        _buffer.Dispose();
    }
}
