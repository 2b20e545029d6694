// Memory of simulated media that is used again. A simulation that is over in milliseconds and has ten drives of a megabyte would
// spend a good part of them in the kernel, which makes pages, clears them and takes them back; it touches few of them.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Drives.Simulated;

/// <summary>See the top of the file. Any thread. What it holds it holds until it is disposed.</summary>
internal sealed unsafe class MediumPool : IDisposable
{
    private const nuint SmallBytes = 4 << 20;

    /// <summary>Sizes are rounded up to a multiple of this, so that drives of nearly the same size share what is there.</summary>
    private const nuint StepBytes = 512 << 10;

    private readonly Lock _lock = new();
    private readonly Dictionary<nuint, Stack<nint>> _free = [];

    /// <summary>Memory of at least this size, all zeroes.</summary>
    /// <exception cref="IOException">There is none.</exception>
    public byte* Rent(nuint sizeBytes)
    {
        lock (_lock)
        {
            if (_free.TryGetValue(RoundUp(sizeBytes), out Stack<nint>? areas) && areas.TryPop(out nint area))
            {
                return (byte*)area;
            }
        }

        return Map(RoundUp(sizeBytes));
    }

    /// <summary>Takes back what was rented, all zeroes again.</summary>
    public void Return(byte* area, nuint sizeBytes)
    {
        lock (_lock)
        {
            if (!_free.TryGetValue(RoundUp(sizeBytes), out Stack<nint>? areas))
            {
                _free.Add(RoundUp(sizeBytes), areas = new Stack<nint>());
            }

            areas.Push((nint)area);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach ((nuint size, Stack<nint> areas) in _free)
            {
                while (areas.TryPop(out nint area))
                {
                    Unmap((byte*)area, size);
                }
            }
        }
    }

    /// <summary>Maps memory, zeroed.</summary>
    /// <exception cref="IOException">There is none.</exception>
    public static byte* Map(nuint sizeBytes)
    {
        // Of a small drive all is touched soon: its pages are made at once, which takes a tenth of the time of one after the
        // other.
        int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE;
        flags |= sizeBytes <= SmallBytes ? Libc.MAP_POPULATE : 0;
        void* area = Libc.mmap(null, sizeBytes, Libc.PROT_READ | Libc.PROT_WRITE, flags, -1, 0);
        if (area == Libc.MAP_FAILED)
        {
            throw DriveGeometry.Error("sim", "there is not enough memory; choose a smaller size.");
        }

        // Most of it is never touched. With huge pages, which some kernels give unasked, a first write of 4 KiB would clear and
        // keep 2 MiB. A kernel without huge pages refuses the advice.
        _ = DriveCalls.madvise(area, sizeBytes, Libc.MADV_NOHUGEPAGE);
        return (byte*)area;
    }

    /// <summary>Gives mapped memory back.</summary>
    public static void Unmap(byte* area, nuint sizeBytes) => _ = Libc.munmap(area, sizeBytes);

    private static nuint RoundUp(nuint sizeBytes) => (sizeBytes + StepBytes - 1) / StepBytes * StepBytes;
}
