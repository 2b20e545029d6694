using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>For each workload: results, latency, processor time, and the table with all figures.</summary>
internal static class WorkloadSection
{
    public static Html Render(Comparison comparison, IReadOnlyList<ComparedRow> rows)
    {
        Html[] parts = [.. comparison.Workloads.Select((w, i) => One(comparison, w, [.. rows.Where(r => r.Workload.Name == w.Name)], $"w{i}"))];
        return parts.Length == 0 || rows.Count == 0 ? Html.Empty : Html.Of($"""
            <p>Bars are medians over the rounds, the thin line on a bar is the range from the lowest to the highest round. A remark in brackets behind a figure says why it must not be used.</p>
            {parts}
            """);
    }

    private static Html One(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows, string id)
    {
        if (rows.Length == 0)
            return Html.Of($"<article><h3>{workload.Title}</h3><p>{(workload.LeftOut is string why ? $"Left out: {why}." : "No run of it was made.")}</p></article>");
        return Html.Of($"""
            <article>
            <h3>{workload.Title}</h3>
            <p class="note">{Describe(workload)}</p>
            <div class="charts">
            {Results(comparison, workload, rows, id)}
            {Latencies(comparison, workload, rows, id)}
            {Cpu(comparison, workload, rows, id)}
            {Interruptions(comparison, workload, rows, id)}
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

    private static Html Results(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows, string id)
    {
        string heading = workload.IsBandwidth ? "Bandwidth (more is better)" : "Requests per second (more is better)";
        return Draw(heading, $"{heading}: {workload.Title}, by method", ResultChart(comparison, workload, rows), $"{id}-result", Charts.HeightOfBars(rows.Length, false));
    }

    /// <summary>A bar for each method.</summary>
    internal static OxyPlot.PlotModel ResultChart(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows)
    {
        (double divisor, string unit) = Figures.Scale(workload.IsBandwidth, rows.Max(r => r.Result.Maximum));
        Bar[] bars =
        [
            .. rows.Select(r => new Bar(
                comparison.TitleOf(r.Method),
                [r.Result.Median / divisor],
                r.IsSound ? Ink.Of(comparison, r.Method) : Ink.Unsound,
                r.Result.Minimum / divisor,
                r.Result.Maximum / divisor,
                Figures.Number(r.Result.Median / divisor) + (r.IsSound ? string.Empty : $" ({Parts.Flaw(r)})"))),
        ];
        return Charts.Bars(bars, unit, [(unit, Ink.Target)]);
    }

    private static Html Cpu(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows, string id)
    {
        ComparedRow[] known = [.. rows.Where(r => r.CpuUs is > 0)];
        if (known.Length == 0)
            return Html.Empty;
        Bar[] bars =
        [
            .. known.Select(r => new Bar(
                comparison.TitleOf(r.Method),
                [r.TargetCpuUs?.Median ?? 0, r.LoadCpuUs?.Median ?? 0],
                null,
                0,
                0,
                Figures.Number(r.CpuUs!.Value) + (r.TargetCpuUs is null && r.Method.Role != MethodRole.Bare ? " (load only)" : string.Empty))),
        ];
        const string Heading = "Processor time for a request (less is better)";
        return Draw(
            Heading, $"{Heading}: {workload.Title}, by method", Charts.Bars(bars, "µs for a request", [("target", Ink.Target), ("load", Ink.Load)]),
            $"{id}-cpu", Charts.HeightOfBars(bars.Length, true));
    }

    private static Html Interruptions(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows, string id)
    {
        ComparedRow[] known = [.. rows.Where(r => r.ContextSwitches is not null || r.Notifications is not null)];
        if (known.Length == 0)
            return Html.Empty;

        // What no method has is left out, not drawn as nothing.
        (string Title, OxyPlot.OxyColor Color, Func<ComparedRow, Sample?> Of)[] kinds =
            [("context switches", Ink.Target, r => r.ContextSwitches), ("notifications", Ink.Load, r => r.Notifications)];
        kinds = [.. kinds.Where(k => known.Any(r => k.Of(r) is not null))];
        Bar[] bars =
        [
            .. known.Select(r => new Bar(
                comparison.TitleOf(r.Method),
                [.. kinds.Select(k => k.Of(r)?.Median ?? 0)],
                null,
                0,
                0,
                string.Join(" + ", kinds.Select(k => Figures.Number(k.Of(r)?.Median))))),
        ];
        string heading = $"{(kinds.Length == 2 ? "Context switches and notifications" : kinds[0].Title == "notifications" ? "Notifications" : "Context switches")} for a request (less is better)";
        return Draw(
            heading, $"{heading}: {workload.Title}, by method", Charts.Bars(bars, "for a request", [.. kinds.Select(k => (k.Title, k.Color))]),
            $"{id}-interruptions", Charts.HeightOfBars(bars.Length, kinds.Length > 1));
    }

    private static Html Latencies(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows, string id)
    {
        Curve[] curves =
        [
            .. from row in rows
               where row.IsSound
               let points = row.Percentiles().Where(p => p.Ns.Median > 0).Select(p => (Place(p.Name), p.Ns.Median / 1000)).ToArray()
               where points.Length > 1
               select new Curve(comparison.TitleOf(row.Method), Ink.Of(comparison, row.Method), Ink.StyleOf(comparison, row.Method), points),
        ];
        const string Heading = "Latency by percentile (less is better)";
        return curves.Length == 0 ? Html.Empty
            : Draw(Heading, $"{Heading}: {workload.Title}, one line a method", Charts.Latencies(curves), $"{id}-latency", Charts.HeightOfLatencies(curves.Length));
    }

    private static int Place(string percentile) => Charts.PercentileNames.Index().First(p => p.Item == percentile).Index;

    private static Html Draw(string heading, string title, OxyPlot.PlotModel model, string id, double height) =>
        Parts.Figure(heading, SvgChart.Render(model, id, title, height));

    private static Html AllFigures(Comparison comparison, WorkloadFacts workload, ComparedRow[] rows) => Parts.Table(
        $"{workload.Title}: medians over the rounds; times in µs",
        ["Method", "kIOPS", "MB/s", "spread", "ratio", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "target CPU", "load CPU", "switches", "notifications", "rounds", "errors"],
        rows.Select(r => (IReadOnlyList<Html>)
        [
            Html.Of($"{comparison.TitleOf(r.Method)} {(r.IsSound ? Html.Empty : Parts.Badge("bad", Parts.Flaw(r)))}"),
            Parts.Text(Figures.Number(r.Iops.Median / 1e3)),
            Parts.Text(Figures.Number(r.BytesPerSecond.Median / 1e6)),
            Parts.Text(Figures.Percent(r.Result.Spread)),
            Parts.Text(r.Ratio is { } ratio ? Figures.Ratio(ratio.Median) : Figures.None),
            .. new[] { r.MeanNs, r.P50Ns, r.P90Ns, r.P99Ns, r.P999Ns, r.P9999Ns }.Select(s => Parts.Text(Figures.Microseconds(s))),
            .. new[] { r.TargetCpuUs, r.LoadCpuUs, r.ContextSwitches, r.Notifications }.Select(s => Parts.Text(Figures.Number(s?.Median))),
            Html.Of($"{r.Result.Count}"),
            Parts.Text(Figures.Count(r.Errors)),
        ]));
}
