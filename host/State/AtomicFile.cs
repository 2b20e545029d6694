using System.Text;
using Polyblk.Core.Interop;

namespace Polyblk.Host.State;

/// <summary>Replaces a file in one step: after a crash it holds the old content or the new, never a part.</summary>
public static class AtomicFile
{
    /// <summary>Writes beside the file, syncs, renames, and syncs the directory. The result is durable on return.</summary>
    /// <exception cref="IOException">A step failed; the old file is as it was.</exception>
    public static void Write(string path, string content)
    {
        string temporary = $"{path}.{Environment.ProcessId}.tmp";
        try
        {
            // Made anew: whatever lies there under this name is no file that this process may write to.
            File.Delete(temporary);
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead,
            };
            using (var stream = new FileStream(temporary, options))
            {
                FolderOwner.GiveFile(temporary, (int)stream.SafeFileHandle.DangerousGetHandle());
                stream.Write(Encoding.UTF8.GetBytes(content));
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }

        SyncParent(path);
    }

    /// <summary>Deletes a file durably.</summary>
    public static void Delete(string path)
    {
        File.Delete(path);
        SyncParent(path);
    }

    /// <summary>Makes a rename or a new name in the directory durable.</summary>
    private static void SyncParent(string path)
    {
        string directory = Path.GetDirectoryName(path)!;
        int fd = Libc.open(directory, Libc.O_RDONLY | Libc.O_CLOEXEC);
        int rc = fd;
        if (fd >= 0)
        {
            rc = Libc.fsync(fd);
            _ = Libc.close(fd);
        }

        if (rc < 0)
        {
            throw new IOException($"The directory {directory} could not be synced (errno {-rc}).");
        }
    }
}
