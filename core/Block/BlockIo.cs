// I/O for control paths: superblocks, probes, tests. Ordinary tasks over any device, through a reactor.
//
// Data goes through an aligned native buffer, so any Memory will do, and in pieces of at most MaxTransferBytes, one after the
// other. What awaits goes on in the context of whoever called: the control tasks of an array stay on their scheduler
// (raid/Control/ArrayControl.cs).
//
// The buffer is freed when the device has answered, not when the caller lost patience: to bound the wait use Task.WaitAsync.

using System.Runtime.InteropServices;
using Polyblk.Core.Reactors;

namespace Polyblk.Core.Block;

/// <summary>A request of a control path failed.</summary>
public sealed class BlockIoException : IOException
{
    /// <summary>Makes one for a status.</summary>
    /// <param name="message">What failed where.</param>
    /// <param name="errno">The error number, positive.</param>
    public BlockIoException(string message, int errno)
        : base(message) => Errno = errno;

    /// <summary>Makes one for what a drive answered.</summary>
    /// <param name="message">What failed where.</param>
    /// <param name="fault">What was asked, and answered.</param>
    public BlockIoException(string message, BlockFault fault)
        : this(message, fault.ErrorNumber) => Fault = fault;

    /// <summary>The error number, positive.</summary>
    public int Errno { get; }

    /// <summary>What was asked and answered; null where no drive was asked.</summary>
    public BlockFault? Fault { get; }
}

/// <summary>
/// Reads, writes and flushes any <see cref="IBlockDevice"/> with tasks. Offsets and lengths are multiples of the logical block
/// size.
/// </summary>
public static class BlockIo
{
    private const nuint BufferAlignment = 4096;
    private const long MaxPieceBytes = 1 << 20;

    /// <summary>Reads into <paramref name="buffer"/> over a queue that is opened and closed for it.</summary>
    /// <exception cref="BlockIoException">The device answered with an error.</exception>
    public static Task ReadAsync(IBlockDevice device, Reactor reactor, long offsetBytes, Memory<byte> buffer) =>
        WithQueueAsync(device, reactor, queue => ReadAsync(device, queue, reactor, offsetBytes, buffer));

    /// <summary>Writes <paramref name="data"/> over a queue that is opened and closed for it.</summary>
    /// <exception cref="BlockIoException">The device answered with an error.</exception>
    public static Task WriteAsync(
        IBlockDevice device, Reactor reactor, long offsetBytes, ReadOnlyMemory<byte> data, BlockFlags flags = BlockFlags.None) =>
        WithQueueAsync(device, reactor, queue => WriteAsync(device, queue, reactor, offsetBytes, data, flags));

    /// <summary>
    /// Flushes over a queue that is opened and closed for it: covers every write that completed before, on any queue.
    /// </summary>
    /// <exception cref="BlockIoException">The device answered with an error.</exception>
    public static Task FlushAsync(IBlockDevice device, Reactor reactor) =>
        WithQueueAsync(device, reactor, queue => FlushAsync(device, queue, reactor));

    /// <summary>Reads over an open queue of <paramref name="reactor"/>.</summary>
    /// <exception cref="BlockIoException">The device answered with an error.</exception>
    public static async Task ReadAsync(IBlockDevice device, IBlockQueue queue, Reactor reactor, long offsetBytes, Memory<byte> buffer)
    {
        ArgumentNullException.ThrowIfNull(device);
        using var piece = new Piece(PieceBytes(device, buffer.Length));
        for (int done = 0; done < buffer.Length;)
        {
            int length = Math.Min(piece.Capacity, buffer.Length - done);
            int status = await piece.RunAsync(queue, reactor, BlockOperation.Read, offsetBytes + done, length, BlockFlags.None);
            ThrowIfFailed(device, "Reading", BlockOperation.Read, offsetBytes + done, length, status);
            piece.Data(length).CopyTo(buffer.Span[done..]);
            done += length;
        }
    }

    /// <summary>Writes over an open queue of <paramref name="reactor"/>.</summary>
    /// <exception cref="BlockIoException">The device answered with an error; parts of the range may have been
    /// written.</exception>
    public static async Task WriteAsync(
        IBlockDevice device, IBlockQueue queue, Reactor reactor, long offsetBytes, ReadOnlyMemory<byte> data, BlockFlags flags = BlockFlags.None)
    {
        ArgumentNullException.ThrowIfNull(device);
        using var piece = new Piece(PieceBytes(device, data.Length));
        for (int done = 0; done < data.Length;)
        {
            int length = Math.Min(piece.Capacity, data.Length - done);
            data.Span.Slice(done, length).CopyTo(piece.Data(length));
            int status = await piece.RunAsync(queue, reactor, BlockOperation.Write, offsetBytes + done, length, flags);
            ThrowIfFailed(device, "Writing", BlockOperation.Write, offsetBytes + done, length, status);
            done += length;
        }
    }

