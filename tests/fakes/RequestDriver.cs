// Plays the door: submits requests to a device on a reactor and lets a test await them.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Fakes;

/// <summary>How a driver lays out the buffers of its requests.</summary>
/// <param name="SegmentBytes">Length of each segment but the last; 0 makes one segment.</param>
/// <param name="Misalignment">Bytes by which each segment misses alignment to 4096.</param>
/// <param name="Traits">What the request promises of its buffers.</param>
public sealed record BufferLayout(int SegmentBytes = 0, int Misalignment = 0, BufferTraits Traits = BufferTraits.CpuAccessible);

/// <summary>
/// One reactor's queue of a device, for tests. Any number of requests may be in flight; every method may be called by any thread.
/// </summary>
public sealed class RequestDriver : IAsyncDisposable
{
    private readonly Reactor _reactor;
    private readonly IBlockQueue _queue;

    private RequestDriver(IBlockDevice device, Reactor reactor, IBlockQueue queue)
    {
        Device = device;
        _reactor = reactor;
        _queue = queue;
    }

    /// <summary>The device.</summary>
    public IBlockDevice Device { get; }

    /// <summary>Whether requests lend their memory beyond their end (<see cref="IMemoryLender"/>).</summary>
    public bool LendsMemory { get; set; }

    /// <summary>The queue, to be used on the reactor's thread.</summary>
    public IBlockQueue Queue => _queue;

    /// <summary>Opens a queue of the device on the reactor.</summary>
    public static async Task<RequestDriver> OpenAsync(IBlockDevice device, Reactor reactor) =>
        new(device, reactor, await reactor.InvokeAsync(() => device.OpenQueue(reactor)));

    /// <summary>Reads; returns the status and, whatever it is, the buffer's content (which starts as 0xEE everywhere).</summary>
    public async Task<(int Status, byte[] Data)> ReadAsync(long offsetBytes, int length, BufferLayout? layout = null)
    {
        using var buffer = new RequestBuffer(length, layout ?? new BufferLayout());
        buffer.Fill(0xEE);
        int status = await SubmitAsync(BlockOperation.Read, offsetBytes, length, BlockFlags.None, buffer);
        return (status, buffer.ToArray());
    }

    /// <summary>Reads and throws when the status is not 0.</summary>
    public async Task<byte[]> ReadOrThrowAsync(long offsetBytes, int length, BufferLayout? layout = null)
    {
        (int status, byte[] data) = await ReadAsync(offsetBytes, length, layout);
        return status == 0 ? data : throw new BlockIoException($"Reading {length} bytes at {offsetBytes} gave {status}.", -status);
    }

    /// <summary>Writes; returns the status.</summary>
    public async Task<int> WriteAsync(long offsetBytes, ReadOnlyMemory<byte> data, BlockFlags flags = BlockFlags.None, BufferLayout? layout = null)
    {
        using var buffer = new RequestBuffer(data.Length, layout ?? new BufferLayout());
        buffer.CopyFrom(data.Span);
        return await SubmitAsync(BlockOperation.Write, offsetBytes, data.Length, flags, buffer);
    }

    /// <summary>Flushes; returns the status.</summary>
    public Task<int> FlushAsync() => SubmitAsync(BlockOperation.Flush, 0, 0, BlockFlags.None, null);

    /// <summary>Discards; returns the status.</summary>
    public Task<int> DiscardAsync(long offsetBytes, long length) => SubmitAsync(BlockOperation.Discard, offsetBytes, length, BlockFlags.None, null);

    /// <summary>Writes zeroes; returns the status.</summary>
    public Task<int> WriteZeroesAsync(long offsetBytes, long length, BlockFlags flags = BlockFlags.None) =>
        SubmitAsync(BlockOperation.WriteZeroes, offsetBytes, length, flags, null);

    /// <summary>Submits any request over a buffer that lives until it is complete; returns the status.</summary>
    public async Task<int> SubmitAsync(BlockOperation operation, long offsetBytes, long length, BlockFlags flags, RequestBuffer? buffer)
    {
        TaskCompletion completion = LendsMemory && buffer is not null ? new LendingCompletion(buffer) : new TaskCompletion();
        var request = new BlockRequest();
        Prepare(request, operation, offsetBytes, length, flags, buffer, completion);
        await _reactor.InvokeAsync(() => _queue.Submit(request));
        return await completion.Task;
    }

    /// <summary>Closes the queue; no request may be in flight.</summary>
    public async ValueTask DisposeAsync() => await _reactor.InvokeAsync(_queue.Dispose);

