using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Fakes;

namespace Polyblk.Core.Tests.Reactors;

public sealed class ReactorTests
{
    [Fact]
    public async Task RunsPostedWorkInOrderOnItsThread()
    {
        using var fixture = new ReactorFixture();
        var order = new List<int>();
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        for (int i = 0; i < 100; i++)
        {
            int number = i;
            fixture.Reactor.Post(new Action(() =>
            {
                Assert.True(fixture.Reactor.IsCurrent);
                order.Add(number);
                if (number == 99)
                {
                    done.SetResult();
                }
            }));
        }

        await done.Task;
        Assert.Equal(Enumerable.Range(0, 100), order);
        Assert.Null(Reactor.Current);
    }

    [Fact]
    public async Task ASleepingReactorWakesForEveryPost()
    {
        // Each round lets the reactor fall asleep at once, for an hour: a lost wake-up fails the test.
        using var reactor = new Reactor(new ReactorOptions { Idle = IdlePolicy.Frugal, MaxSleepNs = 3_600_000_000_000 });
        for (int i = 0; i < 2000; i++)
        {
            Assert.Equal(i, await reactor.InvokeAsync(() => i).WaitAsync(TimeSpan.FromSeconds(20)));
        }

        Assert.True(reactor.GetStatistics().Sleeps > 0);
    }

    [Fact]
    public async Task WorkThatDefersItselfDoesNotHoldTheTurn()
    {
        using var fixture = new ReactorFixture();
        var poller = new CountingPoller(work: 0);
        int left = 1000;
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await fixture.Reactor.InvokeAsync(() =>
        {
            fixture.Reactor.Add(poller);
            Action? again = null;
            again = new Action(() =>
            {
                if (--left == 0)
                {
                    done.SetResult();
                }
                else
                {
                    fixture.Reactor.Defer(again!);
                }
            });
            fixture.Reactor.Defer(again);
        });
        await done.Task;
        int polls = await fixture.Reactor.InvokeAsync(() => poller.Polls);
        Assert.True(polls >= 400, $"only {polls} turns for 1000 deferrals: two are the most in a turn");
    }

    /// <summary>However much bulk work there is, a turn does a few pieces of it; and all of it is done in its order.</summary>
    [Fact]
    public async Task BulkWorkTakesALittleOfEachTurn()
    {
        const int Works = 40;
        const int Rounds = 5;
        using var fixture = new ReactorFixture();
        var poller = new CountingPoller(work: 0);
        var order = new List<int>();
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await fixture.Reactor.InvokeAsync(() =>
        {
            fixture.Reactor.Add(poller);
            for (int i = 0; i < Works; i++)
            {
                int number = i;
                int left = Rounds;
                Action? piece = null;
                piece = new Action(() =>
                {
                    order.Add(number);
                    if (--left != 0)
                    {
                        fixture.Reactor.DeferBulk(piece!);
                    }
                    else if (number == Works - 1)
                    {
                        done.SetResult();
                    }
                });
                fixture.Reactor.DeferBulk(piece);
            }
        });
        await done.Task;
        int polls = await fixture.Reactor.InvokeAsync(() => poller.Polls);
        Assert.True(polls >= Works * Rounds / 4, $"only {polls} turns for {Works * Rounds} pieces");
        Assert.Equal(Enumerable.Range(0, Rounds).SelectMany(_ => Enumerable.Range(0, Works)), order);
    }

    [Fact]
    public async Task FiresTimersInOrderAlsoFromSleep()
    {
        using var fixture = new ReactorFixture();
        var order = new List<int>();
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await fixture.Reactor.InvokeAsync(() =>
        {
            long now = fixture.Reactor.ReadNs();
            fixture.Reactor.Schedule(new Timer(() => done.SetResult()), now + 30_000_000);
            fixture.Reactor.Schedule(new Timer(() => order.Add(2)), now + 20_000_000);
            fixture.Reactor.Schedule(new Timer(() => order.Add(1)), now + 10_000_000);
            var cancelled = new Timer(() => order.Add(3));
            fixture.Reactor.Schedule(cancelled, now + 15_000_000);
            fixture.Reactor.Cancel(cancelled);
        });
        await done.Task;
        Assert.Equal([1, 2], order);
        Assert.True(fixture.Reactor.GetStatistics().Sleeps > 0);
    }

