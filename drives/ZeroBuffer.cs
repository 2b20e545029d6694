using Polyblk.Core.Interop;

namespace Polyblk.Drives;

/// <summary>
/// Zeroes to write from: mapped read-only once for the process, so nobody can change them; costs one page of memory.
/// </summary>
internal static unsafe class ZeroBuffer
{
    /// <summary>Length in bytes.</summary>
    public const int Bytes = 1 << 20;

    /// <summary>First byte, aligned to a page.</summary>
    public static readonly byte* Address = Map();

    private static byte* Map()
    {
        void* area = Libc.mmap(null, Bytes, Libc.PROT_READ, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        return area != Libc.MAP_FAILED ? (byte*)area : throw new IOException("There is no memory for a buffer of zeroes.");
    }
}
