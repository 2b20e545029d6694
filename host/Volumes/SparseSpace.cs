using Polyblk.Core.Block;
using Polyblk.Drives;

namespace Polyblk.Host.Volumes;

/// <summary>Looks whether new files, which take no room until they are written, have the room that they promise.</summary>
public static class SparseSpace
{
    /// <summary>One sentence for each file system on which the files may grow beyond what is free.</summary>
    /// <param name="files">Files that are being made.</param>
    /// <param name="findFree">The file system that holds a path, and its free bytes for this user; null asks the host.</param>
    public static IEnumerable<string> FindShortages(
        IEnumerable<DriveSpec> files, Func<string, (string FileSystem, long FreeBytes)>? findFree = null)
    {
        findFree ??= FindFree;
        foreach (var group in files.GroupBy(f => findFree(Path.GetFullPath(f.Path))))
        {
            long wanted = group.Sum(f => f.SizeBytes ?? 0);
            if (wanted > group.Key.FreeBytes)
            {
                yield return $"The new files may grow to {ByteSize.FormatRounded(wanted)}, and {group.Key.FileSystem} has "
                    + $"{ByteSize.FormatRounded(group.Key.FreeBytes)} free: when it is full, writes end with 'no space left' until there is room again.";
            }
        }
    }

    private static (string FileSystem, long FreeBytes) FindFree(string path)
    {
        // The mount whose name is the longest beginning of the path.
        DriveInfo? mount = DriveInfo.GetDrives()
            .Where(d => path.StartsWith(d.Name.EndsWith('/') ? d.Name : d.Name + '/', StringComparison.Ordinal))
            .MaxBy(d => d.Name.Length);
        try
        {
            return mount is null ? (path, long.MaxValue) : (mount.Name, mount.AvailableFreeSpace);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not to be asked: nothing is known, and nothing is said.
            return (mount!.Name, long.MaxValue);
        }
    }
}
