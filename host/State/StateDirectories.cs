namespace Polyblk.Host.State;

/// <summary>
/// Where the program keeps things. Root: /var/lib/polyblk and /run/polyblk. Others: the XDG directories. <c>--state DIR</c>
/// overrides both; the runtime directory is then DIR/run, but that of root's state is root's.
/// </summary>
/// <param name="State">What survives a reboot: volume records, logs, the frontends' recovery files.</param>
/// <param name="Runtime">Sockets and locks.</param>
public sealed record StateDirectories(string State, string Runtime)
{
    /// <summary>Stands for the daemon where volumes have their names: no volume can have this one.</summary>
    public const string Daemon = "_daemon";

    /// <summary>The environment variable that stands for <c>--state</c>.</summary>
    public const string Variable = "POLYBLK_STATE";

    /// <summary>Those of root, and of the daemon of the package.</summary>
    private static StateDirectories System => new("/var/lib/polyblk", "/run/polyblk");

    /// <summary>Whose the daemon's place is: its lock and its sockets.</summary>
    public string DaemonName { get; init; } = Daemon;

    /// <summary>The same directories with the place of the process that a volume has of its own.</summary>
    public StateDirectories OfIsolated(string volume) => this with { DaemonName = $"_isolated-{volume}" };

    /// <summary>One JSON file a volume.</summary>
    public string Volumes => Path.Combine(State, "volumes");

    public string Logs => Path.Combine(State, "log");

    /// <summary>Locks and sockets of one volume.</summary>
    public string RuntimeOf(string volume) => Path.Combine(Runtime, volume);

    /// <summary>What the frontends keep for one volume across restarts.</summary>
    public string ExportStateOf(string volume) => Path.Combine(State, "exports", volume);

    /// <summary>Decides where, and makes nothing.</summary>
    /// <param name="overridden">The value of <c>--state</c>, or null.</param>
    /// <param name="isRoot">Whether the effective user is root.</param>
    /// <param name="environment">Reads an environment variable.</param>
    /// <param name="exists">Whether there is a folder; null asks the file system.</param>
    public static StateDirectories Resolve(
        string? overridden, bool isRoot, Func<string, string?> environment, Func<string, bool>? exists = null)
    {
        exists ??= Directory.Exists;
        overridden = string.IsNullOrEmpty(overridden) ? environment(Variable) : overridden;
        if (!string.IsNullOrEmpty(overridden))
        {
            string directory = Path.TrimEndingDirectorySeparator(Path.GetFullPath(overridden));
            return directory == System.State ? System : new StateDirectories(directory, Path.Combine(directory, "run"));
        }

        if (isRoot)
        {
            return System;
        }

        string? home = environment("HOME");
        string? stateHome = Absolute(environment("XDG_STATE_HOME"))
            ?? (string.IsNullOrEmpty(home) ? null : Path.Combine(home, ".local", "state"));
        if (stateHome is null)
        {
            throw RefusalException.HostLacks(
                "There is no place for state: neither HOME nor XDG_STATE_HOME is set.",
                "Give one with --state DIR.");
        }

        // Who has no volumes of his own means those of the host: one who watches it is not to be told that all is well.
        string state = Path.Combine(stateHome, "polyblk");
        if (!exists(state) && exists(System.State))
        {
            return System;
        }

        string? runtimeHome = Absolute(environment("XDG_RUNTIME_DIR"));
        return new StateDirectories(state, runtimeHome is null ? Path.Combine(state, "run") : Path.Combine(runtimeHome, "polyblk"));
    }

    /// <summary>
    /// Makes a directory that only its owner may enter: this user; where root makes it in somebody else's folder, that one.
    /// </summary>
    /// <exception cref="RefusalException">It cannot be made.</exception>
    public static void Ensure(string directory)
    {
        try
        {
            EnsureAll(directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(
                new Refusal(RefusalKind.HostLacks, $"The directory {directory} cannot be made: {e.Message}", "Choose another with --state DIR."), e);
        }
    }

    private static void EnsureAll(string directory)
    {
        if (Directory.Exists(directory))
        {
            return;
        }

        if (Path.GetDirectoryName(directory) is string parent)
        {
            EnsureAll(parent);
        }

        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        FolderOwner.GiveDirectory(directory);
    }

    // The XDG base directory specification: relative values are to be ignored.
    private static string? Absolute(string? path) => !string.IsNullOrEmpty(path) && Path.IsPathRooted(path) ? path : null;
}
