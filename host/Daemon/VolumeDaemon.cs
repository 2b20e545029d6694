// The daemon: all volumes of a host that have exports, in one process and on the same reactors.
//
// What is served is what the records of the volumes say (exports, autostart); the daemon keeps nothing beside them. Every volume
// is opened, served and ended by itself: one that cannot start, or waits for its drives, harms no other. Each has its lock and
// its control socket, as if a process of its own served it; so every command about a volume works alike.
//
// A volume that is to be isolated is served by a process of its own, which is such a daemon of one volume (Isolation).
//
// The end: all volumes at once, each as by VolumeServer.ShutDownAsync (exports first, then the array is marked clean). What has
// not ended by the deadline is left: its array stays marked as in use, and the next start puts right what was being written.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Host.Daemon.Isolation;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon;

/// <summary>What the volumes of a daemon have in common.</summary>
internal sealed record DaemonContext(
    DaemonOptions Options,
    StateDirectories Directories,
    VolumeStore Store,
    ReactorGroup Reactors,
    ILoggerFactory Logging,
    EventLog Events);

/// <summary>Serves the volumes of this host.</summary>
public sealed partial class VolumeDaemon : IAsyncDisposable
{
    private static readonly TimeSpan s_sharingLimit = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_lookForMembers = TimeSpan.FromSeconds(5);

    private readonly DaemonContext _context;
    private readonly ILogger _log;
    private readonly EventTeller _events;
    private readonly DateTimeOffset _started = DateTimeOffset.UtcNow;
    private readonly CancellationTokenSource _ending = new();
    private readonly Lock _lock = new();
    private readonly Dictionary<string, DaemonVolume> _volumes = new(StringComparer.Ordinal);
    private readonly List<Task> _starts = [];
    private readonly SpareSharing _sharing;
    private readonly ReturningMembers _returning;
    private Task _tending = Task.CompletedTask;
    private bool _isEnding;
    private VolumeLock? _held;

    private VolumeDaemon(DaemonContext context)
    {
        _context = context;
        _log = context.Logging.CreateLogger("polyblk.daemon");
        _events = new EventTeller(null, context.Events, _log);
        _sharing = new SpareSharing(ServersThatShare, TryBeginMove, context.Store, _log);
        _returning = new ReturningMembers(ServersThatShare, context.Store, s_lookForMembers, _log);
    }

    /// <summary>What has happened, and happens.</summary>
    public EventLog Events => _context.Events;

    /// <summary>
    /// Whether the deadline of the end has passed, or drives have not answered until the end of a volume: what is left hangs, and
    /// may keep whoever waits for it.
    /// </summary>
    public bool IsAbandoned { get; private set; }

    /// <summary>Finishes when every volume that starts by itself is served, has failed, or waits for drives.</summary>
    public Task Tried { get; private set; } = Task.CompletedTask;

    /// <summary>Finishes when none of them waits any more.</summary>
    public Task Settled { get; private set; } = Task.CompletedTask;

    /// <summary>
    /// Does once, for nobody, what a start does first, so that it is quick when it counts. Changes nothing.
    /// </summary>
    /// <param name="directories">Where volumes are recorded.</param>
    public static void WarmUp(StateDirectories directories) => new VolumeStore(directories).List(_ => { });

    /// <summary>Begins to start the volumes; see <see cref="Tried"/>.</summary>
    /// <param name="options">How volumes are served.</param>
    /// <param name="directories">Where.</param>
    /// <param name="logging">For control paths.</param>
    /// <param name="death">How the daemon died after which this one goes on; null where none did.</param>
    /// <exception cref="RefusalException">A daemon works here already.</exception>
    public static VolumeDaemon Start(
        DaemonOptions options, StateDirectories directories, ILoggerFactory logging, string? death = null)
    {
        VolumeLock held = VolumeLock.TakeDaemons(directories);
        VolumeDaemon daemon = Make(options, directories, logging);
        daemon._held = held;
        daemon.StartAll(except: []);
        if (death is not null)
        {
            daemon._events.Tell(new EventJson { Kind = EventKinds.DaemonDied, Reason = death });
        }

        daemon.TellOfDaemon(EventKinds.DaemonStarted);
        return daemon;
    }

