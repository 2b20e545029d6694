// Which program the tests run: the one that ./polyblk runs, as eng/native made it. Compiled into each project that starts it.

namespace Polyblk.Tests;

/// <summary>How polyblk is started.</summary>
internal static class PolyblkCommand
{
    private static readonly string s_artifacts = Path.Combine(FindRepository(), "artifacts");
    private static readonly string s_native = Path.Combine(s_artifacts, "native", "here");

    /// <summary>Whether it is a program of machine code; otherwise it runs on the .NET runtime.</summary>
    public static bool IsNative { get; } = File.Exists(Path.Combine(s_native, "polyblk"));

    /// <summary>The folder of the program.</summary>
    public static string Folder => IsNative ? Directory.ResolveLinkTarget(s_native, returnFinalTarget: true)!.FullName : Path.Combine(s_artifacts, "polyblk");

    /// <summary>The words that start it, before its arguments.</summary>
    public static IReadOnlyList<string> Words { get; } = IsNative ? [Path.Combine(Folder, "polyblk")] : ["dotnet", Path.Combine(Folder, "polyblk.dll")];

    private static string FindRepository()
    {
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (File.Exists(Path.Combine(folder, "Frontends.sln")))
            {
                return folder;
            }
        }

        throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} holds Frontends.sln.");
    }
}
