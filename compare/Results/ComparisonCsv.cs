using System.Globalization;
using System.Text;

namespace Polyblk.Compare.Results;

/// <summary>
/// <c>results.csv</c>: every run as a line, for a spreadsheet or a statistics program. RFC 4180, with a header line.
/// </summary>
public static class ComparisonCsv
{
    private static readonly (string Name, Func<MethodFacts, WorkloadFacts, MeasuredRun, object?> Value)[] Columns =
    [
        ("method", (m, _, _) => m.Id),
        ("title", (m, _, _) => m.Title),
        ("frontend", (m, _, _) => m.Frontend),
        ("role", (m, _, _) => Lower(m.Role)),
        ("vantage", (m, _, _) => Lower(m.Vantage)),
        ("verification", (m, _, _) => m.Verification switch { Verification.NotRun => "not-run", var other => Lower(other) }),
        ("workload", (_, w, _) => w.Name),
        ("block_bytes", (_, w, _) => w.BlockBytes),
        ("queue_depth", (_, w, _) => w.QueueDepth),
        ("jobs", (_, w, _) => w.Jobs),
        ("round", (_, _, r) => r.Round),
        ("seconds", (_, _, r) => r.Seconds),
        ("iops", (_, _, r) => r.Iops),
        ("bytes_per_second", (_, _, r) => r.BytesPerSecond),
        ("mean_ns", (_, _, r) => r.Latency.Mean),
        ("p50_ns", (_, _, r) => r.Latency.P50),
        ("p90_ns", (_, _, r) => r.Latency.P90),
        ("p99_ns", (_, _, r) => r.Latency.P99),
        ("p99.9_ns", (_, _, r) => r.Latency.P999),
        ("p99.99_ns", (_, _, r) => r.Latency.P9999),
        ("target_cpu_us_per_request", (_, _, r) => r.TargetCpuUsPerRequest),
        ("load_cpu_us_per_request", (_, _, r) => r.LoadCpuUsPerRequest),
        ("context_switches_per_request", (_, _, r) => r.ContextSwitchesPerRequest),
        ("load_context_switches_per_request", (_, _, r) => r.LoadContextSwitchesPerRequest),
        ("notifications_per_request", (_, _, r) => r.NotificationsPerRequest),
        ("errors", (_, _, r) => r.Errors),
        ("steal_percent", (_, _, r) => r.StealPercent),
        ("other_load_percent", (_, _, r) => r.OtherLoadPercent),
    ];

    /// <summary>The results as CSV text, in the order of the runs.</summary>
    public static string From(Comparison comparison)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        Dictionary<string, MethodFacts> methods = comparison.Methods.ToDictionary(m => m.Id);
        Dictionary<string, WorkloadFacts> workloads = comparison.Workloads.ToDictionary(w => w.Name);
        var text = new StringBuilder();
        AppendLine(text, Columns.Select(c => (object?)c.Name));
        foreach (MeasuredRun run in comparison.Runs)
            AppendLine(text, Columns.Select(c => c.Value(methods[run.Method], workloads[run.Workload], run)));
        return text.ToString();
    }

    private static void AppendLine(StringBuilder text, IEnumerable<object?> fields) =>
        text.AppendJoin(',', fields.Select(f => Quote(Convert.ToString(f, CultureInfo.InvariantCulture) ?? string.Empty))).Append("\r\n");

    private static string Quote(string field) =>
        field.AsSpan().IndexOfAny(",\"\r\n") < 0 ? field : $"\"{field.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    private static string Lower<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();
}
