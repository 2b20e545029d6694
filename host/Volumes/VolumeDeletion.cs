using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Volumes;

/// <summary>Forgets volumes, and on demand erases what marks their drives as members.</summary>
public static class VolumeDeletion
{
    /// <summary>Deletes one that nobody serves.</summary>
    /// <param name="directories">Where its record is.</param>
    /// <param name="name">Its name.</param>
    /// <param name="wipe">Erase the superblocks: what it holds cannot be reached any more.</param>
    /// <param name="confirm">Asked before they are erased, with its name and drives; refuses by an exception.</param>
    /// <param name="tell">Told that it was done.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What it was; its message says what became of it.</returns>
    /// <exception cref="RefusalException">There is none, somebody works on it, or it cannot be erased.</exception>
    public static async Task<VolumeJson> DeleteAsync(
        StateDirectories directories,
        string name,
        bool wipe,
        Action<string, IReadOnlyList<string>> confirm,
        Action<EventJson> tell,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(directories);
        ArgumentNullException.ThrowIfNull(confirm);
        ArgumentNullException.ThrowIfNull(tell);
        using VolumeLock held = VolumeLock.TakeRecorded(directories, name, "deleted", out VolumeRecord record);
        bool isArray = record.Level != VolumeOpener.NoLevel && !record.Volatile;
        if (wipe && isArray)
        {
            confirm(record.Name, record.Drives);
            await VolumeMaker.WipeAsync(record, cancellation).ConfigureAwait(false);
        }

        new VolumeStore(directories).Delete(record.Name);
        string exports = directories.ExportStateOf(record.Name);
        if (Directory.Exists(exports))
        {
            Directory.Delete(exports, recursive: true);
        }

        bool isForgotten = isArray && !wipe;
        tell(new EventJson
        {
            Kind = EventKinds.VolumeDeleted, Volume = record.Name,
            Reason = isForgotten ? "its drives are as they were" : "it is deleted",
        });
        return VolumeView.Stopped(record) with
        {
            Status = isForgotten ? VolumeView.ForgottenStatus : VolumeView.DeletedStatus,
            Message = isForgotten
                ? $"Volume '{record.Name}' is forgotten; its data is untouched. "
                    + $"'polyblk volume import {string.Join(' ', record.Drives)}' brings it back."
                : $"Volume '{record.Name}' is deleted.",
        };
    }
}
