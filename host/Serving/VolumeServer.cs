// A volume being served: its reactors, its open drives, its exports.
//
// Made from the bottom up (reactors, drives and array, exports) and taken down from the top: exports first, so that no request is
// in flight when the array marks itself clean, then the drives, then the reactors. Whatever fails while it is being made takes
// down what was made.
//
// An export that fails by itself is logged and shown as failed; the others are served on. When the last one is gone the server
// ends.

using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Serving;

/// <summary>Everything that <c>polyblk serve</c> runs for one volume.</summary>
public sealed partial class VolumeServer : IAsyncDisposable
{
    private const int LooksOfPatience = 30;

    private readonly VolumeRecord _record;
    private readonly ServeOptions _options;
    private readonly ReactorPlan _plan;
    private readonly ReactorGroup _reactors;
    private readonly bool _ownsReactors;
    private readonly ILogger _log;
    private readonly EventTeller _events;
    private readonly SessionTeller _sessions;
    private readonly ILoggerFactory _logging;
    private readonly StateDirectories _directories;
    private readonly SemaphoreSlim _changing = new(1);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly DateTimeOffset _started = DateTimeOffset.UtcNow;
    private readonly Lock _memory = new();
    private readonly Lock _counting = new();

    // Replaced as a whole by one change at a time; read by any thread.
    private volatile ServedExport[] _exports = [];
    private ExportStatistics _removed = new();
    private OpenVolume? _volume;
    private IReadOnlyList<UnfinishedJson>? _unfinished;
    private Task _remembering = Task.CompletedTask;

    private VolumeServer(VolumeRecord record, ServeOptions options, StateDirectories directories, ILoggerFactory logging)
    {
        _record = record;
        _options = options;
        _plan = options.Plan;
        _directories = directories;
        _logging = logging;
        _log = logging.CreateLogger("polyblk.serve");
        _events = new EventTeller(record.Name, options.Events, _log);
        _sessions = new SessionTeller(_events, TimeProvider.System);
        _ownsReactors = options.Reactors is null;
        _reactors = options.Reactors ?? ReactorPlan.Start(_plan, options.Idle, _log);
    }

    /// <summary>Tells what happens to the volume.</summary>
    public EventTeller Events => _events;

    /// <summary>Finishes when the last export has ended.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Whether an export ended by a failure.</summary>
    public bool AnyFailed => _exports.Any(e => e.Failure is not null);

    /// <summary>Whether every export that was to end has ended.</summary>
    public bool EndedCleanly { get; private set; } = true;

    /// <summary>What drives did not answer until the end, and the volume was ended without; null when there is nothing.</summary>
    public IReadOnlyList<UnfinishedJson>? Unfinished => _unfinished;

    public IReadOnlyList<string> VolumeNotes => _volume!.Notes;

    /// <summary>Why the first export that failed did; null where none has.</summary>
    public string? Failure => _exports.Select(e => e.Failure).FirstOrDefault(f => f is not null);

    /// <summary>Whether drives hold requests and have not answered for so long that nothing waits for them.</summary>
    public bool IsHanging => _volume?.GetHanging() is { Count: > 0 };

    /// <summary>An export that another process can have only when this one has ended; null where there is none.</summary>
    public string? HeldByProcess => _exports.FirstOrDefault(e => e.IsServing && e.Export.IsHeldByProcess)?.Export.Id;

    /// <summary>Whether its content is gone when it is closed.</summary>
    public bool IsVolatile => _record.Volatile;

    /// <summary>Whether it lacks a member.</summary>
    public bool IsDegraded => _volume?.GetArray()?.Health is Health.Degraded or Health.Rebuilding or Health.Failed;

    /// <summary>The exports that it has, as they are now.</summary>
    public IReadOnlyList<ExportJson> GetExports() => [.. _exports.Select(e => e.ToJson())];

    /// <summary>The ids of those that failed, or could not be made.</summary>
    public IReadOnlyList<string> GetFailedExports() => [.. _exports.Where(e => e.Failure is not null).Select(e => e.Spec.Id)];

    /// <summary>Finishes when what was begun with the record is done.</summary>
    public Task Remembering => Volatile.Read(ref _remembering);

    private VolumeStore Store => new(_directories);

    /// <summary>What all exports have counted together since the volume is served, those that were removed included.</summary>
    private ExportStatistics GetCounts()
    {
        lock (_counting)
        {
            return _exports.Aggregate(_removed, (sum, served) => sum.Plus(served.GetCounts()));
        }
    }

