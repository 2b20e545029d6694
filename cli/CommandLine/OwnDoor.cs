using Polyblk.Host;
using Polyblk.Host.Daemon;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine;

/// <summary>The way of who may read the records: files, drives, and the control sockets.</summary>
internal sealed class OwnDoor(StateDirectories directories) : HostDoor
{
    private EventStore Events => new(directories);

    /// <inheritdoc/>
    public override Task<IReadOnlyList<VolumeJson>> ListVolumesAsync(Action<string> unreadable, CancellationToken cancellation) =>
        VolumeView.ListAsync(directories, unreadable, cancellation);

    /// <inheritdoc/>
    public override Task<VolumeJson> ShowVolumeAsync(string name, Action<string> warn, CancellationToken cancellation) =>
        VolumeView.ShowAsync(directories, name, warn, cancellation);

    /// <inheritdoc/>
    public override async Task<IReadOnlyList<DaemonExportJson>?> ListExportsAsync(CancellationToken cancellation) =>
        await DaemonClient.ShowAsync(directories, cancellation).ConfigureAwait(false) is DaemonJson daemon
            ? [.. daemon.Volumes.SelectMany(v => v.Exports)]
            : null;

    /// <inheritdoc/>
    public override Func<CancellationToken, Task<IReadOnlyList<EventJson>>> ReadEvents(long since)
    {
        var store = new EventStore(directories);
        var cursor = new EventCursor(store, since);
        return _ =>
        {
            try
            {
                return Task.FromResult<IReadOnlyList<EventJson>>([.. cursor.Read()]);
            }
            catch (UnauthorizedAccessException e)
            {
                string problem = $"The events in {store.Folder} may not be read by this user.";
                throw new RefusalException(new Refusal(RefusalKind.HostLacks, problem, "Run as the user of the daemon."), e);
            }
        };
    }

    /// <inheritdoc/>
    public override async Task<ExportJson> AddExportAsync(string volume, ExportRecord export, CancellationToken cancellation)
    {
        var request = new ControlRequest
        {
            Command = "add-export", Volume = new VolumeStore(directories).Get(volume).Name, Export = export,
        };
        return (await DaemonClient.AskAsync(directories, request, cancellation).ConfigureAwait(false)).Export!;
    }

    /// <inheritdoc/>
    public override Task RemoveExportAsync(string id, bool force, CancellationToken cancellation) => DaemonClient.AskAsync(
        directories, new ControlRequest { Command = "remove-export", ExportId = id, Force = force }, cancellation);

    /// <inheritdoc/>
    public override Task StartVolumeAsync(string name, StartPermissions allowed, CancellationToken cancellation)
    {
        var request = new ControlRequest
        {
            Command = "start", Volume = new VolumeStore(directories).Get(name).Name, Allow = allowed,
        };
        return DaemonClient.AskAsync(directories, request, cancellation);
    }

    /// <inheritdoc/>
    public override Task<VolumeJson> CreateVolumeAsync(
        VolumeWish wish, Action<string> note, Action<string> warn, CancellationToken cancellation) =>
        VolumeCreation.CreateAsync(directories, wish, note, warn, Events.Teller(warn), cancellation);

    /// <inheritdoc/>
    public override Task<VolumeJson> DeleteVolumeAsync(
        string name, bool wipe, Action<string, IReadOnlyList<string>> confirm, Action<string> warn,
        CancellationToken cancellation) =>
        VolumeDeletion.DeleteAsync(directories, name, wipe, confirm, Events.Teller(warn), cancellation);

    /// <inheritdoc/>
    public override Task<VolumeJson> StopVolumeAsync(string name, bool force, CancellationToken cancellation) =>
        ServedVolume.StopAsync(directories, name, force, cancellation);

    /// <inheritdoc/>
    public override Task<ControlResponse?> AskVolumeAsync(
        string name, ControlRequest request, CancellationToken cancellation) =>
        ServedVolume.AskAsync(directories, name, request, cancellation);

    /// <inheritdoc/>
    public override Task<SettingsChange> ChangeSettingsAsync(
        string name, SettingsChange change, Action<string> warn, CancellationToken cancellation)
    {
        string volume = new VolumeStore(directories).Get(name).Name;
        return new VolumeSettings(directories, volume, Events.Teller(warn)).ChangeAsync(change, cancellation);
    }

    /// <inheritdoc/>
    public override string HowToServe(string volume) => VolumeLock.Holder(directories, directories.DaemonName) is null
        ? $"Serve it with: polyblk serve {volume} --frontend vhost-user"
        : $"Serve it with: polyblk export add {volume} --frontend vhost-user";
}
