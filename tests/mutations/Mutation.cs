namespace Polyblk.Mutations;

/// <summary>A defect that is put in on purpose, and the test that must notice it.</summary>
/// <param name="Name">A short name, unique.</param>
/// <param name="Why">What goes wrong with it.</param>
/// <param name="File">The file that is changed, from the repository's root.</param>
/// <param name="Project">The folder of the test project.</param>
/// <param name="Filter">Which of its tests, as <c>dotnet test --filter</c> takes it.</param>
/// <param name="Old">The text that is replaced; it stands in the file once.</param>
/// <param name="New">What replaces it.</param>
internal sealed record Mutation(string Name, string Why, string File, string Project, string Filter, string Old, string New)
{
    /// <summary>Where the list is, from the repository's root.</summary>
    public const string ListPath = "tests/mutations/mutations.txt";

    /// <summary>Reads the list. Its form is described at its top.</summary>
    /// <exception cref="FormatException">A mutation lacks something.</exception>
    public static IReadOnlyList<Mutation> ReadAll(string root)
    {
        var all = new List<Mutation>();
        foreach (string part in System.IO.File.ReadAllText(Path.Combine(root, ListPath)).Split("\n== ").Skip(1))
        {
            string[] lines = part.Split('\n');
            string Field(string name) =>
                Array.Find(lines, l => l.StartsWith(name + " ", StringComparison.Ordinal))?[name.Length..].Trim()
                    ?? throw new FormatException($"Mutation {lines[0]} has no line '{name}'.");
            string Text(char mark) => string.Join('\n', lines.Where(l => l.StartsWith(mark)).Select(l => l[1..]));
            string[] test = Field("test").Split(' ', 2);
            all.Add(new Mutation(lines[0].Trim(), Field("why"), Field("in"), test[0], test[1], Text('-'), Text('+')));
        }

        return all;
    }

    /// <summary>The file's text with the defect.</summary>
    /// <exception cref="FormatException">The text to replace does not stand in it exactly once.</exception>
    public string Apply(string text)
    {
        int at = text.IndexOf(Old, StringComparison.Ordinal);
        if (Old.Length == 0 || at < 0 || text.IndexOf(Old, at + 1, StringComparison.Ordinal) >= 0)
        {
            throw new FormatException($"Mutation {Name}: its text does not stand exactly once in {File}.");
        }

        return text[..at] + New + text[(at + Old.Length)..];
    }
}