    /// <summary>Flushes over an open queue of <paramref name="reactor"/>.</summary>
    /// <exception cref="BlockIoException">The device answered with an error.</exception>
    public static async Task FlushAsync(IBlockDevice device, IBlockQueue queue, Reactor reactor)
    {
        ArgumentNullException.ThrowIfNull(device);
        using var piece = new Piece(0);
        int status = await piece.RunAsync(queue, reactor, BlockOperation.Flush, 0, 0, BlockFlags.None);
        if (status < 0)
        {
            throw new BlockIoException(
                $"Flushing {device.Name} failed: {DescribeErrno(-status)}.", new BlockFault(BlockOperation.Flush, 0, 0, -status));
        }
    }

    /// <summary>Zeroes a range over a queue that is opened and closed for it.</summary>
    /// <exception cref="BlockIoException">The device answered with an error; parts of the range may have been zeroed.</exception>
    public static Task WriteZeroesAsync(IBlockDevice device, Reactor reactor, long offsetBytes, long lengthBytes) => WithQueueAsync(
        device,
        reactor,
        async queue =>
        {
            using var piece = new Piece(0);
            long most = Math.Min(MaxPieceBytes, device.Limits.MaxWriteZeroesBytes / device.Limits.LogicalBlockSize * device.Limits.LogicalBlockSize);
            for (long done = 0; done < lengthBytes;)
            {
                int length = (int)Math.Min(most, lengthBytes - done);
                int status = await piece.RunAsync(queue, reactor, BlockOperation.WriteZeroes, offsetBytes + done, length, BlockFlags.None);
                ThrowIfFailed(device, "Zeroing", BlockOperation.WriteZeroes, offsetBytes + done, length, status);
                done += length;
            }
        });

    /// <summary>An error number in words, for messages.</summary>
    public static string DescribeErrno(int errno) => $"{Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})";

    private static async Task WithQueueAsync(IBlockDevice device, Reactor reactor, Func<IBlockQueue, Task> action)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(reactor);
        IBlockQueue queue = await reactor.InvokeAsync(() => device.OpenQueue(reactor));
        try
        {
            await action(queue);
        }
        finally
        {
            await reactor.InvokeAsync(queue.Dispose);
        }
    }

    private static int PieceBytes(IBlockDevice device, int wanted) =>
        (int)Math.Min(wanted, Math.Min(device.Limits.MaxTransferBytes, MaxPieceBytes) / device.Limits.LogicalBlockSize * device.Limits.LogicalBlockSize);

    private static void ThrowIfFailed(
        IBlockDevice device, string what, BlockOperation operation, long offsetBytes, int length, int status)
    {
        if (status < 0)
        {
            throw new BlockIoException(
                $"{what} {length} bytes at {offsetBytes} of {device.Name} failed: {DescribeErrno(-status)}.",
                new BlockFault(operation, offsetBytes, length, -status));
        }
    }

    /// <summary>One request with an aligned buffer, run again and again.</summary>
    private sealed unsafe class Piece : IBlockCompletion, IDisposable
    {
        private readonly BlockRequest _request = new();
        private readonly IoVec* _vector;
        private readonly byte* _buffer;
        private TaskCompletionSource<int>? _done;

        public Piece(int capacity)
        {
            Capacity = capacity;
            _vector = (IoVec*)NativeMemory.AllocZeroed((nuint)sizeof(IoVec));
            _buffer = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(capacity, 1), BufferAlignment);
        }

        public int Capacity { get; }

        public Span<byte> Data(int length) => new(_buffer, length);

        public Task<int> RunAsync(IBlockQueue queue, Reactor reactor, BlockOperation operation, long offsetBytes, int length, BlockFlags flags)
        {
            var done = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
            _done = done;
            bool hasData = operation is BlockOperation.Read or BlockOperation.Write;
            *_vector = new IoVec(_buffer, (nuint)length);
            _request.Prepare(operation, offsetBytes, length, hasData ? _vector : null, hasData ? 1 : 0, this);
            _request.Flags = flags;
            _request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;

            // What keeps the queue from being called (a reactor that ended) must reach the caller too.
            _ = reactor.InvokeAsync(() => queue.Submit(_request)).ContinueWith(
                submit => done.TrySetException(submit.Exception!.InnerExceptions),
                CancellationToken.None,
                TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
            return done.Task;
        }

        public void OnCompleted(BlockRequest request) => _done!.TrySetResult(request.Status);

        public void Dispose()
        {
            NativeMemory.Free(_vector);
            NativeMemory.AlignedFree(_buffer);
        }
    }
}
