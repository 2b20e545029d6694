// The exports of a volume that is served: those of its start, and those that come and go while the others are served.

using System.Runtime.ExceptionServices;
using Microsoft.Extensions.Logging;
using Polyblk.Frontends;
using Polyblk.Host.Daemon;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Serving;

public sealed partial class VolumeServer
{
    /// <summary>Serves the volume through one more export.</summary>
    /// <param name="group">What it is; with its index.</param>
    /// <param name="frontends">The frontends of this program.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The export.</returns>
    /// <exception cref="RefusalException">It cannot be; nothing stays behind.</exception>
    public async Task<ExportJson> AddExportAsync(FrontendGroup group, IReadOnlyList<IFrontend> frontends, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            RefuseWhilePaused("be served through one more export");
            if (_options.Start.ReadOnly && !group.ReadOnly)
            {
                throw RefusalException.Refused(
                    $"Volume '{_record.Name}' was opened to be read only, as all its exports are.",
                    "Remove those, or stop the volume, before an export is added that may write.");
            }

            ServedExport served = await CreateOneAsync(
                group, group.Index ?? 0, frontends, MakeContext(), luggage: null, cancellation).ConfigureAwait(false);
            return served.ToJson();
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Tries those exports again that could not be made when the volume was started.</summary>
    /// <exception cref="RefusalException">One cannot be made now either; the others go on.</exception>
    public async Task RetryExportsAsync(IReadOnlyList<IFrontend> frontends, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            foreach (ServedExport served in _exports)
            {
                if (served.Export is AbsentExport absent)
                {
                    RefuseWhilePaused("be served through one more export");
                    await CreateOneAsync(
                        absent.Group, absent.Group.Index ?? 0, frontends, MakeContext(), luggage: null, cancellation)
                        .ConfigureAwait(false);
                    _exports = [.. _exports.Where(e => e != served)];
                }
            }
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Ends one export; the others are served on, and so is the volume, also without any.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="force">Also while a consumer is attached, who loses its disk.</param>
    /// <param name="cancellation">Gives up before anything is stopped.</param>
    /// <exception cref="RefusalException">There is no such export, or it is in use.</exception>
    public async Task RemoveExportAsync(string id, bool force, CancellationToken cancellation)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            ServedExport served = _exports.FirstOrDefault(e => e.Export.Id == id)
                ?? throw RefusalException.NotFound(
                    $"Volume '{_record.Name}' has no export '{id}'.",
                    "'polyblk export list' names them.");
            if (served.IsServing)
            {
                await StopRemovedAsync(served, force).ConfigureAwait(false);
            }

            if (!served.IsAbandoned)
            {
                await EndOneAsync(served, () => served.Export.DisposeAsync().AsTask()).ConfigureAwait(false);
                Drop(served);
            }

            _events.Tell(new EventJson { Kind = EventKinds.ExportRemoved, Export = id });
        }
        finally
        {
            _changing.Release();
        }
    }

    private void Drop(ServedExport served)
    {
        lock (_counting)
        {
            _removed = _removed.Plus(served.GetCounts());
            _exports = [.. _exports.Where(e => e != served)];
        }
    }

    private async Task StopRemovedAsync(ServedExport served, bool force)
    {
        if (!force)
        {
            RefuseWhilePaused("lose an export without --force");
            RefuseWhileConnected([served]);
        }
        else if (PausedUntil is not null)
        {
            // Who waits for it would wait for its end, too.
            await ResumeOneAsync(served).ConfigureAwait(false);
        }

        try
        {
            served.MarkStopped();
            await PatientlyAsync(served, served.Export.StopAsync(force ? StopMode.Force : StopMode.IfIdle, CancellationToken.None))
                .ConfigureAwait(false);
        }
        catch (HangingDriveException e)
        {
            Abandon(served, e);
        }
        catch (FrontendException e)
        {
            served.Replace(served.Export);
            throw new RefusalException(new Refusal(RefusalKind.Refused, e.Message, "--force removes it all the same."), e);
        }
    }

    private async Task CreateExportsAsync(IReadOnlyList<FrontendGroup> groups, IReadOnlyList<IFrontend> frontends, CancellationToken cancellation)
    {
        var context = MakeContext();
        SocketAccess.CloseFolder(context.RuntimeDirectory);
        using Luggage? luggage = _options.TakeLuggage?.Invoke();
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        Exception? failure = null;
        foreach (FrontendGroup group in groups)
        {
            int index = group.Index ?? counts.GetValueOrDefault(group.Frontend);
            counts[group.Frontend] = index + 1;
            try
            {
                await CreateOneAsync(group, index, frontends, context, luggage, cancellation).ConfigureAwait(false);
            }
            catch (Exception e) when (Refusals.Of(e) is { } refusal && MayLack(group, index, frontends))
            {
                failure ??= e;
                AddAbsent(group, index, frontends, refusal.Message);
            }
        }

        if (failure is not null && _exports.All(e => !e.IsServing))
        {
            ExceptionDispatchInfo.Throw(failure);
        }
    }

