namespace Polyblk.Cli.Tests;

/// <summary>Where the repository is.</summary>
internal static class RepositoryFolder
{
    /// <summary>Its top folder.</summary>
    public static string Path { get; } = Find();

    private static string Find()
    {
        string at = AppContext.BaseDirectory;
        while (!File.Exists(System.IO.Path.Combine(at, "Frontends.sln")))
        {
            at = System.IO.Path.GetDirectoryName(at)!;
        }

        return at;
    }
}
