// libc: what mapping foreign memory needs (fstat, seals, memfd).

using System.Runtime.InteropServices;

namespace Polyblk.Core.Interop;

public static unsafe partial class Libc
{
    public const int F_ADD_SEALS = 1033;
    public const int F_GET_SEALS = 1034;
    public const int F_SEAL_SEAL = 1;
    public const int F_SEAL_SHRINK = 2;
    public const int F_SEAL_GROW = 4;
    public const int F_SEAL_WRITE = 8;
    public const uint MFD_CLOEXEC = 1;
    public const uint MFD_ALLOW_SEALING = 2;
    public const uint S_IFMT = 0xF000;
    public const uint S_IFREG = 0x8000;

    /// <summary>struct stat of x86-64.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 144)]
    public struct stat
    {
        [FieldOffset(0)] public ulong st_dev;
        [FieldOffset(8)] public ulong st_ino;
        [FieldOffset(24)] public uint st_mode;
        [FieldOffset(40)] public ulong st_rdev;
        [FieldOffset(48)] public long st_size;
        [FieldOffset(56)] public long st_blksize;
    }

    public static int fstat(int fd, stat* buffer) => (int)Result(fstat_(fd, buffer));

    /// <summary>The first field of struct statfs, and its size.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    public struct statfs
    {
        [FieldOffset(0)] public long f_type;
    }

    public static int fstatfs(int fd, statfs* buffer) => (int)Result(fstatfs_(fd, buffer));

    public static int fcntl(int fd, int command, nint argument) => (int)Result(fcntl_(fd, command, argument));

    /// <summary>Raises this process's limit of locked memory (RLIMIT_MEMLOCK), the hard one too where that is allowed. Failure is not reported.</summary>
    public static void AllowMoreLockedMemory(ulong bytes)
    {
        const int RLIMIT_MEMLOCK = 8;
        rlimit limit;
        if (getrlimit_(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < ulong.MaxValue - bytes)
        {
            limit.rlim_cur += bytes;
            limit.rlim_max = Math.Max(limit.rlim_max, limit.rlim_cur);
            _ = setrlimit_(RLIMIT_MEMLOCK, &limit);
        }
    }

    /// <summary>Descriptors that this process may have at once (RLIMIT_NOFILE, the soft limit).</summary>
    public static int MaxDescriptors()
    {
        const int RLIMIT_NOFILE = 7;
        rlimit limit;
        return getrlimit_(RLIMIT_NOFILE, &limit) == 0 ? (int)Math.Min(limit.rlim_cur, int.MaxValue) : 1024;
    }

    public static int memfd_create(string name, uint flags) => (int)Result(memfd_create_(name, flags));

    [StructLayout(LayoutKind.Sequential)]
    private struct rlimit
    {
        public ulong rlim_cur;
        public ulong rlim_max;
    }

    [LibraryImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    private static partial int getrlimit_(int resource, rlimit* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit", SetLastError = true)]
    private static partial int setrlimit_(int resource, rlimit* limit);

    [LibraryImport("libc", EntryPoint = "fstat", SetLastError = true)]
    private static partial int fstat_(int fd, stat* buffer);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    private static partial int fstatfs_(int fd, statfs* buffer);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int fcntl_(int fd, int command, nint argument);

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int memfd_create_(string name, uint flags);
}
