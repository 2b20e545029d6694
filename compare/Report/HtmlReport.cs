// report.html: one file that holds everything and asks the network for nothing. Three parts of it are kept apart: the data of the
// charts (ChartData, as JSON in a script element that is never run), the script that draws them (charts.js, with Apache ECharts
// beside it), and the page around them, whose tables have every figure for those who have no scripts. What may run and what may
// style is named in the page's content security policy by its hash (PageResources).

using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;

namespace Polyblk.Compare.Report;

/// <summary>Makes the report.</summary>
public static class HtmlReport
{
    private static readonly (string Id, string Title, string Link, Func<Comparison, IReadOnlyList<ComparedRow>, PageCharts, Html> Body)[] Sections =
    [
        ("overview", "At a glance", "At a glance", OverviewSection.Render),
        ("workloads", "Workloads", "Workloads", WorkloadSection.Render),
        ("efficiency", "RAID efficiency", "RAID efficiency", EfficiencySection.Render),
        ("features", "Features and needs", "Features", MethodSections.Features),
        ("methods", "Methods and availability", "Methods", MethodSections.Availability),
        ("restart", "Restart under load", "Restart", MethodSections.Restarts),
        ("how", "How it was measured", "Measurement", EnvironmentSection.Measurement),
        ("environment", "Environment and noise", "Environment", EnvironmentSection.Render),
        ("commands", "Commands", "Commands", MethodSections.Commands),
    ];

    /// <summary>The report as one HTML document.</summary>
    /// <param name="comparison">The recorded results.</param>
    /// <param name="purpose">The purpose whose verdict comes first; the others follow it.</param>
    public static string Render(Comparison comparison, Purpose purpose)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        IReadOnlyList<ComparedRow> rows = ComparedRow.From(comparison);
        var charts = new PageCharts(comparison);
        var sections = Sections.Select(s => (s.Id, s.Title, s.Link, Body: s.Body(comparison, rows, charts))).Where(s => s.Body.Text.Length > 0).ToArray();
        IEnumerable<(string Id, string Link)> links = sections.Select(s => (s.Id, s.Link)).Prepend(("verdict", "Verdict"));
        string title = $"Delivery of {comparison.Volume.Name} compared";
        return Html.Of($"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <meta http-equiv="Content-Security-Policy" content="{PageResources.Policy}">
            <meta name="generator" content="polyblk {comparison.Environment.ProgramVersion}">
            <link rel="icon" href="data:,">
            <title>{title}</title>
            <style>{new Html(PageResources.Style)}</style>
            </head>
            <body>
            <a class="skip" href="#verdict">Skip to the verdict</a>
            <header>
            <div class="wide">
            <p class="brand">polyblk compare</p>
            <h1>{title}</h1>
            {EnvironmentSection.Summary(comparison)}
            </div>
            </header>
            <nav aria-label="Sections"><div class="wide links">{links.Select(l => Html.Of($"<a href=\"#{l.Id}\">{l.Link}</a>"))}</div></nav>
            <main class="wide">
            <noscript><p class="unscripted">This browser runs no scripts, so the charts are not drawn. Every figure is in the tables.</p></noscript>
            <section id="verdict" aria-labelledby="verdict-h">
            <h2 id="verdict-h">Verdict</h2>
            {VerdictSection.Render(comparison, purpose)}
            </section>
            {sections.Select(s => Html.Of($"""
                <section id="{s.Id}" aria-labelledby="{s.Id}-h">
                <h2 id="{s.Id}-h">{s.Title}</h2>
                {s.Body}
                </section>
                """))}
            </main>
            <footer><div class="wide">
            <p>Made by polyblk {comparison.Environment.ProgramVersion} from results.json, format version {comparison.Version}. Every figure on this page can be computed again from that file.</p>
            <details class="licences"><summary>Licences of the software in this page</summary><pre>{PageResources.Notices}</pre></details>
            </div></footer>
            <script type="application/json" id="chart-data">{new Html(charts.ToJson())}</script>
            <script>{new Html(PageResources.Library)}</script>
            <script>{new Html(PageResources.Charts)}</script>
            </body>
            </html>

            """).Text;
    }
}
