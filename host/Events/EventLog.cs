// What the daemon, or a serve, tells: kept, given to hooks, and to whoever follows. Telling never waits: a task of its own does
// the rest. What comes faster than it can, or cannot be kept, is counted, and said with the next that is kept.

using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Polyblk.Host.Model;

namespace Polyblk.Host.Events;

/// <summary>See the top of the file. Any thread adds.</summary>
public sealed class EventLog : IAsyncDisposable
{
    private const int MostWaiting = 1024;
    private const int MostAtOnce = 64;

    /// <summary>A place that hangs must not hold up the end of the process.</summary>
    private static readonly TimeSpan s_endLimit = TimeSpan.FromSeconds(4);

    private readonly ILogger _log;
    private readonly HookRunner? _hooks;
    private readonly Channel<EventJson> _waiting =
        Channel.CreateBounded<EventJson>(new BoundedChannelOptions(MostWaiting) { SingleReader = true });

    private readonly Task _keeping;
    private TaskCompletionSource _news = MakeNews();
    private long _lost;
    private bool _isBroken;

    /// <summary>Begins.</summary>
    /// <param name="store">Where events are kept.</param>
    /// <param name="log">For what goes wrong with that.</param>
    /// <param name="hooks">Who is told of each; null for nobody. Disposed with this.</param>
    public EventLog(EventStore store, ILogger log, HookRunner? hooks = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        Store = store;
        _log = log;
        _hooks = hooks;
        _keeping = Task.Run(KeepAsync);
    }

    /// <summary>Where they are kept.</summary>
    public EventStore Store { get; }

    /// <summary>Adds one; waits for nothing.</summary>
    public void Add(EventJson e)
    {
        if (!_waiting.Writer.TryWrite(e))
        {
            Interlocked.Increment(ref _lost);
        }
    }

    /// <summary>Waits until something new may have been kept, by this process; or for a time.</summary>
    public static async Task WaitForNewsAsync(Task news, TimeSpan atMost, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(news);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        _ = await Task.WhenAny(news, Task.Delay(atMost, limit.Token)).ConfigureAwait(false);
        await limit.CancelAsync().ConfigureAwait(false);
        cancellation.ThrowIfCancellationRequested();
    }

    /// <summary>Completes with what is kept next: taken before one reads, so that nothing is missed.</summary>
    public Task News => Volatile.Read(ref _news).Task;

    /// <summary>Keeps what was added until now; not for ever.</summary>
    public async ValueTask DisposeAsync()
    {
        _waiting.Writer.TryComplete();
        await Task.WhenAny(_keeping, Task.Delay(s_endLimit)).ConfigureAwait(false);
        if (_hooks is not null)
        {
            await _hooks.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static TaskCompletionSource MakeNews() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private async Task KeepAsync()
    {
        var batch = new List<EventJson>();
        while (await _waiting.Reader.WaitToReadAsync().ConfigureAwait(false))
        {
            batch.Clear();
            while (batch.Count < MostAtOnce && _waiting.Reader.TryRead(out EventJson? e))
            {
                batch.Add(e);
            }

            Keep(batch);
            Interlocked.Exchange(ref _news, MakeNews()).TrySetResult();
        }

        if (Interlocked.Read(ref _lost) is long lost and > 0)
        {
            _log.LogWarning("{Count} events were not kept until the end", lost);
        }
    }

    /// <summary>Keeps a batch, and tells hooks; of what could not be kept, too, without numbers.</summary>
    private void Keep(List<EventJson> batch)
    {
        var kept = new List<EventJson>(batch.Count);
        bool isKept = TryAppend(batch, kept);
        foreach (EventJson e in kept.Concat(batch.Skip(kept.Count)))
        {
            _hooks?.Run(e);
        }

        Interlocked.Add(ref _lost, batch.Count - kept.Count);
        if (isKept)
        {
            TellLost();
        }
    }

    /// <summary>Says how many are missing among those that are kept, now that some are.</summary>
    private void TellLost()
    {
        long lost = Interlocked.Exchange(ref _lost, 0);
        if (lost == 0)
        {
            return;
        }

        EventJson e = EventTeller.Complete(new EventJson { Kind = EventKinds.EventsLost, Count = lost });
        var kept = new List<EventJson>(1);
        if (!TryAppend([e], kept))
        {
            Interlocked.Add(ref _lost, lost);
            return;
        }

        _log.LogWarning("{Event}", e.Message);
        _hooks?.Run(kept[0]);
    }

    /// <summary>Keeps events in their order until one cannot be, which is said once for all that follow it.</summary>
    /// <returns>Whether all are.</returns>
    private bool TryAppend(List<EventJson> events, List<EventJson> kept)
    {
        try
        {
            while (kept.Count < events.Count)
            {
                kept.AddRange(Store.Append(events[kept.Count..]));
            }

            _isBroken = false;
            return true;
        }
#pragma warning disable CA1031 // Whatever it is: volumes are served on, and it is said once.
        catch (Exception e)
#pragma warning restore CA1031
        {
            if (!_isBroken)
            {
                _isBroken = true;
                _log.LogWarning("{Problem}", Refusals.Of(e)?.Message ?? e.Message);
            }

            return false;
        }
    }
}
