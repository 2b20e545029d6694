using Polyblk.Core.Reactors;

namespace Polyblk.Core.Tests.Reactors;

/// <summary>A reactor whose turns the test takes itself.</summary>
public sealed class SteppedReactorTests
{
    private static readonly ReactorOptions s_options = new() { Name = "stepped", RingEntries = 0 };

    [Fact]
    public void TakesTurnsOnTheThreadThatMadeItAndOnlyWhenItIsAskedTo()
    {
        var poller = new Poller();
        Task<bool> posted;
        using (Reactor reactor = Reactor.CreateStepped(s_options))
        {
            Assert.Same(reactor, Reactor.Current);
            reactor.Add(poller);
            Assert.Equal(0, poller.Polls);
            Assert.Equal(1, reactor.Step());
            Assert.Equal(1, poller.Polls);

            posted = Task.Run(() => reactor.InvokeAsync(() => reactor.IsCurrent));
            SpinWait.SpinUntil(() => reactor.HasMail);
            Assert.False(posted.IsCompleted);
            reactor.Step();
            Assert.Throws<InvalidOperationException>(() => Reactor.CreateStepped(s_options));
        }

        Assert.Null(Reactor.Current);
        SpinWait.SpinUntil(() => posted.IsCompleted);
        Assert.True(posted.IsCompletedSuccessfully && posted.Status == TaskStatus.RanToCompletion);
    }

    [Fact]
    public void WhatAPollerThrowsIsTheCallers()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options);
        reactor.Add(new Poller { Error = new InvalidDataException("bug") });
        Assert.Throws<InvalidDataException>(() => reactor.Step());
    }

    [Fact]
    public async Task AThreadHasSeveralThatHoldItInTheirTurnsAlone()
    {
        using Reactor first = Reactor.CreateStepped(s_options, holdsThread: false, nowNs: 1000);
        using Reactor second = Reactor.CreateStepped(s_options, holdsThread: false, nowNs: 1000);
        Assert.Null(Reactor.Current);
        Task<Reactor?> task = first.InvokeAsync(() => Reactor.Current);
        Assert.False(task.IsCompleted);
        Assert.True(first.HasWork && !second.HasWork);
        second.Step();
        Assert.False(task.IsCompleted);
        first.Step();
        Assert.True(task.IsCompletedSuccessfully);
        Assert.Same(first, await task);
        Assert.Null(Reactor.Current);
    }

    [Fact]
    public void ItsTimersAreDueWhenTheTestSaysSo()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options, holdsThread: false, nowNs: 1000);
        var timer = new Timer();
        reactor.Schedule(timer, 3000);
        Assert.Equal((1000, 3000), (reactor.ReadNs(), reactor.NextDueNs));
        Assert.Equal(0, reactor.AdvanceTo(2999));
        Assert.Equal(1, reactor.AdvanceTo(3000));
        Assert.Equal((1, long.MaxValue), (timer.Fired, reactor.NextDueNs));
        reactor.AdvanceTo(2000);
        Assert.Equal(3000, reactor.NowNs);
    }

    /// <summary>What awaits such a reactor goes on in its turn: a simulation has no second thread.</summary>
    [Fact]
    public void ItsTasksNeedNoThreadOfThePool()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options, holdsThread: false);
        int thread = 0;
        async Task Wait()
        {
            await reactor.InvokeAsync(() => { }).ConfigureAwait(false);
            thread = Environment.CurrentManagedThreadId;
        }

        // A thread with a synchronisation context completes nothing in its place: whoever steps puts his away.
        SynchronizationContext? outside = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(null);
        Task task = Wait();
        reactor.Step();
        SynchronizationContext.SetSynchronizationContext(outside);
        Assert.True(task.IsCompletedSuccessfully);
        Assert.Equal(Environment.CurrentManagedThreadId, thread);
    }

    private sealed class Timer : ReactorTimer
    {
        public int Fired { get; private set; }

        protected internal override void OnDue() => Fired++;
    }

    private sealed class Poller : IPoller
    {
        public Exception? Error { get; init; }

        public int Polls { get; private set; }

        public int Poll()
        {
            Polls++;
            return Error is null ? 1 : throw Error;
        }

        public bool TryArm() => true;

        public void Disarm()
        {
        }

        public void OnDropped(Exception error)
        {
        }
    }
}
