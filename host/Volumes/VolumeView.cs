using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Host.Daemon;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Volumes;

/// <summary>Puts together what is known of a volume.</summary>
public static class VolumeView
{
    private const int HistoryLength = 5;

    public const string StoppedStatus = "stopped";
    public const string ServedStatus = "served";
    public const string WaitingStatus = "waiting";
    public const string BusyStatus = "busy";
    public const string ForgottenStatus = "forgotten";
    public const string DeletedStatus = "deleted";

    /// <summary>A process that serves answers at once; one that hangs must not hang who lists volumes.</summary>
    private static readonly TimeSpan s_answerLimit = TimeSpan.FromSeconds(5);

    /// <summary>The record alone.</summary>
    public static VolumeJson Stopped(VolumeRecord record) => new()
    {
        Name = record.Name,
        Uuid = record.Uuid,
        Level = record.Level,
        ChunkBytes = record.ChunkBytes,
        SizeBytes = record.SizeBytes,
        Volatile = record.Volatile,
        Isolated = record.Isolate,
        SpareGroup = record.SpareGroup,
        Drives = record.Drives,
        Status = StoppedStatus,
    };

    /// <summary>The record, and whether a process works on it.</summary>
    public static VolumeJson Brief(StateDirectories directories, VolumeRecord record)
    {
        int? pid = VolumeLock.Holder(directories, record.Name);
        return Stopped(record) with { Status = pid is null ? StoppedStatus : ServedStatus, Pid = pid };
    }

    /// <summary>All volumes that there are records of.</summary>
    /// <param name="directories">Where they are.</param>
    /// <param name="unreadable">Told of a record that cannot be read.</param>
    /// <param name="cancellation">Gives up.</param>
    public static async Task<IReadOnlyList<VolumeJson>> ListAsync(
        StateDirectories directories, Action<string> unreadable, CancellationToken cancellation)
    {
        var volumes = new List<VolumeJson>();
        foreach (VolumeRecord record in new VolumeStore(directories).List(unreadable))
        {
            // What is wrong with a drive is in the health; a warning a drive would bury the list.
            volumes.Add(await FullAsync(directories, record, _ => { }, cancellation).ConfigureAwait(false));
        }

        return volumes;
    }

    /// <summary>One volume, with what has happened to it lately.</summary>
    /// <exception cref="RefusalException">There is none of that name.</exception>
    public static async Task<VolumeJson> ShowAsync(
        StateDirectories directories, string name, Action<string> warn, CancellationToken cancellation)
    {
        VolumeRecord record = new VolumeStore(directories).Get(name);
        VolumeJson volume = await FullAsync(directories, record, warn, cancellation).ConfigureAwait(false);
        return volume with { History = History(directories, record.Name) };
    }

