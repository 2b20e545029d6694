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
using Polyblk.Cli.Output;
using Polyblk.Cli.State;
using Polyblk.Cli.Volumes;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Raid.Superblock;

namespace Polyblk.Cli.Serving;

/// <summary>Everything that <c>polyblk serve</c> runs for one volume.</summary>
internal sealed class VolumeServer : IAsyncDisposable
{
    // virtio-blk, VIRTIO_BLK_ID_BYTES.
    private const int MaxSerialBytes = 20;

    private const int LooksOfPatience = 30;

    private readonly VolumeRecord _record;
    private readonly ServeOptions _options;
    private readonly ReactorPlan _plan;
    private readonly ReactorGroup _reactors;
    private readonly ILogger _log;
    private readonly ILoggerFactory _logging;
    private readonly StateDirectories _directories;
    private readonly SemaphoreSlim _changing = new(1);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<ServedExport> _exports = [];
    private readonly DateTimeOffset _started = DateTimeOffset.UtcNow;
    private readonly Lock _memory = new();
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
        _reactors = new ReactorGroup(_plan.Cpus, options.Idle);
        foreach (Reactor reactor in _reactors.Reactors)
        {
            // Raised on the reactor's thread, where logging is not allowed.
            reactor.Faulted += (r, source, e) => ThreadPool.QueueUserWorkItem(
                _ => _log.LogError(e, "{Reactor} dropped {Source}: this is a bug", r.Name, source?.GetType().Name ?? "its loop"));
            if (reactor.RingNotice.Length > 0)
            {
                _log.LogWarning("{Reactor}: {Notice}", reactor.Name, reactor.RingNotice);
            }
        }
    }

    /// <summary>Finishes when the last export has ended.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Whether an export ended by a failure.</summary>
    public bool AnyFailed => _exports.Any(e => e.Failure is not null);

    /// <summary>Whether every export that was to end has ended.</summary>
    public bool EndedCleanly { get; private set; } = true;

    /// <summary>What drives did not answer until the end, and the volume was ended without; null when there is nothing.</summary>
    public IReadOnlyList<UnfinishedJson>? Unfinished => _unfinished;

    public IReadOnlyList<string> VolumeNotes => _volume!.Notes;

    /// <summary>Finishes when what was begun with the record is done.</summary>
    public Task Remembering => Volatile.Read(ref _remembering);

    private long _toldBytes;

    private VolumeStore Store => new(_directories);

    /// <summary>Opens the volume and makes its exports.</summary>
    /// <exception cref="CliException">Something is in the way; nothing stays behind.</exception>
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
            server._volume = await options.Open(
                record, server._reactors, options.Start, logging, cancellation).ConfigureAwait(false);
            server._volume.KeepRecord(server.Store);
            server._volume.MembersChanged += () => server.Remember(_ => { });
            server._volume.Device.Resized += _ => server.FollowArray();
            await server.CreateExportsAsync(groups, frontends, cancellation).ConfigureAwait(false);
            return server;
        }
        catch
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// Takes down which drive is which member, one look after the other. It may wait for a drive that hangs: nothing waits for it.
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
                    catch (CliException e)
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
        IReadOnlyList<int> queues = _reactors.Plan;
        return new LiveJson
        {
            Volume = _record.Name,
            Uuid = _record.Uuid,
            Pid = Environment.ProcessId,
            StartedUtc = _started,
            SizeBytes = _volume!.Device.SizeBytes,
            Array = _volume.GetArray(),
            ReactorPlan = _plan.Reason,
            Reactors =
            [
                .. _reactors.Reactors.Select((reactor, i) =>
                {
                    ReactorStatistics s = reactor.GetStatistics();
                    return new ReactorJson(s.Name, s.Cpu, queues[i], s.Turns, s.BusyNs, s.SpinNs, s.SleepNs, s.Sleeps, s.Requests, s.Faults);
                }),
            ],
            Exports = [.. _exports.Select(e => e.ToJson())],
        };
    }

    /// <summary>
    /// Stops every export. With <see cref="StopMode.IfIdle"/> it is all or nothing: when one refuses, those that were stopped
    /// before it are made again, and the refusal goes to the caller. Where a drive hangs, it ends without the requests that are
    /// there (<see cref="Unfinished"/>).
    /// </summary>
    /// <exception cref="CliException">One of them is in use, or a change is under way that does not end.</exception>
    public async Task StopAsync(StopMode mode, CancellationToken cancellation)
    {
        if (!await _changing.WaitAsync(_options.Patience, cancellation).ConfigureAwait(false))
        {
            throw CliException.Refused(
                $"A change of volume '{_record.Name}' is under way and does not end: try again, or end the process that serves it "
                + $"(kill {Environment.ProcessId}).");
        }

        try
        {
            if (mode == StopMode.IfIdle)
            {
                RefuseWhileConnected();
            }

            var stopped = new List<ServedExport>();
            foreach (ServedExport served in _exports.Where(e => e.IsServing))
            {
                try
                {
                    served.MarkStopped();
                    await PatientlyAsync(served, served.Export.StopAsync(mode, cancellation)).ConfigureAwait(false);
                    stopped.Add(served);
                }
                catch (HangingDriveException e)
                {
                    // Nothing can be made again over such a drive: the stop goes on.
                    Abandon(served, e);
                }
                catch (Exception e)
                {
                    served.Replace(served.Export);
                    await RestoreAsync(stopped).ConfigureAwait(false);
                    if (e is FrontendException)
                    {
                        throw new CliException(ExitCode.Refused, e.Message, e);
                    }

                    throw;
                }
            }

            _ended.TrySetResult();
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>
    /// A consumer that is connected to a socket would lose its disk: a virtual machine waits for a successor that nobody
    /// announced, a client gets errors. All are looked at before the first is stopped.
    /// </summary>
    private void RefuseWhileConnected()
    {
        var users = new List<string>();
        foreach (ServedExport served in _exports.Where(e => e.IsServing && e.Export.Endpoint.Kind == EndpointKind.UnixSocket))
        {
            int sessions = served.Export.GetStatistics().Sessions;
            if (sessions > 0)
            {
                IReadOnlyList<string> peers = UnixPeers.Of(served.Export.Endpoint.Path);
                string who = peers.Count > 0 ? Printable.Line(string.Join(", ", peers.Distinct())) : $"{sessions} session(s)";
                users.Add($"{served.Export.Id} by {who}");
            }
        }

        if (users.Count > 0)
        {
            throw CliException.Refused(
                $"Volume '{_record.Name}' is in use: {string.Join("; ", users)}. "
                + "Detach the disk there or end that process first; --force stops all the same.");
        }
    }

    /// <summary>
    /// The clean end on a signal: exports that are idle stop; one that is in use leaves its state to a successor, so that its
    /// consumers wait for the next <c>serve</c> instead of failing.
    /// </summary>
    /// <returns>What the user should know, one sentence for each export that was handed over.</returns>
    public async Task<IReadOnlyList<string>> ShutDownAsync()
    {
        var notes = new List<string>();

        // A change that hangs, as its drive does, must not hold up the end of the process.
        bool isAlone = await _changing.WaitAsync(_options.Patience).ConfigureAwait(false);
        try
        {
            foreach (ServedExport served in _exports.Where(e => e.IsServing))
            {
                served.MarkStopped();
                await EndOneAsync(served, async () =>
                {
                    try
                    {
                        await served.Export.StopAsync(StopMode.IfIdle, CancellationToken.None).ConfigureAwait(false);
                    }
                    catch (FrontendException e)
                    {
                        notes.Add($"{e.Message} Who uses it waits until the volume is served again by the same command; an unprivileged ublk device cannot wait, its requests fail.");
                        await served.Export.StopAsync(StopMode.HandOver, CancellationToken.None).ConfigureAwait(false);
                    }
                }).ConfigureAwait(false);
            }

            return notes;
        }
        finally
        {
            if (isAlone)
            {
                _changing.Release();
            }
        }
    }

    /// <summary>
    /// Takes the size that the volume's drive has now, where the volume is as large as its drive, and tells every consumer.
    /// </summary>
    /// <exception cref="CliException">The size is not possible, or a consumer could not be told.</exception>
    public Task FollowDriveAsync() => _volume!.HasSizeOfDrive ? ResizeAsync(null, mayShrink: false, CancellationToken.None) : Task.CompletedTask;

    /// <summary>Takes a new size (null: all that the drives give) and tells every consumer.</summary>
    /// <exception cref="CliException">The size is not possible, is smaller and must not be, or a consumer could not be
    /// told.</exception>
    public async Task ResizeAsync(long? sizeBytes, bool mayShrink, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (sizeBytes < _volume!.Device.SizeBytes && !mayShrink)
            {
                throw CliException.Refused(
                    $"Volume '{_record.Name}' has {ByteSize.FormatRounded(_volume.Device.SizeBytes)}: less would cut off the end of what is on it. "
                    + "Make the file system smaller first, then use --force.");
            }

            await _volume.ResizeAsync(sizeBytes, cancellation).ConfigureAwait(false);
            await TellSizeAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Tells every consumer what size the volume has.</summary>
    /// <exception cref="CliException">One could not be told.</exception>
    private async Task TellSizeAsync(CancellationToken cancellation)
    {
        _toldBytes = _volume!.Device.SizeBytes;
        string size = ByteSize.FormatRounded(_toldBytes);
        _log.LogInformation("{Volume} has {Size} now", _record.Name, size);
        var untold = new List<string>();
        foreach (ServedExport served in _exports.Where(e => e.IsServing))
        {
            try
            {
                await served.Export.ResizeAsync(cancellation).ConfigureAwait(false);
            }
            catch (Exception e) when (e is FrontendException or IOException)
            {
                untold.Add($"{served.Export.Id} could not be told: {e.Message}");
            }
        }

        if (untold.Count > 0)
        {
            throw new CliException(ExitCode.Failed, $"Volume '{_record.Name}' has {size} now, but {string.Join(' ', untold)}");
        }
    }

    /// <summary>The array has another size by itself (a reshape is over): consumers are told, once nothing else changes it.</summary>
    private void FollowArray()
    {
        if (_volume is not { HasSizeOfDrive: false })
        {
            return;
        }

        _ = Task.Run(async () =>
        {
            await _changing.WaitAsync().ConfigureAwait(false);
            try
            {
                long size = _volume.Device.SizeBytes;
                if (size != _toldBytes)
                {
                    Store.Change(_record.Name, record => record with { SizeBytes = size });
                    await TellSizeAsync(CancellationToken.None).ConfigureAwait(false);
                }
            }
            catch (CliException e)
            {
                _log.LogWarning("{Problem}", e.Message);
            }
            finally
            {
                _changing.Release();
            }
        });
    }

    /// <summary>Lets the warning go that blocks of the volume may be damaged.</summary>
    /// <exception cref="CliException">That is not possible; the message says why.</exception>
    public Task AcknowledgeDamageAsync(CancellationToken cancellation) =>
        ChangeAsync(volume => volume.AcknowledgeDamageAsync(), cancellation);

    /// <summary>Changes how the volume is put right after an unclean stop.</summary>
    /// <exception cref="CliException">It cannot have that; the message says why.</exception>
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
    /// <exception cref="CliException">That is not possible; the message says why.</exception>
    public Task StartCheckAsync(bool repair, CancellationToken cancellation) =>
        ChangeAsync(volume => volume.StartCheckAsync(repair), cancellation);

    /// <summary>Ends the comparison that is under way.</summary>
    /// <exception cref="CliException">That is not possible; the message says why.</exception>
    public Task StopCheckAsync(CancellationToken cancellation) => ChangeAsync(volume => volume.StopCheckAsync(), cancellation);

    /// <summary>Changes who is a member of the array, and the record.</summary>
    /// <exception cref="CliException">That is not possible; the message says why.</exception>
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
    /// <exception cref="CliException">There can be none, or the record cannot be written.</exception>
    public Task LimitRebuildAsync(long bytesPerSecond, CancellationToken cancellation)
    {
        if (bytesPerSecond < 0)
        {
            throw CliException.Usage("A rate is not negative; 0 sets no bound.");
        }

        return ChangeKeptAsync(volume => volume.LimitRebuild(bytesPerSecond), record => record.WithRebuildLimit(bytesPerSecond), cancellation);
    }

    /// <summary>Says after what time members are compared anew, now and at the next start; zero never.</summary>
    /// <exception cref="CliException">There are none, or the record cannot be written.</exception>
    public Task CheckEveryAsync(long seconds, CancellationToken cancellation)
    {
        if (seconds is < 0 or > VolumeRecord.MostCheckSeconds)
        {
            throw CliException.Usage("The time between checks is from 0 (never) to a hundred years.");
        }

        return ChangeKeptAsync(volume => volume.CheckEvery(TimeSpan.FromSeconds(seconds)), record => record with { CheckEverySeconds = seconds }, cancellation);
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

    public async ValueTask DisposeAsync()
    {
        foreach (ServedExport served in _exports)
        {
            if (served.IsServing)
            {
                served.MarkStopped();
            }

            // No forced stop: after a start that failed, a device that was taken over may still be mounted. Disposing an export
            // leaves what is in use to a successor.
            if (!served.IsAbandoned)
            {
                await EndOneAsync(served, () => served.Export.DisposeAsync().AsTask()).ConfigureAwait(false);
            }
        }

        if (_unfinished is not null)
        {
            // Its queues have requests that do not come back: nothing below can be closed, and all goes with the process.
            return;
        }

        if (_volume is not null)
        {
            await _volume.DisposeAsync().ConfigureAwait(false);
        }

        _reactors.Dispose();
        _changing.Dispose();
    }

    private async Task CreateExportsAsync(IReadOnlyList<FrontendGroup> groups, IReadOnlyList<IFrontend> frontends, CancellationToken cancellation)
    {
        var context = MakeContext();
        SocketAccess.CloseFolder(context.RuntimeDirectory);
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (FrontendGroup group in groups)
        {
            IFrontend frontend = frontends.Single(f => f.Name == group.Frontend);
            int index = counts.GetValueOrDefault(group.Frontend);
            counts[group.Frontend] = index + 1;
            ExportSpec spec = MakeSpec(group, index);
            IExport export = await frontend.CreateAsync(spec, context, cancellation).ConfigureAwait(false);
            var served = new ServedExport(frontend, spec, export, group.SocketAccess);
            _exports.Add(served);
            group.SocketAccess?.Apply(export.Endpoint, context.RuntimeDirectory);
            WatchCompletion(served, export);
            _log.LogInformation("{Export} is served at {Endpoint}", export.Id, export.Endpoint.Path);
        }
    }

    private ExportSpec MakeSpec(FrontendGroup group, int index) => new()
    {
        Id = $"{_record.Name}/{group.Frontend}/{index}",
        VolumeName = _record.Name,
        VolumeUuid = _record.Uuid,
        Device = _volume!.Device,
        Serial = group.Serial ?? _record.Uuid.ToString("N")[..MaxSerialBytes],
        ReadOnly = group.ReadOnly,
        Queues = group.Queues,
        QueueSize = group.QueueSize,
        SocketPath = group.SocketPath,
        Options = group.Options,
    };

    private ExportContext MakeContext()
    {
        string runtime = _directories.RuntimeOf(_record.Name);
        string state = _directories.ExportStateOf(_record.Name);
        StateDirectories.Ensure(runtime);
        StateDirectories.Ensure(state);
        return new ExportContext(_reactors, runtime, state, _logging);
    }

    /// <summary>
    /// Ends an export. One that fails to end must not keep the others from ending, nor the array from being marked clean if it
    /// can be.
    /// </summary>
    private async Task EndOneAsync(ServedExport served, Func<Task> end)
    {
        try
        {
            await PatientlyAsync(served, end()).ConfigureAwait(false);
        }
        catch (HangingDriveException e)
        {
            Abandon(served, e);
        }
#pragma warning disable CA1031 // Whatever it is: it is logged, the export counts as failed, and the rest is taken down.
        catch (Exception e)
#pragma warning restore CA1031
        {
            EndedCleanly = false;
            served.MarkFailed(e.Message);
            _log.LogError(e, "{Export} could not be ended", served.Export.Id);
        }
    }

    /// <summary>Gives up the end of an export that waits for a drive which does not answer.</summary>
    private void Abandon(ServedExport served, HangingDriveException e)
    {
        EndedCleanly = false;
        served.IsAbandoned = true;
        served.MarkFailed(e.Message);
        _unfinished = e.Drives;
        _log.LogError("{Export} is ended without what its drives did not answer: {Reason}", served.Export.Id, e.Message);
    }

    /// <summary>Waits for the end of an export; not for ever where a drive holds its requests and does not answer.</summary>
    /// <exception cref="HangingDriveException">One does.</exception>
    private async Task PatientlyAsync(ServedExport served, Task ending)
    {
        long started = Stopwatch.GetTimestamp();
        long lastAnswer = started;
        long answers = -1;
        while (!ending.IsCompleted)
        {
            await Task.WhenAny(ending, Task.Delay(_options.Patience / LooksOfPatience)).ConfigureAwait(false);
            ExportStatistics now = served.Export.GetStatistics();
            long sum = now.Reads + now.Writes + now.Flushes + now.Discards + now.Errors - now.InFlight;
            lastAnswer = sum == answers ? lastAnswer : Stopwatch.GetTimestamp();
            answers = sum;
            if (!ending.IsCompleted && Stopwatch.GetElapsedTime(started) > _options.Patience
                && WhatHangs(now, Stopwatch.GetElapsedTime(lastAnswer)) is { Count: > 0 } hanging)
            {
                throw new HangingDriveException(hanging);
            }
        }

        await ending.ConfigureAwait(false);
    }

    /// <summary>
    /// Drives that do not answer. An array knows its members' requests; one drive alone counts as hanging where requests are in
    /// flight and none was answered for as long as the end waits.
    /// </summary>
    private IReadOnlyList<UnfinishedJson> WhatHangs(ExportStatistics now, TimeSpan silence) =>
        _volume?.GetHanging()
        ?? (_volume is not null && now.InFlight > 0 && silence > _options.Patience
            ? [new UnfinishedJson(null, _volume.Device.Name, (int)now.InFlight, (int)silence.TotalSeconds)]
            : []);

    private async Task RestoreAsync(List<ServedExport> stopped)
    {
        foreach (ServedExport served in stopped)
        {
            await served.Export.DisposeAsync().ConfigureAwait(false);
            IExport again = await served.Frontend.CreateAsync(served.Spec, MakeContext(), CancellationToken.None).ConfigureAwait(false);
            served.SocketAccess?.Apply(again.Endpoint, _directories.RuntimeOf(_record.Name));
            served.Replace(again);
            WatchCompletion(served, again);
        }
    }

    private void WatchCompletion(ServedExport served, IExport export) => _ = export.Completion.ContinueWith(
        task =>
        {
            if (!served.IsServing || !ReferenceEquals(served.Export, export))
            {
                return;
            }

            Exception? failure = task.Exception?.GetBaseException();
            if (failure is null)
            {
                served.MarkStopped();
                _log.LogInformation("{Export} ended", export.Id);
            }
            else
            {
                served.MarkFailed(failure.Message);
                _log.LogError(failure, "{Export} failed and is not served any more; the other exports go on", export.Id);
            }

            if (_exports.All(e => !e.IsServing))
            {
                _ended.TrySetResult();
            }
        },
        TaskScheduler.Default);
}

/// <summary>The end waits for drives that do not answer.</summary>
internal sealed class HangingDriveException(IReadOnlyList<UnfinishedJson> drives)
    : Exception($"A drive holds requests and does not answer ({string.Join("; ", drives)}): the volume ends without them, and is not marked clean.")
{
    /// <summary>Which, and what they hold.</summary>
    public IReadOnlyList<UnfinishedJson> Drives => drives;
}
