// A reactor without a thread of its own: whoever made it takes its turns one by one, and tells it the time. For tests whose every
// run must be the same.
//
// Everything else is the loop's: mail, deferred work, pollers, rings, timers. It has no epoll, no doorbell and no clock of its
// own; an exception goes to the caller of Step instead of costing its source its place. Its tasks (InvokeAsync) go on where they
// are completed, in a turn, or where the awaiting code asked to go on: no thread of the pool is involved.

namespace Polyblk.Core.Reactors;

public sealed unsafe partial class Reactor
{
    private readonly bool _holdsThread;

    /// <summary>Whether somebody posted work that no turn has taken yet. Any thread.</summary>
    internal bool HasMail => !_mailbox.IsEmpty;

    /// <summary>Whether the next turn has something to do, whatever the pollers find. On the thread that steps.</summary>
    internal bool HasWork => HasMail || _deferredFirst is not null || _bulkFirst is not null;

    /// <summary>When the next timer is due, on <see cref="NowNs"/>'s clock; <see cref="long.MaxValue"/> without one.</summary>
    internal long NextDueNs => _timers.NextDueNs;

    /// <summary>Makes a reactor that has no thread.</summary>
    /// <param name="options">Its options; what concerns a thread or sleep is not used.</param>
    /// <param name="holdsThread">
    /// Whether the calling thread is the reactor's until it is disposed there: a thread has one such reactor at a time. Otherwise
    /// it is in turns alone, and code beside them comes to the reactor as that of another thread does; a thread has any number of
    /// these.
    /// </param>
    /// <param name="nowNs">Where its clock stands until <see cref="AdvanceTo"/>; null is the monotonic clock's time now.</param>
    /// <exception cref="InvalidOperationException">The calling thread is a reactor's already.</exception>
    internal static Reactor CreateStepped(ReactorOptions options, bool holdsThread = true, long? nowNs = null)
    {
        RefuseThreadOfAnother(null);
        var reactor = new Reactor(options, stepped: true, holdsThread);
        reactor.TurnNs = reactor.NowNs = nowNs ?? reactor.NowNs;
        t_current = reactor;
        try
        {
            reactor.Start();
        }
        catch
        {
            reactor.EndSteps();
            throw;
        }

        t_current = holdsThread ? reactor : null;
        return reactor;
    }

    /// <summary>
    /// One turn. Returns how much work it found; what a poller throws is the caller's. A synchronisation context of the calling
    /// thread should be put away meanwhile: awaits that asked for none would go on in the pool.
    /// </summary>
    internal int Step()
    {
        Reactor? outside = EnterTurn();
        try
        {
            _turns++;
            return RunTurn();
        }
        finally
        {
            t_current = outside;
        }
    }

    /// <summary>Moves the clock on, and runs the timers that are due then. Returns how many.</summary>
    /// <param name="nowNs">The new time; a clock never goes back.</param>
    internal int AdvanceTo(long nowNs)
    {
        Reactor? outside = EnterTurn();
        try
        {
            TurnNs = NowNs = Math.Max(NowNs, nowNs);
            return _timers.NextDueNs <= NowNs ? _timers.RunDue(NowNs) : 0;
        }
        finally
        {
            t_current = outside;
        }
    }

    /// <summary>Does something as the reactor, at once and in no turn: what a test does to it from within.</summary>
    internal void Run(Action action)
    {
        Reactor? outside = EnterTurn();
        try
        {
            action();
        }
        finally
        {
            t_current = outside;
        }
    }

    private Reactor? EnterTurn()
    {
        if (!_isStepped)
        {
            throw new InvalidOperationException($"{Name} takes its turns itself.");
        }

        Reactor? outside = t_current;
        RefuseThreadOfAnother(this);
        t_current = this;
        return outside;
    }

    private static void RefuseThreadOfAnother(Reactor? self)
    {
        if (t_current is Reactor owner && !ReferenceEquals(owner, self))
        {
            throw new InvalidOperationException($"This thread belongs to {owner.Name}: dispose that reactor first.");
        }
    }

    private void EndSteps()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        if (_holdsThread)
        {
            AssertCurrent();
        }

        _ = EnterTurn();
        Finish();
        Ring?.Dispose();
        t_current = null;
        _started.Dispose();
    }
}
