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

/// <summary>The queues that run, and the sum of those that ended. Any thread.</summary>
internal sealed class QueueTotals
{
    private readonly Lock _lock = new();
    private readonly List<VirtioBlkQueue> _running = [];
    private VirtioBlkQueueStatistics _ended = new();

    /// <summary>A queue runs now.</summary>
    public void Started(VirtioBlkQueue queue)
    {
        lock (_lock)
        {
            _running.Add(queue);
        }
    }

    /// <summary>A queue has ended.</summary>
    public void Ended(VirtioBlkQueue queue)
    {
        lock (_lock)
        {
            if (_running.Remove(queue))
            {
                _ended = Sum(_ended, queue.GetStatistics()) with { InFlight = 0 };
            }
        }
    }

    /// <summary>The sum of all, and the running queues' names with their reactors'.</summary>
    public (VirtioBlkQueueStatistics Sum, IReadOnlyList<string> Reactors) Read()
    {
        lock (_lock)
        {
            return (_running.Aggregate(_ended, (sum, queue) => Sum(sum, queue.GetStatistics())),
                [.. _running.Select(queue => $"{queue.Setup.Name}: {queue.Setup.Reactor.Name}")]);
        }
    }

    private static VirtioBlkQueueStatistics Sum(VirtioBlkQueueStatistics a, VirtioBlkQueueStatistics b) => new()
    {
        Reads = a.Reads + b.Reads,
        ReadBytes = a.ReadBytes + b.ReadBytes,
        Writes = a.Writes + b.Writes,
        WriteBytes = a.WriteBytes + b.WriteBytes,
        Flushes = a.Flushes + b.Flushes,
        Discards = a.Discards + b.Discards,
        Errors = a.Errors + b.Errors,
        Notifications = a.Notifications + b.Notifications,
        InFlight = a.InFlight + b.InFlight,
        Recovered = a.Recovered + b.Recovered,
    };
}
