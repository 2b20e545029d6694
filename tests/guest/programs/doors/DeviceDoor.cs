using Polyblk.Core.Interop;
using Polyblk.Virtio.Memory;

namespace Polyblk.GuestPrograms.Doors;

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
        long read = Libc.pread(_fd, _buffer.Address, (nuint)data.Length, offset);
        Check(read, data.Length, $"reading {data.Length} bytes at {offset}");
        new Span<byte>(_buffer.Address, data.Length).CopyTo(data);
    }

    public override void Write(long offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(new Span<byte>(_buffer.Address, data.Length));
        long written = Libc.pwrite(_fd, _buffer.Address, (nuint)data.Length, offset);
        Check(written, data.Length, $"writing {data.Length} bytes at {offset}");
    }

    public override void Flush() => Check(Libc.fdatasync(_fd), 0, "flushing");

    public override void Dispose()
    {
        _ = Libc.close(_fd);
        _buffer.Dispose();
    }
}
