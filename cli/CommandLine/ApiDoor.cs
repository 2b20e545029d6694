using Polyblk.Api;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine;

/// <summary>The way of who may not read the records: the daemon's API.</summary>
internal sealed class ApiDoor(StateDirectories directories) : HostDoor
{
    private readonly ApiClient _api = new(directories, waitsForStart: true);

    /// <inheritdoc/>
    public override async Task<IReadOnlyList<VolumeJson>> ListVolumesAsync(
        Action<string> unreadable, CancellationToken cancellation)
    {
        HostVolumesJson all = await _api.GetRecordsAsync(cancellation).ConfigureAwait(false);
        all.Problems.ToList().ForEach(unreadable);
        return all.Volumes;
    }

    /// <inheritdoc/>
    public override Task<VolumeJson> ShowVolumeAsync(string name, Action<string> warn, CancellationToken cancellation)
    {
        VolumeName.Check(name);
        return _api.GetRecordAsync(name, cancellation);
    }

    /// <inheritdoc/>
    public override async Task<IReadOnlyList<DaemonExportJson>?> ListExportsAsync(CancellationToken cancellation) =>
        await _api.GetExportsAsync(cancellation).ConfigureAwait(false);

    /// <inheritdoc/>
    public override Func<CancellationToken, Task<IReadOnlyList<EventJson>>> ReadEvents(long since) => async cancellation =>
    {
        IReadOnlyList<EventJson> come = await _api.GetEventsAsync(since, cancellation).ConfigureAwait(false);
        since = come.Count > 0 ? come[^1].Sequence : since;
        return come;
    };

    /// <summary>Each look is the daemon's work.</summary>
    public override TimeSpan EventsEvery => TimeSpan.FromSeconds(1);

    /// <inheritdoc/>
    public override Task<ExportJson> AddExportAsync(string volume, ExportRecord export, CancellationToken cancellation) =>
        _api.AddExportAsync(volume, export, cancellation);

    /// <inheritdoc/>
    public override Task RemoveExportAsync(string id, bool force, CancellationToken cancellation) => id.Count(c => c == '/') == 2
        ? _api.RemoveExportAsync(id, force, cancellation)
        : throw RefusalException.NotFound($"There is no export '{id}'.", "'polyblk export list' names them.");

    /// <inheritdoc/>
    public override Task StartVolumeAsync(string name, StartPermissions allowed, CancellationToken cancellation)
    {
        VolumeName.Check(name);
        return _api.StartVolumeAsync(name, allowed, cancellation);
    }

    /// <inheritdoc/>
    public override async Task<VolumeJson> CreateVolumeAsync(
        VolumeWish wish, Action<string> note, Action<string> warn, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(wish);
        CreatedJson made = await _api.CreateVolumeAsync(
            wish with { Drives = [.. wish.Drives.Select(DriveList.ToAbsolute)] }, cancellation).ConfigureAwait(false);
        made.Notes.ToList().ForEach(note);
        made.Warnings.ToList().ForEach(warn);
        return made.Volume;
    }

    /// <inheritdoc/>
    public override async Task<VolumeJson> DeleteVolumeAsync(
        string name, bool wipe, Action<string, IReadOnlyList<string>> confirm, Action<string> warn,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(confirm);
        VolumeName.Check(name);
        if (wipe)
        {
            VolumeJson volume = await _api.GetRecordAsync(name, cancellation).ConfigureAwait(false);
            if (volume is { Level: not VolumeOpener.NoLevel, Volatile: false, Pid: null })
            {
                confirm(name, volume.Drives);
            }
        }

        return await _api.DeleteVolumeAsync(name, wipe, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override Task<VolumeJson> StopVolumeAsync(string name, bool force, CancellationToken cancellation)
    {
        VolumeName.Check(name);
        return _api.StopVolumeAsync(name, force, cancellation);
    }

    /// <inheritdoc/>
    public override async Task<ControlResponse?> AskVolumeAsync(
        string name, ControlRequest request, CancellationToken cancellation)
    {
        VolumeName.Check(name);
        return await _api.AskVolumeAsync(name, request, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override Task<SettingsChange> ChangeSettingsAsync(
        string name, SettingsChange change, Action<string> warn, CancellationToken cancellation)
    {
        VolumeName.Check(name);
        return _api.ChangeSettingsAsync(name, change, cancellation);
    }

    /// <inheritdoc/>
    public override string HowToServe(string volume) => $"Serve it with: polyblk export add {volume} --frontend vhost-user";

    /// <inheritdoc/>
    public override void Dispose()
    {
        _api.Dispose();
        base.Dispose();
    }
}
