// A table for a terminal of any width.
//
// Nothing vanishes where it is narrow: the first column, which names the rows, is folded; what still has no room comes in a
// second table below, with the same first column. A column that has the same in every row says nothing of their difference: it is
// left out and said once.

using Spectre.Console;

namespace Polyblk.Compare.Report.Text;

/// <summary>A cell: its text, and how it is shown where there is colour.</summary>
/// <param name="Text">The text.</param>
/// <param name="Style">Spectre's markup; null for plain.</param>
internal readonly record struct TextCell(string Text, string? Style = null)
{
    public static implicit operator TextCell(string text) => new(text);
}

/// <summary>See the top of the file.</summary>
/// <param name="headings">Of the columns; the first names the rows and stands to the left, the others to the right.</param>
internal sealed class TextTable(params string[] headings)
{
    private const string Gap = "  ";
    private const string Continued = "  ";

    /// <summary>What a first column is folded to at least, if it is longer.</summary>
    private const int LeastOfFirst = 22;

    private readonly List<TextCell[]> _rows = [];

    /// <summary>The column that is shown even if all rows have the same: what the table is about.</summary>
    public int Subject { get; init; } = 1;

    public void Add(params TextCell[] cells) => _rows.Add(cells);

    /// <summary>Writes it, at most as wide as the console is.</summary>
    public void Write(IAnsiConsole console)
    {
        int[] same = [.. Enumerable.Range(1, headings.Length - 1).Where(c => c != Subject && _rows.Count > 1 && _rows.All(r => r[c].Text == _rows[0][c].Text))];
        int[] shown = [.. Enumerable.Range(1, headings.Length - 1).Except(same)];
        foreach (int[] panel in Panels(shown, console.Profile.Width))
        {
            WritePanel(console, panel);
        }

        if (same.Length > 0)
        {
            string words = $"in every row: {string.Join(", ", same.Select(c => $"{headings[c]} {_rows[0][c].Text}"))}";
            foreach (string line in TextWrap.Lines(words, console.Profile.Width, Continued, Continued))
            {
                console.MarkupLine(Markup.Escape(line));
            }
        }
    }

    private int WidthOf(int column) => _rows.Select(r => r[column].Text.Length).Append(headings[column].Length).Max();

    private List<int[]> Panels(int[] columns, int width)
    {
        int first = Math.Min(WidthOf(0), LeastOfFirst);
        var panels = new List<int[]>();
        var panel = new List<int>();
        int used = first;
        foreach (int column in columns)
        {
            int more = Gap.Length + WidthOf(column);
            if (panel.Count > 0 && used + more > width)
            {
                panels.Add([.. panel]);
                panel.Clear();
                used = first;
            }

            panel.Add(column);
            used += more;
        }

        panels.Add([.. panel]);
        return panels;
    }

    private void WritePanel(IAnsiConsole console, int[] columns)
    {
        int others = columns.Sum(c => Gap.Length + WidthOf(c));
        int first = Math.Max(Math.Min(WidthOf(0), console.Profile.Width - others), Math.Min(WidthOf(0), LeastOfFirst));
        WriteRow(console, [.. headings.Select(h => new TextCell(h, "bold"))], first, columns);
        foreach (TextCell[] row in _rows)
        {
            WriteRow(console, row, first, columns);
        }
    }

    /// <summary>The figures stand beside the first line of a folded name.</summary>
    private void WriteRow(IAnsiConsole console, TextCell[] row, int first, int[] columns)
    {
        string[] name = [.. TextWrap.Lines(row[0].Text, first, string.Empty, Continued)];
        string figures = string.Concat(columns.Select(c => Gap + new string(' ', WidthOf(c) - row[c].Text.Length) + Styled(row[c])));
        console.MarkupLine(Styled(new TextCell(name[0], row[0].Style)) + new string(' ', Math.Max(0, first - name[0].Length)) + figures);
        foreach (string line in name.Skip(1))
        {
            console.MarkupLine(Styled(new TextCell(line, row[0].Style)));
        }
    }

    private static string Styled(TextCell cell) => cell.Style is null || cell.Text.Length == 0 ? Markup.Escape(cell.Text) : $"[{cell.Style}]{Markup.Escape(cell.Text)}[/]";
}
