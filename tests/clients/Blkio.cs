// libblkio's functions and structs, as in blkio.h of version 1.5 (manual page blkio(3)). Functions that return int give a
// negative errno on failure.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Polyblk.TestClients;

internal static unsafe partial class Blkio
{
    private const string Library = "libblkio.so.1";

    [StructLayout(LayoutKind.Sequential)]
    public struct blkio_mem_region
    {
        public byte* addr;
        public nuint len;
        public ulong iova;
        public long fd_offset;
        public int fd;
        public uint flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct blkio_completion
    {
        public nint user_data;
        public byte* error_msg;
        public int ret;
        public ReservedBytes reserved_;
    }

    [InlineArray(12)]
    public struct ReservedBytes
    {
        private byte _first;
    }

    [LibraryImport(Library)] public static partial byte* blkio_get_error_msg();
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int blkio_create(string driver, out nint b);
    [LibraryImport(Library)] public static partial int blkio_connect(nint b);
    [LibraryImport(Library)] public static partial int blkio_start(nint b);
    [LibraryImport(Library)] public static partial void blkio_destroy(ref nint b);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int blkio_get_uint64(nint b, string name, out ulong value);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int blkio_set_int(nint b, string name, int value);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int blkio_set_str(nint b, string name, string value);
    [LibraryImport(Library)] public static partial int blkio_alloc_mem_region(nint b, out blkio_mem_region region, nuint len);
    [LibraryImport(Library)] public static partial int blkio_map_mem_region(nint b, in blkio_mem_region region);
    [LibraryImport(Library)] public static partial nint blkio_get_queue(nint b, int index);
    [LibraryImport(Library)] public static partial void blkioq_read(nint q, ulong start, byte* buf, nuint len, nint user_data, uint flags);
    [LibraryImport(Library)] public static partial void blkioq_write(nint q, ulong start, byte* buf, nuint len, nint user_data, uint flags);
    [LibraryImport(Library)] public static partial void blkioq_write_zeroes(nint q, ulong start, ulong len, nint user_data, uint flags);
    [LibraryImport(Library)] public static partial void blkioq_discard(nint q, ulong start, ulong len, nint user_data, uint flags);
    [LibraryImport(Library)] public static partial void blkioq_flush(nint q, nint user_data, uint flags);
    [LibraryImport(Library)] public static partial int blkioq_do_io(nint q, blkio_completion* completions, int min, int max, nint timeout);
}