    [Fact]
    public async Task AWatchedDescriptorWakesItAgainAndAgain()
    {
        using var fixture = new ReactorFixture();
        int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        var rung = new SemaphoreSlim(0);
        await fixture.Reactor.InvokeAsync(() => fixture.Reactor.Watch(fd, new Doorbell(rung)));
        for (int i = 0; i < 20; i++)
        {
            Libc.SignalEventFd(fd);
            await rung.WaitAsync();
        }

        await fixture.Reactor.InvokeAsync(() => fixture.Reactor.Unwatch(fd));
        Libc.SignalEventFd(fd);
        await fixture.Reactor.InvokeAsync(() => { });
        Assert.Equal(0, rung.CurrentCount);
        Assert.Equal(0, Libc.close(fd));
    }

    [Fact]
    public async Task ABrokenPollerIsDroppedAndTheOthersGoOn()
    {
        using var reactor = new Reactor(new ReactorOptions { Idle = IdlePolicy.Frugal });
        var faulted = new TaskCompletionSource<object?>(TaskCreationOptions.RunContinuationsAsynchronously);
        reactor.Faulted += (_, source, _) =>
        {
            faulted.TrySetResult(source);
            throw new InvalidOperationException("A handler may fail as well.");
        };
        var good = new CountingPoller(work: 0);
        var bad = new CountingPoller(work: 0) { Breaks = true };
        await reactor.InvokeAsync(() =>
        {
            reactor.Add(good);
            reactor.Add(bad);
        });
        Assert.Same(bad, await faulted.Task);
        int before = await reactor.InvokeAsync(() => good.Polls);
        int badBefore = bad.Polls;
        await reactor.InvokeAsync(() => { });
        await WaitForAsync(reactor, () => good.Polls > before);
        Assert.Equal(badBefore, bad.Polls);
        await reactor.InvokeAsync(() => reactor.Remove(good));
    }

    [Fact]
    public async Task APollerThatBreaksWhileItIsArmedIsDroppedAndTheOthersAreDisarmed()
    {
        using var reactor = new Reactor(new ReactorOptions { Idle = IdlePolicy.Frugal });
        var faulted = new TaskCompletionSource<object?>(TaskCreationOptions.RunContinuationsAsynchronously);
        reactor.Faulted += (_, source, _) => faulted.TrySetResult(source);
        var good = new CountingPoller(work: 0);
        var bad = new CountingPoller(work: 0) { BreaksWhenArmed = true };
        await reactor.InvokeAsync(() =>
        {
            reactor.Add(good);
            reactor.Add(bad);
        });
        Assert.Same(bad, await faulted.Task);
        Assert.True(await reactor.InvokeAsync(() => good.IsDisarmedAfterArm));
        Assert.Equal(1, reactor.GetStatistics().Faults);
    }

    /// <summary>Wherever it throws, a poller that is dropped is told, so that those who wait for it can be.</summary>
    [Theory]
    [InlineData("poll")]
    [InlineData("arm")]
    [InlineData("disarm")]
    [InlineData("drop")]
    public async Task ADroppedPollerIsTold(string where)
    {
        using var reactor = new Reactor(new ReactorOptions { Idle = IdlePolicy.Frugal });
        var bad = new CountingPoller(work: 0)
        {
            Breaks = where is "poll" or "drop",
            BreaksWhenArmed = where == "arm",
            BreaksWhenDisarmed = where == "disarm",
            BreaksWhenDropped = where == "drop",
        };
        var faulted = new TaskCompletionSource<object?>(TaskCreationOptions.RunContinuationsAsynchronously);
        reactor.Faulted += (_, source, _) => faulted.TrySetResult(source);
        await reactor.InvokeAsync(() => reactor.Add(bad));
        Assert.IsType<InvalidOperationException>(await bad.Dropped.Task);
        Assert.Same(bad, await faulted.Task);
        await reactor.InvokeAsync(() => { });
    }

