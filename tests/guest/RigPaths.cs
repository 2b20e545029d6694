// Where the rig finds things: the repository and what was built in it.

using Polyblk.Core.Interop;
using Polyblk.Machine;

namespace Polyblk.GuestRig;

/// <summary>Places that tests share.</summary>
public static class RigPaths
{
    /// <summary>The repository's folder: the nearest one above the running program that holds Frontends.sln.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The published or built folder of the command line program, for guests that run it.</summary>
    public static string CommandLineFolder => Path.Combine(Repository, "artifacts", "bin", "Polyblk.Cli", "release");

    /// <summary>Finds a program by name as root's shell would, or throws with what to do.</summary>
    public static string Program(string name) => ProgramPath.TryFind(name)
        ?? throw new FileNotFoundException($"The program '{name}' is not installed; ./test installs what the tests need (tests/setup/install).");

    private static string FindRepository()
    {
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
            if (File.Exists(Path.Combine(folder, "Frontends.sln"))) return folder;
        throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} holds Frontends.sln.");
    }
}