    private bool MayLack(FrontendGroup group, int index, IReadOnlyList<IFrontend> frontends) =>
        frontends.Any(f => f.Name == group.Frontend) && _options.MayLack(ExportRecord.IdOf(_record.Name, group.Frontend, index));

    /// <summary>
    /// The others are served without it: whoever uses them is not to lose a disk by what is wrong with this one.
    /// </summary>
    private void AddAbsent(FrontendGroup group, int index, IReadOnlyList<IFrontend> frontends, string reason)
    {
        IFrontend frontend = frontends.First(f => f.Name == group.Frontend);
        ExportSpec spec = MakeSpec(group, index);
        var export = new AbsentExport(frontend, spec, group with { Index = index });
        var absent = new ServedExport(frontend, spec, export, group.SocketAccess);
        absent.MarkFailed(reason);
        _exports = [.. _exports, absent];
        _events.Tell(new EventJson { Kind = EventKinds.ExportDied, Export = spec.Id, Reason = reason });
    }

    /// <summary>Makes an export, or leaves nothing of it behind.</summary>
    private async Task<ServedExport> CreateOneAsync(
        FrontendGroup group, int index, IReadOnlyList<IFrontend> frontends, ExportContext context, Luggage? luggage,
        CancellationToken cancellation)
    {
        ServedExport[] before = _exports;
        try
        {
            return await CreateExportAsync(group, index, frontends, context, luggage, cancellation).ConfigureAwait(false);
        }
        catch
        {
            // It was made, and its socket could not be opened to others.
            foreach (ServedExport made in _exports.Except(before))
            {
                made.MarkStopped();
                await EndOneAsync(made, () => made.Export.StopAsync(StopMode.Force, CancellationToken.None))
                    .ConfigureAwait(false);
                await EndOneAsync(made, () => made.Export.DisposeAsync().AsTask()).ConfigureAwait(false);
            }

            _exports = before;
            throw;
        }
    }

    private async Task<ServedExport> CreateExportAsync(
        FrontendGroup group, int index, IReadOnlyList<IFrontend> frontends, ExportContext context, Luggage? luggage,
        CancellationToken cancellation)
    {
        IFrontend frontend = frontends.FirstOrDefault(f => f.Name == group.Frontend)
            ?? throw RefusalException.Invalid($"There is no frontend '{group.Frontend}'.", $"There are: {string.Join(", ", frontends.Select(f => f.Name))}.");
        ExportSpec spec = MakeSpec(group, index);
        IExport export = await CreateAsync(frontend, spec, luggage?.Take(spec.Id), context, cancellation).ConfigureAwait(false);
        var served = new ServedExport(frontend, spec, export, group.SocketAccess);
        _exports = [.. _exports, served];
        group.SocketAccess?.Apply(export.Endpoint, context.RuntimeDirectory);
        WatchCompletion(served, export);
        _events.Tell(new EventJson { Kind = EventKinds.ExportAdded, Export = export.Id, Endpoint = export.Endpoint.Path });
        return served;
    }

    private static async Task<IExport> CreateAsync(
        IFrontend frontend, ExportSpec spec, HandedOverExport? handedOver, ExportContext context, CancellationToken cancellation)
    {
        try
        {
            return await frontend.CreateAsync(spec with { HandedOver = handedOver }, context, cancellation).ConfigureAwait(false);
        }
        catch
        {
            handedOver?.Dispose();
            throw;
        }
    }

    private ExportSpec MakeSpec(FrontendGroup group, int index) => new()
    {
        Id = ExportRecord.IdOf(_record.Name, group.Frontend, index),
        VolumeName = _record.Name,
        VolumeUuid = _record.Uuid,
        Device = _volume!.Device,
        Serial = group.Serial ?? _record.Uuid.ToString("N")[..ExportCheck.MaxSerialBytes],
        ReadOnly = group.ReadOnly,
        Queues = group.Queues,
        QueueSize = group.QueueSize,
        SocketPath = group.SocketPath,
        AllowedUsers = group.SocketAccess?.UserIds,
        Options = group.Options,
    };

    private ExportContext MakeContext()
    {
        string runtime = _directories.RuntimeOf(_record.Name);
        string state = _directories.ExportStateOf(_record.Name);
        StateDirectories.Ensure(runtime);
        StateDirectories.Ensure(state);
        return new ExportContext(_reactors, runtime, state, _logging) { OnSession = _sessions.Tell };
    }

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
                _log.LogDebug(failure, "{Export} failed", export.Id);
                _events.Tell(new EventJson { Kind = EventKinds.ExportDied, Export = export.Id, Reason = failure.Message });
            }

            if (_exports.All(e => !e.IsServing))
            {
                _ended.TrySetResult();
            }
        },
        TaskScheduler.Default);
}
