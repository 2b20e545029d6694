using Polyblk.Core.Interop;

namespace Polyblk.Core.Block;

/// <summary>
/// Memory in whole pages of 4 KiB, each of which the system gives when it is touched first, and takes back on request: address
/// space for the worst case costs nothing that way. Zero until it is written, and page-aligned.
/// </summary>
public sealed unsafe class PagedMemory : IDisposable
{
    private readonly nuint _bytes;

    /// <summary>Reserves address space.</summary>
    /// <param name="bytes">How much; at least 1, rounded up to a page.</param>
    /// <exception cref="IOException">There is no such address space.</exception>
    public PagedMemory(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1);
        _bytes = ((nuint)bytes + 4095) & ~(nuint)4095;
        int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE;
        void* start = Libc.mmap(null, _bytes, Libc.PROT_READ | Libc.PROT_WRITE, flags, -1, 0);
        if (start == Libc.MAP_FAILED)
        {
            throw new IOException($"There is no address space of {_bytes} bytes.");
        }

        Start = (byte*)start;

        // What is written here belongs to whoever stores it, and is no business of who reads a core dump.
        _ = Libc.madvise(start, _bytes, Libc.MADV_DONTDUMP);

        // One touch would take 2 MiB. Where the kernel knows no huge pages it refuses, which is as good.
        _ = Libc.madvise(start, _bytes, Libc.MADV_NOHUGEPAGE);
    }

    /// <summary>Reserves address space, or returns null where there is none.</summary>
    public static PagedMemory? TryMake(long bytes)
    {
        try
        {
            return new PagedMemory(bytes);
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>The first byte; null after <see cref="Dispose"/>.</summary>
    public byte* Start { get; private set; }

    /// <summary>Gives pages back: they read as zero again. Nobody uses them meanwhile.</summary>
    /// <param name="from">The first of them; inside of this memory.</param>
    /// <param name="bytes">How much, in whole pages.</param>
    public static void Release(byte* from, long bytes) => _ = Libc.madvise(from, (nuint)bytes, Libc.MADV_DONTNEED);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Start is not null)
        {
            _ = Libc.munmap(Start, _bytes);
            Start = null;
        }
    }
}
