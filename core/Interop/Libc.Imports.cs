// The imports from libc: what Tmds.LibC lacks, or has in a way that cannot be used. Nobody else imports from libc; see Libc.cs.
//
// poll is here although the package has it: there it is imported without SetLastError, so that its error cannot be known.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Tmds.Linux;

namespace Polyblk.Core.Interop;

public static unsafe partial class Libc
{
    public const int RLIMIT_NOFILE = 7;
    public const int RLIMIT_MEMLOCK = 8;
    public const int AT_STATX_DONT_SYNC = 0x4000;
    public const int LOCK_SH = 1;
    public const int LOCK_EX = 2;
    public const int LOCK_NB = 4;

    /// <summary>The first field of struct statfs, and its size.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    public struct statfs
    {
        [FieldOffset(0)] public long f_type;
    }

    /// <summary>struct rlimit of 64-bit machines: the limit in force, and the highest that it may be set to.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct rlimit
    {
        public ulong rlim_cur;
        public ulong rlim_max;
    }

    /// <summary>struct group of grp.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct group
    {
        public byte* gr_name;
        public byte* gr_passwd;
        public uint gr_gid;
        public byte** gr_mem;
    }

    /// <summary>struct passwd of pwd.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct passwd
    {
        public byte* pw_name;
        public byte* pw_passwd;
        public uint pw_uid;
        public uint pw_gid;
        public byte* pw_gecos;
        public byte* pw_dir;
        public byte* pw_shell;
    }

    public static long readv(int fd, IoVec* iov, int count) => Result(readv_(fd, iov, count));

    /// <summary>The runtime ignores SIGPIPE: a peer that is gone is an error, not the end of the process.</summary>
    public static long writev(int fd, IoVec* iov, int count) => Result(writev_(fd, iov, count));

    public static long preadv2(int fd, void* iov, int iovcnt, long offset, int flags) =>
        Result(preadv2_(fd, iov, iovcnt, offset, flags));

    public static long pwritev2(int fd, void* iov, int iovcnt, long offset, int flags) =>
        Result(pwritev2_(fd, iov, iovcnt, offset, flags));

    public static int flock(int fd, int operation) => Result(flock_(fd, operation));

    public static int gettid() => gettid_();

    public static int prctl(int option, nuint a, nuint b, nuint c, nuint d) => Result(prctl_(option, a, b, c, d));

    /// <summary>Finds a group by its name. Unlike the others it returns 0 or a positive errno, as in C.</summary>
    public static int getgrnam_r(string name, group* entry, byte* buffer, nuint bytes, group** found) =>
        getgrnam_r_(name, entry, buffer, bytes, found);

    /// <summary>Finds a user by its name; as <see cref="getgrnam_r"/>.</summary>
    public static int getpwnam_r(string name, passwd* entry, byte* buffer, nuint bytes, passwd** found) =>
        getpwnam_r_(name, entry, buffer, bytes, found);

    public const short POSIX_SPAWN_SETPGROUP = 0x02;
    public const short POSIX_SPAWN_SETSIGDEF = 0x04;
    public const short POSIX_SPAWN_SETSIGMASK = 0x08;
    public const int P_PID = 1;
    public const int WNOHANG = 1;
    public const int WEXITED = 4;
    public const int WNOWAIT = 0x0100_0000;

    /// <summary>A pipe: its reading and its writing end.</summary>
    public static int pipe2(int* fds, int flags) => Result(pipe2_(fds, flags));

    /// <summary>The process whose state has changed, or 0.</summary>
    public static int waitpid(int pid, int* status, int options) => Result(waitpid_(pid, status, options));

    /// <summary>Whether a process has changed its state; with WNOWAIT it can be asked again.</summary>
    /// <param name="idType">What the id is.</param>
    /// <param name="id">The id.</param>
    /// <param name="info">struct siginfo_t, 128 bytes.</param>
    /// <param name="options">What is waited for.</param>
    public static int waitid(int idType, int id, void* info, int options) => Result(waitid_(idType, id, info, options));

    /// <summary>Starts a program. Unlike the others it returns 0 or a positive errno, as in C.</summary>
    public static int posix_spawn(int* pid, byte* path, void* actions, void* attributes, byte** arguments, byte** environment) =>
        posix_spawn_(pid, path, actions, attributes, arguments, environment);

    [LibraryImport("libc", EntryPoint = "pipe2", SetLastError = true)]
    private static partial int pipe2_(int* fds, int flags);

    [LibraryImport("libc", EntryPoint = "waitpid", SetLastError = true)]
    private static partial int waitpid_(int pid, int* status, int options);

    [LibraryImport("libc", EntryPoint = "waitid", SetLastError = true)]
    private static partial int waitid_(int idType, int id, void* info, int options);

    [LibraryImport("libc", EntryPoint = "posix_spawn")]
    private static partial int posix_spawn_(
        int* pid, byte* path, void* actions, void* attributes, byte** arguments, byte** environment);

    [LibraryImport("libc")]
    internal static partial int posix_spawn_file_actions_init(void* actions);

    [LibraryImport("libc")]
    internal static partial int posix_spawn_file_actions_adddup2(void* actions, int fd, int asFd);

    [LibraryImport("libc")]
    internal static partial int posix_spawn_file_actions_destroy(void* actions);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_init(void* attributes);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_setflags(void* attributes, short flags);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_setpgroup(void* attributes, int group);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_setsigdefault(void* attributes, void* signals);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_setsigmask(void* attributes, void* signals);

    [LibraryImport("libc")]
    internal static partial int posix_spawnattr_destroy(void* attributes);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static partial int poll_(pollfd* fds, nuint count, int timeout);

    [LibraryImport("libc", EntryPoint = "readv", SetLastError = true)]
    private static partial nint readv_(int fd, IoVec* iov, int count);

    [LibraryImport("libc", EntryPoint = "writev", SetLastError = true)]
    private static partial nint writev_(int fd, IoVec* iov, int count);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    private static partial nint preadv2_(int fd, void* iov, int iovcnt, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "pwritev2", SetLastError = true)]
    private static partial nint pwritev2_(int fd, void* iov, int iovcnt, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int flock_(int fd, int operation);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    private static partial int fstatfs_(int fd, statfs* buffer);

    [LibraryImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    private static partial int getrlimit_(int resource, rlimit* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit", SetLastError = true)]
    private static partial int setrlimit_(int resource, rlimit* limit);

    [LibraryImport("libc", EntryPoint = "gettid")]
    private static partial int gettid_();

    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    private static partial int prctl_(int option, nuint a, nuint b, nuint c, nuint d);

    [LibraryImport("libc", EntryPoint = "getgrnam_r", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int getgrnam_r_(string name, group* entry, byte* buffer, nuint bytes, group** found);

    [LibraryImport("libc", EntryPoint = "getpwnam_r", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int getpwnam_r_(string name, passwd* entry, byte* buffer, nuint bytes, passwd** found);
}
