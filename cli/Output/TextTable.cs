using Polyblk.Host;

// Tables of plain text that lose nothing, however narrow the terminal is.
//
// Columns are as wide as their widest cell. The last one gives way: it is folded, or goes to lines of its own below its row.
// Where even the others do not fit, each row becomes a block of lines with the heading before the value.

namespace Polyblk.Cli.Output;

/// <summary>A table; what matters most stands in the first columns, what may be long in the last.</summary>
internal sealed class TextTable(params string[] headings)
{
    private const int Gap = 2;
    private const int LeastFolded = 24;
    private const int Indent = 4;

    private readonly List<string[]> _rows = [];

    /// <summary>Adds a row; text of others is made printable.</summary>
    public void AddRow(params string[] cells) => _rows.Add([.. cells.Select(Printable.Line)]);

    /// <summary>Prints it as wide as the terminal is.</summary>
    public void Write(Terminal terminal)
    {
        bool isHeading = true;
        foreach (string line in Render(terminal.Width))
        {
            bool isFirst = isHeading && line.StartsWith(headings[0], StringComparison.Ordinal);
            if (isFirst && line.Contains(headings[1], StringComparison.Ordinal))
            {
                terminal.WriteHeading(line);
            }
            else
            {
                terminal.WriteLine(line);
            }

            isHeading = false;
        }
    }

    /// <summary>Its lines.</summary>
    /// <param name="width">Columns of the terminal.</param>
    public IEnumerable<string> Render(int width)
    {
        int[] widths = [.. headings.Select((h, i) => Math.Max(h.Length, _rows.Select(r => r[i].Length).DefaultIfEmpty().Max()))];
        int left = widths[..^1].Sum(w => w + Gap);
        if (left - Gap > width)
        {
            return RenderBlocks();
        }

        int room = width - left;
        return room >= Math.Min(widths[^1], LeastFolded) ? RenderFolded(widths, left, room) : RenderBelow(widths);
    }

    private static string Join(IEnumerable<string> cells, int[] widths) =>
        string.Concat(cells.Select((cell, i) => cell.PadRight(widths[i] + Gap))).TrimEnd();

    /// <summary>Words in lines of a width; a word that is longer stays whole.</summary>
    internal static List<string> Fold(string text, int width)
    {
        var lines = new List<string>();
        string line = string.Empty;
        foreach (string word in text.Split(' '))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                lines.Add(line);
                line = word;
            }
            else
            {
                line = line.Length == 0 ? word : $"{line} {word}";
            }
        }

        lines.Add(line);
        return lines;
    }

    private IEnumerable<string> RenderFolded(int[] widths, int left, int room)
    {
        yield return Join(headings, widths);
        foreach (string[] row in _rows)
        {
            List<string> last = Fold(row[^1], room);
            yield return Join([.. row[..^1], last[0]], widths);
            foreach (string line in last.Skip(1))
            {
                yield return new string(' ', left) + line;
            }
        }
    }

    private IEnumerable<string> RenderBelow(int[] widths)
    {
        yield return Join(headings[..^1], widths);
        foreach (string[] row in _rows)
        {
            yield return Join(row[..^1], widths);
            if (row[^1].Length > 0)
            {
                yield return $"{new string(' ', Indent)}{headings[^1]}: {row[^1]}";
            }
        }
    }

    private IEnumerable<string> RenderBlocks()
    {
        int longest = headings.Max(h => h.Length);
        foreach ((string[] row, int number) in _rows.Select((r, i) => (r, i)))
        {
            if (number > 0)
            {
                yield return string.Empty;
            }

            foreach ((string cell, int i) in row.Select((c, i) => (c, i)).Where(c => c.c.Length > 0))
            {
                yield return $"{headings[i].PadRight(longest + Gap)}{cell}";
            }
        }
    }
}
