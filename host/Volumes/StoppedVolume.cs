// A volume that nobody serves is opened by the command that changes its members, and closed again.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Reactors;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Volumes;

/// <summary>Changes members of volumes that are not served.</summary>
public static class StoppedVolume
{
    /// <summary>Opens the volume, changes it, does what is to be done while it is open, and closes it.</summary>
    /// <param name="directories">Where its record is.</param>
    /// <param name="name">Its name.</param>
    /// <param name="change">The change.</param>
    /// <param name="runsJobs">Whether a rebuild goes on while it is open.</param>
    /// <param name="openLog">Opens its log, once nobody else has it.</param>
    /// <param name="warn">Told what did not matter enough to give up.</param>
    /// <param name="then">What is to be done then: given what was done, and how the array is now, whenever it is asked.</param>
    /// <param name="cancellation">Gives up opening.</param>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public static async Task<T> ChangeAsync<T>(
        StateDirectories directories,
        string name,
        MemberChange change,
        bool runsJobs,
        Func<ILoggerFactory> openLog,
        Action<string> warn,
        Func<MemberChangeResult, Func<ArrayJson>, Task<T>> then,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(openLog);
        ArgumentNullException.ThrowIfNull(then);
        using VolumeLock held = VolumeLock.TakeRecorded(directories, name, "changed", out VolumeRecord record);
        if (record.Volatile)
        {
            throw RefusalException.Refused(
                $"Volume '{name}' is volatile and is not being served: it has no members now. Serve it, or make it of other drives.");
        }

        using ILoggerFactory logging = openLog();
        using ReactorGroup reactors = VolumeMaker.ControlReactors();
        await using var events = new EventLog(new EventStore(directories), logging.CreateLogger("polyblk.events"));
        var store = new VolumeStore(directories);
        var start = new VolumeStart
        {
            AllowDegraded = await IsMeantAsync(record, change, cancellation).ConfigureAwait(false),
            RunsJobs = runsJobs,
            RebuildsByItself = false,
            JobsAfter = TimeSpan.Zero,
            Events = new EventTeller(name, events, logging.CreateLogger("polyblk.raid")),
        };
        await using OpenVolume volume = await VolumeOpener.OpenAsync(record, reactors, start, logging, cancellation)
            .ConfigureAwait(false);
        volume.KeepRecord(store);
        MemberChangeResult done = await volume.ChangeMembersAsync(change, store).ConfigureAwait(false);
        await MemberMemory.RefreshAsync(store, store.Get(name), warn, CancellationToken.None).ConfigureAwait(false);
        return await then(done, () => volume.GetArray()!).ConfigureAwait(false);
    }

    /// <summary>
    /// Whether the one member that is absent is the one that is to be replaced: then the start without it needs no other leave.
    /// </summary>
    private static async Task<bool> IsMeantAsync(VolumeRecord record, MemberChange change, CancellationToken cancellation)
    {
        if (change.Kind != MemberChangeKind.Replace)
        {
            return false;
        }

        IReadOnlyList<VolumeJson> found = await ArrayScanner.ScanAsync(record.Drives, _ => { }, cancellation)
            .ConfigureAwait(false);
        ArrayJson? array = found.FirstOrDefault(f => f.Uuid == record.Uuid)?.Array;
        MemberJson[] absent = [.. (array?.Members ?? []).Where(m => m.Drive is null)];
        if (absent.Length != 1)
        {
            return false;
        }

        int role = absent[0].Role;
        string? known = MemberMemory.DriveOf(record, role, array!.Members.Count);
        return ArrayVolume.IsNumber(change.Drive, out int number) ? number == role
            : known is not null && new VolumeDrive(DriveList.ParseOne(known), null).Is(DriveList.ParseOne(change.Drive));
    }
}
