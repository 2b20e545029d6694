// The drives that a command line or a record names: parsed, checked against each other, opened together, closed together.

using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Drives.Files;

namespace Polyblk.Host.Volumes;

/// <summary>Parsing and opening lists of drives.</summary>
public static class DriveList
{
    private const string ByIdDirectory = "/dev/disk/by-id";

    /// <summary>Parses drives as they are written on the command line.</summary>
    /// <exception cref="RefusalException">One is wrong, is named twice, or volatile and lasting drives are mixed.</exception>
    public static IReadOnlyList<DriveSpec> Parse(IEnumerable<string> texts)
    {
        var specs = new List<DriveSpec>();
        foreach (string text in texts)
        {
            specs.Add(ParseOne(text));
        }

        var paths = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (DriveSpec spec in specs.Where(s => !s.IsVolatile))
        {
            // By what it is: a link, a hard link and a second node of one device are the same drive. A file that is not made yet
            // is its path.
            string what = DriveReader.IdentityOf(spec.Path) ?? Path.GetFullPath(spec.Path);
            if (!paths.TryAdd(what, spec.Text))
            {
                throw RefusalException.Invalid($"'{spec.Text}' and '{paths[what]}' are the same drive.", "Name each drive once.");
            }
        }

        if (specs.Any(s => s.IsVolatile) && !specs.All(s => s.IsVolatile))
        {
            throw RefusalException.Invalid(
                $"Volatile drives ({DriveKinds.Default.VolatileNames}) and lasting ones cannot be mixed: "
                + "the volume would lose its redundancy at every end of the program.");
        }

        return specs;
    }

    /// <summary>
    /// How a drive is remembered: by a path that stays the same when devices are found in another order, and without a size, so
    /// that a file that is missing later is reported instead of being made anew.
    /// </summary>
    public static string ToRecord(DriveSpec spec)
    {
        if (spec.IsVolatile)
        {
            return spec.Text;
        }

        string path = StablePath(Path.GetFullPath(spec.Path));
        string blockSize = spec.LogicalBlockSize is int bytes ? $",block-size={bytes}" : string.Empty;
        string own = string.Concat(spec.Options.Select(o => $",{o.Key}={o.Value}"));
        return blockSize.Length + own.Length == 0 ? path : $"{spec.Kind.Name}:{path}{blockSize}{own}";
    }

    /// <summary>Opens all, or none.</summary>
    /// <exception cref="RefusalException">One cannot be opened.</exception>
    public static async Task<List<IBlockDevice>> OpenAllAsync(IReadOnlyList<DriveSpec> specs, bool readOnly)
    {
        var drives = new List<IBlockDevice>();
        foreach (DriveSpec spec in specs)
        {
            try
            {
                drives.Add(DriveFactory.Open(spec, readOnly));
            }
            catch (DriveException e)
            {
                await CloseAllAsync(drives).ConfigureAwait(false);
                throw ToRefusal(spec, e);
            }
        }

        return drives;
    }

    /// <summary>
    /// Opens the drives of an array's record. One that is gone or dead is left out, since the array may do without it. One that is
    /// there but cannot be had (in use, not permitted, changed) is left out with a refusal: an array that starts without it would
    /// drop it as stale, if it is a member (<see cref="VolumeDrive.Refusal"/>). None is made.
    /// </summary>
    public static List<VolumeDrive> OpenMembers(IReadOnlyList<string> texts, bool readOnly)
    {
        var drives = new List<VolumeDrive>();
        foreach (DriveSpec spec in texts.Select(ParseOne))
        {
            // A replacement that was cut short leaves both paths; they may lead to one device by now.
            if (drives.Find(d => d.Is(spec)) is { } same)
            {
                drives.Add(new VolumeDrive(spec, null) { Problem = $"it is the same drive as {same.Text}" });
                continue;
            }

            try
            {
                drives.Add(new VolumeDrive(spec, DriveFactory.Open(spec.IsVolatile ? spec : spec with { SizeBytes = null }, readOnly)));
            }
            catch (DriveException e)
            {
                bool isGone = !Path.Exists(spec.Path) || e.Errno is Errno.EIO or Errno.ENXIO or Errno.ENODEV;
                drives.Add(new VolumeDrive(spec, null) { Problem = e.Message, Refusal = isGone ? null : ToRefusal(spec, e) });
            }
        }

        return drives;
    }

    /// <summary>The drives of a record whose paths are not there at present.</summary>
    public static IEnumerable<string> FindMissing(IReadOnlyList<string> texts) =>
        texts.Select(ParseOne).Where(s => !s.IsVolatile && !Path.Exists(s.Path)).Select(s => s.Path);

    /// <summary>Parses one drive as it is written on the command line, or recorded.</summary>
    /// <exception cref="RefusalException">It is none.</exception>
    public static DriveSpec ParseOne(string text)
    {
        try
        {
            return DriveSpec.Parse(text);
        }
        catch (FormatException e)
        {
            throw new RefusalException(RefusalKind.Invalid, e.Message, e);
        }
    }

    /// <summary>
    /// A drive as another process understands it, whose folder may be another: with its whole path, and all its options.
    /// </summary>
    public static string ToAbsolute(string text)
    {
        DriveSpec spec = ParseOne(text);
        return spec.IsVolatile || Path.IsPathRooted(spec.Path) ? text
            : spec.IsPlainPath ? Path.GetFullPath(text)
            : text.Replace($":{spec.Path}", $":{Path.GetFullPath(spec.Path)}", StringComparison.Ordinal);
    }

    /// <summary>Opens one drive for writing; a file is made where a size says so.</summary>
    /// <exception cref="RefusalException">It cannot be opened.</exception>
    public static IBlockDevice Open(DriveSpec spec)
    {
        try
        {
            return DriveFactory.Open(spec);
        }
        catch (DriveException e)
        {
            throw ToRefusal(spec, e);
        }
    }

    public static async Task CloseAllAsync(IEnumerable<IBlockDevice> drives)
    {
        foreach (IBlockDevice drive in drives)
        {
            await drive.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static RefusalException ToRefusal(DriveSpec spec, DriveException e)
    {
        bool isMissing = !spec.IsVolatile && !Path.Exists(spec.Path);
        RefusalKind kind = isMissing ? RefusalKind.NotFound : e.Errno == Errno.EBUSY ? RefusalKind.Refused : RefusalKind.HostLacks;
        return new RefusalException(kind, e.Message, e);
    }

    /// <summary>The path with every link resolved; the path itself where there is nothing.</summary>
    public static string RealPath(string path)
    {
        string full = Path.GetFullPath(path);
        try
        {
            return File.Exists(full) ? File.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full : full;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return full; // The link has just gone, as links of devices do.
        }
    }

    /// <summary>A link below /dev/disk/by-id that leads to the device: by the medium's own identity first.</summary>
    internal static string StablePath(string path)
    {
        string real = RealPath(path);
        if (!real.StartsWith("/dev/", StringComparison.Ordinal) || !Directory.Exists(ByIdDirectory))
        {
            return path;
        }

        string[] preferred = ["wwn-", "nvme-eui.", "nvme-uuid.", "scsi-3", "nvme-", "ata-", "virtio-", string.Empty];
        return Directory.EnumerateFiles(ByIdDirectory)
            .Where(link => RealPath(link) == real)
            .OrderBy(link => Array.FindIndex(preferred, p => Path.GetFileName(link).StartsWith(p, StringComparison.Ordinal)))
            .ThenBy(link => link, StringComparer.Ordinal)
            .FirstOrDefault() ?? path;
    }
}
