// docs/security.md names the test that shows each promise: it has to be there.

using System.Text.RegularExpressions;

namespace Polyblk.Architecture.Tests;

public partial class SecurityDocTests
{
    [Fact]
    public void EveryTestThatIsNamedIsThere()
    {
        string tests = Path.Combine(Repository.Root, "tests");
        Dictionary<string, string> classes = Directory.EnumerateFiles(tests, "*Tests.cs", SearchOption.AllDirectories)
            .GroupBy(f => Path.GetFileNameWithoutExtension(f))
            .ToDictionary(g => g.Key, g => string.Join('\n', g.Select(File.ReadAllText)));
        string text = File.ReadAllText(Path.Combine(Repository.Root, "docs", "security.md"));
        MatchCollection named = TestNames().Matches(text);
        Assert.InRange(named.Count, 30, 500);
        Assert.All(named, name =>
        {
            Assert.True(classes.TryGetValue(name.Groups[1].Value, out string? source), name.Value);
            Group method = name.Groups[2];
            Assert.True(!method.Success || source!.Contains($" {method.Value}(", StringComparison.Ordinal), name.Value);
        });
    }

    [GeneratedRegex(@"`([A-Z]\w+Tests)(?:\.(\w+))?`")]
    private static partial Regex TestNames();
}
