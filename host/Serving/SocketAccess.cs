// Who may connect to the sockets of a volume besides the user who serves it.
//
// A socket is of the user who serves, and in a folder that nobody else may enter. libvirt runs QEMU as a user of its own, so the
// socket is given to a group (--socket-group) or opened by its mode (--socket-mode), and the folders of the runtime directory may
// then be passed through by others: passed, not listed. Where users are named (--allow-user) no other one is served, whatever
// reaches the socket; the kernel says who connects. What else lies in them, locks and the control socket, is protected by its
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
    /// <summary>Names or numbers of the users who may connect; empty for whoever reaches it.</summary>
    public IReadOnlyList<string> AllowUsers { get; init; } = [];

    /// <summary>Their numbers; null for whoever reaches it.</summary>
    public IReadOnlySet<uint>? UserIds { get; init; }

    /// <summary>Whether it lets anybody in who is not otherwise.</summary>
    public bool Opens => Group is not null || Mode is not null;

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode PassThrough = UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private const UnixFileMode Permissions = (UnixFileMode)0x1FF;

    /// <summary>What it says on the command line.</summary>
    /// <exception cref="RefusalException">There is no such group or user, or that is no mode.</exception>
    public static SocketAccess? Parse(string? group, string? mode, IReadOnlyList<string>? users = null)
    {
        if (group is null && mode is null && users is not { Count: > 0 })
        {
            return null;
        }

        uint? id = group is null ? null
            : FindGroup(group, "--socket-group", " libvirt's QEMU has libvirt-qemu (Debian) or qemu (Fedora).");
        return new SocketAccess(group, id, mode is null ? null : ParseMode(mode))
        {
            AllowUsers = users ?? [],
            UserIds = users is { Count: > 0 } ? users.Select(FindUser).ToHashSet() : null,
        };
    }

    /// <summary>Sees to it that what is said of a socket is said of an export that may have one.</summary>
    /// <param name="frontend">Its frontend.</param>
    /// <param name="isSaid">Whether anything is: a path, a group, a mode or users.</param>
    /// <exception cref="RefusalException">It is a device.</exception>
    public static void RequireSocket(IFrontend frontend, bool isSaid)
    {
        ArgumentNullException.ThrowIfNull(frontend);
        if (isSaid && frontend.IsDevice)
        {
            throw RefusalException.Invalid(
                "--socket, --socket-group, --socket-mode and --allow-user are for sockets, and an export of "
                + $"{frontend.Name} is a device.",
                "Its node belongs to udev: a rule there gives it to a user or a group.");
        }
    }

    /// <summary>Opens a socket, and the way to it, for a group.</summary>
    /// <param name="path">The socket, of mode 660 from then on.</param>
    /// <param name="group">Name or number of the group.</param>
    /// <param name="option">Where it was named.</param>
    /// <exception cref="RefusalException">There is no such group, or it may not be given to it.</exception>
    public static void OpenFor(string path, string group, string option)
    {
        Give(path, group, FindGroup(group, option));
        File.SetUnixFileMode(
            path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite);
        OpenWay(Path.GetDirectoryName(path)!);
    }

    /// <summary>Opens a socket that was made, and the way to it.</summary>
    /// <param name="endpoint">Where the export is reached.</param>
    /// <param name="runtimeDirectory">The folder of the volume's sockets.</param>
    /// <exception cref="RefusalException">It is no socket, or may not be given away.</exception>
    public void Apply(ExportEndpoint endpoint, string runtimeDirectory)
    {
        if (endpoint.Kind != EndpointKind.UnixSocket)
        {
            throw RefusalException.Invalid($"--socket-group, --socket-mode and --allow-user are for sockets, and this export is {endpoint.Path}: its node belongs to udev.");
        }

        if (GroupId is uint group)
        {
            Give(endpoint.Path, Group!, group);
        }

        if (Mode is UnixFileMode mode)
        {
            File.SetUnixFileMode(endpoint.Path, mode);
        }

        if (Opens && Path.GetDirectoryName(endpoint.Path) == runtimeDirectory)
        {
            OpenWay(runtimeDirectory);
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

    private static void Give(string path, string name, uint group)
    {
        if (GroupDatabase.Give(path, group) is < 0 and int error)
        {
            throw RefusalException.Refused(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{path} cannot be given to the group {name} (errno {-error}): only root and members of the group may do that."),
                $"Make the user who serves a member of it, and start the daemon anew: adduser {Environment.UserName} {name}, "
                    + "systemctl restart polyblk.");
        }
    }

    /// <summary>Lets others pass through a folder of sockets, and the one that it is in.</summary>
    private static void OpenWay(string runtimeDirectory)
    {
        foreach (string folder in new[] { runtimeDirectory, Path.GetDirectoryName(runtimeDirectory)! })
        {
            File.SetUnixFileMode(folder, File.GetUnixFileMode(folder) | PassThrough);
        }
    }

    /// <summary>The number of a group.</summary>
    /// <param name="group">Its name, or its number.</param>
    /// <param name="option">Where it was named.</param>
    /// <param name="hint">What else to know where there is none.</param>
    /// <exception cref="RefusalException">There is none such.</exception>
    public static uint FindGroup(string group, string option, string hint = "") => GroupDatabase.Find(group)
        ?? throw RefusalException.Invalid(
            $"There is no group '{group}' for {option}.", $"'getent group' lists them{(hint.Length == 0 ? "." : ";")}{hint}");

    private static uint FindUser(string user) => GroupDatabase.FindUser(user)
        ?? throw RefusalException.Invalid($"There is no user '{user}' for --allow-user.", "'getent passwd' lists them.");

    private static UnixFileMode ParseMode(string text)
    {
        const UnixFileMode owners = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        bool isOctal = text.Length is 3 or 4 && text.All(c => c is >= '0' and <= '7');
        var mode = (UnixFileMode)(isOctal ? Convert.ToInt32(text, 8) : 0);
        return (mode & owners) == owners && (mode & ~Permissions) == 0 ? mode : throw RefusalException.Invalid(
            $"--socket-mode takes a mode in octal in which the owner reads and writes, such as 660 or 666, not '{text}'. Whoever may write may connect.");
    }
}
