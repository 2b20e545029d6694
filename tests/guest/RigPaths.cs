// Where the rig finds things: the repository and what was built in it.

using Polyblk.Core.Interop;
using Polyblk.Machine;
using Polyblk.Tests;

namespace Polyblk.GuestRig;

/// <summary>Places that tests share.</summary>
public static class RigPaths
{
    /// <summary>The repository's folder: the nearest one above the running program that holds Frontends.sln.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The folder of the program as ./polyblk runs it.</summary>
    public static string ProgramFolder => PolyblkCommand.Folder;

    /// <summary>The words that start it, before its arguments.</summary>
    public static IReadOnlyList<string> PolyblkWords => PolyblkCommand.Words;

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
