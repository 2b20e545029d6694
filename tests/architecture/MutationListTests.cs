// Mutations that no longer fit their files would test nothing (eng/mutate).

using Polyblk.Mutations;

namespace Polyblk.Architecture.Tests;

public sealed class MutationListTests
{
    [Fact]
    public void Every_mutation_fits_its_file_and_names_a_test_project()
    {
        IReadOnlyList<Mutation> all = Mutation.ReadAll(Repository.Root);
        Assert.True(all.Count >= 30, $"{all.Count} mutations");
        Assert.Equal(all.Count, all.Select(m => m.Name).Distinct().Count());
        Assert.All(all, m =>
        {
            string text = File.ReadAllText(Path.Combine(Repository.Root, m.File));
            Assert.NotEqual(text, m.Apply(text));
            Assert.Single(Directory.GetFiles(Path.Combine(Repository.Root, m.Project), "*.Tests.csproj"));
        });
    }
}
