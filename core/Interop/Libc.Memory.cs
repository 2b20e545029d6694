// libc: what mapping foreign memory needs (fstat, seals, memfd), and limits of the process.

using Tmds.Linux;

namespace Polyblk.Core.Interop;

public static unsafe partial class Libc
{
    public static int F_ADD_SEALS => LibC.F_ADD_SEALS;
    public static int F_GET_SEALS => LibC.F_GET_SEALS;
    public static int F_SEAL_SEAL => LibC.F_SEAL_SEAL;
    public static int F_SEAL_SHRINK => LibC.F_SEAL_SHRINK;
    public static int F_SEAL_GROW => LibC.F_SEAL_GROW;
    public static int F_SEAL_WRITE => LibC.F_SEAL_WRITE;
    public static uint MFD_CLOEXEC => LibC.MFD_CLOEXEC;
    public static uint MFD_ALLOW_SEALING => LibC.MFD_ALLOW_SEALING;
    public static mode_t S_IFMT => LibC.S_IFMT;
    public static mode_t S_IFREG => LibC.S_IFREG;

    public static int fstat(int fd, stat* buffer) => Result(LibC.fstat(fd, buffer));

    public static int fstatfs(int fd, statfs* buffer) => Result(fstatfs_(fd, buffer));

    /// <summary>
    /// Raises this process's limit of locked memory (RLIMIT_MEMLOCK), the hard one too where that is allowed. Failure is not
    /// reported.
    /// </summary>
    public static void AllowMoreLockedMemory(ulong bytes)
    {
        rlimit limit;
        if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < ulong.MaxValue - bytes)
        {
            limit.rlim_cur += bytes;
            limit.rlim_max = Math.Max(limit.rlim_max, limit.rlim_cur);
            _ = setrlimit(RLIMIT_MEMLOCK, &limit);
        }
    }

    /// <summary>Descriptors that this process may have at once (RLIMIT_NOFILE, the soft limit).</summary>
    public static int MaxDescriptors()
    {
        rlimit limit;
        return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (int)Math.Min(limit.rlim_cur, int.MaxValue) : 1024;
    }

    public static int getrlimit(int resource, rlimit* limit) => Result(getrlimit_(resource, limit));

    public static int setrlimit(int resource, rlimit* limit) => Result(setrlimit_(resource, limit));

    public static int memfd_create(string name, uint flags) => WithPath(name, flags, &CreateMemfd);

    private static int CreateMemfd(byte* name, uint flags) => Result(LibC.memfd_create(name, flags));
}
