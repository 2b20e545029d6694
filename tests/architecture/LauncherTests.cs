// ./polyblk builds what is older than its sources: it has to look into every folder that has some.

using System.Text.RegularExpressions;

namespace Polyblk.Architecture.Tests;

public partial class LauncherTests
{
    /// <summary>What the launcher runs is built of these: their own assemblies, and what makes a program of them.</summary>
    [Fact]
    public void EveryFolderOfTheProductIsASourceOfTheProgram()
    {
        string script = File.ReadAllText(Path.Combine(Repository.Root, "polyblk"));
        string[] watched = SourceFolders().Match(script).Groups[1].Value.Split(',');
        string[] folders =
        [
            .. Repository.ProductProjects.Select(p => Path.GetRelativePath(Repository.Root, p).Split('/')[0]).Distinct(),
            "eng/native",
            "eng/precompiled",
        ];
        Assert.Equal(folders.Order(StringComparer.Ordinal), watched.Order(StringComparer.Ordinal));
    }

    /// <summary>No folder with a project is left out of that list.</summary>
    [Fact]
    public void NoProjectOfTheProductIsOutsideOfTheseFolders()
    {
        string[] others = ["artifacts", "tests", "eng"];
        IEnumerable<string> all = Directory.EnumerateDirectories(Repository.Root)
            .Where(d => !others.Contains(Path.GetFileName(d)) && !Path.GetFileName(d).StartsWith('.'))
            .SelectMany(d => Directory.EnumerateFiles(d, "*.csproj", SearchOption.AllDirectories));
        Assert.Equal(all.Order(StringComparer.Ordinal), Repository.ProductProjects.Order(StringComparer.Ordinal));
    }

    [GeneratedRegex("""find "\$root"/\{([^}]*)\}""")]
    private static partial Regex SourceFolders();
}
