// The back-end of one session: the state that the front-end's messages build up, and the queues that come to life from it.
//
// Theory of operation. Messages are handled one after the other, each to its end, by Handle (Backend.Messages.cs). A message
// changes what is known of the session; then Settle looks at each ring it touched: with a size, addresses that lie in the memory
// given, a kick, and not disabled, the ring should run; it is started on a reactor or stopped accordingly. So any order of
// messages works.
//
// Stopping a ring always drains it: no more requests are taken, those taken are answered, and only then is anything unmapped or a
// reply sent. Memory is exchanged the same way, ring by ring, while memory that is only added disturbs no ring.
//
// Everything here runs on the session's thread or, for Pause and Resume, on another one that holds the session's lock.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Reactors;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Frontends.VhostUser;

/// <summary>The protocol state of a session and its queues. Calls are serialized by the session.</summary>
internal sealed partial class Backend : IDisposable
{
    private readonly SessionContext _context;
    private readonly string _name;
    private readonly ILogger _log;
    private readonly VirtioBlkDevice _virtio;
    private readonly BackendMemory _memory;
    private readonly BackendQueue[] _queues;
    private readonly Action<string> _onOffence;
    private readonly ulong _offered;

    private ulong _features;
    private VhostUserProtocolFeatures _protocolFeatures;
    private BackendInflight? _inflight;
    private SharedDirtyLog? _dirtyLog;
    private VhostUserChannel? _frontendChannel;
    private ulong _status;
    private bool _hasOwner;
    private volatile bool _hasRun;
    private bool _paused;

    /// <summary>Makes the back-end of a session.</summary>
    /// <param name="context">What the sessions share.</param>
    /// <param name="name">For messages.</param>
    /// <param name="paused">Whether queues start without taking requests.</param>
    /// <param name="log">The session's.</param>
    /// <param name="onOffence">Told, on another thread, why the session has to end although no message broke the
    /// protocol.</param>
    public Backend(SessionContext context, string name, bool paused, ILogger log, Action<string> onOffence)
    {
        _context = context;
        _log = log;
        _name = name;
        _paused = paused;
        _onOffence = onOffence;
        _memory = new BackendMemory(
            context.Options.SealedMemory,
            onLost: () => onOffence(
                "memory that the front-end shares has gone: it was made shorter, or there are no (huge) pages for it; "
                + "reserve as many as it has"),
            onUnguarded: (what, why) => log.LogWarning(
                "{Session}: {Memory} can be taken away by the front-end, which would end this process ({Why})", name, what, why),
            onUnreachable: (what, why) => log.LogWarning(
                "{Session}: {Memory} is read-only and out of reach: {Why}", name, what, why),
            context.Options.PinMemory ? new PinPermit(OnPinRefused) : null);
        _virtio = new VirtioBlkDevice(context.Device, context.Virtio);
        _offered = _virtio.OfferedFeatures | VhostUserAbi.VHOST_F_LOG_ALL | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES;
        _queues = [.. Enumerable.Range(0, context.Options.Queues).Select(i => new BackendQueue(i, onOffence))];
    }

    /// <summary>Whether a ring runs, or did. Any thread; true before a ring's first request is answered.</summary>
    public bool HasRun => _hasRun;

    /// <summary>A ring ran in the process that this session comes from.</summary>
    public void RememberRun() => _hasRun = true;

    /// <summary>Whether a ring runs.</summary>
    public bool IsInUse => Array.Exists(_queues, q => q.Live is not null);

    /// <summary>Stops taking requests in all queues; the task ends when none is in flight.</summary>
    public Task PauseAsync()
    {
        _paused = true;
        return Task.WhenAll(_queues.Select(q => q.Live?.PauseAsync() ?? Task.CompletedTask));
    }

    /// <summary>Takes requests again.</summary>
    public void Resume()
    {
        _paused = false;
        WaitAll(_queues, q => q.Live?.ResumeAsync());
    }

    /// <summary>Tells the front-end that the configuration has changed, where it gave a channel for that.</summary>
    public void SendConfigChange()
    {
        // No reply is asked for: nobody waits for a front-end. One that does not read its channel loses the message after a
        // second.
        Core.Interop.SocketResult? result = _frontendChannel?.Send((uint)VhostUserBackendRequest.CONFIG_CHANGE_MSG, 0, [], timeoutMs: 1000);
        if (result is not null and not Core.Interop.SocketResult.Done)
        {
            _log.LogWarning("{Session}: the front-end could not be told of the new size ({Result})", _name, result);
        }
    }

