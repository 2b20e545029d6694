using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>Every method and workload as a ratio to the baseline, in one table.</summary>
internal static class OverviewSection
{
    public static Html Render(Comparison comparison, IReadOnlyList<ComparedRow> rows)
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
            {table}
            """);
    }

    private static Html Name(Comparison comparison, MethodFacts method, IReadOnlyList<ComparedRow> rows)
    {
        ComparedRow? unsound = rows.FirstOrDefault(r => r.Method.Id == method.Id && !r.IsSound);
        Html badge = unsound is not null ? Parts.Badge("bad", Parts.Flaw(unsound))
            : method.Id == comparison.Baseline ? Parts.Badge("plain", "baseline")
            : method.Role == MethodRole.Peer ? Parts.Badge("plain", "peer")
            : method.Role == MethodRole.Bare ? Parts.Badge("plain", "bare")
            : Html.Empty;
        return Html.Of($"{comparison.TitleOf(method)} {badge}");
    }

    private static Html Cell(MethodFacts method, ComparedRow? row) =>
        row is null ? Html.Of($"<span class=\"absent\">{(method.Available ? Figures.None : "not measured")}</span>")
        : row.Ratio is not { } ratio ? Html.Of($"{Figures.Result(row.Workload.IsBandwidth, row.Result.Median)}")
        : Html.Of($"<b class=\"{(row.IsSound ? "ok" : "struck")}\">{Figures.Ratio(ratio.Median)}</b><small>{Range(ratio)}</small>");

    private static string Range(Sample ratio) =>
        ratio.Count < 2 ? "one round" : ratio.Minimum == ratio.Maximum ? string.Empty : $"{Figures.Ratio(ratio.Minimum)}\u2013{Figures.Ratio(ratio.Maximum)}";
}