    private static VolumeDaemon Make(DaemonOptions options, StateDirectories directories, ILoggerFactory logging)
    {
        ReactorGroup reactors = ReactorPlan.Start(options.Plan, options.Idle, logging.CreateLogger("polyblk.daemon"));
        ILogger events = logging.CreateLogger("polyblk.events");
        HookRunner? hooks = options.Hooks is null ? null : new HookRunner(options.Hooks, events);
        var kept = new EventLog(new EventStore(directories), events, hooks);
        return new VolumeDaemon(new DaemonContext(options, directories, new VolumeStore(directories), reactors, logging, kept));
    }

    /// <summary>A picture of everything, now.</summary>
    public DaemonJson GetStatus()
    {
        Dictionary<string, VolumeRecord> records = _context.Store.List(_ => { }).ToDictionary(r => r.Name, StringComparer.Ordinal);
        foreach (VolumeRecord record in records.Values.Where(r => r.Exports is { Count: > 0 } && IsOurs(r.Name)))
        {
            Known(record.Name);
        }

        DaemonVolume[] volumes;
        lock (_lock)
        {
            volumes =
            [
                .. _volumes.Values.Where(v => records.ContainsKey(v.Name) || v.State == DaemonState.Served)
                    .OrderBy(v => v.Name, StringComparer.Ordinal),
            ];
        }

        return new DaemonJson
        {
            Pid = Environment.ProcessId,
            StartedUtc = _started,
            ReactorPlan = _context.Options.Plan.Reason,
            Reactors = ReactorJson.Of(_context.Reactors),
            Volumes = [.. volumes.Select(v => ToJson(v, records.GetValueOrDefault(v.Name)))],
        };
    }

    /// <summary>What the volumes that are served say of themselves.</summary>
    public IReadOnlyList<LiveJson> GetLive()
    {
        lock (_lock)
        {
            return
            [
                .. _volumes.Values.Select(v => v.Server).OfType<VolumeServer>().Select(s => s.GetLive()),
                .. _isolated.Values.Select(v => v.Live).OfType<LiveJson>(),
            ];
        }
    }

    /// <summary>Serves a volume through one more export, now and at every start.</summary>
    /// <exception cref="RefusalException">That is not possible; nothing has changed.</exception>
    public async Task<ExportJson> AddExportAsync(string volume, ExportRecord export, CancellationToken cancellation)
    {
        RefuseWhileEnding();
        VolumeRecord record = _context.Store.Get(volume);
        RequireOurs(volume);
        ExportCheck.Check(export, _context.Options.Frontends);
        if (export.SocketPath is string path && SocketOwner(path) is string owner)
        {
            throw RefusalException.Refused($"The socket {path} is that of the export {owner}.", "Choose another path.");
        }

        if (await IsolatedAsync(record).ConfigureAwait(false) is { } isolated)
        {
            var request = new ControlRequest { Command = "add-export", Volume = volume, Export = export };
            try
            {
                return (await isolated.AskAsync(request, cancellation).ConfigureAwait(false)).Export!;
            }
            finally
            {
                await EndWithoutExportsAsync(isolated).ConfigureAwait(false);
            }
        }

        return await Known(volume).AddExportAsync(export, cancellation).ConfigureAwait(false);
    }

    /// <summary>Ends an export, now and for every start.</summary>
    /// <exception cref="RefusalException">There is none such, or somebody uses it.</exception>
    public async Task RemoveExportAsync(string id, bool force, CancellationToken cancellation)
    {
        RefuseWhileEnding();
        string volume = id.Split('/')[0];
        VolumeRecord record = (VolumeName.IsValid(volume) ? _context.Store.TryGet(volume) : null)
            ?? throw RefusalException.NotFound($"There is no export '{id}'.", "'polyblk export list' names them.");
        RequireOurs(volume);
        if (record.Exports is { Count: > 0 } && await IsolatedAsync(record).ConfigureAwait(false) is { } isolated)
        {
            var request = new ControlRequest { Command = "remove-export", ExportId = id, Force = force };
            _ = await isolated.AskAsync(request, cancellation).ConfigureAwait(false);
            await EndWithoutExportsAsync(isolated).ConfigureAwait(false);
            return;
        }

        await Known(volume).RemoveExportAsync(id, force, cancellation).ConfigureAwait(false);
    }

