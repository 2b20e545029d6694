// Errors of system calls: the wrappers' own, whatever else the runtime does meanwhile.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Core.Tests.Interop;

public sealed unsafe class ErrnoTests
{
    private const int EBADF = 9;
    private static readonly int s_epoll = Libc.epoll_create1(Libc.EPOLL_CLOEXEC);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    /// <summary>The wrappers, each with a call that fails and the error that the kernel gives for it.</summary>
    public static TheoryData<string> Failures => [.. Calls.Keys];

    private static Dictionary<string, (int Errno, Func<long> Call)> Calls { get; } = new()
    {
        ["open"] = (Errno.ENOENT, () => Libc.open("/nothing/is/here", Libc.O_RDONLY)),
        ["open of a long path"] = (36 /* ENAMETOOLONG */, () => Libc.open("/" + new string('x', 5000), Libc.O_RDONLY)),
        ["close"] = (EBADF, () => Libc.close(-1)),
        ["read"] = (EBADF, () => Libc.read(-1, null, 1)),
        ["write"] = (EBADF, () => Libc.write(-1, null, 1)),
        ["pread"] = (EBADF, () => Libc.pread(-1, null, 1, 0)),
        ["pwrite"] = (EBADF, () => Libc.pwrite(-1, null, 1, 0)),
        ["preadv2"] = (EBADF, () => Libc.preadv2(-1, null, 0, 0, 0)),
        ["pwritev2"] = (EBADF, () => Libc.pwritev2(-1, null, 0, 0, 0)),
        ["readv"] = (EBADF, () => Libc.readv(-1, null, 0)),
        ["writev"] = (EBADF, () => Libc.writev(-1, null, 0)),
        ["munmap"] = (Errno.EINVAL, () => Libc.munmap((void*)1, 1)),
        ["mprotect"] = (Errno.EINVAL, () => Libc.mprotect((void*)1, 1, 0)),
        ["madvise"] = (Errno.EINVAL, () => Libc.madvise((void*)1, 1, 0)),
        ["eventfd"] = (Errno.EINVAL, () => Libc.eventfd(0, -1)),
        ["epoll_create1"] = (Errno.EINVAL, () => Libc.epoll_create1(-1)),
        ["epoll_ctl"] = (EBADF, () => Libc.epoll_ctl(-1, Libc.EPOLL_CTL_DEL, -1, null)),
        ["epoll_wait"] = (Errno.EINVAL, () => Libc.epoll_wait(s_epoll, null, 0, 0)),
        ["epoll_pwait2"] = (Errno.EINVAL, () => Libc.epoll_pwait2(s_epoll, null, 0, null)),
        ["poll"] = (Errno.EFAULT, () => Libc.poll(null, 1, 0)),
        ["fcntl"] = (EBADF, () => Libc.fcntl(-1, Libc.F_GETFL, 0)),
        ["ioctl"] = (EBADF, () => Libc.ioctl(-1, 0x80081272, null)),
        ["fsync"] = (EBADF, () => Libc.fsync(-1)),
        ["fdatasync"] = (EBADF, () => Libc.fdatasync(-1)),
        ["syncfs"] = (EBADF, () => Libc.syncfs(-1)),
        ["fallocate"] = (EBADF, () => Libc.fallocate(-1, 0, 0, 1)),
        ["ftruncate"] = (EBADF, () => Libc.ftruncate(-1, 0)),
        ["flock"] = (EBADF, () => Libc.flock(-1, Libc.LOCK_EX)),
        ["fstat"] = (EBADF, () => Libc.fstat(-1, null)),
        ["fstatfs"] = (EBADF, () => Libc.fstatfs(-1, null)),
        ["memfd_create"] = (Errno.EINVAL, () => Libc.memfd_create("x", uint.MaxValue)),
        ["socket"] = (97 /* EAFNOSUPPORT */, () => Libc.socket(-1, Libc.SOCK_STREAM, 0)),
        ["bind"] = (EBADF, () => Libc.bind(-1, null, 0)),
        ["connect"] = (EBADF, () => Libc.connect(-1, null, 0)),
        ["listen"] = (EBADF, () => Libc.listen(-1, 0)),
        ["accept4"] = (EBADF, () => Libc.accept4(-1, 0)),
        ["shutdown"] = (EBADF, () => Libc.shutdown(-1, Libc.SHUT_RDWR)),
        ["sendmsg"] = (EBADF, () => Libc.sendmsg(-1, null, 0)),
        ["recvmsg"] = (EBADF, () => Libc.recvmsg(-1, null, 0)),
        ["getsockopt"] = (EBADF, () => Libc.getsockopt(-1, 0, 0, null, null)),
        ["getsockname"] = (EBADF, () => Libc.getsockname(-1, null, null)),
        ["fchmod"] = (EBADF, () => Libc.fchmod(-1, 0)),
        ["chmod"] = (Errno.ENOENT, () => Libc.chmod("/nothing/is/here", 0)),
        ["chown"] = (Errno.ENOENT, () => Libc.chown("/nothing/is/here", uint.MaxValue, uint.MaxValue)),
        ["lchown"] = (Errno.ENOENT, () => Libc.lchown("/nothing/is/here", uint.MaxValue, uint.MaxValue)),
        ["fchown"] = (EBADF, () => Libc.fchown(-1, uint.MaxValue, uint.MaxValue)),
        ["statx"] = (Errno.ENOENT, () => Libc.OwnerOf("/nothing/is/here", out _, out _)),
        ["pipe2"] = (Errno.EINVAL, () => Libc.pipe2(null, -1)),
        ["waitpid"] = (Errno.EINVAL, () => Libc.waitpid(-1, null, -1)),
        ["waitid"] = (Errno.EINVAL, () => Libc.waitid(-1, 0, null, -1)),
        ["kill"] = (Errno.EINVAL, () => Libc.kill(Libc.getpid(), 9999)),
        ["prctl"] = (Errno.EINVAL, () => Libc.prctl(-1, 0, 0, 0, 0)),
        ["set_sigaction"] = (Errno.EINVAL, () => Libc.set_sigaction(9999, null, null)),
        ["getrlimit"] = (Errno.EINVAL, () => Libc.getrlimit(9999, null)),
        ["sched_getaffinity"] = (Errno.EINVAL, () => Libc.sched_getaffinity(0, null)),
        ["sched_setaffinity"] = (Errno.EFAULT, () => Libc.sched_setaffinity(8, null)),
    };

