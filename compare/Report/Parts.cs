using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>Pieces that several sections use.</summary>
internal static class Parts
{
    /// <summary>
    /// The same without the columns that have one value in all rows, which are said once below: what does not differ does not
    /// help to choose.
    /// </summary>
    public static Html FoldedTable(string caption, IReadOnlyList<string> headings, IEnumerable<IReadOnlyList<Html>> rows, bool isText = false)
    {
        IReadOnlyList<Html>[] all = [.. rows];
        int[] same = [.. Enumerable.Range(1, headings.Count - 1).Where(c => all.Length > 1 && all.All(r => r[c].Text == all[0][c].Text))];
        int[] shown = [.. Enumerable.Range(0, headings.Count).Except(same)];
        Html table = Table(caption, [.. shown.Select(c => headings[c])], all.Select(r => (IReadOnlyList<Html>)[.. shown.Select(c => r[c])]), isText);
        return same.Length == 0 ? table : Html.Of($"""
            {table}
            <p class="note">The same for all of them: {same.Select((c, i) => Html.Of($"{(i == 0 ? string.Empty : "; ")}{headings[c]} {all[0][c]}"))}.</p>
            """);
    }

    /// <summary>
    /// A table in its own scrolling box. The first column heads the rows; the others are numbers unless said otherwise.
    /// </summary>
    public static Html Table(string caption, IReadOnlyList<string> headings, IEnumerable<IReadOnlyList<Html>> rows, bool isText = false) => Html.Of($"""
        <div class="box" role="region" aria-label="{caption}" tabindex="0"><table class="{(isText ? "words" : "numbers")}">
        <caption>{caption}</caption>
        <thead><tr>{headings.Select(h => Html.Of($"<th scope=\"col\">{h}</th>"))}</tr></thead>
        <tbody>{rows.Select(Row)}</tbody>
        </table></div>
        """);

    public static Html Text(string? text) => Html.Of($"{text}");

    public static Html List(IEnumerable<string> items) => Html.Of($"<ul>{items.Select(i => Html.Of($"<li>{i}</li>"))}</ul>");

    public static Html Badge(string kind, string text) => Html.Of($"<span class=\"badge {kind}\">{text}</span>");

    private static Html Row(IReadOnlyList<Html> cells) =>
        Html.Of($"<tr><th scope=\"row\">{cells[0]}</th>{cells.Skip(1).Select(c => Html.Of($"<td>{c}</td>"))}</tr>\n");
}
