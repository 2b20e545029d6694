// One thread, one seed, one clock: everything of a life happens here, one event after the other.
//
// An event is a turn of a reactor, a continuation of a control task, an act of a guest, or time that passes because nothing else
// is to do. Which of those that could happen happens next is chosen by the seed; each takes a little time. So reactors and
// control tasks are interleaved as threads are, and in the same way whenever the seed is the same.
//
// The world is the synchronisation context and, through it, the scheduler of all control code. What is posted here from another
// thread has left the simulation (a ConfigureAwait(false), a task of the pool): that is a bug, and is thrown.

using Polyblk.Core.Reactors;

namespace Polyblk.Simulation.Tests;

/// <summary>Somebody who acts by himself when his time has come.</summary>
internal interface IActor
{
    /// <summary>When he acts next; <see cref="long.MaxValue"/> when he waits for nothing.</summary>
    long NextActNs { get; }

    /// <summary>He acts.</summary>
    void Act();
}

/// <summary>See the top of the file.</summary>
internal sealed class World : SynchronizationContext, IDisposable
{
    private const int TurnNs = 1_500;
    private const long MostEvents = 3_000_000;

    private readonly List<(SendOrPostCallback Callback, object? State)> _posted = [];
    private readonly SynchronizationContext? _outside = Current;
    private readonly int _thread = Environment.CurrentManagedThreadId;
    private readonly Reactor[] _reactors;
    private readonly bool[] _awake;
    private readonly Chance _chance;
    private volatile Exception? _escaped;

    public World(Chance chance, int reactors, TextWriter? log = null)
    {
        _chance = chance;
        Trace = new Trace { Log = log };
        _reactors = [.. Enumerable.Range(0, reactors).Select(i => Reactor.CreateStepped(
            new ReactorOptions { Name = $"simulated/{i}", RingEntries = 0 }, holdsThread: false, Clock.NowNs))];
        _awake = new bool[reactors];
        SetSynchronizationContext(this);
        Scheduler = TaskScheduler.FromCurrentSynchronizationContext();
    }

    /// <summary>The clock of everything.</summary>
    public VirtualClock Clock { get; } = new();

    /// <summary>What happened.</summary>
    public Trace Trace { get; }

    /// <summary>The reactors.</summary>
    public IReadOnlyList<Reactor> Reactors => _reactors;

    /// <summary>Where control tasks run.</summary>
    public TaskScheduler Scheduler { get; }

    /// <summary>Those who act by themselves.</summary>
    public List<IActor> Actors { get; } = [];

    /// <summary>Events so far.</summary>
    public long Events { get; private set; }

    /// <summary>The event in whose place <see cref="Interruption"/> comes.</summary>
    public long InterruptAt { get; set; } = long.MaxValue;

    /// <summary>What comes then.</summary>
    public Action? Interruption { get; set; }

    /// <summary>Notes something.</summary>
    public void Note(string what, long a = 0, long b = 0, long c = 0, long d = 0) => Trace.Add(Clock.NowNs, what, a, b, c, d);

    /// <summary>A poller of a reactor has something to find.</summary>
    public void Wake(Reactor reactor) => _awake[Array.IndexOf(_reactors, reactor)] = true;

    /// <summary>Does something as a reactor, at once.</summary>
    public void RunOn(Reactor reactor, Action action)
    {
        StepAside();
        try
        {
            _ = reactor.AdvanceTo(Clock.NowNs);
            reactor.Run(action);
        }
        finally
        {
            SetSynchronizationContext(this);
        }

        Wake(reactor);
    }

    /// <summary>Lets the world go on until something is so; throws what a task has thrown by then.</summary>
    /// <exception cref="InvalidOperationException">It can never be so: nothing is left that could happen.</exception>
    public void Run(Func<bool> until, Task task)
    {
        long most = Events + MostEvents;
        while (!until())
        {
            if (!Turn() || Events > most)
            {
                throw new InvalidOperationException(
                    Events > most ? $"{MostEvents} events, and no end" : "Nothing is left that could happen, and something is waited for.");
            }
        }

        if (task.IsCompleted)
        {
            task.GetAwaiter().GetResult();
        }
    }

