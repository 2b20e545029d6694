namespace Polyblk.Compare.Tests;

/// <summary>Where the repository is, and where the tests leave what is to be looked at.</summary>
internal static class TestPaths
{
    /// <summary>The repository's top folder.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Screenshots and the page that they show.</summary>
    public static string Artifacts { get; } = Directory.CreateDirectory(Path.Combine(Root, "artifacts", "compare-report")).FullName;

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Frontends.sln")))
                return folder.FullName;
        }

        throw new InvalidOperationException($"No Frontends.sln above {AppContext.BaseDirectory}.");
    }
}
