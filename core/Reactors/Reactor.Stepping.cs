// A reactor without a thread of its own: whoever made it takes its turns one by one. For tests whose every run must be the
// same.
//
// Everything else is the loop's: mail, deferred work, pollers, rings. Only what the loop does between windows of turns (clock,
// timers, sleep) is left out, and an exception goes to the caller of Step instead of costing its source its place.

namespace Polyblk.Core.Reactors;

public sealed unsafe partial class Reactor
{
    /// <summary>Whether somebody posted work that no turn has taken yet. Any thread.</summary>
    internal bool HasMail => !_mailbox.IsEmpty;

    /// <summary>
    /// Makes a reactor that has no thread: it belongs to the calling thread until it is disposed there. A thread has one such
    /// reactor at a time.
    /// </summary>
    /// <exception cref="InvalidOperationException">The calling thread is a reactor's already.</exception>
    internal static Reactor CreateStepped(ReactorOptions options)
    {
        if (t_current is not null)
        {
            throw new InvalidOperationException($"This thread belongs to {t_current.Name}: dispose that reactor first.");
        }

        var reactor = new Reactor(options, stepped: true);
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

        return reactor;
    }

    /// <summary>One turn. Returns how much work it found; what a poller throws is the caller's.</summary>
    internal int Step()
    {
        AssertCurrent();
        _turns++;
        return RunTurn();
    }

    private void EndSteps()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        AssertCurrent();
        Finish();
        Ring?.Dispose();
        t_current = null;
        CloseDescriptors();
        _started.Dispose();
    }
}
