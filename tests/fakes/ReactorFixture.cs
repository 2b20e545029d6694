using System.Collections.Concurrent;
using Polyblk.Core.Reactors;

namespace Polyblk.Fakes;

/// <summary>
/// A few running reactors for a test. They sleep when idle, so that tests do not fight for processors. An exception that reaches
/// a loop is a bug: it is kept, and thrown when the fixture is disposed.
/// </summary>
public sealed class ReactorFixture : IDisposable
{
    private readonly ConcurrentQueue<Exception> _faults = new();

    /// <summary>Starts reactors.</summary>
    /// <param name="count">How many.</param>
    /// <param name="ringEntries">Entries of each one's io_uring; 0 makes none.</param>
    /// <param name="maxSleep">
    /// The longest sleep, or null for the usual second. A test of a wake-up wants an hour: a reactor that looks by itself now and
    /// then hides a wake-up that was lost.
    /// </param>
    public ReactorFixture(int count = 1, uint ringEntries = 256, TimeSpan? maxSleep = null)
    {
        var options = new ReactorOptions { RingEntries = ringEntries, Idle = new IdlePolicy(20_000) };
        options = maxSleep is { } sleep ? options with { MaxSleepNs = sleep.Ticks * TimeSpan.NanosecondsPerTick } : options;
        Group = new ReactorGroup([.. Enumerable.Range(0, count).Select(i => options with { Name = $"test/{i}" })]);
        foreach (Reactor reactor in Group.Reactors)
        {
            reactor.Faulted += (_, _, e) => _faults.Enqueue(e);
        }
    }

    /// <summary>The group, for code that wants one.</summary>
    public ReactorGroup Group { get; }

    /// <summary>The first reactor.</summary>
    public Reactor Reactor => Group.Reactors[0];

    /// <summary>All of them.</summary>
    public IReadOnlyList<Reactor> Reactors => Group.Reactors;

    /// <summary>Exceptions that reached a loop so far.</summary>
    public IReadOnlyCollection<Exception> Faults => _faults;

    /// <summary>Forgets the exceptions so far: the test caused them.</summary>
    public void ForgetFaults() => _faults.Clear();

    /// <inheritdoc/>
    public void Dispose()
    {
        Group.Dispose();
        if (!_faults.IsEmpty)
        {
            throw new AggregateException("A reactor met an exception.", _faults);
        }
    }
}
