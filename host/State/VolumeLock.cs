// One process at a time works on a volume. The lock is flock(2) on a file in the runtime directory: it ends with the process,
// however that ends. The file holds the owner's pid for the message to others; it is never deleted, so that two processes cannot
// hold locks on two files of one name.

using System.Globalization;
using System.Text;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Host.Model;
using Microsoft.Win32.SafeHandles;

namespace Polyblk.Host.State;

/// <summary>The exclusive lock on a volume. Released by disposal or the end of the process.</summary>
public sealed class VolumeLock : IDisposable
{
    private const string LockName = "lock";
    private const int Attempts = 5;
    private const int AttemptPauseMs = 20;

    private readonly SafeFileHandle _handle;

    private VolumeLock(SafeFileHandle handle) => _handle = handle;

    /// <summary>Takes the lock.</summary>
    /// <exception cref="RefusalException">Another process has it.</exception>
    public static VolumeLock Take(StateDirectories directories, string volume, string purpose)
    {
        VolumeName.Check(volume);
        return TakeIn(directories.RuntimeOf(volume), out int holder) ?? throw RefusalException.Refused(
            $"Volume '{volume}' cannot be {purpose}: process {Describe(holder)} is working on it.", $"End it first with 'polyblk volume stop {volume}'.");
    }

    /// <summary>
    /// Takes the lock of a volume that is recorded, and reads the record under it: another process may just have removed or made
    /// it.
    /// </summary>
    /// <exception cref="RefusalException">There is no such volume, or another process has it.</exception>
    public static VolumeLock TakeRecorded(StateDirectories directories, string volume, string purpose, out VolumeRecord record)
    {
        var store = new VolumeStore(directories);
        _ = store.Get(volume); // a wrong name leaves no lock file behind
        VolumeLock held = Take(directories, volume, purpose);
        try
        {
            record = store.Get(volume);
            return held;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <summary>Takes the daemon's place: there is one of a state folder.</summary>
    /// <exception cref="RefusalException">Another process has it.</exception>
    public static VolumeLock TakeDaemons(StateDirectories directories) =>
        TakeIn(directories.RuntimeOf(directories.DaemonName), out int holder)
            ?? throw RefusalException.Refused(
                $"A daemon works here already: process {Describe(holder)}.",
                "Use that one, or end it first.");

    /// <summary>Takes the daemon's place, or returns null and the pid of the daemon that has it.</summary>
    public static VolumeLock? TryTakeDaemons(StateDirectories directories, out int holder) =>
        TryTakeIn(directories.RuntimeOf(directories.DaemonName), out holder);

    /// <summary>
    /// 'volume list' shares a free lock for an instant to see whether it is free: a second look tells it from an owner.
    /// </summary>
    private static VolumeLock? TakeIn(string directory, out int holder)
    {
        VolumeLock? taken = TryTakeIn(directory, out holder);
        for (int attempt = 1; attempt < Attempts && taken is null; attempt++)
        {
            Thread.Sleep(AttemptPauseMs);
            taken = TryTakeIn(directory, out holder);
        }

        return taken;
    }

    private static VolumeLock? TryTakeIn(string directory, out int holder)
    {
        StateDirectories.Ensure(directory);
        string path = Path.Combine(directory, LockName);
        SafeFileHandle handle = OpenFile(path);
        int fd = (int)handle.DangerousGetHandle();
        int rc = Libc.flock(fd, Libc.LOCK_EX | Libc.LOCK_NB);
        if (rc == 0)
        {
            holder = Environment.ProcessId;
            RandomAccess.SetLength(handle, 0);
            RandomAccess.Write(handle, Encoding.ASCII.GetBytes(holder.ToString(CultureInfo.InvariantCulture) + "\n"), 0);
            return new VolumeLock(handle);
        }

        holder = ReadHolder(handle);
        handle.Dispose();
        return rc == -Errno.EAGAIN ? null : throw RefusalException.HostLacks($"{path} cannot be locked (errno {-rc}).");
    }

    /// <summary>
    /// Opens a file that is locked, for its owner alone: whoever may open it, were it only to read, may lock it, and keep it so.
    /// The folder is no protection where others may pass through it to a socket.
    /// </summary>
    /// <exception cref="RefusalException">It cannot be opened.</exception>
    internal static SafeFileHandle OpenFile(string path)
    {
        const UnixFileMode Owners = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        try
        {
            SafeFileHandle handle = PlainFile.OpenOrMake(path, Owners);
            if (File.GetUnixFileMode(handle) != Owners)
            {
                // Made by an older program.
                File.SetUnixFileMode(handle, Owners);
            }

            return handle;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw RefusalException.HostLacks(
                $"The lock file {path} cannot be opened: {e.Message}",
                "Choose another place with --state DIR.");
        }
    }

    /// <summary>
    /// The pid of the process that holds the lock now, or null when it is free. Takes nothing and makes nothing.
    /// </summary>
    public static int? Holder(StateDirectories directories, string volume)
    {
        int fd = Libc.open(PathOf(directories, volume), Libc.O_RDONLY | Libc.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return fd == -Errno.ENOENT ? null : throw RefusalException.HostLacks($"The lock file {PathOf(directories, volume)} cannot be opened (errno {-fd}).");
        }

        // Shared, so that two who look at once do not take each other for an owner.
        using var handle = new SafeFileHandle(fd, ownsHandle: true);
        return Libc.flock(fd, Libc.LOCK_SH | Libc.LOCK_NB) == 0 ? null : ReadHolder(handle);
    }

    /// <summary>Whether a process is the daemon, or the one that it has for a volume.</summary>
    public static bool IsDaemon(StateDirectories directories, string volume, int pid)
    {
        StateDirectories isolated = directories.OfIsolated(volume);
        return Holder(directories, StateDirectories.Daemon) == pid || Holder(directories, isolated.DaemonName) == pid;
    }

    public void Dispose() => _handle.Dispose();

    private static string PathOf(StateDirectories directories, string volume) =>
        Path.Combine(directories.RuntimeOf(volume), LockName);

    private static int ReadHolder(SafeFileHandle handle)
    {
        byte[] text = new byte[16];
        int read = RandomAccess.Read(handle, text, 0);
        return int.TryParse(Encoding.ASCII.GetString(text, 0, read).Trim(), out int pid) ? pid : 0;
    }

    private static string Describe(int pid)
    {
        if (pid == 0)
        {
            return "(unknown)";
        }

        try
        {
            string[] command = File.ReadAllText($"/proc/{pid}/cmdline").Split('\0', StringSplitOptions.RemoveEmptyEntries);
            return command.Length == 0
                ? $"{pid}"
                : Printable.Line($"{pid} ({Path.GetFileName(command[0])} {string.Join(' ', command[1..])})");
        }
        catch (IOException)
        {
            return $"{pid}";
        }
    }
}
