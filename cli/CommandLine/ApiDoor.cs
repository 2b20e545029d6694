using Polyblk.Api;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;

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
    public override void Dispose()
    {
        _api.Dispose();
        base.Dispose();
    }
}