    [Theory]
    [MemberData(nameof(Failures))]
    public void A_call_reports_its_own_error_and_not_that_of_the_call_before(string name)
    {
        (int errno, Func<long> call) = Calls[name];

        // Whatever a call before left behind must not be seen: two different ones, one of which differs from the expected error.
        foreach (long before in new[] { Calls["close"].Call(), Calls["open"].Call() })
        {
            Assert.True(before < 0);
            Assert.Equal(-errno, call());
        }
    }

    [Fact]
    public void Errors_are_right_while_the_runtime_stops_the_threads_to_collect_garbage()
    {
        using var end = new CancellationTokenSource();
        int wrong = 0;
        long made = 0;
        var threads = new List<Thread>();
        foreach (string[] names in new[] { new[] { "close", "open" }, ["munmap", "socket"], ["poll", "epoll_ctl"] })
        {
            threads.Add(new Thread(() =>
            {
                (int Errno, Func<long> Call)[] calls = [.. names.Select(name => Calls[name])];
                while (!end.IsCancellationRequested)
                {
                    foreach ((int errno, Func<long> call) in calls)
                    {
                        wrong += call() == -errno ? 0 : 1;
                        _ = new byte[64];
                    }

                    Interlocked.Increment(ref made);
                }
            }));
        }

        threads.ForEach(t => t.Start());
        for (int i = 0; i < 300 || Volatile.Read(ref made) < 1000; i++)
        {
            GC.Collect(0);
        }

        end.Cancel();
        threads.ForEach(t => Assert.True(t.Join(s_patience), "A thread that only makes failing calls did not end."));
        Assert.Equal(0, wrong);
    }

    [Fact]
    public void Calls_of_a_reactor_allocate_nothing()
    {
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        int epoll = Libc.epoll_create1(Libc.EPOLL_CLOEXEC);
        var watched = new epoll_event { events = Libc.EPOLLIN, data = new epoll_data_t { u64 = 42 } };
        Assert.Equal(0, Libc.epoll_ctl(epoll, Libc.EPOLL_CTL_ADD, fd, &watched));
        Assert.Equal(42ul, Turns(fd, epoll)); // compiled from here on
        long before = GC.GetAllocatedBytesForCurrentThread();
        _ = Turns(fd, epoll);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        _ = Libc.close(epoll);
        _ = Libc.close(fd);
    }

    private static ulong Turns(int fd, int epoll)
    {
        ulong seen = 0;
        for (int i = 0; i < 100; i++)
        {
            ulong value;
            epoll_event ready;
            timespec none = default;
            var polled = new pollfd { fd = fd, events = Libc.POLLIN };
            Libc.SignalEventFd(fd);
            seen = Libc.epoll_pwait2(epoll, &ready, 1, &none) == 1 ? ready.data.u64 : 0;
            seen &= Libc.epoll_wait(epoll, &ready, 1, 0) == 1 ? ready.data.u64 : 0;
            _ = Libc.poll(&polled, 1, 0);
            _ = Libc.read(fd, &value, sizeof(ulong));
            _ = Libc.pread(-1, &value, sizeof(ulong), 0);
            _ = Libc.pwrite(-1, &value, sizeof(ulong), 0);
            _ = Libc.preadv2(-1, null, 0, 0, 0);
            _ = Libc.pwritev2(-1, null, 0, 0, 0);
            _ = Libc.readv(-1, null, 0);
            _ = Libc.writev(-1, null, 0);
            _ = Libc.fallocate(-1, 0, 0, 0);
            _ = Libc.ioctl(-1, 0, null);
            _ = Libc.io_uring_enter(-1, 0, 0, 0);
            _ = Libc.sendmsg(-1, null, 0);
            Libc.sched_yield();
        }

        return seen;
    }
}