    private static unsafe void Prepare(
        BlockRequest request, BlockOperation operation, long offsetBytes, long length, BlockFlags flags, RequestBuffer? buffer, IBlockCompletion completion)
    {
        request.Prepare(operation, offsetBytes, length, buffer is null ? null : buffer.Vectors, buffer?.VectorCount ?? 0, completion);
        request.Flags = flags;
        request.Traits = buffer?.Layout.Traits ?? BufferTraits.None;
    }

    private class TaskCompletion : IBlockCompletion
    {
        private readonly TaskCompletionSource<int> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<int> Task => _done.Task;

        public void OnCompleted(BlockRequest request) => _done.SetResult(request.Status);
    }

    private sealed class LendingCompletion(RequestBuffer buffer) : TaskCompletion, IMemoryLender
    {
        public IDisposable Lend(BlockRequest request) => buffer.Lend();
    }
}

/// <summary>
/// Native memory of a request, laid out in segments. A byte beyond each segment is guarded and checked on disposal.
/// </summary>
public sealed unsafe class RequestBuffer : IDisposable
{
    private const byte Guard = 0xA5;
    private readonly byte* _memory;
    private readonly int _length;
    private int _users = 1;

    /// <summary>Allocates it.</summary>
    public RequestBuffer(int length, BufferLayout layout)
    {
        ArgumentNullException.ThrowIfNull(layout);
        Layout = layout;
        _length = length;
        int segment = layout.SegmentBytes == 0 ? Math.Max(length, 1) : layout.SegmentBytes;
        VectorCount = (length + segment - 1) / segment;

        // A guard of at least one byte follows each segment; each starts anew at a multiple of 4096 plus the misalignment.
        int stride = ((segment + layout.Misalignment + 4096) / 4096 * 4096) + 4096;
        _memory = (byte*)NativeMemory.AlignedAlloc((nuint)(Math.Max(VectorCount, 1) * stride), 4096);
        Vectors = (IoVec*)NativeMemory.Alloc((nuint)Math.Max(VectorCount, 1), (nuint)sizeof(IoVec));
        for (int i = 0; i < VectorCount; i++)
        {
            int bytes = Math.Min(segment, length - (i * segment));
            Vectors[i] = new IoVec(_memory + ((nint)i * stride) + layout.Misalignment, (nuint)bytes);
            Vectors[i].Base[bytes] = Guard;
        }
    }

    /// <summary>Its layout.</summary>
    public BufferLayout Layout { get; }

    /// <summary>Its segments.</summary>
    public IoVec* Vectors { get; }

    /// <summary>How many there are.</summary>
    public int VectorCount { get; }

    /// <summary>Sets every byte.</summary>
    public void Fill(byte value)
    {
        for (int i = 0; i < VectorCount; i++)
        {
            new Span<byte>(Vectors[i].Base, (int)Vectors[i].Length).Fill(value);
        }
    }

    /// <summary>Copies data into the segments.</summary>
    public void CopyFrom(ReadOnlySpan<byte> data)
    {
        for (int i = 0; i < VectorCount; i++)
        {
            int bytes = (int)Vectors[i].Length;
            data[..bytes].CopyTo(new Span<byte>(Vectors[i].Base, bytes));
            data = data[bytes..];
        }
    }

    /// <summary>Copies the segments out.</summary>
    public byte[] ToArray()
    {
        var data = new byte[_length];
        int at = 0;
        for (int i = 0; i < VectorCount; i++)
        {
            var span = new ReadOnlySpan<byte>(Vectors[i].Base, (int)Vectors[i].Length);
            span.CopyTo(data.AsSpan(at));
            at += span.Length;
        }

        return data;
    }

    /// <summary>One more user, who disposes what he gets: the memory stays until then.</summary>
    public IDisposable Lend()
    {
        Interlocked.Increment(ref _users);
        return new Lent(this);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Decrement(ref _users) != 0)
        {
            return;
        }

        bool intact = true;
        for (int i = 0; i < VectorCount; i++)
        {
            intact &= Vectors[i].Base[Vectors[i].Length] == Guard;
        }

        NativeMemory.Free(Vectors);
        NativeMemory.AlignedFree(_memory);
        if (!intact)
        {
            throw new InvalidOperationException("A device wrote beyond the end of a segment.");
        }
    }

    private sealed class Lent(RequestBuffer buffer) : IDisposable
    {
        public void Dispose() => buffer.Dispose();
    }
}