    /// <summary>Ends all queues after draining them, and lets go of everything.</summary>
    public void Dispose()
    {
        AbandonAll();
        foreach (BackendQueue queue in _queues)
        {
            if (queue.Reactor is not null)
            {
                _context.Reactors.Release(queue.Reactor);
                queue.Reactor = null;
            }

            queue.Dispose();
        }

        _frontendChannel?.Dispose();
        _dirtyLog?.Dispose();
        _inflight?.Dispose();
        _memory.Dispose();
    }

    private bool IsPacked => (_features & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0;

    private bool LogsAll => (_features & VhostUserAbi.VHOST_F_LOG_ALL) != 0 && _dirtyLog is not null;

    /// <summary>Whether everything needed is known. Without protocol features rings start enabled ("Ring states").</summary>
    private bool ShouldRun(BackendQueue queue) =>
        queue.Size != 0 && queue.HasKick && (queue.Enabled ?? (_features & VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES) == 0)
        && queue.IsMappedIn(_memory.Table);

    /// <summary>Starts or stops a queue as it should be.</summary>
    /// <exception cref="RefusedException">It should run but cannot: the queue is the front-end's loss, the session goes
    /// on.</exception>
    private void Settle(BackendQueue queue)
    {
        bool shouldRun = ShouldRun(queue);
        if (shouldRun && queue.Live is null)
        {
            Start(queue);
        }
        else if (!shouldRun && queue.Live is not null)
        {
            Stop(queue);
        }
    }

    private void Start(BackendQueue queue)
    {
        queue.Reactor ??= _context.Reactors.Assign();
        bool hadRun = _hasRun;
        vhost_vring_addr address = queue.Address!.Value;
        try
        {
            _hasRun = true;
            queue.UseInflight(_inflight?.LogOf(queue.Index, queue.Size, IsPacked));
            if (_inflight is not null && queue.Inflight is null)
            {
                _log.LogWarning(
                    "{Session}: queue {Queue} has {Size} entries, more than the front-end keeps a record for ({Recorded}): what is in flight when "
                    + "this process is killed will not be repeated. With QEMU, give the device queue-size={Size}",
                    _name, queue.Index, queue.Size, _inflight.EntriesOf(IsPacked), queue.Size);
            }

            queue.Live = VirtioBlkQueue.StartAsync(new VirtqueueSetup
            {
                Name = $"{_name}/{queue.Index}",
                Reactor = queue.Reactor,
                Device = _context.Device,
                Virtio = _virtio,
                Memory = _memory.Table,
                Addresses = new VirtqueueAddresses(
                    address.desc_user_addr, address.avail_user_addr, address.used_user_addr, AreUserAddresses: true),
                Size = queue.Size,
                Features = _features,
                Base = queue.Base ?? (IsPacked ? VirtqueueSetup.PackedStart : 0),
                Kick = queue.Kick,
                Call = queue.Call,
                Error = queue.Error,
                Inflight = queue.Inflight,
                DirtyLog = LogsAll ? _dirtyLog!.Log : null,
                UsedLogAddress = LogsAll ? queue.UsedLogAddress : null,
                StartPaused = _paused,
                MostInFlight = queue.TakePlaces(),
            }).GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is IOException or ArgumentException)
        {
            _hasRun = hadRun;
            queue.ReturnPlaces();
            queue.UseInflight(null);
            queue.Error?.Notify();
            throw new RefusedException($"queue {queue.Index} cannot start: {e.Message}", fatal: false);
        }

        queue.DrainedAt = null;
        queue.Live.Broken += OnBroken;
        queue.Live.Unreachable += OnUnreachable;
        if (queue.Live.Fault is { } fault)
        {
            OnBroken(queue.Live, fault); // It broke before it could be watched.
        }

        if (queue.Live.UnreachableText is { } unreachable)
        {
            OnUnreachable(queue.Live, unreachable);
        }

        _context.Totals.Started(queue.Live, _name);
        _log.LogDebug("{Session}: queue {Queue} runs on {Reactor}", _name, queue.Index, queue.Reactor.Name);
    }

    private void Stop(BackendQueue queue) => WaitAll([queue], StopAsync);

    /// <summary>Stops all queues without waiting for gigabytes of zeroing: the session ends, or the device is reset.</summary>
    private void AbandonAll() => WaitAll(_queues, q => q.Live is null ? null : StopLiveAsync(q, q.Live, VirtqueueStop.Abandon));

    private Task? StopAsync(BackendQueue queue) =>
        queue.Live is null ? null : StopLiveAsync(queue, queue.Live, VirtqueueStop.Finish);

    private async Task StopLiveAsync(BackendQueue queue, VirtioBlkQueue live, VirtqueueStop how)
    {
        queue.Base = await live.StopAsync(how).ConfigureAwait(false);
        queue.HasUndone = live.UndoneRecovered > 0;
        queue.DrainedAt = queue.HasUndone ? null : queue.Base;
        live.Broken -= OnBroken;
        live.Unreachable -= OnUnreachable;
        queue.ReturnPlaces();
        _context.Totals.Ended(live);
        queue.Live = null;
    }

    /// <summary>
    /// Stops a ring for good (GET_VRING_BASE, reset). Nothing is in flight then, so its inflight region is made as new: the
    /// driver may set up another ring in its place, to which the old record would not belong. Only what a drained export did not
    /// come to do stays recorded, for the session in which the front-end hands the region over again.
    /// </summary>
    private void StopAndForget(BackendQueue queue)
    {
        Stop(queue);
        if (!queue.HasUndone)
        {
            queue.Inflight?.Clear();
        }

        queue.HasUndone = false;
        queue.UseInflight(null);
        queue.DropKick();
    }

    /// <summary>
    /// Gives all queues the present memory. Those whose rings are gone stop; those whose rings have come start.
    /// </summary>
    private void UseMemory(GuestMemory old, bool onlyAdded)
    {
        WaitAll(_queues, q => q.IsMappedIn(_memory.Table) ? null : StopAsync(q));
        WaitAll(_queues, q => q.Live is null ? null : onlyAdded ? q.Live.ExtendMemoryAsync(_memory.Table) : SwapMemoryAsync(q.Live, _memory.Table));
        old.Dispose();
        foreach (BackendQueue queue in _queues)
        {
            Settle(queue);
        }
    }

    private async Task SwapMemoryAsync(VirtioBlkQueue queue, GuestMemory memory)
    {
        try
        {
            await queue.SwapMemoryAsync(memory).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            // The ring's beginning is there and its end is not: the queue is broken, as by its driver.
            _log.LogWarning("{Queue}: {Reason}", queue.Setup.Name, e.Message);
        }
    }

    private void UpdateLogging() =>
        WaitAll(_queues, q => q.Live?.SetDirtyLogAsync(LogsAll ? _dirtyLog!.Log : null, LogsAll ? q.UsedLogAddress : null));

    private void OnPinRefused(int errno)
    {
        string remedy = errno switch
        {
            Core.Block.Errno.ENOMEM => "raise the limit of locked memory (ulimit -l, LimitMEMLOCK= of systemd)",
            Core.Block.Errno.EOPNOTSUPP or Core.Block.Errno.EFAULT => "share a memfd or huge pages instead of a file",
            _ => "serve without --pin-memory",
        };
        ThreadPool.QueueUserWorkItem(
            static state => state.Log.LogWarning(
                "{Session}: the guest's memory is not held (errno {Errno}), I/O goes the ordinary way: {Remedy}", state.Name, state.Errno, state.Remedy),
            (Log: _log, Name: _name, Errno: errno, Remedy: remedy),
            preferLocal: false);
    }

    private void OnBroken(VirtioBlkQueue queue, VirtqueueFaultReport report)
    {
        if (report.Fault == VirtqueueFault.InternalError)
        {
            // What was in flight will not be answered: only a new session, with the record of it, helps the front-end.
            ThreadPool.QueueUserWorkItem(
                static state => state.OnOffence(state.Text), (OnOffence: _onOffence, report.Text), preferLocal: false);
            return;
        }

        ThreadPool.QueueUserWorkItem(
            static state => state.Log.LogWarning(
                "{Queue}: broken by its driver, and stopped until it is set up anew: {Fault}", state.Name, state.Text),
            (Log: _log, queue.Setup.Name, report.Text),
            preferLocal: false);
    }

    private void OnUnreachable(VirtioBlkQueue queue, string text) =>
        ThreadPool.QueueUserWorkItem(
            static state => state.Log.LogWarning(
                "{Text} Is all of the guest's memory shared, also what was plugged in later (share=on)?", state.Text),
            (Log: _log, Text: text),
            preferLocal: false);

    /// <summary>Does something to all queues at once and waits for all.</summary>
    private void WaitAll(BackendQueue[] queues, Func<BackendQueue, Task?> action) =>
        _context.Wait(Task.WhenAll(queues.Select(action).Where(task => task is not null).Select(task => task!)));
}
