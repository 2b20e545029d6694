namespace Polyblk.Simulation.Tests;

/// <summary>
/// The time of a life in nanoseconds: it passes when the world says so. Timers fire on the world's thread, in the order of their
/// due times.
/// </summary>
internal sealed class VirtualClock : TimeProvider
{
    private static readonly DateTimeOffset s_beginning = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private readonly PriorityQueue<(VirtualTimer Timer, long Version), (long DueNs, long Order)> _due = new();
    private long _order;

    /// <summary>Now.</summary>
    public long NowNs { get; private set; } = 1_000_000_000;

    /// <summary>When the next timer is due; <see cref="long.MaxValue"/> without one.</summary>
    public long NextDueNs
    {
        get
        {
            while (_due.TryPeek(out (VirtualTimer Timer, long Version) first, out (long DueNs, long Order) due))
            {
                if (first.Timer.Version == first.Version)
                {
                    return due.DueNs;
                }

                _due.Dequeue();
            }

            return long.MaxValue;
        }
    }

    public override long TimestampFrequency => 1_000_000_000;

    public override long GetTimestamp() => NowNs;

    public override DateTimeOffset GetUtcNow() => s_beginning.AddTicks(NowNs / 100);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new VirtualTimer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Moves it on, and fires what is due. Returns how many timers fired.</summary>
    public int AdvanceTo(long nowNs)
    {
        NowNs = Math.Max(NowNs, nowNs);
        int fired = 0;
        while (NextDueNs <= NowNs)
        {
            _due.Dequeue().Timer.Fire();
            fired++;
        }

        return fired;
    }

    private sealed class VirtualTimer(VirtualClock clock, TimerCallback callback, object? state) : ITimer
    {
        public long Version { get; private set; }

        public void Fire()
        {
            Version++;
            callback(state);
        }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (period != Timeout.InfiniteTimeSpan && period != TimeSpan.Zero)
            {
                throw new NotSupportedException("Timers of a simulation fire once.");
            }

            Version++;
            if (dueTime != Timeout.InfiniteTimeSpan)
            {
                clock._due.Enqueue((this, Version), (clock.NowNs + (dueTime.Ticks * 100), clock._order++));
            }

            return true;
        }

        public void Dispose() => Version++;

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
