// Kicks and calls: suppressed while somebody looks anyway, never lost when somebody sleeps.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Null;
using Polyblk.Fakes;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class NotificationTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public NotificationTests(SteppedReactor stepped) => _stepped = stepped;

    public static TheoryData<ulong> Kinds => [0, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED, VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX];

    /// <summary>
    /// Both sides sleep whenever they may, over and over: a lost kick or call would stop this for ever (and is reported after a
    /// long time). The reactor must not wake up by itself: it would find what was lost.
    /// </summary>
    /// <summary>Its ring is empty, and still it has something to show or to send.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task AQueueThatHasSomethingToDoKeepsItsReactorAwake(bool packed) => _stepped.Run(reactor =>
    {
        const int DriveBytes = 128 << 20;
        using var kick = new SafeFileHandle(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), true);
        var drive = new HeldDrive(DriveBytes);
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Drive = drive });
        h.Restart(h.Setup with { Kick = kick });
        Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512));
        h.Queue.Poll();
        Assert.True(MaySleep(h));

        // An answer that came behind the queue's turn.
        drive.Complete(0);
        Assert.False(MaySleep(h));
        h.Queue.Poll();
        Assert.True(MaySleep(h));

        // Zeroing, of which a turn does a piece.
        drive.Inline = true;
        Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_WRITE_ZEROES, 0, ModelRun.Range(0, DriveBytes / 512), 0));
        h.Queue.Poll();
        Assert.False(MaySleep(h));
        h.Settle();
        Assert.True(MaySleep(h));
        Assert.NotNull(h.Blk.TryGetAnswer());
        Assert.NotNull(h.Blk.TryGetAnswer());
    });

    private static bool MaySleep(QueueHarness h)
    {
        bool may = h.Queue.TryArm();
        h.Queue.Disarm();
        return may;
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task NoKickAndNoCallIsLost(ulong features)
    {
        const int Requests = 8_000;
        using var reactors = new ReactorFixture(1, 0, maxSleep: TimeSpan.FromHours(1));
        await using var drive = new NullDrive(1 << 20);
        using var space = new GuestSpace((QueueHarness.RingAddress, 1 << 20), (QueueHarness.ArenaAddress, 1 << 20));
        features |= VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_FLUSH;
        GuestDriver driver = GuestDriver.Create(space, 16, features, QueueHarness.RingAddress);
        using var kick = new SafeFileHandle(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), true);
        using var called = new AutoResetEvent(false);
        VirtioBlkQueue queue = await VirtioBlkQueue.StartAsync(new VirtqueueSetup
        {
            Reactor = reactors.Reactor, Device = drive, Virtio = new VirtioBlkDevice(drive, new VirtioBlkDeviceOptions()), Memory = space.Memory,
            Addresses = driver.Addresses, Size = 16, Features = features, Base = driver.StartBase, Kick = kick, Call = new EventNotifier(called),
        });
        await Task.Factory.StartNew(() => Drive(driver, kick, called, Requests), TaskCreationOptions.LongRunning);
        await queue.StopAsync();
        Assert.Equal(Requests, queue.GetStatistics().Reads);
    }

    /// <summary>
    /// A request that is made available while the reactor is on its way to sleep: just before the queue asks for kicks, or just
    /// after.
    /// </summary>
    [Theory]
    [InlineData(0, true)]
    [InlineData(0, false)]
    [InlineData(VIRTIO_F_EVENT_IDX, true)]
    [InlineData(VIRTIO_F_EVENT_IDX, false)]
    [InlineData(VIRTIO_F_RING_PACKED, true)]
    [InlineData(VIRTIO_F_RING_PACKED, false)]
    [InlineData(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX, true)]
    [InlineData(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX, false)]
    public async Task ARequestOnTheWayToSleepIsServed(ulong features, bool before)
    {
        using var reactors = new ReactorFixture(1, 0, maxSleep: TimeSpan.FromHours(1));
        await using var drive = new NullDrive(1 << 20);
        using var space = new GuestSpace((QueueHarness.RingAddress, 1 << 20), (QueueHarness.ArenaAddress, 1 << 20));
        features |= VIRTIO_F_VERSION_1;
        GuestDriver driver = GuestDriver.Create(space, 16, features, QueueHarness.RingAddress);
        using var kick = new SafeFileHandle(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), true);
        var late = new LateDriver(driver, kick);
        if (before)
        {
            // Pollers are armed in the order in which they came.
            await reactors.Reactor.InvokeAsync(() => reactors.Reactor.Add(late));
        }

        VirtioBlkQueue queue = await VirtioBlkQueue.StartAsync(new VirtqueueSetup
        {
            Reactor = reactors.Reactor, Device = drive, Virtio = new VirtioBlkDevice(drive, new VirtioBlkDeviceOptions()), Memory = space.Memory,
            Addresses = driver.Addresses, Size = 16, Features = features, Base = driver.StartBase, Kick = kick,
        });
        if (!before)
        {
            await reactors.Reactor.InvokeAsync(() => reactors.Reactor.Add(late));
        }

        await reactors.Reactor.InvokeAsync(() => late.IsStarted = true);
        bool answered = await Task.WhenAny(late.Done, Task.Delay(TimeSpan.FromSeconds(60))) == late.Done;
        await reactors.Reactor.InvokeAsync(() => reactors.Reactor.Remove(late));
        await queue.StopAsync();
        Assert.True(answered, $"the reactor sleeps although a request is there, after {late.Answered} that it saw");
        Assert.Equal(before ? 0 : LateDriver.Requests, late.Kicks);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public Task KicksAreAskedForOnlyBeforeSleep(ulong features) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, new HarnessOptions { Features = features });
        using var kick = new SafeFileHandle(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), true);
        Assert.False(h.Queue.TryArm(), "Without a kick descriptor the queue must be polled.");
        h.Queue.Disarm();
        h.Queue.SetKickAsync(kick).GetAwaiter().GetResult();

        h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        Assert.False(h.Queue.TryArm(), "There is a request already.");
        h.Queue.Disarm();
        h.Settle();
        Assert.NotNull(h.Blk.TryGetAnswer());

        Assert.True(h.Queue.TryArm());
        h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        Assert.True(h.Blk.KickWanted);
        h.Queue.Disarm();
        h.Settle();
        for (int i = 0; i < 5; i++)
        {
            h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
            Assert.False(h.Blk.KickWanted);
        }
    });

    [Theory]
    [MemberData(nameof(Kinds))]
    public Task CallsComeWhenTheDriverWantsThem(ulong features) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, new HarnessOptions { Features = features });
        int atStart = h.Call.Count;
        Assert.Equal(1, atStart);
        h.Driver.EnableCalls();
        h.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        Assert.Equal(atStart + 1, h.Call.Count);

        h.Driver.DisableCalls();
        for (int i = 0; i < 10; i++)
        {
            h.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        }

        Assert.Equal(atStart + 1, h.Call.Count);
        Assert.True(h.Driver.EnableCalls());
        for (int i = 0; i < 8; i++)
        {
            h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        }

        h.Queue.Poll();
        h.Drive.CompleteAll();
        h.Queue.Poll();
        Assert.Equal(atStart + 2, h.Call.Count);
    });

    [Fact]
    public Task ANewCallDescriptorIsRungOnce() => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(false));
        var other = new CountingNotifier();
        h.Queue.SetCallAsync(other).GetAwaiter().GetResult();
        Assert.Equal(1, other.Count);
        h.Queue.SetCallAsync(null).GetAwaiter().GetResult();
        h.Driver.EnableCalls();
        h.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        Assert.Equal(1, other.Count);
    });

    private static void Drive(GuestDriver driver, SafeFileHandle kick, AutoResetEvent called, int requests)
    {
        var random = new Random(11);
        int submitted = 0;
        int answered = 0;
        while (answered < requests)
        {
            driver.DisableCalls();
            int added = 0;
            for (int i = random.Next(1, 4); i > 0 && submitted < requests && driver.FreeDescriptors >= 3; i--)
            {
                driver.Add([new(QueueHarness.ArenaAddress, 16, false), new(QueueHarness.ArenaAddress + 4096, 512, true), new(QueueHarness.ArenaAddress + 64, 1, true)]);
                submitted++;
                added++;
            }

            if (added != 0 && driver.Publish())
            {
                Libc.SignalEventFd((int)kick.DangerousGetHandle());
            }

            while (driver.TryGetUsed(out int _, out uint _))
            {
                answered++;
            }

            bool more = submitted < requests && driver.FreeDescriptors >= 3 && random.Next(2) == 0;
            if (!more && answered < submitted && driver.EnableCalls() && !called.WaitOne(TimeSpan.FromSeconds(60)))
            {
                throw new TimeoutException($"No answer and no call after {answered} of {submitted} requests.");
            }
        }
    }

    /// <summary>
    /// A driver that makes a request available whenever its reactor arms its pollers: one that comes from another processor at
    /// that moment.
    /// </summary>
    private sealed class LateDriver(GuestDriver driver, SafeFileHandle kick) : IPoller
    {
        public const int Requests = 50;

        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _submitted;

        public Task Done => _done.Task;

        public bool IsStarted { get; set; }

        public int Answered { get; private set; }

        public int Kicks { get; private set; }

        public int Poll()
        {
            while (driver.TryGetUsed(out int _, out uint _))
            {
                if (++Answered == Requests)
                {
                    _done.SetResult();
                }
            }

            return 0;
        }

        public bool TryArm()
        {
            if (IsStarted && _submitted == Answered && _submitted < Requests)
            {
                _submitted++;
                driver.Add([new(QueueHarness.ArenaAddress, 16, false), new(QueueHarness.ArenaAddress + 4096, 512, true), new(QueueHarness.ArenaAddress + 64, 1, true)]);
                if (driver.Publish())
                {
                    Kicks++;
                    Libc.SignalEventFd((int)kick.DangerousGetHandle());
                }
            }

            return true;
        }

        public void Disarm()
        {
        }

        public void OnDropped(Exception error)
        {
        }
    }

    private sealed class EventNotifier(AutoResetEvent called) : IVirtqueueNotifier
    {
        public void Notify() => called.Set();
    }
}

