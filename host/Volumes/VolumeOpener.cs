using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Raid;

namespace Polyblk.Host.Volumes;

/// <summary>Opens the volume that a record describes.</summary>
public static class VolumeOpener
{
    /// <summary>The level that serves one drive as it is.</summary>
    public const string NoLevel = "none";

    /// <summary>
    /// Opens the drives and, where there is one, assembles the array; a volatile array is made afresh, in memory that is new.
    /// </summary>
    /// <exception cref="RefusalException">It cannot be opened; the message says why and what to do.</exception>
    public static async Task<OpenVolume> OpenAsync(
        VolumeRecord record, ReactorGroup reactors, VolumeStart start, ILoggerFactory logging, CancellationToken cancellation)
    {
        if (record.Level != NoLevel)
        {
            return await ArrayVolume.OpenAsync(record, reactors, start, logging, cancellation).ConfigureAwait(false);
        }

        var late = new LateDrives(record, start, logging.CreateLogger("polyblk.serve"));
        while (!record.Volatile && late.AreWaitedFor)
        {
            await late.WaitAsync(cancellation).ConfigureAwait(false);
        }

        late.End();
        IReadOnlyList<DriveSpec> specs =
            [.. DriveList.Parse(record.Drives).Select(s => s.IsVolatile ? s : s with { SizeBytes = null })];
        List<IBlockDevice> drives = await DriveList.OpenAllAsync(specs, start.ReadOnly).ConfigureAwait(false);
        try
        {
            await RefuseMemberAsync(record, drives[0], reactors.Reactors[0], start).ConfigureAwait(false);
            return new SingleDriveVolume(drives[0], record.Volatile);
        }
        catch
        {
            await DriveList.CloseAllAsync(drives).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// A record that calls a member of an array a drive of its own is wrong, whoever wrote it: writes to one member tear the
    /// array apart.
    /// </summary>
    private static async Task RefuseMemberAsync(VolumeRecord record, IBlockDevice drive, Reactor reactor, VolumeStart start)
    {
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync([drive], reactor).ConfigureAwait(false);
        if (found[0].Superblock is { } member && !start.Force)
        {
            throw RefusalException.Refused(
                $"{drive.Name} is a member of the array '{member.Name}' ({member.ArrayUuid}), and the record of volume "
                + $"'{record.Name}' would serve it alone, which damages that.",
                "Delete this volume and import the array ('polyblk volume import'); or serve the drive all the same with --force-assembly.");
        }
    }

    /// <summary>What everybody who serves a volatile volume should know.</summary>
    public static string VolatileNote(IEnumerable<string> drives) =>
        $"The content of this volume lives in {string.Join(", ", drives.Select(d => d.Split(':')[0]).Distinct())} drives and is gone when this process ends.";
}

/// <summary>One drive as it is.</summary>
public sealed class SingleDriveVolume(IBlockDevice drive, bool isVolatile) : OpenVolume
{
    public override IBlockDevice Device => drive;

    public override IReadOnlyList<string> Notes => isVolatile ? [VolumeOpener.VolatileNote([drive.Name])] : [];

    public override bool HasSizeOfDrive => drive is FileDrive;

    public override ArrayJson? GetArray() => null;

    public override async Task ResizeAsync(long? sizeBytes, CancellationToken cancellation)
    {
        if (sizeBytes is not null)
        {
            throw RefusalException.Refused(
                "A volume of level 'none' has the size of its drive.", "Grow the drive (lvextend, truncate), then resize the volume without --size.");
        }

        if (drive is not FileDrive file)
        {
            throw RefusalException.Refused($"{drive.Name} keeps its size until this process ends: serve a volume of another size instead.");
        }

        try
        {
            await file.RefreshSizeAsync().ConfigureAwait(false);
        }
        catch (DriveException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }
    }

    public override ValueTask DisposeAsync() => drive.DisposeAsync();
}
