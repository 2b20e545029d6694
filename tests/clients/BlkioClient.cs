// A client of a vhost-user-blk socket without a VM: libblkio with the driver virtio-blk-vhost-user. An implementation that is
// not ours, so that a test against it is a test of interoperability; it polls, so that it can load a target well.

using System.Diagnostics;
using System.Runtime.InteropServices;
using static Polyblk.TestClients.Blkio;

namespace Polyblk.TestClients;

/// <summary>What a load reached.</summary>
/// <param name="Operations">Completed requests.</param>
/// <param name="Elapsed">The time they took.</param>
public readonly record struct LoadResult(long Operations, TimeSpan Elapsed)
{
    /// <summary>Requests a second.</summary>
    public double Iops => Operations / Elapsed.TotalSeconds;
}

/// <summary>One connection to a vhost-user-blk backend. Each queue may be used by one thread at a time.</summary>
public sealed unsafe class BlkioClient : IDisposable
{
    private readonly nint[] _queues;
    private readonly blkio_mem_region _memory;
    private readonly int _perQueueBytes;
    private nint _blkio;

    /// <summary>Connects and starts.</summary>
    /// <param name="socketPath">The backend's socket, already listening.</param>
    /// <param name="queues">The number of queues, at most what the backend offers.</param>
    /// <param name="bufferBytes">Shared buffer memory of each queue: the largest request, and a load's depth times its block size.</param>
    /// <exception cref="IOException">libblkio's words.</exception>
    public BlkioClient(string socketPath, int queues = 1, int bufferBytes = 4 << 20)
    {
        Check(blkio_create("virtio-blk-vhost-user", out _blkio));
        try
        {
            Check(blkio_set_str(_blkio, "path", socketPath));
            Check(blkio_connect(_blkio));
            Check(blkio_set_int(_blkio, "num-queues", queues));
            Check(blkio_start(_blkio));
            Check(blkio_get_uint64(_blkio, "capacity", out ulong capacity));
            CapacityBytes = (long)capacity;
            Check(blkio_alloc_mem_region(_blkio, out _memory, (nuint)bufferBytes * (nuint)queues));
            Check(blkio_map_mem_region(_blkio, in _memory));
            _perQueueBytes = bufferBytes;
            _queues = [.. Enumerable.Range(0, queues).Select(index => blkio_get_queue(_blkio, index))];
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The disk's size.</summary>
    public long CapacityBytes { get; }

    /// <summary>Reads at a byte offset; returns 0 or a negative errno.</summary>
    public int Read(long offset, Span<byte> data, int queue = 0)
    {
        byte* buffer = Buffer(queue, data.Length);
        blkioq_read(_queues[queue], (ulong)offset, buffer, (nuint)data.Length, 0, 0);
        int status = Finish(queue);
        if (status == 0) new ReadOnlySpan<byte>(buffer, data.Length).CopyTo(data);
        return status;
    }

    /// <summary>Writes at a byte offset; returns 0 or a negative errno.</summary>
    public int Write(long offset, ReadOnlySpan<byte> data, int queue = 0)
    {
        byte* buffer = Buffer(queue, data.Length);
        data.CopyTo(new Span<byte>(buffer, data.Length));
        blkioq_write(_queues[queue], (ulong)offset, buffer, (nuint)data.Length, 0, 0);
        return Finish(queue);
    }

    /// <summary>Makes completed writes durable; returns 0 or a negative errno.</summary>
    public int Flush(int queue = 0)
    {
        blkioq_flush(_queues[queue], 0, 0);
        return Finish(queue);
    }

    /// <summary>Discards a range; returns 0 or a negative errno.</summary>
    public int Discard(long offset, long length, int queue = 0)
    {
        blkioq_discard(_queues[queue], (ulong)offset, (ulong)length, 0, 0);
        return Finish(queue);
    }

    /// <summary>Writes zeroes over a range; returns 0 or a negative errno.</summary>
    public int WriteZeroes(long offset, long length, int queue = 0)
    {
        blkioq_write_zeroes(_queues[queue], (ulong)offset, (ulong)length, 0, 0);
        return Finish(queue);
    }

    /// <summary>Keeps <paramref name="depth"/> random requests of <paramref name="blockBytes"/> in flight for a time, polling.</summary>
    /// <param name="write">Writes whatever the buffers hold instead of reading.</param>
    /// <exception cref="IOException">A request failed.</exception>
    public LoadResult Load(TimeSpan duration, int depth, int blockBytes, bool write, int seed, int queue = 0)
    {
        byte* buffer = Buffer(queue, checked(depth * blockBytes));
        long blocks = CapacityBytes / blockBytes, done = 0;
        var random = new Random(seed);
        blkio_completion* completions = stackalloc blkio_completion[Math.Min(depth, 64)];
        nint q = _queues[queue];
        long start = Stopwatch.GetTimestamp();
        int inFlight = depth;
        for (int slot = 0; slot < depth; slot++) Submit(slot);
        while (inFlight > 0)
        {
            int count = Check(blkioq_do_io(q, completions, 0, Math.Min(depth, 64), 0));
            bool over = count > 0 && Stopwatch.GetElapsedTime(start) >= duration;
            for (int i = 0; i < count; i++)
            {
                if (completions[i].ret < 0) throw new IOException($"A request failed with {completions[i].ret} after {done} requests.");
                done++;
                if (over) inFlight--;
                else Submit((int)completions[i].user_data);
            }
        }

        return new LoadResult(done, Stopwatch.GetElapsedTime(start));

        void Submit(int slot)
        {
            ulong offset = (ulong)(random.NextInt64(blocks) * blockBytes);
            if (write) blkioq_write(q, offset, buffer + (slot * blockBytes), (nuint)blockBytes, slot, 0);
            else blkioq_read(q, offset, buffer + (slot * blockBytes), (nuint)blockBytes, slot, 0);
        }
    }

    public void Dispose()
    {
        if (_blkio != 0) blkio_destroy(ref _blkio); // frees the memory regions, too
        _blkio = 0;
    }

    private byte* Buffer(int queue, int length) => length <= _perQueueBytes
        ? _memory.addr + ((nint)queue * _perQueueBytes)
        : throw new ArgumentOutOfRangeException(nameof(length), length, $"more than the buffer of {_perQueueBytes} bytes");

    private int Finish(int queue)
    {
        blkio_completion completion;
        while (Check(blkioq_do_io(_queues[queue], &completion, 0, 1, 0)) == 0) Thread.Yield();
        return completion.ret;
    }

    private static int Check(int result) => result >= 0
        ? result
        : throw new IOException($"libblkio: {Marshal.PtrToStringUTF8((nint)blkio_get_error_msg())} ({result})");
}