    /// <summary>Opens the volume and makes its exports.</summary>
    /// <exception cref="RefusalException">Something is in the way; nothing stays behind.</exception>
    public static async Task<VolumeServer> StartAsync(
        VolumeRecord record,
        IReadOnlyList<FrontendGroup> groups,
        IReadOnlyList<IFrontend> frontends,
        ServeOptions options,
        StateDirectories directories,
        ILoggerFactory logging,
        CancellationToken cancellation)
    {
        var server = new VolumeServer(record, options, directories, logging);
        try
        {
            VolumeStart start = options.Start with
            {
                Events = new EventTeller(record.Name, options.Events, logging.CreateLogger("polyblk.raid")),
            };
            server._volume = await options.Open(record, server._reactors, start, logging, cancellation).ConfigureAwait(false);
            server._volume.KeepRecord(server.Store);
            server._volume.MembersChanged += () => server.Remember(_ => { });
            server._volume.Device.Resized += _ => server.FollowArray();
            await server.CreateExportsAsync(groups, frontends, cancellation).ConfigureAwait(false);
            server._log.LogInformation(
                "Drives of {Volume} ({Level}): {Drives}", record.Name, record.Level, string.Join(", ", record.Drives));
            return server;
        }
        catch
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// Takes down which drive is which member, one look after the other. It may wait for a drive that hangs: nothing waits for
    /// it.
    /// </summary>
    public void Remember(Action<string> warn)
    {
        lock (_memory)
        {
            _remembering = _remembering.ContinueWith(
                async _ =>
                {
                    try
                    {
                        if (Store.TryGet(_record.Name) is VolumeRecord now)
                        {
                            await MemberMemory.RefreshAsync(Store, now, warn, CancellationToken.None).ConfigureAwait(false);
                        }
                    }
                    catch (RefusalException e)
                    {
                        _log.LogWarning("What is remembered of the members is old: {Reason}", e.Message);
                    }
                },
                CancellationToken.None,
                TaskContinuationOptions.None,
                TaskScheduler.Default).Unwrap();
        }
    }

    /// <summary>A picture of everything, now.</summary>
    public LiveJson GetLive()
    {
        ExportStatistics counts = GetCounts();
        return new LiveJson
        {
            Volume = _record.Name,
            Uuid = _record.Uuid,
            Pid = Environment.ProcessId,
            StartedUtc = _started,
            SizeBytes = _volume!.Device.SizeBytes,
            PausedUntilUtc = PausedUntil,
            Array = _volume.GetArray(),
            ReactorPlan = _plan.Reason,
            Reactors = ReactorJson.Of(_reactors),
            Exports = GetExports(),
            Statistics = counts,
            Latency = LatenciesJson.Of(counts.Latencies),
        };
    }

    /// <summary>Lets the warning go that blocks of the volume may be damaged.</summary>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public Task AcknowledgeDamageAsync(CancellationToken cancellation) =>
        ChangeAsync(volume => volume.AcknowledgeDamageAsync(), cancellation);

    /// <summary>Changes how the volume is put right after an unclean stop.</summary>
    /// <exception cref="RefusalException">It cannot have that; the message says why.</exception>
    public Task SetConsistencyAsync(ArrayConsistency consistency, CancellationToken cancellation) =>
        ChangeAsync(volume => volume.SetConsistencyAsync(consistency), cancellation);

    private async Task ChangeAsync(Func<OpenVolume, Task> change, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await change(_volume!).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Starts comparing members, and with <paramref name="repair"/> makes them agree.</summary>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public Task StartCheckAsync(bool repair, CancellationToken cancellation) =>
        ChangeAsync(volume => volume.StartCheckAsync(repair), cancellation);

    /// <summary>Ends the comparison that is under way.</summary>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public Task StopCheckAsync(CancellationToken cancellation) => ChangeAsync(volume => volume.StopCheckAsync(), cancellation);

    /// <summary>Changes who is a member of the array, and the record.</summary>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public async Task<MemberChangeResult> ChangeMembersAsync(MemberChange change, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            MemberChangeResult done = await _volume!.ChangeMembersAsync(change, Store).ConfigureAwait(false);
            _log.LogInformation("{Change}: {Done}", change.Word, done.Message);
            return done;
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Bounds the speed of a resync or rebuild, now and at the next start; 0 sets no bound.</summary>
    /// <exception cref="RefusalException">There can be none, or the record cannot be written.</exception>
    public Task LimitRebuildAsync(long bytesPerSecond, CancellationToken cancellation)
    {
        new SettingsChange { MaxRebuildBytesPerSecond = bytesPerSecond }.Check();
        return ChangeKeptAsync(volume => volume.LimitRebuild(bytesPerSecond), record => record.WithRebuildLimit(bytesPerSecond), cancellation);
    }

    /// <summary>Says after what time members are compared anew, now and at the next start; zero never.</summary>
    /// <exception cref="RefusalException">There are none, or the record cannot be written.</exception>
    public Task CheckEveryAsync(long seconds, CancellationToken cancellation)
    {
        new SettingsChange { CheckEverySeconds = seconds }.Check();
        return ChangeKeptAsync(volume => volume.CheckEvery(TimeSpan.FromSeconds(seconds)), record => record with { CheckEverySeconds = seconds }, cancellation);
    }

    /// <summary>Says how long members have to answer, now and at the next start.</summary>
    /// <exception cref="RefusalException">There are none, or the record cannot be written.</exception>
    public Task BePatientAsync(Patience patience, CancellationToken cancellation)
    {
        new SettingsChange { SlowReadSeconds = patience.SlowRead, DriveTimeoutSeconds = patience.DriveTimeout }.Check();
        return ChangeKeptAsync(volume => volume.BePatient(patience), record => record.With(patience), cancellation);
    }

    /// <summary>Changes how the volume behaves, now and, by its record, at the next start.</summary>
    private Task ChangeKeptAsync(Action<OpenVolume> now, Func<VolumeRecord, VolumeRecord> later, CancellationToken cancellation) => ChangeAsync(
        volume =>
        {
            now(volume);
            Store.Change(_record.Name, later);
            return Task.CompletedTask;
        },
        cancellation);

}
