// The buffers of one queue: one of the largest request's size for each tag, in one mapping.
//
// In the copying mode the driver must know a tag's buffer before it knows the request, so each tag has its own. The mapping
// reserves address space only; pages come with the first request that touches them, so a queue that sees 4 KiB requests holds 4
// KiB a tag.

using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Ublk;

/// <summary>Page-aligned buffers, one a tag. The bound is depth times the largest request.</summary>
internal sealed unsafe class UblkBuffers : IDisposable
{
    private readonly nuint _bytes;
    private readonly byte* _first;

    /// <summary>Reserves the buffers.</summary>
    /// <exception cref="IOException">There is no address space or memory for them.</exception>
    public UblkBuffers(int depth, int bufferBytes)
    {
        BufferBytes = bufferBytes;
        _bytes = (nuint)depth * (nuint)bufferBytes;
        void* area = Libc.mmap(null, _bytes, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        if (area == Libc.MAP_FAILED)
        {
            throw new IOException($"No memory for {depth} ublk buffers of {bufferBytes >> 10} KiB: use a smaller --queue-size or --max-io.");
        }

        // What the device's users store is in no core dump.
        _ = Libc.madvise(area, _bytes, Libc.MADV_DONTDUMP);
        _first = (byte*)area;
    }

    /// <summary>Size of each in bytes.</summary>
    public int BufferBytes { get; }

    /// <summary>The buffer of a tag.</summary>
    public byte* this[int tag] => _first + ((nuint)tag * (nuint)BufferBytes);

    /// <summary>Unmaps them. The driver must have given every tag back: it writes into the buffers of fetched tags.</summary>
    public void Dispose() => _ = Libc.munmap(_first, _bytes);
}
