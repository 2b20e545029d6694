using Polyblk.Core.Control;
using Polyblk.Fakes;

namespace Polyblk.Core.Tests.Control;

public sealed class ControlSignalTests
{
    private static readonly TimeSpan s_tick = TimeSpan.FromSeconds(1);
    private readonly ManualTime _time = new();

    [Fact]
    public async Task WhatWasSetBeforeEndsTheWaitAtOnceAndOnlyThatOne()
    {
        var signal = new ControlSignal(TaskScheduler.Default, _time);
        signal.Set();
        signal.Set();
        await signal.WaitAsync(s_tick);
        Task second = signal.WaitAsync(s_tick);
        Assert.Equal(1, _time.Waiting);
        Assert.False(second.IsCompleted);
        signal.Set();
        await second;
        Assert.Equal(0, _time.Waiting);
    }

    [Fact]
    public async Task TimeEndsTheWaitToo()
    {
        var signal = new ControlSignal(TaskScheduler.Default, _time);
        Task wait = signal.WaitAsync(s_tick);
        _time.Advance(s_tick - TimeSpan.FromTicks(1));
        Assert.False(wait.IsCompleted);
        _time.Advance(TimeSpan.FromTicks(1));
        await wait;
    }

    /// <summary>
    /// Every order of a set and the steps of a wait on two threads: none is lost. An hour of waiting would show.
    /// </summary>
    [Fact]
    public async Task NoSetIsLost()
    {
        var signal = new ControlSignal(TaskScheduler.Default, TimeProvider.System);
        int wanted = 0, seen = 0;
        Task setter = Task.Run(async () =>
        {
            for (int i = 1; i <= 5_000; i++)
            {
                Volatile.Write(ref wanted, i);
                signal.Set();
                while (i % 50 == 0 && Volatile.Read(ref seen) != i)
                {
                    await Task.Yield();
                }
            }
        });
        while (seen < 5_000)
        {
            await signal.WaitAsync(TimeSpan.FromHours(1));
            Volatile.Write(ref seen, Volatile.Read(ref wanted));
        }

        await setter;
    }

    /// <summary>A simulation's scheduler: nothing happens before it says so, and nothing elsewhere.</summary>
    [Fact]
    public void OnASchedulerOfATestItWakesThere()
    {
        var context = new Queued();
        SynchronizationContext? outside = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(context);
        try
        {
            var signal = new ControlSignal(TaskScheduler.FromCurrentSynchronizationContext(), _time);
            Task wait = signal.WaitAsync(s_tick);
            signal.Set();
            Assert.False(wait.IsCompleted);
            context.RunAll();
            Assert.True(wait.IsCompletedSuccessfully);
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(outside);
        }
    }

    private sealed class Queued : SynchronizationContext
    {
        private readonly Queue<Action> _posted = new();

        public override void Post(SendOrPostCallback d, object? state) => _posted.Enqueue(() => d(state));

        public void RunAll()
        {
            while (_posted.TryDequeue(out Action? next))
            {
                next();
            }
        }
    }
}
