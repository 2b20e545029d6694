namespace Polyblk.Compare.Report.Text;

/// <summary>Folds text at spaces, so that a terminal does not cut words.</summary>
internal static class TextWrap
{
    private const int LeastRoom = 8;

    /// <summary>The lines of a paragraph. A word that is longer than a line is cut.</summary>
    /// <param name="text">The paragraph.</param>
    /// <param name="width">Characters of a line, the indentation included.</param>
    /// <param name="first">What the first line begins with, such as "  - ".</param>
    /// <param name="next">What the others begin with.</param>
    public static IEnumerable<string> Lines(string text, int width, string first = "", string next = "")
    {
        string indent = first;
        string line = string.Empty;
        foreach (string word in text.Split(' '))
        {
            string rest = word;
            if (line.Length > 0 && indent.Length + line.Length + 1 + rest.Length <= width)
            {
                line = $"{line} {rest}";
                continue;
            }

            if (line.Length > 0)
            {
                yield return indent + line;
                indent = next;
            }

            for (int room = Room(); rest.Length > room; room = Room())
            {
                yield return indent + rest[..room];
                (indent, rest) = (next, rest[room..]);
            }

            line = rest;
        }

        yield return indent + line;

        int Room() => Math.Max(LeastRoom, width - indent.Length);
    }
}
