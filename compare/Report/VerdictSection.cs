using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;

namespace Polyblk.Compare.Report;

/// <summary>The verdict for the stated purpose, and behind it those for the others.</summary>
internal static class VerdictSection
{
    public static Html Render(Comparison comparison, Purpose purpose)
    {
        Recommendation main = Advisor.Advise(comparison, purpose);
        IEnumerable<Recommendation> others = Enum.GetValues<Purpose>().Where(p => p != purpose).Select(p => Advisor.Advise(comparison, p));
        return Html.Of($"""
            <div class="verdict {main.Outcome.ToString().ToLowerInvariant()}">
            <p class="headline">{main.Headline}</p>
            {Ranking(main)}
            <div class="columns">
            {Block("Why", main.Reasons)}
            {Block("Ahead of it", main.Ahead)}
            {Block(main.WouldChangeTitle, main.WouldChange)}
            {Block("Ruled out", main.Disqualified)}
            {Block("Take care", main.Cautions)}
            {Block("Not judged", main.NotMeasured)}
            </div>
            </div>
            {others.Select(Other)}
            """);
    }

    private static Html Ranking(Recommendation verdict) => verdict.Ranking.Count < 2 || verdict.Purpose == Purpose.Shared ? Html.Empty : Html.Of($"""
        <ol class="ranking">{verdict.Ranking.Select((r, i) => Html.Of($"""
            <li><span class="name">{r.Title}</span> <span class="factor">{Figures.Ratio(r.Ratio.Median)}</span> {(i == 0 ? Parts.Badge("good", "recommended") : r.IsTie ? Parts.Badge("plain", "tie") : Html.Empty)}</li>
            """))}</ol>
        <p class="note">Result over all workloads against the recommended method (1.00): geometric mean of the ratios within each round, median over the rounds.</p>
        """);

    private static Html Block(string title, IReadOnlyList<string> sentences) =>
        sentences.Count == 0 ? Html.Empty : Html.Of($"<div><h3>{title}</h3>{Parts.List(sentences)}</div>");

    private static Html Other(Recommendation verdict) => Html.Of($"""
        <details><summary>{verdict.Headline}</summary>
        <div class="columns">
        {Block("Why", verdict.Reasons)}
        {Block("Ahead of it", verdict.Ahead)}
        {Block(verdict.WouldChangeTitle, verdict.WouldChange)}
        {Block("Ruled out", verdict.Disqualified)}
        {Block("Take care", verdict.Cautions)}
        {Block("Not judged", verdict.NotMeasured)}
        </div></details>
        """);
}
