using System.Runtime.InteropServices;
using Polyblk.Compare.Load;
using Polyblk.Core.Interop;

namespace Polyblk.Compare.Restart;

/// <summary>
/// Programs that write to a block device with O_DIRECT: the kernel holds their requests while the target is away.
/// </summary>
internal sealed unsafe class EnduringBlockDevice : IEnduringLoad
{
    private const int Threads = 4;

    private readonly int _fd;
    private readonly byte* _buffers;

    public EnduringBlockDevice(BlockEndpoint endpoint)
    {
        _fd = Libc.open(endpoint.Path, Libc.O_RDWR | Libc.O_DIRECT | Libc.O_CLOEXEC);
        if (_fd < 0)
        {
            throw new IOException($"{endpoint.Path} cannot be opened for direct I/O (errno {-_fd}).");
        }

        _buffers = (byte*)NativeMemory.AlignedAlloc((nuint)(Threads + 1) * RestartJournal.BlockBytes, RestartJournal.BlockBytes);
    }

    public string Description => $"{Threads} threads write with O_DIRECT; their requests wait in the kernel";

    public void Run(RestartJournal journal, Func<bool> mustStop) => EnduringThreads.Run(Threads, journal, mustStop, Write);

    public bool Read(long offsetBytes, Span<byte> buffer)
    {
        byte* own = _buffers + (Threads * RestartJournal.BlockBytes);
        long count = Libc.pread(_fd, own, (nuint)buffer.Length, offsetBytes);
        new ReadOnlySpan<byte>(own, buffer.Length).CopyTo(buffer);
        return count == buffer.Length;
    }

    public void Dispose()
    {
        _ = Libc.close(_fd);
        NativeMemory.AlignedFree(_buffers);
    }

    private bool Write(int thread, long offsetBytes, byte[] data)
    {
        byte* own = _buffers + (thread * RestartJournal.BlockBytes);
        data.CopyTo(new Span<byte>(own, data.Length));
        return Libc.pwrite(_fd, own, (nuint)data.Length, offsetBytes) == data.Length;
    }
}