    /// <summary>Starts a volume that is not served.</summary>
    /// <exception cref="RefusalException">It cannot start; the message says why.</exception>
    public async Task StartVolumeAsync(string volume, StartPermissions allowed, CancellationToken cancellation)
    {
        RefuseWhileEnding();
        VolumeRecord record = _context.Store.Get(volume);
        RequireOurs(volume);
        if (allowed.BlockSize is not (null or 512 or 4096))
        {
            throw RefusalException.Invalid(
                $"Blocks of {allowed.BlockSize} bytes are not possible.",
                "A block has 512 or 4096 bytes.");
        }

        if (record.Exports is { Count: > 0 } && await IsolatedAsync(record).ConfigureAwait(false) is { } isolated)
        {
            var request = new ControlRequest { Command = "start", Volume = volume, Allow = allowed };
            _ = await isolated.AskAsync(request, cancellation).ConfigureAwait(false);
            return;
        }

        await Known(volume).StartAsync(allowed, cancellation).ConfigureAwait(false);
    }

    /// <summary>Takes the sizes that drives have now, of volumes that are as large as their drive.</summary>
    public async Task FollowDrivesAsync()
    {
        DaemonVolume[] volumes;
        lock (_lock)
        {
            volumes = [.. _volumes.Values];
        }

        Array.ForEach(Isolated(), v => v.Signal(Libc.SIGHUP));
        await Task.WhenAll(volumes.Select(FollowAsync)).ConfigureAwait(false);

        async Task FollowAsync(DaemonVolume volume)
        {
            try
            {
                await (volume.Server?.FollowDriveAsync() ?? Task.CompletedTask).ConfigureAwait(false);
            }
#pragma warning disable CA1031 // One volume whose drive refuses or that ends just now keeps no other from its new size.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _log.LogWarning("{Volume} does not follow its drive: {Reason}", volume.Name, Refusals.Of(e)?.Message ?? e.Message);
            }
        }
    }

    /// <summary>Ends all volumes in order, each by itself, within the time that the options give.</summary>
    /// <param name="isSucceeded">Whether processes that volumes have of their own go on: a successor has them now.</param>
    /// <returns>Whether every one ended in order.</returns>
    public async Task<bool> ShutDownAsync(bool isSucceeded = false)
    {
        if (_held is not null)
        {
            // One that gave up before it had the place of its predecessor has told nobody that it began.
            TellOfDaemon(EventKinds.DaemonEnding);
        }

        await _ending.CancelAsync().ConfigureAwait(false);
        DaemonVolume[] volumes;
        lock (_lock)
        {
            // Whatever comes to be known from now on is not opened.
            _isEnding = true;
            volumes = [.. _volumes.Values];
        }

        // A drive that is on its way from one volume to another arrives; what hangs keeps nobody.
        await Task.WhenAny(_tending, Task.Delay(s_sharingLimit)).ConfigureAwait(false);
        Task<bool[]> isolated = Task.WhenAll(Isolated().Select(v => isSucceeded ? LeaveAsync(v) : v.EndAsync()));
        var ends = volumes.ToDictionary(v => v.Name, v => Task.Run(v.ShutDownAsync));
        Task all = Task.WhenAll([.. ends.Values, .. _starts]);
        await Task.WhenAny(all, Task.Delay(_context.Options.StopWithin)).ConfigureAwait(false);
        bool isClean = true;
        foreach ((string name, Task<bool> end) in ends)
        {
            if (!end.IsCompleted)
            {
                _log.LogError(
                    "{Volume} has not ended within {Seconds} s, and is left as it is: an array is not marked clean, and what was not acknowledged may be lost",
                    name, _context.Options.StopWithin.TotalSeconds);
                IsAbandoned = true;
            }
            else if (end.Exception is not null)
            {
                _log.LogError(end.Exception.GetBaseException(), "{Volume} could not be ended", name);
            }

            isClean &= end.IsCompletedSuccessfully && end.Result;
        }

        // Each of these has its deadline.
        isClean &= (await isolated.ConfigureAwait(false)).All(ended => ended);

        // What drives have not answered is on the reactors still: they end with the process.
        IsAbandoned |= volumes.Any(v => v.IsAbandoned);
        return isClean && !IsAbandoned;

        static async Task<bool> LeaveAsync(IsolatedVolume volume)
        {
            await volume.LeaveAsync().ConfigureAwait(false);
            return true;
        }
    }

    /// <summary>Ends what is left. Where the deadline has passed that is left to the end of the process.</summary>
    public async ValueTask DisposeAsync()
    {
        if (!_ending.IsCancellationRequested)
        {
            await ShutDownAsync().ConfigureAwait(false);
        }

        if (!IsAbandoned)
        {
            _context.Reactors.Dispose();
            _ending.Dispose();
        }

        await _context.Events.DisposeAsync().ConfigureAwait(false);
        _held?.Dispose();
    }

    private void StartAll(IReadOnlyCollection<string> except)
    {
        var tried = new List<Task>();
        IReadOnlyList<VolumeRecord> records = _context.Store.List(warning => _log.LogError("{Warning}", warning));
        foreach (VolumeRecord record in records.Where(r => r.Exports is { Count: > 0 } && IsOurs(r.Name)))
        {
            DaemonVolume volume = Known(record.Name);
            if (_context.Options.Only is null && !volume.IsBegun && WatchIsolated(record, except) is { } isolated)
            {
                tried.Add(isolated.Tried);
            }
            else if ((record.Autostart ?? true) && !except.Contains(record.Name))
            {
                _starts.Add(Task.Run(() => StartAtBootAsync(volume)));
                tried.Add(volume.Tried.Task);
            }
        }

        _tending = Task.WhenAll(
            Task.Run(() => _sharing.RunAsync(_context.Events, _ending.Token)), Task.Run(() => _returning.RunAsync(_ending.Token)));
        Tried = Task.WhenAll(tried);
        Settled = Task.WhenAll(_starts);
    }

    /// <summary>
    /// Whether a spare may go from one volume to another now; until <see cref="SpareSharing.IsMoving"/> is over nothing goes to a
    /// successor.
    /// </summary>
    private bool TryBeginMove(Action begin)
    {
        lock (_lock)
        {
            if (!_isEnding)
            {
                begin();
            }

            return !_isEnding;
        }
    }

    /// <summary>The volumes that may give and take spares: none while they go over to a successor, or end.</summary>
    private IReadOnlyList<VolumeServer> ServersThatShare()
    {
        lock (_lock)
        {
            return _isEnding ? [] : [.. _volumes.Values.Select(v => v.Server).OfType<VolumeServer>()];
        }
    }

    /// <summary>
    /// Watches the process of a volume that is to have one, or has it from a daemon before this one. One that is not to start by
    /// itself has none until somebody starts it.
    /// </summary>
    private IsolatedVolume? WatchIsolated(VolumeRecord record, IReadOnlyCollection<string> except)
    {
        bool isThere = new IsolatedVolume(record.Name, _context).Pid is not null;
        if (record.Isolate != true && !isThere)
        {
            return null;
        }

        IsolatedVolume isolated = IsolatedOf(record.Name);
        if (isThere || ((record.Autostart ?? true) && !except.Contains(record.Name)))
        {
            isolated.Begin();
        }
        else
        {
            isolated.Rest(Known(record.Name).ToJson(record));
        }

        return isolated;
    }

    /// <summary>Tells of the daemon itself; a process of one volume is none.</summary>
    private void TellOfDaemon(string kind)
    {
        if (_context.Options.Only is null)
        {
            _events.Tell(new EventJson { Kind = kind });
        }
    }

    private async Task StartAtBootAsync(DaemonVolume volume)
    {
        try
        {
            await volume.StartAsync(allowed: null, _ending.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            volume.Tried.TrySetResult();
        }
#pragma warning disable CA1031 // Whatever keeps one volume from starting is shown with it, and the others are served.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogDebug(e, "{Volume} is not served", volume.Name);
        }
    }

    /// <summary>What is kept in a record now would not be what a successor has taken over.</summary>
    /// <exception cref="RefusalException">The daemon ends, or volumes go over to another.</exception>
    public void RefuseWhileEnding()
    {
        lock (_lock)
        {
            if (_isEnding)
            {
                throw RefusalException.Refused("The daemon is ending, or is being succeeded by another.", "Try again in a moment.");
            }
        }
    }

    private DaemonVolume Known(string name)
    {
        lock (_lock)
        {
            if (!_volumes.TryGetValue(name, out DaemonVolume? volume))
            {
                volume = new DaemonVolume(name, _context, _isEnding);
                _volumes.Add(name, volume);
            }

            return volume;
        }
    }

    /// <summary>The export that has a socket already, of whatever volume.</summary>
    private string? SocketOwner(string path) => (
        from record in _context.Store.List(_ => { })
        from export in record.Exports ?? []
        where export.SocketPath == path
        select ExportRecord.IdOf(record.Name, export.Frontend, export.Index)).FirstOrDefault();
}