public sealed unsafe class EventFdNotifierTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(0x800)] // EFD_NONBLOCK
    public void RingsAndNeverBlocks(int mode)
    {
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC | mode);
        using var notifier = new EventFdNotifier(new SafeFileHandle(fd, true));
        notifier.Notify();
        notifier.Notify();
        ulong count;
        Assert.Equal(8, Libc.read(fd, &count, 8));
        Assert.Equal(2UL, count);

        // Full: a write would wait for ever in blocking mode.
        ulong full = ulong.MaxValue - 1;
        Assert.Equal(8, Libc.write(fd, &full, 8));
        notifier.Notify();
        Assert.Equal(8, Libc.read(fd, &count, 8));
        Assert.Equal(full, count);
    }

    [Fact]
    public void A_write_that_is_held_up_on_purpose_is_freed_and_told_of()
    {
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        using var told = new ManualResetEventSlim();
        using var notifier = new EventFdNotifier(new SafeFileHandle(fd, true), told.Set);
        ulong full = ulong.MaxValue - 1;
        Assert.Equal(0, Libc.fcntl(fd, Libc.F_SETFL, 0));
        Assert.Equal(8, Libc.write(fd, &full, 8));

        // Somebody goes on filling it, too.
        using var over = new ManualResetEventSlim();
        var filler = new Thread(() =>
        {
            while (!over.IsSet)
            {
                ulong again = ulong.MaxValue - 1;
                Libc.write(fd, &again, 8);
            }
        })
        { IsBackground = true };
        filler.Start();

        var writer = new Thread(notifier.Notify) { IsBackground = true };
        writer.Start();
        Assert.True(writer.Join(TimeSpan.FromSeconds(60)), "the write was not freed");
        Assert.True(told.Wait(TimeSpan.FromSeconds(60)), "nobody was told");

        // It is given up: this would block.
        notifier.Notify();

        over.Set();
        ulong count;
        Assert.Equal(0, Libc.fcntl(fd, Libc.F_SETFL, Libc.O_NONBLOCK));
        while (!filler.Join(10))
        {
            Libc.read(fd, &count, 8);
        }
    }

    [Fact]
    public void A_notification_that_nobody_takes_yet_is_left_alone()
    {
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        using var notifier = new EventFdNotifier(new SafeFileHandle(fd, true), () => Assert.Fail("nothing is stuck"));
        notifier.Notify();
        Assert.Null(notifier.FreeStuckWrite());
        Assert.Null(notifier.FreeStuckWrite());
        ulong count;
        Assert.Equal(8, Libc.read(fd, &count, 8));
        Assert.Equal(1UL, count);
    }

    [Fact]
    public void TakesNothingButAnEventFd()
    {
        using var memfd = new SafeFileHandle(Libc.memfd_create("test", Libc.MFD_CLOEXEC), true);
        Assert.Throws<IOException>(() => new EventFdNotifier(memfd));
    }
}
