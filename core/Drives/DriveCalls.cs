// The system calls that only drives need. As in Libc, errors are values: a result, or a negative errno.

using System.Runtime.InteropServices;

namespace Polyblk.Core.Drives;

/// <summary>System calls of the drives.</summary>
internal static unsafe partial class DriveCalls
{
    public const int LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4;
    public const int MADV_DONTNEED = 4, MADV_HUGEPAGE = 14, MADV_NOHUGEPAGE = 15;
    public const long TMPFS_MAGIC = 0x01021994, RAMFS_MAGIC = 0x858458f6, HUGETLBFS_MAGIC = 0x958458f6;
    public const int FALLOC_FL_KEEP_SIZE = 1, FALLOC_FL_PUNCH_HOLE = 2, FALLOC_FL_ZERO_RANGE = 0x10;
    public const nuint BLKGETSIZE64 = 0x80081272, BLKSSZGET = 0x1268, BLKPBSZGET = 0x127b, BLKIOOPT = 0x1279, BLKDISCARD = 0x1277;
    public const nuint BLKROGET = 0x125e;
    public const uint S_IFMT = 0xf000, S_IFBLK = 0x6000, S_IFREG = 0x8000, S_IFDIR = 0x4000;
    private const int AT_EMPTY_PATH = 0x1000;
    private const uint STATX_BASIC_STATS = 0x7ff, STATX_DIOALIGN = 0x2000;

    /// <summary>struct statx of &lt;linux/stat.h&gt;, 256 bytes; the fields that are needed.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    public struct statx
    {
        [FieldOffset(0)] public uint stx_mask;
        [FieldOffset(28)] public ushort stx_mode;
        [FieldOffset(32)] public ulong stx_ino;
        [FieldOffset(40)] public long stx_size;
        [FieldOffset(128)] public uint stx_rdev_major;
        [FieldOffset(132)] public uint stx_rdev_minor;
        [FieldOffset(136)] public uint stx_dev_major;
        [FieldOffset(140)] public uint stx_dev_minor;
        [FieldOffset(152)] public uint stx_dio_mem_align;
        [FieldOffset(156)] public uint stx_dio_offset_align;

        /// <summary>Whether the two fields about O_DIRECT are filled (Linux 6.1, and the file system's own support).</summary>
        public readonly bool HasDioAlign => (stx_mask & STATX_DIOALIGN) != 0;
    }

    /// <summary>statx(2) of an open descriptor, with STATX_DIOALIGN.</summary>
    public static int Stat(int fd, out statx result)
    {
        statx buffer = default;
        int rc = Result(statx_(fd, string.Empty, AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_DIOALIGN, &buffer));
        result = buffer;
        return rc;
    }

    /// <summary>f_type of fstatfs(2), or a negative errno.</summary>
    public static long FileSystemType(int fd)
    {
        long* buffer = stackalloc long[32];
        int rc = Result(fstatfs_(fd, buffer));
        return rc < 0 ? rc : buffer[0];
    }

    public static int flock(int fd, int operation) => Result(flock_(fd, operation));

    public static int madvise(void* address, nuint length, int advice) => Result(madvise_(address, length, advice));

    /// <summary>Adds O_DIRECT to an open descriptor; 0 or a negative errno (-EINVAL: the file system has none).</summary>
    public static int SetDirect(int fd)
    {
        int flags = Result(fcntl_(fd, F_GETFL, 0));
        return flags < 0 ? flags : Result(fcntl_(fd, F_SETFL, flags | Interop.Libc.O_DIRECT));
    }

    private const int F_GETFL = 3, F_SETFL = 4;

    private static int Result(int rc) => rc < 0 ? -Marshal.GetLastPInvokeError() : rc;

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx_(int dirfd, string path, int flags, uint mask, statx* buffer);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    private static partial int fstatfs_(int fd, void* buffer);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int flock_(int fd, int operation);

    // fcntl is variadic; on x64 and arm64 Linux an int in its place is passed like a named one.
    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int fcntl_(int fd, int command, nint argument);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int madvise_(void* address, nuint length, int advice);
}
