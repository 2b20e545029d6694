// One volume of the daemon: its lock, its server and its control socket, while it is served.
//
// Made in that order, and taken down in the opposite one. The lock is held only then: the drives of a volume that is not served
// may be looked at, repaired, or served by another process. A start or end, and a change of its exports, happen one after the
// other.

using Microsoft.Extensions.Logging;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Host.Daemon;

/// <summary>A volume of the daemon, served or not.</summary>
#pragma warning disable CA1001 // The semaphore has no handle unless asked for one, and who changes the volume may come after its end.
internal sealed partial class DaemonVolume(string name, DaemonContext context, bool isOver)
#pragma warning restore CA1001
{
    private static readonly TimeSpan s_rememberLimit = TimeSpan.FromSeconds(1);

    /// <summary>How long the end waits for a change that is under way, and for who is being answered.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(15);

    private readonly SemaphoreSlim _changing = new(1);
    private readonly ILogger _log = context.Logging.CreateLogger("polyblk.daemon");
    private readonly EventTeller _events = new(name, context.Events, context.Logging.CreateLogger("polyblk.daemon"));
    private Served? _served;
    private Served? _abandoned; // keeps the lock, which would be given up by the collector
    private volatile bool _isAbandoned;
    private volatile bool _isOver = isOver;
    private CancellationTokenSource? _patience;

    // State and what belongs to it, as one: read by any thread.
    private volatile Status _status = new(DaemonState.Stopped, null, []);

    public string Name => name;

    public DaemonState State => _status.State;

    /// <summary>Whether it is served here, or about to be.</summary>
    public bool IsBegun =>
        State is DaemonState.Served or DaemonState.Starting or DaemonState.Waiting || Volatile.Read(ref _served) is not null;

    /// <summary>Completes with the first attempt to start it: served, failed, or waiting for drives.</summary>
    public TaskCompletionSource Tried { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Whether it has ended without what its drives did not answer; that is so until the end of the process.</summary>
    public bool IsAbandoned => _isAbandoned;

    /// <summary>The server; null while it is not served.</summary>
    public VolumeServer? Server => Volatile.Read(ref _served)?.Server;

    public DaemonVolumeJson ToJson(VolumeRecord? record)
    {
        Status status = _status;
        IReadOnlyList<ExportJson> live = status.State == DaemonState.Served ? Server?.GetExports() ?? [] : [];
        return new DaemonVolumeJson
        {
            Name = name,
            State = status.State,
            Reason = status.Reason,
            WaitsFor = status.WaitsFor,
            Autostart = record?.Autostart ?? true,
            Exports =
            [
                .. (record?.Exports ?? []).Select(kept =>
                {
                    string id = ExportRecord.IdOf(name, kept.Frontend, kept.Index);
                    ExportJson? its = live.FirstOrDefault(e => e.Id == id);
                    return new DaemonExportJson
                    {
                        Id = id,
                        Volume = name,
                        Frontend = kept.Frontend,
                        ReadOnly = kept.ReadOnly,
                        State = its?.State ?? (status.State == DaemonState.Served ? ExportJson.EndedState : status.State.Word()),
                        Reason = its is null ? status.Reason : its.Reason,
                        Live = its,
                    };
                }),
            ],
        };
    }

    /// <summary>
    /// Starts it, by its record; where it is served, tries those exports again that could not be made.
    /// </summary>
    /// <param name="allowed">What a user who asks for it allows; null for a start at boot, which waits for drives.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">It cannot be; it is shown with that reason.</exception>
    public async Task StartAsync(StartPermissions? allowed, CancellationToken cancellation)
    {
        if (allowed is { Degraded: true } or { Force: true })
        {
            StopWaiting();
        }
        else if (allowed is not null && _status is { State: DaemonState.Waiting } waiting)
        {
            throw RefusalException.Refused(
                $"Volume '{name}' waits for {string.Join(", ", waiting.WaitsFor)}.", "It starts when they are there; --allow-degraded does not wait for them.");
        }

        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            if (_served is null)
            {
                Volatile.Write(ref _patience, patience);
                await OpenAsync(allowed, more: null, patience.Token).ConfigureAwait(false);
            }
            else
            {
                await _served.Server.RetryExportsAsync(context.Options.Frontends, cancellation).ConfigureAwait(false);
            }
        }
        finally
        {
            Volatile.Write(ref _patience, null);
            _changing.Release();
        }
    }

    /// <summary>A successor would not know of a pause or a stop that comes while volumes go over to it.</summary>
    private Task<ControlResponse> AnswerAsync(VolumeServer server, ControlRequest request, CancellationToken cancellation) =>
        request.Command is "pause" or "stop" && _isOver
            ? throw RefusalException.Refused("The daemon is ending, or is being succeeded by another.", "Try again in a moment.")
            : VolumeRequests.AnswerAsync(server, request, cancellation);

    /// <summary>Somebody who knows better does not wait for the drives that a start at boot waits for.</summary>
    private void StopWaiting()
    {
        if (State == DaemonState.Waiting)
        {
            try
            {
                Volatile.Read(ref _patience)?.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // It has just ended by itself.
            }
        }
    }

    /// <summary>Serves it through one more export, and keeps that. A volume that was not served is started for it.</summary>
    /// <exception cref="RefusalException">It cannot be; nothing has changed.</exception>
    public async Task<ExportJson> AddExportAsync(ExportRecord wanted, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            wanted = ExportRecord.Add(context.Store.Get(name).Exports, wanted)[^1];
            string id = ExportRecord.IdOf(name, wanted.Frontend, wanted.Index);
            bool wasServed = _served is not null;
            if (_served is null)
            {
                await OpenAsync(new StartPermissions(), wanted, cancellation).ConfigureAwait(false);
            }
            else
            {
                await _served.Server.AddExportAsync(wanted.ToGroup(), context.Options.Frontends, cancellation)
                    .ConfigureAwait(false);
            }

            try
            {
                context.Store.Change(name, record => record with { Exports = [.. record.Exports ?? [], wanted] });
            }
            catch
            {
                // What is not kept would be gone after the next start, which nobody expects.
                await (wasServed ? _served!.Server.RemoveExportAsync(id, force: true, CancellationToken.None) : CloseAsync(null))
                    .ConfigureAwait(false);
                throw;
            }

            return Server!.GetExports().First(e => e.Id == id);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Ends an export, and keeps that. A volume without exports is not served.</summary>
    /// <exception cref="RefusalException">There is none such, or it is in use.</exception>
    public async Task RemoveExportAsync(string id, bool force, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            IReadOnlyList<ExportRecord> exports = context.Store.Get(name).Exports ?? [];
            ExportRecord kept = exports.FirstOrDefault(e => ExportRecord.IdOf(name, e.Frontend, e.Index) == id)
                ?? throw RefusalException.NotFound($"Volume '{name}' has no export '{id}'.", "'polyblk export list' names them.");

            // An export that failed when it was made is not there.
            if (Server is VolumeServer server && server.GetExports().Any(e => e.Id == id))
            {
                await server.RemoveExportAsync(id, force, cancellation).ConfigureAwait(false);
            }

            VolumeRecord now = context.Store.Change(
                name, record => record with { Exports = [.. (record.Exports ?? []).Where(e => (e.Frontend, e.Index) != (kept.Frontend, kept.Index))] });
            if (now.Exports is not { Count: > 0 } && _served is not null)
            {
                _log.LogInformation("{Volume} has no exports any more, and is closed", name);
                await CloseAsync(null).ConfigureAwait(false);
            }
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>The clean end on a signal; see <see cref="VolumeServer.ShutDownAsync"/>.</summary>
    /// <returns>Whether all ended in order.</returns>
    public async Task<bool> ShutDownAsync()
    {
        _isOver = true;
        bool isAlone = await _changing.WaitAsync(s_patience).ConfigureAwait(false);
        try
        {
            if (Volatile.Read(ref _served) is not Served served)
            {
                // A start that does not end has opened nothing that must be closed in order.
                _isAbandoned |= !isAlone;
                return !_isAbandoned;
            }

            foreach (string note in await served.Server.ShutDownAsync().ConfigureAwait(false))
            {
                _log.LogWarning("{Note}", note);
            }

            if (!isAlone)
            {
                // A change that does not end holds the volume: its exports are ended, and the rest goes with the process.
                _log.LogError("{Volume} is left as it is: a change of it does not end", name);
                Abandon(served);
                return false;
            }

            bool isClean = served.Server.EndedCleanly;
            await CloseAsync(null).ConfigureAwait(false);
            return isClean;
        }
        finally
        {
            if (isAlone)
            {
                _changing.Release();
            }
        }
    }

    private async Task OpenAsync(
        StartPermissions? allowed, ExportRecord? more, CancellationToken cancellation, Func<Luggage>? takeLuggage = null)
    {
        VolumeLock? held = null;
        VolumeServer? server = null;
        Status before = _status;
        try
        {
            if (_isOver)
            {
                throw RefusalException.Refused("The daemon is ending.");
            }

            held = VolumeLock.TakeRecorded(context.Directories, name, "served", out VolumeRecord record);
            FrontendGroup[] groups = [.. (record.Exports ?? []).Append(more).OfType<ExportRecord>().Select(e => e.ToGroup())];
            if (groups.Length == 0)
            {
                throw RefusalException.Refused(
                    $"Volume '{name}' has no exports.",
                    $"Add one: polyblk export add {name} --frontend FRONTEND");
            }

            Become(DaemonState.Starting);
            server = await VolumeServer.StartAsync(
                record, groups, context.Options.Frontends, MakeOptions(groups, allowed) with { TakeLuggage = takeLuggage }, context.Directories, context.Logging, cancellation)
                .ConfigureAwait(false);
            VolumeServer made = server;
            ControlServer control = ControlServer.Start(
                context.Directories, name, (request, c) => AnswerAsync(made, request, c),
                context.Logging.CreateLogger("polyblk.control"));
            var served = new Served(held, server, control, allowed ?? new StartPermissions());
            Volatile.Write(ref _served, served);
            Become(DaemonState.Served);
            _ = server.Ended.ContinueWith(_ => OnEndedAsync(served), TaskScheduler.Default);
            server.Remember(warning => _log.LogWarning("{Warning}", warning));
        }
        catch (Exception e)
        {
            if (server is not null)
            {
                await server.DisposeAsync().ConfigureAwait(false);
            }

            held?.Dispose();
            string reason = Refusals.Of(e)?.Message ?? e.Message;
            if (more is not null)
            {
                // Nothing has changed for a volume that was to have one more export.
                _status = before;
            }
            else
            {
                Become(e is OperationCanceledException ? DaemonState.Stopped : DaemonState.Failed, e is OperationCanceledException ? null : reason);
            }

            throw;
        }
        finally
        {
            Tried.TrySetResult();
        }
    }

    private ServeOptions MakeOptions(FrontendGroup[] groups, StartPermissions? allowed)
    {
        var start = new VolumeStart
        {
            // Where nobody may write, nothing at all is written.
            ReadOnly = groups.All(g => g.ReadOnly),

            // A start that a user asks for waits for nothing; what was allowed then holds. By itself it waits, and then does
            // without.
            WaitForDrives = allowed is null ? context.Options.WaitForDrives : TimeSpan.Zero,
            AllowDegraded = allowed?.Degraded ?? true,
            Force = allowed?.Force ?? false,
            BlockSize = allowed?.BlockSize,
            Waiting = OnWaiting,
        };
        ServeOptions options = context.Options.Serve ?? new ServeOptions(context.Options.Plan, context.Options.Idle, start);
        return options with
        {
            Start = start,
            Reactors = context.Reactors,
            Events = context.Events,

            // By itself it serves what it can. A user who asks for it is told what is wrong.
            MayLack = id => allowed is null || allowed.MayLack?.Contains(id) == true,
        };
    }

    private void OnWaiting(IReadOnlyList<string> drives)
    {
        if (drives.Count == 0)
        {
            Become(DaemonState.Starting);
        }
        else
        {
            _status = new Status(DaemonState.Waiting, null, drives);
            _events.Tell(new EventJson
            {
                Kind = EventKinds.VolumeWaiting,
                Volume = name,
                WaitsFor = drives,
                Seconds = (int)context.Options.WaitForDrives.TotalSeconds,
            });
            Tried.TrySetResult();
        }
    }

    /// <param name="state">What it is now.</param>
    /// <param name="reason">Why, where it is not served.</param>
    /// <param name="isMoving">Whether a successor serves it from now on, who tells that.</param>
    private void Become(DaemonState state, string? reason = null, bool isMoving = false)
    {
        Status before = _status;
        _status = new Status(state, reason, []);
        if (state == DaemonState.Failed && before.State == state && before.Reason == reason)
        {
            return; // As it was: it is tried again each second while another process has it.
        }

        string? kind = state switch
        {
            DaemonState.Served => EventKinds.VolumeServed,
            DaemonState.Failed => EventKinds.VolumeFailed,
            DaemonState.Stopped when !isMoving => EventKinds.VolumeStopped,
            _ => null,
        };
        if (kind is not null)
        {
            _events.Tell(new EventJson { Kind = kind, Volume = name, Reason = reason });
        }
    }

    /// <summary>Its last export has ended: by a command, or by a failure.</summary>
    private async Task OnEndedAsync(Served served)
    {
        await _changing.WaitAsync().ConfigureAwait(false);
        try
        {
            if (ReferenceEquals(_served, served))
            {
                // Under the volume's lock, but a drive that hangs holds up no end.
                await Task.WhenAny(served.Server.Remembering, Task.Delay(s_rememberLimit)).ConfigureAwait(false);
                await CloseAsync(served.Server.Failure).ConfigureAwait(false);
            }
        }
        finally
        {
            _changing.Release();
        }
    }

    private async Task CloseAsync(string? failure, bool isMoving = false)
    {
        Served served = _served!;
        Volatile.Write(ref _served, null);
        await Task.WhenAny(served.Control.DisposeAsync().AsTask(), Task.Delay(s_patience)).ConfigureAwait(false);
        await served.Server.DisposeAsync().ConfigureAwait(false);
        if (served.Server.Unfinished is null)
        {
            Become(failure is null ? DaemonState.Stopped : DaemonState.Failed, failure, isMoving);
            served.Lock.Dispose();
        }
        else
        {
            // Its drives hold requests of this process still: nobody may open them before it ends, so its lock is kept.
            Abandon(served);
            Become(DaemonState.Failed, "Drives did not answer until its end: it can be served again when this daemon has ended.");
        }
    }

    private void Abandon(Served served)
    {
        _abandoned = served;
        _isAbandoned = true;
    }

    private sealed record Served(VolumeLock Lock, VolumeServer Server, ControlServer Control, StartPermissions Allowed);

    private sealed record Status(DaemonState State, string? Reason, IReadOnlyList<string> WaitsFor);
}
