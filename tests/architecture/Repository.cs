using System.Xml.Linq;

namespace Polyblk.Architecture.Tests;

/// <summary>The source tree of which this test was built.</summary>
internal static class Repository
{
    private const string Prefix = "Polyblk.";

    public static string Root { get; } = FindRoot();

    /// <summary>Product projects: the folder below the root, and the project file.</summary>
    public static IReadOnlyList<string> ProductProjects { get; } =
    [
        .. new[] { "core", "drives", "virtio", "raid", "frontends", "machine", "compare", "host", "api", "cli" }
            .SelectMany(folder => Directory.EnumerateFiles(Path.Combine(Root, folder), "*.csproj", SearchOption.AllDirectories))
            .Order(StringComparer.Ordinal),
    ];

    /// <summary>Names of the projects that a project file refers to, without 'Polyblk.'.</summary>
    public static IReadOnlyList<string> ReferencesOf(string project) =>
    [
        .. XDocument.Load(project).Descendants("ProjectReference")
            .Select(r => r.Attribute("Include")?.Value)
            .OfType<string>()
            .Select(path => ShortName(Path.GetFileNameWithoutExtension(path.Replace('\\', '/')))),
    ];

    /// <summary>The name of a project or assembly without 'Polyblk.'.</summary>
    public static string ShortName(string name) => name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..] : name;

    private static string FindRoot()
    {
        string? directory = AppContext.BaseDirectory;
        while (directory is not null && !File.Exists(Path.Combine(directory, "Frontends.sln")))
        {
            directory = Path.GetDirectoryName(directory);
        }

        return directory ?? throw new InvalidOperationException("Frontends.sln is in no folder above the test.");
    }
}
