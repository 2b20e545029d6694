using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Virtio;

namespace Polyblk.Frontends.VhostUser;

/// <summary>What the sessions of an export share.</summary>
/// <param name="Device">The device served.</param>
/// <param name="Virtio">How each session's virtio-blk device is made.</param>
/// <param name="Options">The export's options.</param>
/// <param name="Reactors">Where queues run.</param>
/// <param name="Totals">Counters of queues and sessions that are gone.</param>
/// <param name="Logs">What sessions say, bounded; for control paths.</param>
/// <param name="Clock">The clock of timeouts.</param>
internal sealed record SessionContext(
    IBlockDevice Device, VirtioBlkDeviceOptions Virtio, VhostUserOptions Options, ReactorGroup Reactors, QueueTotals Totals,
    SessionLogs Logs, TimeProvider Clock)
{
    /// <summary>
    /// How a session's thread waits for its queues. A test whose thread is the reactor itself takes turns meanwhile.
    /// </summary>
    public Action<Task> Wait { get; init; } = static task => task.GetAwaiter().GetResult();

    /// <summary>Told of each session that comes and goes: its name, who it is, and why it has gone. On its thread.</summary>
    public Action<string, string, string?>? OnChange { get; init; }

    /// <summary>How long a connection may be without a word.</summary>
    public static TimeSpan SilenceLimit { get; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Descriptors that front-ends give and sessions keep (three a queue): at most half of what the process may have, for the
    /// rest is needed for drives, logs, and new connections.
    /// </summary>
    public static ProcessBudget Descriptors { get; } = new(
        "descriptors of front-ends", Libc.MaxDescriptors() / 2,
        "raise the limit of descriptors (ulimit -n), or use fewer queues");

    /// <summary>
    /// Descriptors of shared memory that are kept for a successor: a session beyond it works, and cannot be handed over. Few, as
    /// all descriptors are there twice while sessions go over.
    /// </summary>
    public static ProcessBudget KeptFiles { get; } = new(
        "descriptors of shared memory", Libc.MaxDescriptors() / 8, "raise the limit of descriptors (ulimit -n)");

    /// <summary>
    /// Places for requests in flight. One takes up to 33 KB, when its request has the most segments that are possible: 4 GiB in
    /// all if every front-end does its worst, and a hundredth of that with ordinary ones.
    /// </summary>
    public static ProcessBudget Places { get; } = new(
        "places for requests", 128 << 10, "use fewer queues, or serve fewer guests in one process");
}

/// <summary>The queues that run, and the sums of those that ended: of the export, and of each session. Any thread.</summary>
internal sealed class QueueTotals
{
    private readonly Lock _lock = new();
    private readonly List<(VirtioBlkQueue Queue, string Session)> _running = [];
    private readonly Dictionary<string, VirtioBlkQueueStatistics> _endedOfSessions = [];
    private VirtioBlkQueueStatistics _ended = new();

    /// <summary>A queue of a session runs now.</summary>
    public void Started(VirtioBlkQueue queue, string session)
    {
        lock (_lock)
        {
            _running.Add((queue, session));
        }
    }

    /// <summary>A queue has ended.</summary>
    public void Ended(VirtioBlkQueue queue)
    {
        lock (_lock)
        {
            int index = _running.FindIndex(r => ReferenceEquals(r.Queue, queue));
            if (index >= 0)
            {
                string session = _running[index].Session;
                VirtioBlkQueueStatistics its = queue.GetStatistics() with { InFlight = 0 };
                _running.RemoveAt(index);
                _ended = _ended.Plus(its);
                _endedOfSessions[session] = _endedOfSessions.GetValueOrDefault(session)?.Plus(its) ?? its;
            }
        }
    }

    /// <summary>A session has ended, after its queues.</summary>
    public void SessionEnded(string session)
    {
        lock (_lock)
        {
            _endedOfSessions.Remove(session);
        }
    }

    /// <summary>The sum of all, and the running queues' names with their reactors'.</summary>
    public (VirtioBlkQueueStatistics Sum, IReadOnlyList<string> Reactors) Read()
    {
        lock (_lock)
        {
            return (_running.Aggregate(_ended, (sum, r) => sum.Plus(r.Queue.GetStatistics())),
                [.. _running.Select(r => $"{r.Queue.Setup.Name}: {r.Queue.Setup.Reactor.Name}")]);
        }
    }

    /// <summary>The sum of a session's queues, and how many of them run.</summary>
    public (VirtioBlkQueueStatistics Sum, int Queues) Read(string session)
    {
        lock (_lock)
        {
            VirtioBlkQueueStatistics[] its = [.. _running.Where(r => r.Session == session).Select(r => r.Queue.GetStatistics())];
            return (its.Aggregate(_endedOfSessions.GetValueOrDefault(session) ?? new(), (sum, one) => sum.Plus(one)), its.Length);
        }
    }
}
