// The system calls that only drives need. As in Libc, errors are values: a result, or a negative errno. What is newer than
// Tmds.LibC is here.

using System.Runtime.InteropServices;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Drives;

/// <summary>System calls of the drives.</summary>
internal static unsafe class DriveCalls
{
    public const int LOCK_SH = Libc.LOCK_SH, LOCK_EX = Libc.LOCK_EX, LOCK_NB = Libc.LOCK_NB;
    public const long TMPFS_MAGIC = 0x01021994, RAMFS_MAGIC = 0x858458f6, HUGETLBFS_MAGIC = 0x958458f6;
    public const int FALLOC_FL_ZERO_RANGE = 0x10;
    public const nuint BLKGETSIZE64 = 0x80081272, BLKSSZGET = 0x1268, BLKPBSZGET = 0x127b, BLKIOOPT = 0x1279, BLKDISCARD = 0x1277;
    public const nuint BLKROGET = 0x125e;
    public const uint S_IFMT = 0xf000, S_IFBLK = 0x6000, S_IFREG = 0x8000, S_IFDIR = 0x4000;
    private const uint STATX_DIOALIGN = 0x2000;

    public static int FALLOC_FL_KEEP_SIZE => LibC.FALLOC_FL_KEEP_SIZE;
    public static int FALLOC_FL_PUNCH_HOLE => LibC.FALLOC_FL_PUNCH_HOLE;

    /// <summary>
    /// struct statx of &lt;linux/stat.h&gt;, 256 bytes; the fields that are needed. Tmds.LibC's has no alignment of O_DIRECT.
    /// </summary>
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
        byte empty = 0;
        int rc = Libc.statx(fd, &empty, LibC.AT_EMPTY_PATH, LibC.STATX_BASIC_STATS | STATX_DIOALIGN, (Tmds.Linux.statx*)&buffer);
        result = buffer;
        return rc;
    }

    /// <summary>f_type of fstatfs(2), or a negative errno.</summary>
    public static long FileSystemType(int fd)
    {
        Libc.statfs info;
        int rc = Libc.fstatfs(fd, &info);
        return rc < 0 ? rc : info.f_type;
    }

    public static int flock(int fd, int operation) => Libc.flock(fd, operation);

    public static int madvise(void* address, nuint length, int advice) => Libc.madvise(address, length, advice);

    /// <summary>Adds O_DIRECT to an open descriptor; 0 or a negative errno (-EINVAL: the file system has none).</summary>
    public static int SetDirect(int fd)
    {
        int flags = Libc.fcntl(fd, Libc.F_GETFL, 0);
        return flags < 0 ? flags : Libc.fcntl(fd, Libc.F_SETFL, flags | Libc.O_DIRECT);
    }
}
