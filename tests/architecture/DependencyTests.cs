// Dependencies point one way: core <- drives, core <- virtio, core <- raid, core <- the contract of frontends <- each frontend,
// virtio <- the frontends that speak it, core <- machine, and all of these but raid and the frontends <- compare; drives, raid
// and the contract <- host, which knows no frontend, no console and no exit code; host <- api; core knows nothing; cli knows all.
// Checked twice, in the project files and in what the compiler really referred to, because a project file can bring more in than
// it names (references are transitive).

using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace Polyblk.Architecture.Tests;

public class DependencyTests
{
    public static TheoryData<string> Projects => [.. Repository.ProductProjects.Select(p => Path.GetRelativePath(Repository.Root, p))];

    /// <summary>What each part may refer to; null is anything.</summary>
    private static string[]? Allowed(string name) => name switch
    {
        "Core" => [],
        "Drives" => ["Core"],
        "Virtio" => ["Core"],
        "Raid" => ["Core"],
        "Machine" => ["Core"],
        "Frontends" => ["Core"],
        "Frontends.Vduse" or "Frontends.VhostUser" => ["Core", "Frontends", "Virtio"],
        _ when name.StartsWith("Frontends.", StringComparison.Ordinal) => ["Core", "Frontends"],
        "Compare" => ["Core", "Drives", "Frontends", "Machine", "Virtio"],
        "Host" => ["Core", "Drives", "Frontends", "Raid"],
        "Api" => ["Core", "Frontends", "Host"],
        "Cli" => null,
        _ => throw new InvalidOperationException($"{name} has no place in the layout: give it one in docs/architecture.md and here."),
    };

    [Theory]
    [MemberData(nameof(Projects))]
    public void ProjectFilesReferOnlyToWhatTheirPartMayKnow(string project)
    {
        string name = Repository.ShortName(Path.GetFileNameWithoutExtension(project));
        string[] references = [.. Repository.ReferencesOf(Path.Combine(Repository.Root, project))];
        if (Allowed(name) is string[] allowed)
        {
            Assert.Subset(allowed.ToHashSet(), references.ToHashSet());
        }
        else
        {
            Assert.NotEmpty(references);
        }
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void AssembliesReferOnlyToWhatTheirPartMayKnow(string project)
    {
        string name = Repository.ShortName(Path.GetFileNameWithoutExtension(project));
        string assembly = Path.Combine(AppContext.BaseDirectory, name == "Cli" ? "polyblk.dll" : $"Polyblk.{name}.dll");
        if (!File.Exists(assembly))
        {
            // A frontend that the program does not know yet is not beside it.
            Assert.DoesNotContain(name, Repository.ReferencesOf(Path.Combine(Repository.Root, "cli/Polyblk.Cli.csproj")));
            return;
        }

        string[] references = [.. CompiledReferences(assembly).Where(r => r.StartsWith("Polyblk.", StringComparison.Ordinal)).Select(Repository.ShortName)];
        if (Allowed(name) is string[] allowed)
        {
            Assert.Subset(allowed.ToHashSet(), references.ToHashSet());
        }
        else
        {
            Assert.Contains("Core", references);
        }
    }

    /// <summary>
    /// The framework's cryptography asks OpenSSL and ends the process where there is none: nothing may lead there.
    /// </summary>
    [Theory]
    [MemberData(nameof(Projects))]
    public void NothingNeedsALibraryForCryptography(string project)
    {
        string name = Repository.ShortName(Path.GetFileNameWithoutExtension(project));
        string assembly = Path.Combine(AppContext.BaseDirectory, name == "Cli" ? "polyblk.dll" : $"Polyblk.{name}.dll");
        if (File.Exists(assembly))
        {
            string[] references = [.. CompiledReferences(assembly)];
            Assert.DoesNotContain(references, r => r.StartsWith("System.Security.Cryptography", StringComparison.Ordinal));
        }
    }

    [Fact]
    public void TheCoreNamesNoKindOfDriveNoFrontendNoLevelAndNoVirtio()
    {
        // Names in code, not in comments: a word such as ublk may explain why an interface is as it is.
        string[] forbidden = ["Polyblk.Drives", "Polyblk.Raid", "Polyblk.Virtio", "Polyblk.Frontends", "Polyblk.Compare", "Polyblk.Host", "Polyblk.Cli"];
        foreach (string file in Directory.EnumerateFiles(Path.Combine(Repository.Root, "core"), "*.cs", SearchOption.AllDirectories))
        {
            foreach (string line in File.ReadLines(file).Where(l => l.StartsWith("using ", StringComparison.Ordinal)))
            {
                Assert.DoesNotContain(forbidden, f => line.Contains(f, StringComparison.Ordinal));
            }
        }
    }

    /// <summary>Read from the metadata: loading would need every dependency.</summary>
    private static List<string> CompiledReferences(string assembly)
    {
        using var file = new PEReader(File.OpenRead(assembly));
        MetadataReader metadata = file.GetMetadataReader();
        return [.. metadata.AssemblyReferences.Select(h => metadata.GetString(metadata.GetAssemblyReference(h).Name))];
    }
}
