// libc through LibraryImport: the calls that the core shares. A part that needs more adds a partial of its own.
//
// Every wrapper returns the result, or a negative errno: errors of the kernel are values here. Calls on a reactor take raw numbers;
// whoever owns a descriptor wraps it in a SafeFileHandle.

using System.Runtime.InteropServices;

namespace Polyblk.Core.Interop;

/// <summary>System calls as functions that return a result or a negative errno.</summary>
public static unsafe partial class Libc
{
    public const int O_RDONLY = 0;
    public const int O_RDWR = 2;
    public const int O_CREAT = 0x40;
    public const int O_EXCL = 0x80;
    public const int O_NONBLOCK = 0x800;
    public const int O_DSYNC = 0x1000;
    public const int O_DIRECT = 0x4000;
    public const int O_CLOEXEC = 0x80000;

    public const int PROT_NONE = 0;
    public const int PROT_READ = 1;
    public const int PROT_WRITE = 2;
    public const int MAP_SHARED = 1;
    public const int MAP_PRIVATE = 2;
    public const int MAP_ANONYMOUS = 0x20;
    public const int MAP_NORESERVE = 0x4000;
    public const int MAP_POPULATE = 0x8000;
    public static readonly void* MAP_FAILED = (void*)-1;

    public const int EFD_CLOEXEC = 0x80000;
    public const int EFD_NONBLOCK = 0x800;

    public const int EPOLL_CLOEXEC = 0x80000;
    public const int EPOLL_CTL_ADD = 1;
    public const int EPOLL_CTL_DEL = 2;
    public const uint EPOLLIN = 1;
    public const uint EPOLLOUT = 4;
    public const uint EPOLLET = 1u << 31;

    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    public struct epoll_event
    {
        public uint events;
        public ulong data;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct timespec
    {
        public long tv_sec;
        public long tv_nsec;
    }

    /// <summary>Turns libc's -1 with errno into a negative errno.</summary>
    private static long Result(long rc) => rc < 0 ? -Marshal.GetLastPInvokeError() : rc;

    public static int open(string path, int flags, int mode = 0) => (int)Result(open_(path, flags, mode));

    public static int close(int fd) => (int)Result(close_(fd));

    public static void* mmap(void* addr, nuint length, int prot, int flags, int fd, long offset) => mmap_(addr, length, prot, flags, fd, offset);

    public static int munmap(void* addr, nuint length) => (int)Result(munmap_(addr, length));

    public static int eventfd(uint initval, int flags) => (int)Result(eventfd_(initval, flags));

    public static int epoll_create1(int flags) => (int)Result(epoll_create1_(flags));

    public static int epoll_ctl(int epfd, int op, int fd, epoll_event* ev) => (int)Result(epoll_ctl_(epfd, op, fd, ev));

    public static int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeoutMs) => (int)Result(epoll_wait_(epfd, events, maxevents, timeoutMs));

    /// <summary>epoll_wait with a timeout in nanoseconds (Linux 5.11).</summary>
    public static int epoll_pwait2(int epfd, epoll_event* events, int maxevents, timespec* timeout) =>
        (int)Result(syscall_(SYS_epoll_pwait2, epfd, (nint)events, maxevents, (nint)timeout, 0, 8));

    public static long read(int fd, void* buf, nuint count) => Result(read_(fd, buf, count));

    public static long write(int fd, void* buf, nuint count) => Result(write_(fd, buf, count));

    public static long pread(int fd, void* buf, nuint count, long offset) => Result(pread_(fd, buf, count, offset));

    public static long pwrite(int fd, void* buf, nuint count, long offset) => Result(pwrite_(fd, buf, count, offset));

    public static long preadv2(int fd, void* iov, int iovcnt, long offset, int flags) => Result(preadv2_(fd, iov, iovcnt, offset, flags));

    public static long pwritev2(int fd, void* iov, int iovcnt, long offset, int flags) => Result(pwritev2_(fd, iov, iovcnt, offset, flags));

