// libc, as this program calls it: functions under their C names that return a result or a negative errno, because errors of
// the kernel are values here. Calls on a reactor take raw numbers; whoever owns a descriptor wraps it in a SafeFileHandle.
//
// The calls, constants and structures are Tmds.LibC's wherever it has them and has them right; what it lacks is declared in
// Libc.Imports.cs, the only file of the product with imports from libc (tests/architecture). So nobody else has to know which
// is which.
//
// Errors: the package's imports have SetLastError, so the runtime takes errno in the stub of the call itself, before anything
// else of the runtime can run on the thread and overwrite it. Result() must be the next thing that is done: another such call
// of the same thread would overwrite what was taken. An import without SetLastError must not be passed to Result(): it would
// read the error of an earlier call (ErrnoTests).
//
// Constants are properties, because the package's differ between processors (O_DIRECT) and are known when the program is
// compiled for one of them; they cost nothing in compiled code. What has to be a constant of the language (Errno) is compared
// with the package by a test.

using System.Runtime.InteropServices;
using System.Runtime.InteropServices.Marshalling;
using Microsoft.Win32.SafeHandles;
using Tmds.Linux;

namespace Polyblk.Core.Interop;

/// <summary>System calls as functions that return a result or a negative errno.</summary>
public static unsafe partial class Libc
{
    public static int O_RDONLY => LibC.O_RDONLY;
    public static int O_RDWR => LibC.O_RDWR;
    public static int O_CREAT => LibC.O_CREAT;
    public static int O_EXCL => LibC.O_EXCL;
    public static int O_NOFOLLOW => LibC.O_NOFOLLOW;
    public static int O_NONBLOCK => LibC.O_NONBLOCK;
    public static int O_DSYNC => LibC.O_DSYNC;
    public static int O_DIRECT => LibC.O_DIRECT;
    public static int O_CLOEXEC => LibC.O_CLOEXEC;

    public static int PROT_NONE => LibC.PROT_NONE;
    public static int PROT_READ => LibC.PROT_READ;
    public static int PROT_WRITE => LibC.PROT_WRITE;
    public static int PROT_EXEC => LibC.PROT_EXEC;
    public static int MAP_SHARED => LibC.MAP_SHARED;
    public static int MAP_PRIVATE => LibC.MAP_PRIVATE;
    public static int MAP_ANONYMOUS => LibC.MAP_ANONYMOUS;
    public static int MAP_NORESERVE => LibC.MAP_NORESERVE;
    public static int MAP_POPULATE => LibC.MAP_POPULATE;
    public static int MADV_DONTNEED => LibC.MADV_DONTNEED;
    public static int MADV_DONTDUMP => LibC.MADV_DONTDUMP;
    public static int MADV_HUGEPAGE => LibC.MADV_HUGEPAGE;
    public static int MADV_NOHUGEPAGE => LibC.MADV_NOHUGEPAGE;
    public static void* MAP_FAILED => LibC.MAP_FAILED;

    public static int EFD_CLOEXEC => LibC.EFD_CLOEXEC;
    public static int EFD_NONBLOCK => LibC.EFD_NONBLOCK;

    public static int EPOLL_CLOEXEC => LibC.EPOLL_CLOEXEC;
    public static int EPOLL_CTL_ADD => LibC.EPOLL_CTL_ADD;
    public static int EPOLL_CTL_DEL => LibC.EPOLL_CTL_DEL;
    public static int EPOLLIN => LibC.EPOLLIN;
    public static int EPOLLOUT => LibC.EPOLLOUT;
    public static int EPOLLET => LibC.EPOLLET;

    /// <summary>Most bytes of a path for which no memory is allocated.</summary>
    private const int ShortPathBytes = 256;

    /// <summary>Turns libc's -1 with errno into a negative errno.</summary>
    private static long Result(long rc) => rc < 0 ? -Marshal.GetLastPInvokeError() : rc;

    private static int Result(int rc) => rc < 0 ? -Marshal.GetLastPInvokeError() : rc;

    /// <summary>A call with a path, which libc wants as bytes that end with zero.</summary>
    private static int WithPath<T>(string path, T arguments, delegate*<byte*, T, int> call)
    {
        byte* room = stackalloc byte[ShortPathBytes];
        Utf8StringMarshaller.ManagedToUnmanagedIn bytes = default;
        try
        {
            bytes.FromManaged(path, new Span<byte>(room, ShortPathBytes));
            return call(bytes.ToUnmanaged(), arguments);
        }
        finally
        {
            bytes.Free();
        }
    }

    public static int open(string path, int flags, int mode = 0) => WithPath(path, (flags, mode), &Open);

    private static int Open(byte* path, (int Flags, int Mode) a) => Result(LibC.open(path, a.Flags, (ushort)a.Mode));

    public static int close(int fd) => Result(LibC.close(fd));

    public static void* mmap(void* addr, nuint length, int prot, int flags, int fd, long offset) =>
        LibC.mmap(addr, (size_t)length, prot, flags, fd, offset);

    public static int munmap(void* addr, nuint length) => Result(LibC.munmap(addr, (size_t)length));

