// What the daemon, or a serve, tells: kept, given to hooks, and to whoever follows. Telling never waits: a task of its own does
// the rest, and what comes faster than it can is counted, and said.

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
    private static readonly TimeSpan s_endLimit = TimeSpan.FromSeconds(2);

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

            if (Interlocked.Exchange(ref _lost, 0) is long lost and > 0)
            {
                batch.Add(EventTeller.Complete(new EventJson { Kind = EventKinds.EventsLost, Count = lost }));
                _log.LogWarning("{Count} events came faster than they could be kept", lost);
            }

            foreach (EventJson e in Keep(batch))
            {
                _hooks?.Run(e);
            }

            Interlocked.Exchange(ref _news, MakeNews()).TrySetResult();
        }
    }

    /// <summary>Keeps a batch; where that is not possible it is told to hooks all the same, without numbers.</summary>
    private IReadOnlyList<EventJson> Keep(List<EventJson> batch)
    {
        try
        {
            IReadOnlyList<EventJson> kept = Store.Append(batch);
            _isBroken = false;
            return kept;
        }
#pragma warning disable CA1031 // Whatever it is: volumes are served on, and it is said once.
        catch (Exception e)
#pragma warning restore CA1031
        {
            // Those that could be kept later tell how many are missing.
            Interlocked.Add(ref _lost, batch.Sum(lost => lost.Kind == EventKinds.EventsLost ? lost.Count ?? 0 : 1));
            if (!_isBroken)
            {
                _isBroken = true;
                _log.LogWarning("{Problem}", Refusals.Of(e)?.Message ?? e.Message);
            }

            return batch;
        }
    }
}
