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
