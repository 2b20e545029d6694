// Mutations that no longer fit their files would test nothing (eng/mutate).

using Polyblk.Mutations;

namespace Polyblk.Architecture.Tests;

public sealed class MutationListTests
{
    [Fact]
    public void Every_mutation_fits_its_file_and_names_a_test_project()
    {
        IReadOnlyList<Mutation> all = Mutation.ReadAll(Repository.Root);
        Assert.True(all.Count >= 60, $"{all.Count} mutations");
        Assert.Equal(all.Count, all.Select(m => m.Name).Distinct().Count());
        Assert.All(all, m =>
        {
            string text = File.ReadAllText(Path.Combine(Repository.Root, m.File));
            Assert.NotEqual(text, m.Apply(text));
            Assert.Single(Directory.GetFiles(Path.Combine(Repository.Root, m.Project), "*.Tests.csproj"));
        });
    }

    /// <summary>A name that no test has would catch nothing, and nobody would know before the next long run.</summary>
    [Fact]
    public void Every_test_that_a_mutation_names_is_there()
    {
        var sources = new Dictionary<string, string>();
        Assert.All(Mutation.ReadAll(Repository.Root), m =>
        {
            if (!sources.TryGetValue(m.Project, out string? source))
            {
                string folder = Path.Combine(Repository.Root, m.Project);
                source = string.Join('\n', Directory.GetFiles(folder, "*.cs", SearchOption.AllDirectories).Select(File.ReadAllText));
                sources.Add(m.Project, source);
            }

            Assert.All(m.Filter.Split('|'), name =>
            {
                Assert.StartsWith("FullyQualifiedName~", name, StringComparison.Ordinal);
                Assert.All(name["FullyQualifiedName~".Length..].Split('.'), part => Assert.Contains(part, source, StringComparison.Ordinal));
            });
        });
    }
}
