// Whose a file is that root makes in a folder of somebody else's: the folder's owner's.
//
// The installed daemon has a user of its own, to whom the state folder belongs, and root types the commands: what they make
// there must be the daemon's to open. Only what was just made is given away, and by no way through a symbolic link: a daemon
// that somebody has taken over could lay one where root's command writes. (It cannot lay a hard link: fs.protected_hardlinks.)

using Polyblk.Core.Interop;

namespace Polyblk.Host.State;

/// <summary>Gives what root makes in a folder to the folder's owner.</summary>
internal static class FolderOwner
{
    private const uint Root = 0;

    /// <summary>Gives away a directory that this process has just made.</summary>
    /// <exception cref="IOException">That is not possible.</exception>
    public static void GiveDirectory(string path)
    {
        if (Find(path, out uint owner, out uint group))
        {
            Check(path, Libc.lchown(path, owner, group));
        }
    }

    /// <summary>Gives away a file that this process has just made.</summary>
    /// <exception cref="IOException">That is not possible.</exception>
    public static void GiveFile(string path, int fd)
    {
        if (Find(path, out uint owner, out uint group))
        {
            Check(path, Libc.fchown(fd, owner, group));
        }
    }

    /// <summary>The owner of the folder that it is in, where this process is root's and that one is not.</summary>
    private static bool Find(string path, out uint owner, out uint group)
    {
        (owner, group) = (Root, Root);
        return Environment.IsPrivilegedProcess && Path.GetDirectoryName(path) is string folder
            && Libc.OwnerOf(folder, out owner, out group) == 0 && owner != Root;
    }

    private static void Check(string path, int rc)
    {
        if (rc < 0)
        {
            throw new IOException($"{path} cannot be given to the owner of its folder (errno {-rc}).");
        }
    }
}
