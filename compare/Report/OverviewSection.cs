using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>Every method and workload as a ratio to the baseline, in one chart and one table.</summary>
internal static class OverviewSection
{
    public static Html Render(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts)
    {
        WorkloadFacts[] workloads = [.. comparison.Workloads.Where(w => rows.Any(r => r.Workload.Name == w.Name))];
        if (workloads.Length == 0)
            return Html.Of($"<p>Nothing was measured. What was missing is said under <a href=\"#methods\">Methods and availability</a>.</p>");
        Dictionary<(string, string), ComparedRow> byKey = rows.ToDictionary(r => (r.Method.Id, r.Workload.Name));
        string baseline = comparison.TitleOf(comparison.Method(comparison.Baseline));
        Html table = Parts.Table(
            $"Result as a ratio to {baseline}, with the range over the rounds",
            ["Method", .. workloads.Select(w => w.Title.Replace("QD ", "QD\u00a0", StringComparison.Ordinal))],
            comparison.Methods.Select(m => (IReadOnlyList<Html>)
            [
                Name(comparison, m, rows),
                .. workloads.Select(w => Cell(m, byKey.GetValueOrDefault((m.Id, w.Name)))),
            ]));
        return Html.Of($"""
            <p>Requests per second for random patterns, bytes per second for sequential ones; more is better. Ratios are taken within each round and then summarized by their median.</p>
            <div class="switches" id="switches" role="group" aria-label="Methods shown in the charts"></div>
            {(Chart(comparison, workloads, byKey, baseline) is { } chart ? Html.Of($"<div class=\"charts\">{charts.Add(chart)}</div>") : Html.Empty)}
            {table}
            """);
    }

    private static RatioChart? Chart(Comparison comparison, WorkloadFacts[] workloads, Dictionary<(string, string), ComparedRow> byKey, string baseline)
    {
        RatioRow[] rows =
        [
            .. from method in comparison.Methods
               let own = workloads.Select(w => byKey.GetValueOrDefault((method.Id, w.Name))).ToArray()
               where own.Any(r => r?.Ratio is not null)
               select new RatioRow(
                   method.Id,
                   own.All(r => r is { IsSound: true, Ratio.Median: > 0 }) ? Math.Exp(own.Average(r => Math.Log(r!.Ratio!.Value.Median))) : null,
                   [.. own.Select(r => r?.Ratio is { } ratio ? Figure.Of(ratio) : null)],
                   own.FirstOrDefault(r => r is { IsSound: false })?.Flaw),
        ];
        return rows.Length == 0 ? null : new RatioChart(
            "overview-chart", "All workloads against the baseline (more is better)", $"ratio to {baseline}", baseline,
            [.. workloads.Select(w => new RatioWorkload(w.Title, Figures.Pattern(w.Pattern)))], rows);
    }

    private static Html Name(Comparison comparison, MethodFacts method, IReadOnlyList<ComparedRow> rows)
    {
        ComparedRow? unsound = rows.FirstOrDefault(r => r.Method.Id == method.Id && !r.IsSound);
        Html badge = unsound is not null ? Parts.Badge("bad", unsound.Flaw!)
            : method.Id == comparison.Baseline ? Parts.Badge("plain", "baseline")
            : method.Role == MethodRole.Peer ? Parts.Badge("plain", "peer")
            : method.Role == MethodRole.Bare ? Parts.Badge("plain", "bare")
            : Html.Empty;
        return Html.Of($"{comparison.TitleOf(method)} {badge}");
    }

    private static Html Cell(MethodFacts method, ComparedRow? row) =>
        row is null ? Html.Of($"<span class=\"absent\">{(method.Available ? Figures.None : "not measured")}</span>")
        : row.Ratio is not { } ratio ? Html.Of($"{Figures.Result(row.Workload.IsBandwidth, row.Result.Median)}")
        : Html.Of($"<b class=\"{(row.IsSound ? "ok" : "struck")}\">{Figures.Ratio(ratio.Median)}</b><small>{Figures.RatioRange(ratio)}</small>");
}
