using Polyblk.Cli.Output;
using Polyblk.Cli.Serving;
using Polyblk.Cli.State;

namespace Polyblk.Cli.Volumes;

/// <summary>Puts together what is known of a volume.</summary>
internal static class VolumeView
{
    public const string StoppedStatus = "stopped";
    public const string ServedStatus = "served";
    public const string BusyStatus = "busy";

    /// <summary>The record alone.</summary>
    public static VolumeJson Stopped(VolumeRecord record) => new()
    {
        Name = record.Name,
        Uuid = record.Uuid,
        Level = record.Level,
        ChunkBytes = record.ChunkBytes,
        SizeBytes = record.SizeBytes,
        Volatile = record.Volatile,
        Drives = record.Drives,
        Status = StoppedStatus,
    };

    /// <summary>The record, and whether a process works on it.</summary>
    public static VolumeJson Brief(StateDirectories directories, VolumeRecord record)
    {
        int? pid = VolumeLock.Holder(directories, record.Name);
        return Stopped(record) with { Status = pid is null ? StoppedStatus : ServedStatus, Pid = pid };
    }

    /// <summary>Everything: from the process that serves it, or else from its superblocks.</summary>
    public static async Task<VolumeJson> FullAsync(
        StateDirectories directories, VolumeRecord record, Action<string> warn, CancellationToken cancellation)
    {
        VolumeJson volume = Brief(directories, record);
        if (volume.Pid is not null)
        {
            ControlResponse? response = await ControlClient
                .AskAsync(directories, record.Name, new ControlRequest { Command = "show" }, cancellation).ConfigureAwait(false);
            return response?.Live is LiveJson live
                ? volume with { Live = live, Array = live.Array, SizeBytes = live.SizeBytes }
                : volume with { Status = BusyStatus };
        }

        if (record.Volatile || record.Level == VolumeOpener.NoLevel)
        {
            return volume;
        }

        IReadOnlyList<VolumeJson> found = await ArrayScanner.ScanAsync(record.Drives, warn, cancellation).ConfigureAwait(false);
        VolumeJson? array = found.FirstOrDefault(f => f.Uuid == record.Uuid);
        return volume with { Array = array?.Array, SizeBytes = array?.SizeBytes ?? record.SizeBytes };
    }
}
