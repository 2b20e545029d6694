using System.Diagnostics;
using System.Text.Json;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Microsoft.Win32.SafeHandles;

namespace Polyblk.Host.State;

/// <summary>The volume records of this host: one JSON file each, replaced atomically.</summary>
public sealed class VolumeStore(StateDirectories directories)
{
    /// <summary>A change of a record takes some milliseconds.</summary>
    private static readonly TimeSpan s_recordLimit = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_recordLook = TimeSpan.FromMilliseconds(2);

    /// <summary>Whether this user may not even look for records.</summary>
    public bool IsClosed
    {
        get
        {
            try
            {
                _ = Directory.EnumerateFileSystemEntries(directories.Volumes).Any();
                return false;
            }
            catch (UnauthorizedAccessException)
            {
                return true;
            }
            catch (IOException)
            {
                return false; // There are none yet, or what is wrong is said by who reads them.
            }
        }
    }

    /// <summary>All records, by name. A file that cannot be read is reported, not hidden.</summary>
    public IReadOnlyList<VolumeRecord> List(Action<string> warn)
    {
        if (!Directory.Exists(directories.Volumes))
        {
            RefuseClosed();
            return [];
        }

        var records = new List<VolumeRecord>();
        foreach (string file in Directory.EnumerateFiles(directories.Volumes, "*.json").Order(StringComparer.Ordinal))
        {
            try
            {
                records.Add(Read(file));
            }
            catch (RefusalException e)
            {
                warn(e.Message);
            }
        }

        return records;
    }

    /// <summary>The record of a volume, or null when there is none.</summary>
    public VolumeRecord? TryGet(string name)
    {
        VolumeName.Check(name);
        string file = FileOf(name);
        if (File.Exists(file))
        {
            return Read(file);
        }

        RefuseClosed();
        return null;
    }

    /// <exception cref="RefusalException">There is no such volume; the message names the nearest one.</exception>
    public VolumeRecord Get(string name)
    {
        VolumeRecord? record = TryGet(name);
        if (record is not null)
        {
            return record;
        }

        string[] known = [.. List(_ => { }).Select(r => r.Name)];
        string hint = Suggestion.Nearest(name, known) is string near ? $"Did you mean '{near}'?"
            : known.Length > 0 ? $"There are: {string.Join(", ", known)}."
            : "There are none yet: make one with 'polyblk volume create'.";
        throw RefusalException.NotFound($"There is no volume '{name}' in {directories.State}.", hint);
    }

    /// <summary>Writes a record durably.</summary>
    public void Put(VolumeRecord record)
    {
        VolumeName.Check(record.Name);
        StateDirectories.Ensure(directories.Volumes);
        try
        {
            AtomicFile.Write(FileOf(record.Name), JsonSerializer.Serialize(record, VolumeRecordJson.Default.VolumeRecord) + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(RefusalKind.HostLacks, $"The record of volume '{record.Name}' could not be written: {e.Message}", e);
        }
    }

    /// <summary>
    /// Changes a record that others may change, too: the process that serves the volume, and commands about it. One after the
    /// other, each from what the one before has written.
    /// </summary>
    /// <returns>The record as it is now.</returns>
    /// <exception cref="RefusalException">It is gone, or cannot be written.</exception>
    public VolumeRecord Change(string name, Func<VolumeRecord, VolumeRecord> change)
    {
        using SafeFileHandle held = LockRecord(name);
        VolumeRecord before = Get(name);
        VolumeRecord after = change(before);
        if (!ReferenceEquals(after, before))
        {
            Put(after);
        }

        return after;
    }

    /// <summary>Sees to it that a record can be written, before drives are changed for it.</summary>
    /// <exception cref="RefusalException">It cannot.</exception>
    public void RequireWritable(string name)
    {
        StateDirectories.Ensure(directories.Volumes);
        string trial = $"{FileOf(name)}.{Environment.ProcessId}.trial";
        try
        {
            File.Delete(trial);
            using (var file = new FileStream(trial, FileMode.CreateNew))
            {
                file.WriteByte((byte)'x');
            }

            File.Delete(trial);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(
                new Refusal(RefusalKind.HostLacks, $"The record of volume '{name}' could not be written: {e.Message} Nothing was changed.", "Make room or choose another place with --state DIR."), e);
        }
    }

    /// <summary>Takes a record away: whoever is changing it is done before, and whoever comes then finds none.</summary>
    public void Delete(string name)
    {
        using SafeFileHandle held = LockRecord(name);
        AtomicFile.Delete(FileOf(name));
    }

    /// <summary>Who may not look has not seen that there is none.</summary>
    private void RefuseClosed()
    {
        if (IsClosed)
        {
            throw RefusalException.HostLacks(
                $"The volumes in {directories.State} may not be read by this user.",
                "Run as root or as the user of the daemon, or keep volumes of your own with --state DIR.");
        }
    }

    public string FileOf(string name) => Path.Combine(directories.Volumes, name + ".json");

    /// <summary>
    /// For as long as a change takes; the lock's file stays, as that of the volume does (<see cref="VolumeLock"/>).
    /// </summary>
    private SafeFileHandle LockRecord(string name)
    {
        VolumeName.Check(name);
        string directory = directories.RuntimeOf(name);
        StateDirectories.Ensure(directory);
        string path = Path.Combine(directory, "record.lock");
        SafeFileHandle handle = VolumeLock.OpenFile(path);
        long began = Stopwatch.GetTimestamp();
        int rc;
        while ((rc = Libc.flock((int)handle.DangerousGetHandle(), Libc.LOCK_EX | Libc.LOCK_NB)) is -Errno.EAGAIN or -Errno.EINTR
            && Stopwatch.GetElapsedTime(began) < s_recordLimit)
        {
            Thread.Sleep(s_recordLook);
        }

        if (rc >= 0)
        {
            return handle;
        }

        handle.Dispose();
        throw rc == -Errno.EAGAIN
            ? RefusalException.Refused($"The record of volume '{name}' is being changed by another process, which does not end.", $"'fuser {path}' tells which.")
            : RefusalException.HostLacks($"{path} cannot be locked (errno {-rc}).", "Choose another place with --state DIR.");
    }

    private static VolumeRecord Read(string file)
    {
        try
        {
            VolumeRecord? record = JsonSerializer.Deserialize(File.ReadAllText(file), VolumeRecordJson.Default.VolumeRecord);
            if (record is null || record.Format is < 1 or > VolumeRecord.CurrentFormat)
            {
                throw new RefusalException(
                    RefusalKind.Failed,
                    $"{file} has format {record?.Format}, and this program knows up to {VolumeRecord.CurrentFormat}: use the newer program that wrote it.");
            }

            if (RecordCheck.Problem(record, Path.GetFileNameWithoutExtension(file)) is string problem)
            {
                throw new RefusalException(
                    RefusalKind.Failed,
                    $"{file} cannot be used: {problem}.",
                    "Mend it; or move it away and register the volume again with 'polyblk volume import'. Its data is untouched.");
            }

            return record;
        }
        catch (JsonException e)
        {
            throw new RefusalException(
                new Refusal(
                    RefusalKind.Failed,
                    $"{file} is damaged ({e.Message}).",
                    "Move it away and register the volume again with 'polyblk volume import'; its data is untouched."),
                e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(RefusalKind.HostLacks, $"{file} cannot be read: {e.Message}", e);
        }
    }
}
