// By which way commands that look at a host, or tell its daemon what to serve, come to it (ADR 25).
//
// Root and the user of the daemon read records, drives and events themselves, and speak to the control sockets: that works with a
// daemon and without, from its first instant on, and while it is succeeded. Whoever may not read the records has the API, if the
// daemon lets him in there; what he gets is the same, made by the daemon.

using System.CommandLine;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine;

/// <summary>See the top of the file.</summary>
internal abstract class HostDoor : IDisposable
{
    /// <summary>The way that this user has to the host of a command line.</summary>
    public static HostDoor Open(ParseResult parsed)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        return new VolumeStore(directories).IsClosed ? new ApiDoor(directories) : new OwnDoor(directories);
    }

    /// <summary>Everything about all volumes that there are records of.</summary>
    /// <param name="unreadable">Told of a record that cannot be read.</param>
    /// <param name="cancellation">Gives up.</param>
    public abstract Task<IReadOnlyList<VolumeJson>> ListVolumesAsync(Action<string> unreadable, CancellationToken cancellation);

    /// <summary>Everything about one, with what has happened to it lately.</summary>
    public abstract Task<VolumeJson> ShowVolumeAsync(string name, Action<string> warn, CancellationToken cancellation);

    /// <summary>All exports as the daemon has them; null where there is none.</summary>
    public abstract Task<IReadOnlyList<DaemonExportJson>?> ListExportsAsync(CancellationToken cancellation);

    /// <summary>Reads events, from a place on that is the caller's.</summary>
    /// <param name="since">The number after which it begins.</param>
    /// <returns>Reads those that have come since it was called before.</returns>
    public abstract Func<CancellationToken, Task<IReadOnlyList<EventJson>>> ReadEvents(long since);

    /// <summary>How often it is looked for events that have come.</summary>
    public virtual TimeSpan EventsEvery => TimeSpan.FromMilliseconds(250);

    /// <summary>Lets the daemon serve a volume through one more export.</summary>
    public abstract Task<ExportJson> AddExportAsync(string volume, ExportRecord export, CancellationToken cancellation);

    /// <summary>Ends an export.</summary>
    public abstract Task RemoveExportAsync(string id, bool force, CancellationToken cancellation);

    /// <summary>Lets the daemon serve a volume that it does not.</summary>
    public abstract Task StartVolumeAsync(string name, StartPermissions allowed, CancellationToken cancellation);

    /// <summary>Makes a volume.</summary>
    /// <param name="wish">The volume; its drives by paths that are whole, or the caller's.</param>
    /// <param name="note">Told what is good to know.</param>
    /// <param name="warn">Told what did not matter enough to give up.</param>
    /// <param name="cancellation">Gives up.</param>
    public abstract Task<VolumeJson> CreateVolumeAsync(
        VolumeWish wish, Action<string> note, Action<string> warn, CancellationToken cancellation);

    /// <summary>Deletes a volume that nobody serves.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="wipe">Erase its superblocks.</param>
    /// <param name="confirm">Asked before that, with its name and drives; refuses by an exception.</param>
    /// <param name="warn">Told what did not matter enough to give up.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What it was; its message says what became of it.</returns>
    public abstract Task<VolumeJson> DeleteVolumeAsync(
        string name, bool wipe, Action<string, IReadOnlyList<string>> confirm, Action<string> warn,
        CancellationToken cancellation);

    /// <summary>Has it serve a volume no more.</summary>
    /// <returns>The volume; its message says what became of it.</returns>
    public abstract Task<VolumeJson> StopVolumeAsync(string name, bool force, CancellationToken cancellation);

    /// <summary>Asks something of who serves a volume.</summary>
    /// <returns>The answer; null where nobody serves it, and this user could open it.</returns>
    public abstract Task<ControlResponse?> AskVolumeAsync(string name, ControlRequest request, CancellationToken cancellation);

    /// <summary>Changes how a volume behaves.</summary>
    /// <returns>All settings that are on record, as they are now.</returns>
    public abstract Task<SettingsChange> ChangeSettingsAsync(
        string name, SettingsChange change, Action<string> warn, CancellationToken cancellation);

    /// <summary>What to type next for a volume that was made, in a sentence.</summary>
    public abstract string HowToServe(string volume);

    /// <inheritdoc/>
    public virtual void Dispose()
    {
    }
}
