using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>The charts of one workload, as data.</summary>
internal static class WorkloadCharts
{
    private static readonly string[] Percentiles = ["p50", "p90", "p99", "p99.9", "p99.99"];

    /// <summary>All that its rows have figures for.</summary>
    /// <param name="comparison">The recorded results.</param>
    /// <param name="workload">The workload.</param>
    /// <param name="rows">Its rows; at least one.</param>
    /// <param name="all">The rows of all workloads.</param>
    /// <param name="id">What the charts' ids begin with.</param>
    public static IEnumerable<ChartData> Of(Comparison comparison, WorkloadFacts workload, IReadOnlyList<ComparedRow> rows, IReadOnlyList<ComparedRow> all, string id) =>
        new ChartData?[] { Results(comparison, workload, rows, id), Latencies(workload, rows, id), Depths(workload, all, id), Cpu(comparison, workload, rows, id), Interruptions(comparison, workload, rows, id) }
            .OfType<ChartData>();

    private static BarChart Results(Comparison comparison, WorkloadFacts workload, IReadOnlyList<ComparedRow> rows, string id)
    {
        (double divisor, string unit) = Figures.Scale(workload.IsBandwidth, rows.Max(r => r.Result.Maximum));
        string baseline = comparison.TitleOf(comparison.Method(comparison.Baseline));
        return new BarChart(
            $"{id}-result", workload.IsBandwidth ? "Bandwidth (more is better)" : "Requests per second (more is better)", workload.Title, unit,
            [new BarPart(workload.IsBandwidth ? "bandwidth" : "requests", "target")],
            [.. rows.Select(r => new Bar(
                comparison.TitleOf(r.Method), r.Method.Id, [Figure.Of(r.Result, divisor)], r.IsSound ? null : "unsound", r.Flaw, FactsOf(r, baseline)))]);
    }

    private static Fact[] FactsOf(ComparedRow row, string baseline) =>
    [
        .. row.Ratio is { } ratio ? new[] { new Fact($"ratio to {baseline}", Figures.RatioAndRange(ratio)) } : [],
        .. row.Errors > 0 ? new[] { new Fact("failed requests", Figures.Count(row.Errors)) } : [],
        .. row.Method.Verification == Verification.Failed ? new[] { new Fact("wrong data", row.Method.VerificationDetail ?? "the method returned it") } : [],
    ];

    private static LatencyChart? Latencies(WorkloadFacts workload, IReadOnlyList<ComparedRow> rows, string id)
    {
        ChartLine[] lines =
        [
            .. from row in rows
               where row.IsSound
               let known = row.Percentiles().Where(p => p.Ns.Median > 0).ToDictionary(p => p.Name, p => Figure.Of(p.Ns, 1000))
               where known.Count > 1
               select new ChartLine(row.Method.Id, [.. Percentiles.Select(known.GetValueOrDefault)]),
        ];
        if (lines.Length == 0)
            return null;
        int last = lines.Max(l => l.Figures.Index().Last(f => f.Item is not null).Index);
        return new LatencyChart(
            $"{id}-latency", "Latency by percentile (less is better)", workload.Title, Percentiles[..(last + 1)], [.. lines.Select(l => l with { Figures = [.. l.Figures.Take(last + 1)] })]);
    }

    /// <summary>The results over the depths of the workloads that differ in nothing else; with the deepest of them.</summary>
    private static DepthChart? Depths(WorkloadFacts workload, IReadOnlyList<ComparedRow> all, string id)
    {
        ComparedRow[] rows = [.. all.Where(r => r.IsSound && FamilyOf(r.Workload) == FamilyOf(workload))];
        int[] depths = [.. rows.Select(r => r.Workload.QueueDepth).Distinct().Order()];
        if (workload.Pattern == AccessPattern.Custom || depths.Length < 2 || workload.QueueDepth != depths[^1])
            return null;
        (double divisor, string unit) = Figures.Scale(workload.IsBandwidth, rows.Max(r => r.Result.Median));
        ChartLine[] lines =
        [
            .. from method in rows.GroupBy(r => r.Method.Id)
               let byDepth = method.GroupBy(r => r.Workload.QueueDepth).ToDictionary(g => g.Key, g => Figure.Of(g.First().Result, divisor))
               where byDepth.Count > 1
               select new ChartLine(method.Key, [.. depths.Select(byDepth.GetValueOrDefault)]),
        ];
        return lines.Length == 0 ? null : new DepthChart(
            $"{id}-depth", $"{(workload.IsBandwidth ? "Bandwidth" : "Requests per second")} by queue depth (more is better)", TitleOfFamily(workload), unit, depths, lines);
    }

    private static (AccessPattern, int, int, string?, string?) FamilyOf(WorkloadFacts w) => (w.Pattern, w.BlockBytes, w.Jobs, w.Engine, w.FileSystem);

    private static string TitleOfFamily(WorkloadFacts w) => w.Title.Replace($", QD {w.QueueDepth}", string.Empty, StringComparison.Ordinal);

    private static BarChart? Cpu(Comparison comparison, WorkloadFacts workload, IReadOnlyList<ComparedRow> rows, string id)
    {
        Bar[] bars =
        [
            .. rows.Where(r => r.CpuUs is > 0).Select(r => new Bar(
                comparison.TitleOf(r.Method), r.Method.Id, [FigureOf(r.TargetCpuUs), FigureOf(r.LoadCpuUs)],
                Remark: r.TargetCpuUs is null && r.Method.Role != MethodRole.Bare ? "load only" : null)),
        ];
        return bars.Length == 0 ? null : new BarChart(
            $"{id}-cpu", "Processor time for a request (less is better)", workload.Title, "µs for a request", [new BarPart("target", "target"), new BarPart("load", "load")], bars);
    }

    private static BarChart? Interruptions(Comparison comparison, WorkloadFacts workload, IReadOnlyList<ComparedRow> rows, string id)
    {
        ComparedRow[] known = [.. rows.Where(r => r.ContextSwitches is not null || r.LoadContextSwitches is not null || r.Notifications is not null)];
        if (known.Length == 0)
            return null;

        // What no method has is left out, not drawn as nothing.
        (BarPart Part, Func<ComparedRow, Sample?> Of)[] kinds =
        [
            (new BarPart("context switches of the target", "target"), r => r.ContextSwitches), (new BarPart("context switches of the load", "load"), r => r.LoadContextSwitches),
            (new BarPart("notifications", "peer"), r => r.Notifications),
        ];
        kinds = [.. kinds.Where(k => known.Any(r => k.Of(r) is not null))];
        string what = kinds[^1].Part.Title != "notifications" ? "Context switches" : kinds.Length == 1 ? "Notifications" : "Context switches and notifications";
        return new BarChart(
            $"{id}-interruptions", $"{what} (less is better)", workload.Title, "for a request", [.. kinds.Select(k => k.Part)],
            [.. known.Select(r => new Bar(comparison.TitleOf(r.Method), r.Method.Id, [.. kinds.Select(k => FigureOf(k.Of(r)))]))]);
    }

    private static Figure? FigureOf(Sample? sample) => sample is { } s ? Figure.Of(s) : null;
}
