// Files in a folder that may be another user's than this process's: root's commands work in the folder of the daemon's user. What
// lies there under a name may have been laid there by a daemon that somebody has taken over: a link to a file of root's, or a
// pipe on which an open waits for ever. Neither is opened.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Host.State;

/// <summary>Opens regular files, through no symbolic link.</summary>
internal static class PlainFile
{
    /// <summary>Opens one to read.</summary>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="IOException">It cannot be opened, or is no regular file.</exception>
    /// <exception cref="UnauthorizedAccessException">This user may not.</exception>
    public static SafeFileHandle OpenToRead(string path) => Take(path, Open(path, Libc.O_RDONLY));

    /// <summary>Opens one to write; where there is none it is made, the folder's owner's.</summary>
    /// <param name="path">The file.</param>
    /// <param name="mode">Who may do what with one that is made.</param>
    /// <exception cref="IOException">It cannot be opened or made, or is no regular file.</exception>
    /// <exception cref="UnauthorizedAccessException">This user may not.</exception>
    public static SafeFileHandle OpenOrMake(string path, UnixFileMode mode)
    {
        int fd = Open(path, Libc.O_RDWR);
        if (fd != -Errno.ENOENT)
        {
            return Take(path, fd);
        }

        fd = Open(path, Libc.O_RDWR | Libc.O_CREAT | Libc.O_EXCL, mode);
        if (fd == -Errno.EEXIST)
        {
            return Take(path, Open(path, Libc.O_RDWR)); // Somebody was quicker.
        }

        SafeFileHandle made = Take(path, fd);
        try
        {
            FolderOwner.GiveFile(path, (int)made.DangerousGetHandle());
            return made;
        }
        catch
        {
            made.Dispose();
            throw;
        }
    }

    // O_NONBLOCK is for pipes and devices, and says nothing to a regular file.
    private static int Open(string path, int flags, UnixFileMode mode = 0) =>
        Libc.open(path, flags | Libc.O_NOFOLLOW | Libc.O_CLOEXEC | Libc.O_NONBLOCK, (int)mode);

    private static SafeFileHandle Take(string path, int fd)
    {
        if (fd < 0)
        {
            throw -fd switch
            {
                Errno.ENOENT => new FileNotFoundException($"There is no file {path}.", path),
                Errno.EACCES or Errno.EPERM => new UnauthorizedAccessException($"{path} may not be opened."),
                _ => new IOException($"{path} cannot be opened ({Errno.NameOf(-fd)})."),
            };
        }

        var file = new SafeFileHandle(fd, ownsHandle: true);
        stat stat;
        int rc;
        unsafe
        {
            rc = Libc.fstat(fd, &stat);
        }

        if (rc < 0 || ((uint)stat.st_mode & 0xF000) != 0x8000)
        {
            file.Dispose();
            throw new IOException($"{path} is no regular file.");
        }

        return file;
    }
}
