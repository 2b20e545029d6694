// What the daemon serves is in the records. Where a daemon works it changes them, and serves by them at once; where none does
// they are changed alone, and the next one serves by them.

using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon;

/// <summary>Changes what is exported, with a daemon or without.</summary>
/// <param name="directories">Where the records are.</param>
/// <param name="warn">Told where a change cannot be told as an event.</param>
public sealed class ExportSettings(StateDirectories directories, Action<string> warn)
{
    /// <summary>Adds an export.</summary>
    /// <param name="volume">Its volume.</param>
    /// <param name="export">It, as <see cref="ExportCheck"/> lets it through; its number is chosen.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Its id.</returns>
    /// <exception cref="RefusalException">That is not possible; nothing has changed.</exception>
    public async Task<string> AddAsync(string volume, ExportRecord export, CancellationToken cancellation)
    {
        if (IsThereADaemon())
        {
            var request = new ControlRequest { Command = "add-export", Volume = volume, Export = export };
            return (await DaemonClient.AskAsync(directories, request, cancellation).ConfigureAwait(false)).Export!.Id;
        }

        ExportRecord added = Change(volume, exports => ExportRecord.Add(exports, export))[^1];
        return ExportRecord.IdOf(volume, added.Frontend, added.Index);
    }

    /// <summary>Takes an export away that nobody uses.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">That is not possible; nothing has changed.</exception>
    public async Task RemoveAsync(string id, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(id);
        if (IsThereADaemon())
        {
            _ = await DaemonClient.AskAsync(
                directories, new ControlRequest { Command = "remove-export", ExportId = id }, cancellation).ConfigureAwait(false);
            return;
        }

        string volume = id.Split('/')[0];
        _ = Change(volume, exports => [.. (exports ?? []).Where(e => ExportRecord.IdOf(volume, e.Frontend, e.Index) != id)]);
        new EventStore(directories).Tell(new EventJson { Kind = EventKinds.ExportRemoved, Volume = volume, Export = id }, warn);
    }

    private bool IsThereADaemon() => VolumeLock.Holder(directories, StateDirectories.Daemon) is not null;

    private IReadOnlyList<ExportRecord> Change(
        string volume, Func<IReadOnlyList<ExportRecord>?, IReadOnlyList<ExportRecord>> change)
    {
        using VolumeLock held = VolumeLock.TakeRecorded(directories, volume, "changed", out _);
        return new VolumeStore(directories).Change(volume, record => record with { Exports = change(record.Exports) }).Exports!;
    }
}