    public static int fdatasync(int fd) => (int)Result(fdatasync_(fd));

    public static int fallocate(int fd, int mode, long offset, long len) => (int)Result(fallocate_(fd, mode, offset, len));

    public static int ftruncate(int fd, long length) => (int)Result(ftruncate_(fd, length));

    public static int ioctl(int fd, nuint request, void* arg) => (int)Result(ioctl_(fd, request, (nint)arg));

    public static int gettid() => gettid_();

    public static int getpid() => getpid_();

    /// <summary>Writes 1 to an eventfd. Used as a doorbell; never blocks on a non-blocking eventfd.</summary>
    public static void SignalEventFd(int fd)
    {
        ulong one = 1;
        _ = write_(fd, &one, sizeof(ulong));
    }

    public static int io_uring_setup(uint entries, void* parameters) => (int)Result(syscall_(SYS_io_uring_setup, (nint)entries, (nint)parameters, 0, 0, 0, 0));

    public static int io_uring_enter(int fd, uint toSubmit, uint minComplete, uint flags, void* arg, nuint argSize) =>
        (int)Result(syscall_(SYS_io_uring_enter, fd, (nint)toSubmit, (nint)minComplete, (nint)flags, (nint)arg, (nint)argSize));

    public static int io_uring_register(int fd, uint opcode, void* arg, uint nrArgs) =>
        (int)Result(syscall_(SYS_io_uring_register, fd, (nint)opcode, (nint)arg, (nint)nrArgs, 0, 0));

    /// <summary>Lets another thread run that waits for this processor, if there is one.</summary>
    public static void sched_yield() => _ = sched_yield_();

    /// <summary>Binds the calling thread to the processors of a mask of <paramref name="size"/> bytes.</summary>
    public static int sched_setaffinity(nuint size, void* mask) => (int)Result(sched_setaffinity_(0, size, mask));

    /// <summary>Reads the calling thread's processor mask; returns the number of bytes written.</summary>
    public static int sched_getaffinity(nuint size, void* mask) => (int)Result(syscall_(SYS_sched_getaffinity, 0, (nint)size, (nint)mask, 0, 0, 0));

    private const nint SYS_sched_getaffinity = 204;
    private const nint SYS_io_uring_setup = 425;
    private const nint SYS_io_uring_enter = 426;
    private const nint SYS_io_uring_register = 427;
    private const nint SYS_epoll_pwait2 = 441;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint syscall_(nint number, nint a, nint b, nint c, nint d, nint e, nint f);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open_(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int close_(int fd);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial void* mmap_(void* addr, nuint length, int prot, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int munmap_(void* addr, nuint length);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial int eventfd_(uint initval, int flags);

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial int epoll_create1_(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static partial int epoll_ctl_(int epfd, int op, int fd, epoll_event* ev);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static partial int epoll_wait_(int epfd, epoll_event* events, int maxevents, int timeout);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint read_(int fd, void* buf, nuint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint write_(int fd, void* buf, nuint count);

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    private static partial nint pread_(int fd, void* buf, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "pwrite", SetLastError = true)]
    private static partial nint pwrite_(int fd, void* buf, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    private static partial nint preadv2_(int fd, void* iov, int iovcnt, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "pwritev2", SetLastError = true)]
    private static partial nint pwritev2_(int fd, void* iov, int iovcnt, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int fdatasync_(int fd);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int fallocate_(int fd, int mode, long offset, long len);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int ftruncate_(int fd, long length);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int ioctl_(int fd, nuint request, nint arg);

    [LibraryImport("libc", EntryPoint = "gettid")]
    private static partial int gettid_();

    [LibraryImport("libc", EntryPoint = "getpid")]
    private static partial int getpid_();

    [LibraryImport("libc", EntryPoint = "sched_yield")]
    private static partial int sched_yield_();

    [LibraryImport("libc", EntryPoint = "sched_setaffinity", SetLastError = true)]
    private static partial int sched_setaffinity_(int pid, nuint size, void* mask);
}
