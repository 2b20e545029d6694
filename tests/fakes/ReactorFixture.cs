using System.Collections.Concurrent;
using Polyblk.Core.Reactors;

namespace Polyblk.Fakes;

/// <summary>
/// A few running reactors for a test. They sleep when idle, so that tests do not fight for processors. An exception that reaches a loop
/// is a bug: it is kept, and thrown when the fixture is disposed.
/// </summary>
public sealed class ReactorFixture : IDisposable
{
    private readonly ConcurrentQueue<Exception> _faults = new();

    /// <summary>Starts reactors.</summary>
    /// <param name="count">How many.</param>
    /// <param name="ringEntries">Entries of each one's io_uring; 0 makes none.</param>
    public ReactorFixture(int count = 1, uint ringEntries = 256)
    {
        Group = new ReactorGroup(
            [.. Enumerable.Range(0, count).Select(i => new ReactorOptions { Name = $"test/{i}", RingEntries = ringEntries, Idle = new IdlePolicy(20_000) })]);
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