    public static int mprotect(void* addr, nuint length, int prot) => Result(LibC.mprotect(addr, (size_t)length, prot));

    public static int madvise(void* addr, nuint length, int advice) => Result(LibC.madvise(addr, (size_t)length, advice));

    public static int eventfd(uint initval, int flags) => Result(LibC.eventfd(initval, flags));

    public static int epoll_create1(int flags) => Result(LibC.epoll_create1(flags));

    public static int epoll_ctl(int epfd, int op, int fd, epoll_event* ev) => Result(LibC.epoll_ctl(epfd, op, fd, ev));

    public static int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeoutMs) =>
        Result(LibC.epoll_wait(epfd, events, maxevents, timeoutMs));

    /// <summary>
    /// epoll_wait with a timeout in nanoseconds (Linux 5.11): by its number, for glibc has a function for it since 2.35 only.
    /// </summary>
    public static int epoll_pwait2(int epfd, epoll_event* events, int maxevents, timespec* timeout) =>
        (int)Result((ssize_t)LibC.syscall(SYS_epoll_pwait2, epfd, events, maxevents, timeout, (void*)null, 8));

    public static long read(int fd, void* buf, nuint count) => Result((long)LibC.read(fd, buf, (size_t)count));

    public static long write(int fd, void* buf, nuint count) => Result((long)LibC.write(fd, buf, (size_t)count));

    public static long pread(int fd, void* buf, nuint count, long offset) =>
        Result((long)LibC.pread(fd, buf, (size_t)count, offset));

    public static long pwrite(int fd, void* buf, nuint count, long offset) =>
        Result((long)LibC.pwrite(fd, buf, (size_t)count, offset));

    public static int fsync(int fd) => Result(LibC.fsync(fd));

    public static int fdatasync(int fd) => Result(LibC.fdatasync(fd));

    public static int syncfs(int fd) => Result(LibC.syncfs(fd));

    public static int fallocate(int fd, int mode, long offset, long len) => Result(LibC.fallocate(fd, mode, offset, len));

    public static int ftruncate(int fd, long length) => Result(LibC.ftruncate(fd, length));

    /// <summary>Duplicates a descriptor; a program that is started does not get it.</summary>
    /// <exception cref="IOException">There are too few descriptors.</exception>
    public static SafeFileHandle Duplicate(SafeFileHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        bool held = false;
        descriptor.DangerousAddRef(ref held);
        try
        {
            int fd = fcntl((int)descriptor.DangerousGetHandle(), LibC.F_DUPFD_CLOEXEC, 0);
            return fd >= 0
                ? new SafeFileHandle(fd, ownsHandle: true)
                : throw new IOException($"No descriptor is left (errno {-fd}): raise the limit (ulimit -n).");
        }
        finally
        {
            descriptor.DangerousRelease();
        }
    }

    public static int fcntl(int fd, int command, nint argument) => Result(LibC.fcntl(fd, command, (void*)argument));

    public static int ioctl(int fd, nuint request, void* arg) => Result(LibC.ioctl(fd, unchecked((int)request), arg));

    public static int kill(int pid, int signal) => Result(LibC.kill(pid, signal));

    public static int getpid() => LibC.getpid();

    public static uint geteuid() => LibC.geteuid();

    /// <summary>Writes 1 to an eventfd. Used as a doorbell; never blocks on a non-blocking eventfd.</summary>
    public static void SignalEventFd(int fd)
    {
        ulong one = 1;
        _ = LibC.write(fd, &one, sizeof(ulong));
    }

    public static int io_uring_setup(uint entries, void* parameters) =>
        Result(LibC.io_uring_setup(entries, (io_uring_params*)parameters));

    public static int io_uring_enter(int fd, uint toSubmit, uint minComplete, uint flags) =>
        Result(LibC.io_uring_enter(fd, toSubmit, minComplete, flags, null));

    public static int io_uring_register(int fd, uint opcode, void* arg, uint nrArgs) =>
        Result(LibC.io_uring_register(fd, opcode, arg, nrArgs));

    /// <summary>Lets another thread run that waits for this processor, if there is one.</summary>
    public static void sched_yield() => _ = LibC.sched_yield();

    /// <summary>Binds the calling thread to the processors of a mask of <paramref name="size"/> bytes.</summary>
    public static int sched_setaffinity(nuint size, void* mask) =>
        Result(LibC.sched_setaffinity(0, (size_t)size, (cpu_set_t*)mask));

    /// <summary>Reads the calling thread's processor mask; what the kernel has no bits for becomes zero.</summary>
    public static int sched_getaffinity(nuint size, void* mask) =>
        Result(LibC.sched_getaffinity(0, (size_t)size, (cpu_set_t*)mask));

    /// <summary>A descriptor of a process, readable when it has ended (Linux 5.3): by its number, which glibc names since
    /// 2.36.</summary>
    public static int pidfd_open(int pid, uint flags) => (int)Result((ssize_t)LibC.syscall(SYS_pidfd_open, pid, flags));

    private const int SYS_pidfd_open = 434;
    private const int SYS_epoll_pwait2 = 441;
}
