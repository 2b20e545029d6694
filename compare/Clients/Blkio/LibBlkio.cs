// libblkio, a block I/O library with virtio drivers in user space, which is driven here by its C interface. Source of the names:
// <blkio.h> 1.5.

using System.Runtime.InteropServices;

namespace Polyblk.Compare.Clients.Blkio;

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct blkio_mem_region
{
    public void* addr;
    public nuint len;
    public ulong iova;
    public long fd_offset;
    public int fd;
    public uint flags;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct blkio_completion
{
    public nint user_data;
    public byte* error_msg;
    public int ret;
    private fixed byte reserved_[12];
}

/// <summary>
/// The functions that are used here. The calls of the polling loop skip the runtime's transition: they do not block.
/// </summary>
internal static unsafe partial class LibBlkio
{
    public const string Library = "libblkio.so.1";

    /// <summary>The last error's message of this thread.</summary>
    public static string ErrorMessage => Marshal.PtrToStringUTF8(blkio_get_error_msg()) ?? string.Empty;

    [LibraryImport(Library)]
    private static partial nint blkio_get_error_msg();

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int blkio_create(string driver, out nint b);

    [LibraryImport(Library)]
    public static partial int blkio_connect(nint b);

    [LibraryImport(Library)]
    public static partial int blkio_start(nint b);

    [LibraryImport(Library)]
    public static partial void blkio_destroy(ref nint b);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int blkio_set_str(nint b, string name, string value);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int blkio_set_int(nint b, string name, int value);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int blkio_set_bool(nint b, string name, [MarshalAs(UnmanagedType.U1)] bool value);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int blkio_get_uint64(nint b, string name, out ulong value);

    [LibraryImport(Library)]
    public static partial int blkio_alloc_mem_region(nint b, blkio_mem_region* region, nuint len);

    [LibraryImport(Library)]
    public static partial int blkio_map_mem_region(nint b, blkio_mem_region* region);

    [LibraryImport(Library)]
    public static partial void blkio_unmap_mem_region(nint b, blkio_mem_region* region);

    [LibraryImport(Library)]
    public static partial void blkio_free_mem_region(nint b, blkio_mem_region* region);

    [LibraryImport(Library)]
    public static partial nint blkio_get_queue(nint b, int index);

    [LibraryImport(Library)]
    public static partial int blkioq_get_completion_fd(nint q);

    [LibraryImport(Library)]
    public static partial void blkioq_set_completion_fd_enabled(nint q, [MarshalAs(UnmanagedType.U1)] bool enable);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial void blkioq_read(nint q, ulong start, void* buf, nuint len, nint user_data, uint flags);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial void blkioq_write(nint q, ulong start, void* buf, nuint len, nint user_data, uint flags);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial void blkioq_write_zeroes(nint q, ulong start, ulong len, nint user_data, uint flags);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial void blkioq_discard(nint q, ulong start, ulong len, nint user_data, uint flags);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial void blkioq_flush(nint q, nint user_data, uint flags);

    [LibraryImport(Library)]
    public static partial int blkioq_do_io(nint q, blkio_completion* completions, int min, int max, void* timeout);
}
