// Temporary folders with an owner that can be seen to live: a file in the folder is locked (flock(2), which is what
// FileShare.None is on Unix) as long as the process runs. A process id alone may be another program's by now, or one of another
// container.

using System.Collections.Concurrent;
using System.Globalization;

namespace Polyblk.Machine;

/// <summary>A folder that belongs to this process. Disposal removes it.</summary>
public sealed class OwnedFolder : IDisposable
{
    private const string LockName = "lock";

    private static readonly ConcurrentDictionary<OwnedFolder, bool> s_own = [];

    private readonly FileStream _lock;

    private OwnedFolder(string path, FileStream held)
    {
        (Path, _lock) = (path, held);
        s_own[this] = true;
    }

    /// <summary>Where it is.</summary>
    public string Path { get; }

    /// <summary>Makes PARENT/PREFIX-PID (with a number behind it where that exists), for this user only.</summary>
    public static OwnedFolder Create(string parent, string prefix)
    {
        string own = System.IO.Path.Combine(parent, prefix + Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
        for (int attempt = 0; ; attempt++)
        {
            string path = attempt == 0 ? own : string.Create(CultureInfo.InvariantCulture, $"{own}.{attempt}");
            if (!Directory.Exists(path))
            {
                Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
                return new OwnedFolder(path, OpenLock(path, FileMode.CreateNew));
            }
        }
    }

    /// <summary>Folders of that prefix whose owners have ended. What cannot be looked into is somebody else's.</summary>
    public static IReadOnlyList<string> Abandoned(string parent, string prefix) => !Directory.Exists(parent) ? []
        : [.. Directory.EnumerateDirectories(parent, prefix + "*").Where(path => OwnerOf(path, prefix) is not null && IsAbandoned(path, prefix))];

    /// <summary>Removes folders of that prefix whose owners have ended, each once, whoever else does the same.</summary>
    public static void RemoveAbandoned(string parent, string prefix)
    {
        foreach (string path in Abandoned(parent, prefix))
        {
            if (Claim(path, prefix) is OwnedFolder claimed)
            {
                claimed.Dispose();
            }
        }
    }

    /// <summary>Whether the owner of a folder has ended, and nobody has claimed it since.</summary>
    public static bool IsAbandoned(string path, string prefix)
    {
        using FileStream? held = TryLock(path, prefix, make: false, out bool isAbandoned);
        return isAbandoned;
    }

    /// <summary>
    /// Takes over a folder whose owner has ended; null when it has not, or another process was faster. Disposal removes it.
    /// </summary>
    public static OwnedFolder? Claim(string path, string prefix) =>
        TryLock(path, prefix, make: true, out _) is FileStream held ? new OwnedFolder(path, held) : null;

    private static FileStream? TryLock(string path, string prefix, bool make, out bool isAbandoned)
    {
        isAbandoned = false;
        try
        {
            if (Directory.EnumerateFiles(path, LockName).Any())
            {
                FileStream held = OpenLock(path, FileMode.Open);
                isAbandoned = true;
                return held;
            }

            // Not locked yet, or half removed.
            isAbandoned = OwnerOf(path, prefix) is int owner && !Directory.Exists($"/proc/{owner}");
            return isAbandoned && make ? OpenLock(path, FileMode.CreateNew) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Its owner lives, it is another user's, or it has just been removed.
            return null;
        }
    }

    /// <summary>The process id in a folder's name, or null where there is none.</summary>
    public static int? OwnerOf(string path, string prefix)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(prefix);
        string name = System.IO.Path.GetFileName(path.TrimEnd('/'));
        return name.StartsWith(prefix, StringComparison.Ordinal)
            && int.TryParse(name[prefix.Length..].Split('.')[0], NumberStyles.None, CultureInfo.InvariantCulture, out int pid) ? pid : null;
    }

    /// <summary>
    /// Removes all folders that this process has, where it ends at once. What cannot be removed is left to the next one that
    /// looks for such folders.
    /// </summary>
    public static void RemoveOwn()
    {
        foreach (OwnedFolder folder in s_own.Keys)
        {
            try
            {
                folder.Dispose();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                continue;
            }
        }
    }

    public void Dispose()
    {
        if (Directory.Exists(Path))
        {
            Directory.Delete(Path, recursive: true);
        }

        _lock.Dispose();
        s_own.TryRemove(this, out _);
    }

    private static FileStream OpenLock(string path, FileMode mode) =>
        new(System.IO.Path.Combine(path, LockName), mode, FileAccess.ReadWrite, FileShare.None, 0);
}