    [Fact]
    public async Task CountsTheRequestsOfItsPollersAndItsTime()
    {
        using var fixture = new ReactorFixture();
        var poller = new CountingPoller(work: 3) { Limit = 100 };
        await fixture.Reactor.InvokeAsync(() => fixture.Reactor.Add(poller));
        await WaitForAsync(fixture.Reactor, () => poller.Polls > 200);
        ReactorStatistics statistics = fixture.Reactor.GetStatistics();
        Assert.Equal(300, statistics.Requests);
        Assert.True(statistics.Turns >= 200);
        Assert.True(statistics.BusyNs > 0 && statistics.SpinNs > 0);
        Assert.Equal(0, statistics.Faults);
    }

    [Fact]
    public async Task AnEndedReactorRefusesInsteadOfKeepingCallersWaiting()
    {
        var reactor = new Reactor(new ReactorOptions());
        Task<int>[] calls = [.. Enumerable.Range(0, 50).Select(i => reactor.InvokeAsync(() => i))];
        reactor.Dispose();
        reactor.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => reactor.InvokeAsync(() => 1));
        Assert.Equal(Enumerable.Range(0, 50), await Task.WhenAll(calls));
    }

    [Fact]
    public async Task AnExceptionOfInvokedWorkReachesTheCaller()
    {
        using var fixture = new ReactorFixture();
        await Assert.ThrowsAsync<InvalidDataException>(() => fixture.Reactor.InvokeAsync(() => throw new InvalidDataException()));
    }

    [Fact]
    public void AProcessorThatDoesNotExistIsRefused()
    {
        IOException e = Assert.Throws<IOException>(() => new Reactor(new ReactorOptions { Cpu = CpuSet.MaxCpus - 1 }));
        Assert.Contains("choose from", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void QueuesGoToTheReactorWithTheFewest()
    {
        using var fixture = new ReactorFixture(count: 2, ringEntries: 0);
        Reactor[] got = [.. Enumerable.Range(0, 4).Select(_ => fixture.Group.Assign())];
        Assert.Equal([fixture.Reactors[0], fixture.Reactors[1], fixture.Reactors[0], fixture.Reactors[1]], got);
        fixture.Group.Release(got[1]);
        Assert.Equal([2, 1], fixture.Group.Plan);
        Assert.Same(fixture.Reactors[1], fixture.Group.Assign());
    }

    private static async Task WaitForAsync(Reactor reactor, Func<bool> condition)
    {
        while (!await reactor.InvokeAsync(condition))
        {
            await Task.Yield();
        }
    }

    private sealed class Action(System.Action action) : ReactorWork
    {
        public override void Run() => action();
    }

    private sealed class Timer(System.Action action) : ReactorTimer
    {
        protected internal override void OnDue() => action();
    }

    private sealed class Doorbell(SemaphoreSlim rung) : IDoorbell
    {
        public void OnRung() => rung.Release();
    }

    private sealed class CountingPoller(int work) : IPoller
    {
        private bool _armed;

        public int Polls { get; private set; }

        public int Limit { get; init; } = int.MaxValue;

        public bool Breaks { get; init; }

        public bool BreaksWhenArmed { get; init; }

        public bool BreaksWhenDisarmed { get; init; }

        public bool BreaksWhenDropped { get; init; }

        public TaskCompletionSource<Exception> Dropped { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool IsDisarmedAfterArm { get; private set; }

        public int Poll()
        {
            Polls++;
            return Breaks ? throw new InvalidOperationException("A broken poller.") : Polls <= Limit ? work : 0;
        }

        public bool TryArm()
        {
            _armed = true;
            return BreaksWhenArmed ? throw new InvalidOperationException("A broken poller.") : true;
        }

        public void Disarm()
        {
            IsDisarmedAfterArm |= _armed;
            _armed = false;
            if (BreaksWhenDisarmed)
            {
                throw new InvalidOperationException("A broken poller.");
            }
        }

        public void OnDropped(Exception error)
        {
            Dropped.TrySetResult(error);
            if (BreaksWhenDropped)
            {
                throw new InvalidOperationException("A poller that breaks again.");
            }
        }
    }
}
