using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Host.State;
using Polyblk.Raid;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>A volume that is wanted. <paramref name="Level"/> null is one drive as it is.</summary>
public sealed record VolumeRequest(
    string Name, RaidLevel? Level, int ChunkBytes, long? SizeBytes, bool Force, IReadOnlyList<DriveSpec> Drives)
{
    /// <summary>How it is put right after an unclean stop; null takes what suits the level and the drives.</summary>
    public ArrayConsistency? Consistency { get; init; }

    /// <summary>Into how many groups its drives are cut; null where the level has none.</summary>
    public int? Groups { get; init; }

    /// <summary>Whether each block of its drives has a checksum.</summary>
    public bool Checksums { get; init; }
}

/// <summary>A volume that was made.</summary>
public sealed record NewVolume(Guid Uuid, long SizeBytes);

/// <summary>Makes arrays on drives, and erases them.</summary>
public static class VolumeMaker
{
    /// <summary>
    /// Opens the drives, writes the superblocks, and closes the drives again. Files that it made are removed when it fails.
    /// </summary>
    /// <exception cref="RefusalException">It cannot be made; the message says why and what to do.</exception>
    public static async Task<NewVolume> MakeAsync(VolumeRequest request, Action<string> note, CancellationToken cancellation)
    {
        DriveSpec[] freshFiles =
            [.. request.Drives.Where(d => d is { IsVolatile: false, SizeBytes: not null } && !File.Exists(d.Path))];
        string[] fresh = [.. freshFiles.Select(d => d.Path)];
        foreach (string shortage in SparseSpace.FindShortages(freshFiles))
        {
            note(shortage);
        }

        try
        {
            List<IBlockDevice> drives = await DriveList.OpenAllAsync(request.Drives, readOnly: false).ConfigureAwait(false);
            try
            {
                cancellation.ThrowIfCancellationRequested();
                bool zeroed = fresh.Length == request.Drives.Count || request.Drives[0].IsVolatile;
                return request.Level is RaidLevel level
                    ? await MakeArrayAsync(request, level, drives, zeroed, note).ConfigureAwait(false)
                    : await MakeSingleAsync(request, drives[0]).ConfigureAwait(false);
            }
            finally
            {
                await DriveList.CloseAllAsync(drives).ConfigureAwait(false);
            }
        }
        catch
        {
            foreach (string path in fresh.Where(File.Exists))
            {
                RemoveFresh(path, note);
            }

            throw;
        }
    }

    /// <summary>
    /// Sees whether a drive could come to a volume: it is there, or can be made, holds nothing, and nobody uses it. Changes
    /// nothing.
    /// </summary>
    /// <exception cref="RefusalException">It could not; the message says why.</exception>
    public static async Task CheckNewDriveAsync(DriveSpec drive)
    {
        ArgumentNullException.ThrowIfNull(drive);
        if (!Path.Exists(drive.Path))
        {
            _ = drive.SizeBytes ?? throw RefusalException.NotFound($"There is no {drive.Path}.");
            return;
        }

        List<IBlockDevice> open = await OpenToCheckAsync([drive]).ConfigureAwait(false);
        using ReactorGroup reactors = ControlReactors();
        try
        {
            await ArrayBuilder.RefuseForeignAsync(open, reactors.Reactors[0]).ConfigureAwait(false);
        }
        catch (ArrayException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }
        finally
        {
            await DriveList.CloseAllAsync(open).ConfigureAwait(false);
        }
    }

    /// <summary>Sees whether a volume could be made, as far as that can be told beforehand. Changes nothing.</summary>
    /// <exception cref="RefusalException">It could not; the message says why and what to do.</exception>
    public static async Task CheckAsync(VolumeRequest request, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        ILookup<bool, DriveSpec> drives = request.Drives.ToLookup(d => !d.IsVolatile && Path.Exists(d.Path));
        if (drives[false].FirstOrDefault(d => d.SizeBytes is null) is DriveSpec missing)
        {
            throw RefusalException.NotFound($"There is no {missing.Path}.");
        }

        List<IBlockDevice> open = await OpenToCheckAsync(drives[true]).ConfigureAwait(false);
        using ReactorGroup reactors = ControlReactors();
        try
        {
            cancellation.ThrowIfCancellationRequested();
            if (request.Level is not null)
            {
                await ArrayBuilder
                    .CheckCreateAsync(CreateOptions(request), open, [.. drives[false].Select(d => d.SizeBytes!.Value)],
                        reactors.Reactors[0]).ConfigureAwait(false);
            }
            else if (open.Count > 0)
            {
                await CheckSingleAsync(request, open[0], reactors).ConfigureAwait(false);
            }
        }
        catch (ArrayException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }
        finally
        {
            await DriveList.CloseAllAsync(open).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Opens drives that are there as it is done for a volume, for writing: what has one then, under whatever name, or a part of
    /// it, has it now.
    /// </summary>
    private static Task<List<IBlockDevice>> OpenToCheckAsync(IEnumerable<DriveSpec> drives) =>
        DriveList.OpenAllAsync([.. drives.Select(d => d with { SizeBytes = null })], readOnly: false);

    /// <summary>
    /// A partition table that is erased is still in force until the kernel reads it again; udev mostly sees to that by itself.
    /// </summary>
    private static void NotePartitions(IReadOnlyList<DriveSpec> drives, Action<string> note)
    {
        foreach (DriveSpec drive in drives.Where(d => !d.IsVolatile))
        {
            string real = DriveList.RealPath(drive.Path);
            string folder = $"/sys/class/block/{Path.GetFileName(real)}";
            if (real.StartsWith("/dev/", StringComparison.Ordinal) && Directory.Exists(folder)
                && Directory.EnumerateDirectories(folder).Any(d => File.Exists(Path.Combine(d, "partition"))))
            {
                note(
                    $"The kernel still shows partitions on {drive.Path}. Where they do not go by themselves: partprobe {drive.Path}");
            }
        }
    }

    /// <summary>
    /// Removes a file that was made for a volume that cannot be: what stands in the way must not hide why the volume cannot be
    /// made.
    /// </summary>
    private static void RemoveFresh(string path, Action<string> note)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            note($"{path} was made and could not be removed again: {e.Message}");
        }
    }