    /// <summary>What has happened to it lately; nothing where that may not be read.</summary>
    private static IReadOnlyList<EventJson> History(StateDirectories directories, string volume)
    {
        try
        {
            return new EventStore(directories).Read(volume: volume, most: HistoryLength);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>Everything: from the process that serves it, or else from its superblocks.</summary>
    public static async Task<VolumeJson> FullAsync(
        StateDirectories directories, VolumeRecord record, Action<string> warn, CancellationToken cancellation)
    {
        VolumeJson volume = Brief(directories, record);
        if (volume.Pid is not null)
        {
            if (await AskAsync(directories, record, cancellation).ConfigureAwait(false) is LiveJson live)
            {
                ArrayJson? served = live.Array is null ? null : Advise(MemberMemory.Complete(live.Array, record), record);
                return volume with { Live = live, Array = served, Health = served?.Health ?? Health.Optimal, SizeBytes = live.SizeBytes };
            }

            volume = await AskDaemonAsync(directories, record, volume, cancellation).ConfigureAwait(false);
            if (volume.NotServed is null)
            {
                return volume with
                {
                    Status = BusyStatus, Health = Health.Unknown, Problem = $"Process {volume.Pid} works on it and does not answer.",
                };
            }
        }
        else
        {
            volume = await AskDaemonAsync(directories, record, volume, cancellation).ConfigureAwait(false);
        }

        if (record.Volatile || record.Level == VolumeOpener.NoLevel)
        {
            return WithoutArray(volume);
        }

        IReadOnlyList<VolumeJson> found = await ArrayScanner.ScanAsync(record.Drives, warn, cancellation).ConfigureAwait(false);
        VolumeJson? array = found.FirstOrDefault(f => f.Uuid == record.Uuid);
        ArrayJson stopped = WithOthers(MemberMemory.Complete(array?.Array ?? Absent(record), record), record);
        return volume with
        {
            Health = stopped.Health,
            Array = Advise(
                stopped with
                {
                    MaxRebuildBytesPerSecond = record.MaxRebuildBytesPerSecond,
                    CheckEverySeconds = (long)record.CheckEvery.TotalSeconds,
                    SlowReadSeconds = (int)record.SlowRead.TotalSeconds,
                    DriveTimeoutSeconds = (int)record.DriveTimeout.TotalSeconds,
                },
                record),
            SizeBytes = array?.SizeBytes ?? record.SizeBytes,
        };
    }

    /// <summary>Why the daemon does not serve a volume that it is to serve.</summary>
    private static async Task<VolumeJson> AskDaemonAsync(
        StateDirectories directories, VolumeRecord record, VolumeJson volume, CancellationToken cancellation)
    {
        DaemonJson? daemon = record.Exports is not { Count: > 0 } ? null
            : await DaemonClient.ShowAsync(directories, cancellation).ConfigureAwait(false);
        return daemon?.Volumes.FirstOrDefault(v => v.Name == record.Name) switch
        {
            { State: DaemonState.Waiting } its => volume with { Status = WaitingStatus, NotServed = $"Its drives are waited for: {string.Join(", ", its.WaitsFor)}." },
            { State: DaemonState.Failed } its => volume with { NotServed = its.Reason },
            null when record.Exports is { Count: > 0 } && (record.Autostart ?? true) && volume.Pid is null => volume with
            {
                NotServed = "It has exports, and no daemon serves it.",
            },
            _ => volume,
        };
    }

    /// <summary>A volume whose drives say nothing of themselves: it is well if they are there.</summary>
    private static VolumeJson WithoutArray(VolumeJson volume)
    {
        string? missing = volume.Volatile ? null : DriveList.FindMissing(volume.Drives).FirstOrDefault();
        return missing is null ? volume : volume with { Health = Health.Failed, Problem = $"{missing} is not there." };
    }

    /// <summary>What to type when members are out and nothing takes their place.</summary>
    public static ArrayJson Advise(ArrayJson array, VolumeRecord record)
    {
        bool canReplace = array.Health is Health.Degraded or Health.Rebuilding && record.Level != "raid0" && array.Rebuild is null;
        return !canReplace ? array : array with
        {
            Advice = [.. array.Members.Where(m => !m.IsInUse).Select(m => $"polyblk volume replace {record.Name} {m.Role} NEW_DRIVE")],
        };
    }

    /// <summary>Drives of the record on which nothing of the array was found.</summary>
    private static ArrayJson WithOthers(ArrayJson array, VolumeRecord record)
    {
        string[] found = [.. array.Members.Select(m => m.Drive).OfType<string>(), .. array.Spares, .. array.OtherDrives.Select(o => o.Drive)];
        IEnumerable<OtherDriveJson> others =
            from drive in record.Drives
            let path = Path.GetFullPath(DriveSpec.Parse(drive).Path)
            where !found.Contains(path)
            select OtherDriveJson.LeftOut(drive, Path.Exists(path) ? "it holds nothing of this array" : "it is not there");
        return array with { OtherDrives = [.. array.OtherDrives, .. others] };
    }

    /// <summary>What the serving process says; null when it says nothing.</summary>
    private static async Task<LiveJson?> AskAsync(
        StateDirectories directories, VolumeRecord record, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(s_answerLimit);
        try
        {
            ControlResponse? response = await ControlClient
                .AskAsync(directories, record.Name, new ControlRequest { Command = "show" }, limit.Token).ConfigureAwait(false);
            return response?.Live;
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return null;
        }
        catch (RefusalException)
        {
            return null; // it ended or broke off meanwhile: that is not the end of a list of volumes
        }
    }

    /// <summary>
    /// An array of which no drive is found. Drives that are there and may not be read say nothing about its health.
    /// </summary>
    private static ArrayJson Absent(VolumeRecord record)
    {
        bool isUnreadable = record.Drives.Any(IsUnreadable);
        return new ArrayJson
        {
            Health = isUnreadable ? Health.Unknown : Health.Failed,
            Problem = isUnreadable
                ? "Its drives cannot be read by this user: run as one who may read them."
                : "None of its drives is here, or none of them holds its superblock: connect them, or look for them with "
                    + "'polyblk volume list --scan'.",
            Members = isUnreadable
                ? []
                : [.. Enumerable.Range(0, record.Members?.Count ?? record.Drives.Count)
                    .Select(role => new MemberJson(role, null, "missing"))],
        };
    }

    private static bool IsUnreadable(string drive)
    {
        string path = DriveSpec.Parse(drive).Path;
        if (DriveReader.IdentityOf(path) is null)
        {
            return false;
        }

        try
        {
            DriveReader.Open(path).Dispose();
            return false;
        }
        catch (DriveException)
        {
            return true;
        }
    }
}
