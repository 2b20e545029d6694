using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>For each workload: results, latency, processor time, and the table with all figures.</summary>
internal static class WorkloadSection
{
    public static Html Render(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts)
    {
        Html[] parts = [.. comparison.Workloads.Select((w, i) => One(comparison, w, [.. rows.Where(r => r.Workload.Name == w.Name)], rows, charts, $"w{i}"))];
        return parts.Length == 0 || rows.Count == 0 ? Html.Empty : Html.Of($"""
            <p>Bars are medians over the rounds, the thin line on a bar is the range from the lowest to the highest round. A remark in brackets behind a figure says why it must not be used.</p>
            {parts}
            """);
    }

    private static Html One(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows, IReadOnlyList<ComparedRow> all, PageCharts charts, string id)
    {
        if (rows.Length == 0)
            return Html.Of($"<article><h3>{workload.Title}</h3><p>{(workload.LeftOut is string why ? $"Left out: {why}." : "No run of it was made.")}</p></article>");
        return Html.Of($"""
            <article>
            <h3>{workload.Title}</h3>
            <p class="note">{Describe(workload)}</p>
            <div class="charts">
            {WorkloadCharts.Of(comparison, workload, rows, all, id).Select(charts.Add)}
            </div>
            <details><summary>All figures of {workload.Title}</summary>{AllFigures(comparison, workload, rows)}</details>
            </article>
            """);
    }

    private static string Describe(WorkloadFacts w)
    {
        string[] parts =
        [
            $"block {Figures.Bytes(w.BlockBytes)}", $"queue depth {w.QueueDepth}", w.Jobs == 1 ? "1 job" : $"{w.Jobs} jobs",
            .. new[] { w.Engine, w.FileSystem is null ? null : $"on {w.FileSystem}", w.Scaling is null ? null : $"scaled: {w.Scaling}" }.OfType<string>(),
        ];
        return string.Join(", ", parts);
    }

    private static Html AllFigures(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows) => Parts.FoldedTable(
        $"{workload.Title}: medians over the rounds, the range from the lowest to the highest round below; times in µs",
        ["Method", "kIOPS", "MB/s", "spread", "ratio", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "target CPU", "load CPU", "target switches", "load switches", "notifications", "rounds", "errors"],
        rows.Select(r => (IReadOnlyList<Html>)
        [
            Html.Of($"{comparison.TitleOf(r.Method)} {(r.Flaw is string flaw ? Parts.Badge("bad", flaw) : Html.Empty)}"),
            Cell(r.Iops, 1e3),
            Cell(r.BytesPerSecond, 1e6),
            Parts.Text(Figures.Percent(r.Result.Spread)),
            r.Ratio is { } ratio ? Html.Of($"{Figures.Ratio(ratio.Median)}<small>{Figures.RatioRange(ratio)}</small>") : Parts.Text(Figures.None),
            .. new[] { r.MeanNs, r.P50Ns, r.P90Ns, r.P99Ns, r.P999Ns, r.P9999Ns }.Select(s => Cell(s, 1e3)),
            .. new[] { r.TargetCpuUs, r.LoadCpuUs, r.ContextSwitches, r.LoadContextSwitches, r.Notifications }.Select(s => Cell(s, 1)),
            Html.Of($"{r.Result.Count}"),
            Parts.Text(Figures.Count(r.Errors)),
        ]));

    private static Html Cell(Sample? sample, double divisor) => sample is not { } s ? Parts.Text(Figures.None)
        : s.Minimum == s.Maximum ? Parts.Text(Figures.Number(s.Median / divisor))
        : Html.Of($"{Figures.Number(s.Median / divisor)}<small>{Figures.Number(s.Minimum / divisor)}–{Figures.Number(s.Maximum / divisor)}</small>");
}
