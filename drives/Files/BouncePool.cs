using Polyblk.Core.Block;

namespace Polyblk.Drives.Files;

/// <summary>
/// Page-aligned buffers of one queue, for requests whose own memory O_DIRECT does not take. Mapped when the queue is opened;
/// memory is used only from the first such request on. One thread.
/// </summary>
internal sealed unsafe class BouncePool : IDisposable
{
    /// <summary>Length of a buffer; larger requests go through one in pieces.</summary>
    public const int BufferBytes = 128 << 10;

    /// <summary>No buffer.</summary>
    public const int None = -1;

    private readonly PagedMemory _memory;
    private FreeIndices _free;

    /// <summary>Maps <paramref name="buffers"/> buffers.</summary>
    /// <exception cref="IOException">There is no memory.</exception>
    public BouncePool(int buffers)
    {
        _memory = new PagedMemory((long)buffers * BufferBytes);
        _free = new FreeIndices(buffers);
    }

    /// <summary>Takes a buffer; <see cref="None"/> when all are in use.</summary>
    public int TryRent() => _free.IsEmpty ? None : _free.Take();

    /// <summary>Gives a buffer back.</summary>
    public void Return(int buffer) => _free.Return(buffer);

    /// <summary>The buffer's first byte.</summary>
    public byte* Address(int buffer) => _memory.Start + ((nint)buffer * BufferBytes);

    /// <summary>Whether O_DIRECT takes a request's own memory.</summary>
    /// <param name="request">A read or write.</param>
    /// <param name="addressMask">Alignment of addresses - 1.</param>
    /// <param name="lengthMask">Alignment of the segments' lengths - 1.</param>
    public static bool IsAligned(BlockRequest request, nuint addressMask, nuint lengthMask)
    {
        nuint off = 0;
        for (int i = 0; i < request.VectorCount; i++)
        {
            off |= ((nuint)request.Vectors[i].Base & addressMask) | (request.Vectors[i].Length & lengthMask);
        }

        return off == 0;
    }

    public void Dispose() => _memory.Dispose();
}
