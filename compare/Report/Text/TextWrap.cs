namespace Polyblk.Compare.Report.Text;

/// <summary>Folds text at spaces, so that a terminal does not cut words.</summary>
internal static class TextWrap
{
    /// <summary>The lines of a paragraph. A word that is longer than a line is cut.</summary>
    /// <param name="text">The paragraph.</param>
    /// <param name="width">Characters of a line, the indentation included.</param>
    /// <param name="first">What the first line begins with, such as "  - ".</param>
    /// <param name="next">What the others begin with.</param>
    public static IEnumerable<string> Lines(string text, int width, string first = "", string next = "")
    {
        int room = Math.Max(8, width - Math.Max(first.Length, next.Length));
        string line = string.Empty;
        string indent = first;
        foreach (string word in text.Split(' ').SelectMany(w => w.Length <= room ? [w] : w.Chunk(room).Select(c => new string(c))))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > room)
            {
                yield return indent + line;
                (indent, line) = (next, word);
            }
            else
            {
                line = line.Length == 0 ? word : $"{line} {word}";
            }
        }

        yield return indent + line;
    }
}