    public override void Post(SendOrPostCallback d, object? state)
    {
        if (Environment.CurrentManagedThreadId != _thread)
        {
            // The life is lost: the next turn says so.
            _escaped ??= new InvalidOperationException($"Code of the simulation has run on another thread:\n{Environment.StackTrace}");
            return;
        }

        _posted.Add((d, state));
    }

    public override void Send(SendOrPostCallback d, object? state) => d(state);

    public override SynchronizationContext CreateCopy() => this;

    public void Dispose()
    {
        SetSynchronizationContext(null);
        Array.ForEach(_reactors, r => r.Dispose());
        SetSynchronizationContext(_outside);
    }

    /// <summary>One event. Returns false when nothing can happen.</summary>
    private bool Turn()
    {
        if (_escaped is { } escaped)
        {
            throw escaped;
        }

        if (++Events >= InterruptAt)
        {
            InterruptAt = long.MaxValue;
            Interruption!();
            return true;
        }

        Advance(Clock.NowNs + _chance.Next(TurnNs));
        int ready = CountReady();
        if (ready != 0)
        {
            Do(_chance.Next(ready));
            return true;
        }

        long next = NextNs();
        if (next == long.MaxValue)
        {
            return false;
        }

        Advance(next);
        return true;
    }

    /// <summary>When the next thing happens; <see cref="long.MaxValue"/> when nothing ever does.</summary>
    private long NextNs()
    {
        long next = Clock.NextDueNs;
        foreach (Reactor reactor in _reactors)
        {
            next = Math.Min(next, reactor.NextDueNs);
        }

        foreach (IActor actor in Actors)
        {
            next = Math.Min(next, actor.NextActNs);
        }

        return next;
    }

    private int CountReady()
    {
        int ready = _posted.Count == 0 ? 0 : 1;
        for (int i = 0; i < _reactors.Length; i++)
        {
            ready += IsReady(i) ? 1 : 0;
        }

        foreach (IActor actor in Actors)
        {
            ready += actor.NextActNs <= Clock.NowNs ? 1 : 0;
        }

        return ready;
    }

    private bool IsReady(int reactor) => _awake[reactor] || _reactors[reactor].HasWork;

    private void Do(int choice)
    {
        if (_posted.Count != 0 && choice-- == 0)
        {
            RunPosted();
            return;
        }

        for (int i = 0; i < _reactors.Length; i++)
        {
            if (IsReady(i) && choice-- == 0)
            {
                Step(i);
                return;
            }
        }

        foreach (IActor actor in Actors)
        {
            if (actor.NextActNs <= Clock.NowNs && choice-- == 0)
            {
                actor.Act();
                return;
            }
        }
    }

    private void RunPosted()
    {
        // The pool keeps no order either.
        int index = _chance.Next(Math.Min(_posted.Count, 3));
        (SendOrPostCallback callback, object? state) = _posted[index];
        _posted.RemoveAt(index);
        Note("task", _posted.Count);
        callback(state);
    }

    private void Step(int index)
    {
        int work;
        StepAside();
        try
        {
            // A reactor hears of the time when it has to do with it.
            _ = _reactors[index].AdvanceTo(Clock.NowNs);
            work = _reactors[index].Step();
        }
        finally
        {
            SetSynchronizationContext(this);
        }

        _awake[index] = work != 0;
        Note("turn", index, work);
    }

    private void Advance(long nowNs)
    {
        int fired = Clock.AdvanceTo(nowNs);
        for (int i = 0; i < _reactors.Length; i++)
        {
            if (_reactors[i].NextDueNs > nowNs)
            {
                continue;
            }

            StepAside();
            try
            {
                fired += _reactors[i].AdvanceTo(nowNs);
            }
            finally
            {
                SetSynchronizationContext(this);
            }

            _awake[i] = true;
        }

        if (fired != 0)
        {
            Note("timers", fired);
        }
    }

    /// <summary>Reactors have no synchronisation context: what waits for them goes on here, in a later event.</summary>
    private static void StepAside() => SetSynchronizationContext(null);
}
