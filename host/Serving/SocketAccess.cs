// Who may connect to the sockets of a volume besides the user who serves it.
//
// A socket is of the user who serves, and in a folder that nobody else may enter. libvirt runs QEMU as a user of its own, so the
// socket is given to a group (--socket-group) or opened by its mode (--socket-mode), and the folders of the runtime directory may
// then be passed through by others: passed, not listed. What else lies in them, locks and the control socket, is protected by its
// own mode. The folder of a socket that --socket put elsewhere is the user's and is left as it is.

using System.Globalization;
using Polyblk.Frontends;

namespace Polyblk.Host.Serving;

/// <summary>Who may connect to a socket; null for what is not said.</summary>
/// <param name="Group">Name or number of the group that it is given to.</param>
/// <param name="GroupId">Its number.</param>
/// <param name="Mode">Its mode.</param>
public sealed record SocketAccess(string? Group, uint? GroupId, UnixFileMode? Mode)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode PassThrough = UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private const UnixFileMode Permissions = (UnixFileMode)0x1FF;

    /// <summary>What it says on the command line.</summary>
    /// <exception cref="RefusalException">There is no such group, or that is no mode.</exception>
    public static SocketAccess? Parse(string? group, string? mode)
    {
        if (group is null && mode is null)
        {
            return null;
        }

        uint? id = group is null ? null : GroupDatabase.Find(group)
            ?? throw RefusalException.Invalid(
                $"There is no group '{group}' for --socket-group.",
                "'getent group' lists them; libvirt's QEMU has libvirt-qemu (Debian) or qemu (Fedora).");
        return new SocketAccess(group, id, mode is null ? null : ParseMode(mode));
    }

    /// <summary>Opens a socket that was made, and the way to it.</summary>
    /// <param name="endpoint">Where the export is reached.</param>
    /// <param name="runtimeDirectory">The folder of the volume's sockets.</param>
    /// <exception cref="RefusalException">It is no socket, or may not be given away.</exception>
    public void Apply(ExportEndpoint endpoint, string runtimeDirectory)
    {
        if (endpoint.Kind != EndpointKind.UnixSocket)
        {
            throw RefusalException.Invalid($"--socket-group and --socket-mode are for sockets, and this export is {endpoint.Path}: its node belongs to udev.");
        }

        if (GroupId is uint group && GroupDatabase.Give(endpoint.Path, group) is < 0 and int error)
        {
            throw RefusalException.Refused(string.Create(
                CultureInfo.InvariantCulture, $"{endpoint.Path} cannot be given to the group {Group} (errno {-error}): only root and members of the group may do that."));
        }

        if (Mode is UnixFileMode mode)
        {
            File.SetUnixFileMode(endpoint.Path, mode);
        }

        if (Path.GetDirectoryName(endpoint.Path) == runtimeDirectory)
        {
            foreach (string folder in new[] { runtimeDirectory, Path.GetDirectoryName(runtimeDirectory)! })
            {
                File.SetUnixFileMode(folder, File.GetUnixFileMode(folder) | PassThrough);
            }
        }
    }

    /// <summary>
    /// The folder above a socket that keeps those out for whom it was opened, and what to do; null when there is none.
    /// </summary>
    public static string? Obstacle(string socketPath)
    {
        for (string? folder = Path.GetDirectoryName(socketPath); folder is not null; folder = Path.GetDirectoryName(folder))
        {
            UnixFileMode mode;
            try
            {
                mode = File.GetUnixFileMode(folder);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return $"{folder} is not there, or may not be looked at: nobody reaches the socket. {e.Message}";
            }

            if ((mode & PassThrough) == 0)
            {
                return $"Only the owner may enter {folder}: nobody else reaches the socket there. Put it elsewhere with --socket PATH, or open that folder (chmod o+x).";
            }
        }

        return null;
    }

    /// <summary>Closes the folder of a volume's sockets again, before those are made that need it open.</summary>
    public static void CloseFolder(string runtimeDirectory)
    {
        if ((File.GetUnixFileMode(runtimeDirectory) & Permissions & ~OwnerOnly) == PassThrough)
        {
            File.SetUnixFileMode(runtimeDirectory, OwnerOnly);
        }
    }

    private static UnixFileMode ParseMode(string text)
    {
        const UnixFileMode owners = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        bool isOctal = text.Length is 3 or 4 && text.All(c => c is >= '0' and <= '7');
        var mode = (UnixFileMode)(isOctal ? Convert.ToInt32(text, 8) : 0);
        return (mode & owners) == owners && (mode & ~Permissions) == 0 ? mode : throw RefusalException.Invalid(
            $"--socket-mode takes a mode in octal in which the owner reads and writes, such as 660 or 666, not '{text}'. Whoever may write may connect.");
    }
}
