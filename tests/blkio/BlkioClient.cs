using Polyblk.Compare.Clients.Blkio;

namespace Polyblk.Blkio;

/// <summary>One request at a time on any queue: for tests that look at single results.</summary>
public sealed unsafe class BlkioClient : IDisposable
{
    private const int BufferBytes = 4 << 20;

    private readonly BlkioDisk _disk;

    /// <summary>Connects.</summary>
    /// <exception cref="IOException">libblkio refused.</exception>
    public BlkioClient(string socket, int queues = 1, bool readOnly = false) =>
        _disk = new BlkioDisk("virtio-blk-vhost-user", socket, queues, BufferBytes, readOnly);

    /// <summary>Size of the device in bytes.</summary>
    public long CapacityBytes => _disk.CapacityBytes;

    /// <summary>Reads; 0 or a negative errno.</summary>
    public int Read(long offset, Span<byte> data, int queue = 0)
    {
        nint q = _disk.Queue(queue);
        LibBlkio.blkioq_read(q, (ulong)offset, _disk.Buffer, (nuint)data.Length, 0, 0);
        int result = Wait(q);
        new Span<byte>(_disk.Buffer, data.Length).CopyTo(data);
        return result;
    }

    /// <summary>Writes; 0 or a negative errno.</summary>
    public int Write(long offset, ReadOnlySpan<byte> data, int queue = 0)
    {
        nint q = _disk.Queue(queue);
        data.CopyTo(new Span<byte>(_disk.Buffer, BufferBytes));
        LibBlkio.blkioq_write(q, (ulong)offset, _disk.Buffer, (nuint)data.Length, 0, 0);
        return Wait(q);
    }

    /// <summary>Flushes; 0 or a negative errno.</summary>
    public int Flush(int queue = 0)
    {
        nint q = _disk.Queue(queue);
        LibBlkio.blkioq_flush(q, 0, 0);
        return Wait(q);
    }

    /// <summary>Writes zeroes; 0 or a negative errno.</summary>
    public int WriteZeroes(long offset, long bytes, int queue = 0)
    {
        nint q = _disk.Queue(queue);
        LibBlkio.blkioq_write_zeroes(q, (ulong)offset, (ulong)bytes, 0, 0);
        return Wait(q);
    }

    /// <summary>Discards; 0 or a negative errno.</summary>
    public int Discard(long offset, long bytes, int queue = 0)
    {
        nint q = _disk.Queue(queue);
        LibBlkio.blkioq_discard(q, (ulong)offset, (ulong)bytes, 0, 0);
        return Wait(q);
    }

    /// <inheritdoc/>
    public void Dispose() => _disk.Dispose();

    private static int Wait(nint queue)
    {
        blkio_completion done;
        long deadline = Environment.TickCount64 + 60_000;
        while (true)
        {
            int count = LibBlkio.blkioq_do_io(queue, &done, 0, 1, null);
            if (count == 1)
            {
                return done.ret;
            }

            if (count < 0)
            {
                throw new IOException($"libblkio: do_io: {LibBlkio.ErrorMessage} ({count})");
            }

            if (Environment.TickCount64 > deadline)
            {
                throw new IOException("No completion within a minute.");
            }
        }
    }
}
