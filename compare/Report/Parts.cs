using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>Pieces that several sections use.</summary>
internal static class Parts
{
    /// <summary>A table in its own scrolling box. The first column heads the rows; the others are numbers unless said otherwise.</summary>
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