    /// <summary>Erases the superblocks of a volume's members, and of nothing else.</summary>
    /// <exception cref="RefusalException">A drive cannot be opened or written.</exception>
    public static async Task WipeAsync(VolumeRecord record, CancellationToken cancellation)
    {
        // Without sizes: a drive that is missing is told, and not made.
        IReadOnlyList<DriveSpec> specs = [.. DriveList.Parse(record.Drives).Select(s => s.IsVolatile ? s : s with { SizeBytes = null })];
        List<IBlockDevice> drives = await DriveList.OpenAllAsync(specs, readOnly: false).ConfigureAwait(false);
        using ReactorGroup reactors = ControlReactors();
        try
        {
            cancellation.ThrowIfCancellationRequested();
            await ArrayBuilder.EraseAsync(drives, record.Uuid, reactors.Reactors[0]).ConfigureAwait(false);
        }
        catch (ArrayException e)
        {
            throw new RefusalException(RefusalKind.HostLacks, e.Message, e);
        }
        finally
        {
            await DriveList.CloseAllAsync(drives).ConfigureAwait(false);
        }
    }

    /// <summary>The options that a new array has by its record.</summary>
    public static ArrayCreateOptions CreateOptions(string name, string level, int chunkBytes)
    {
        if (!RaidLevels.TryParse(level, out RaidLevel parsed))
        {
            throw new RefusalException(RefusalKind.Failed, $"The record of volume '{name}' has the level '{level}', which this program does not know.");
        }

        var options = new ArrayCreateOptions { Name = name, Level = parsed };
        return chunkBytes > 0 ? options with { ChunkBytes = chunkBytes } : options;
    }

    /// <summary>What a volume has whose drives begin empty each time: nothing that outlives the process.</summary>
    public static ArrayConsistency? ForVolatile(RaidLevel level) => level.ParityCount() > 0 ? ArrayConsistency.Bitmap : null;

    private static ArrayCreateOptions CreateOptions(VolumeRequest request)
    {
        RaidLevel level = request.Level!.Value;
        return CreateOptions(request.Name, level.Name(), request.ChunkBytes) with
        {
            SizeBytes = request.SizeBytes,
            Groups = request.Groups,
            Force = request.Force,
            Checksums = request.Checksums,
            Consistency = request.Consistency ?? (request.Drives[0].IsVolatile ? ForVolatile(level) : null),
        };
    }

    private static async Task<NewVolume> MakeArrayAsync(
        VolumeRequest request, RaidLevel level, List<IBlockDevice> drives, bool zeroed, Action<string> note)
    {
        using ReactorGroup reactors = ControlReactors();
        ArrayCreateOptions options = CreateOptions(request) with
        {
            AssumeZeroed = zeroed,

            // The first resync is for the process that serves the volume.
            Run = new ArrayRunOptions { Resync = false, HostName = Environment.MachineName },
        };
        try
        {
            await using RaidArray array = await ArrayBuilder.CreateAsync(options, drives, reactors.Reactors[0]).ConfigureAwait(false);
            NotePartitions(request.Drives, note);
            if (!zeroed && level != RaidLevel.Raid0)
            {
                note("The drives are brought into step (resync) in the background when the volume is served; it can be used at once.");
            }

            return new NewVolume(array.Uuid, array.SizeBytes);
        }
        catch (ArrayException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }
    }

    private static async Task<NewVolume> MakeSingleAsync(VolumeRequest request, IBlockDevice drive)
    {
        using ReactorGroup reactors = ControlReactors();
        await CheckSingleAsync(request, drive, reactors).ConfigureAwait(false);
        return new NewVolume(Guid.NewGuid(), drive.SizeBytes);
    }

    private static async Task CheckSingleAsync(VolumeRequest request, IBlockDevice drive, ReactorGroup reactors)
    {
        IReadOnlyList<DriveInspection> found = await ArrayBuilder.InspectAsync([drive], reactors.Reactors[0]).ConfigureAwait(false);
        ArraySuperblock? member = found[0].Superblock;
        if (member is not null && !request.Force)
        {
            throw RefusalException.Refused(
                $"{drive.Name} is a member of the array '{member.Name}' ({member.ArrayUuid}); serving it alone would damage that.", "--force serves it all the same.");
        }

        // A file system on it is what this level is for; a part of something that others put together is not.
        if (found[0].PartOf is string part && !request.Force)
        {
            throw RefusalException.Refused(
                $"{drive.Name} is in use by something else ({part}); serving it alone would damage that.", "--force serves it all the same.");
        }

        if (request.SizeBytes is not null && request.SizeBytes != drive.SizeBytes)
        {
            throw RefusalException.Invalid("--size is for arrays: a volume of level none has the size of its drive.");
        }
    }

    /// <summary>One reactor that is not pinned and never spins: enough for superblocks.</summary>
    public static ReactorGroup ControlReactors() => new([new ReactorOptions { Name = "control", Idle = IdlePolicy.Frugal, RingEntries = 64 }]);
}
