// Where the rig finds things: the repository and what was built in it.

using Polyblk.Core.Interop;
using Polyblk.Machine;

namespace Polyblk.GuestRig;

/// <summary>Places that tests share.</summary>
public static class RigPaths
{
    /// <summary>The repository's folder: the nearest one above the running program that holds Frontends.sln.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The folder of the program as it is run: compiled ahead of time, because in an emulated guest the compiler is most of a start.</summary>
    public static string ProgramFolder => Path.Combine(Repository, "artifacts", "polyblk");

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
