// What changed between two comparisons.
//
// Absolute figures of two occasions are not comparable: the machine, its load and its clock differ. So the ratios against the
// baseline are compared, each the median of its within-round ratios. A change counts when it is larger than the larger of the two
// spreads ((maximum - minimum) / median of the within-round ratios), and when both sides have at least two rounds to show one.

namespace Polyblk.Compare.Results;

/// <summary>One method and workload in two comparisons.</summary>
/// <param name="Method">Id of the method.</param>
/// <param name="Workload">Name of the workload.</param>
/// <param name="Before">Ratio to the baseline in the first.</param>
/// <param name="After">Ratio to the baseline in the second.</param>
public sealed record DiffRow(string Method, string Workload, Sample Before, Sample After)
{
    /// <summary>After / before - 1: 0.1 is 10 % more of the baseline's result than before.</summary>
    public double Change => (After.Median / Before.Median) - 1;

    /// <summary>What a change must exceed to count; null when a side has a single round, which shows no spread.</summary>
    public double? Spread => Before.Spread is double a && After.Spread is double b ? Math.Max(a, b) : null;

    /// <summary>Whether the change counts.</summary>
    public bool IsBeyondSpread => Spread is double spread && Math.Abs(Change) > spread;
}

/// <summary>The difference of two comparisons.</summary>
public sealed record ComparisonDiff
{
    /// <summary>The method that both sets of ratios refer to.</summary>
    public required string Baseline { get; init; }

    /// <summary>Every method and workload that both have, except the baseline itself.</summary>
    public required IReadOnlyList<DiffRow> Rows { get; init; }

    /// <summary>Method and workload that only the first has.</summary>
    public required IReadOnlyList<(string Method, string Workload)> OnlyBefore { get; init; }

    /// <summary>Method and workload that only the second has.</summary>
    public required IReadOnlyList<(string Method, string Workload)> OnlyAfter { get; init; }

    /// <summary>What makes the two hard to compare, one sentence each.</summary>
    public required IReadOnlyList<string> Cautions { get; init; }

    /// <summary>Compares two comparisons.</summary>
    /// <exception cref="ComparisonFormatException">Their ratios refer to different baselines.</exception>
    public static ComparisonDiff Of(Comparison before, Comparison after)
    {
        ArgumentNullException.ThrowIfNull(before);
        ArgumentNullException.ThrowIfNull(after);
        if (before.Baseline != after.Baseline)
        {
            throw new ComparisonFormatException(
                $"The ratios refer to different baselines ('{before.Baseline}' and '{after.Baseline}'): measure again with the same one.");
        }

        Dictionary<(string, string), Sample> a = Ratios(before);
        Dictionary<(string, string), Sample> b = Ratios(after);
        return new ComparisonDiff
        {
            Baseline = before.Baseline,
            Rows = [.. a.Keys.Where(b.ContainsKey).Select(k => new DiffRow(k.Item1, k.Item2, a[k], b[k]))],
            OnlyBefore = [.. a.Keys.Where(k => !b.ContainsKey(k))],
            OnlyAfter = [.. b.Keys.Where(k => !a.ContainsKey(k))],
            Cautions = [.. FindCautions(before, after)],
        };
    }

    /// <summary>The difference as text: a table and the remarks, for the terminal.</summary>
    public string ToText()
    {
        string[][] lines =
        [
            ["method", "workload", "before", "after", "change", "spread", string.Empty],
            .. Rows.Select(r => new[]
            {
                r.Method, r.Workload, $"{r.Before.Median:0.00}", $"{r.After.Median:0.00}", $"{100 * r.Change:+0;-0;0} %",
                r.Spread is double s ? $"{100 * s:0} %" : "unknown",
                r.IsBeyondSpread ? "changed" : r.Spread is null ? "too few rounds to tell" : "within the spread",
            }),
        ];
        int[] widths = [.. Enumerable.Range(0, lines[0].Length).Select(c => lines.Max(l => l[c].Length))];
        IEnumerable<string> table = lines.Select(l => string.Join("  ", l.Select((f, c) => c is >= 2 and <= 5 ? f.PadLeft(widths[c]) : f.PadRight(widths[c]))).TrimEnd());
        return string.Join('\n', [
            $"Results as ratios to '{Baseline}'; a change counts when it is larger than the spread over the rounds.",
            .. table,
            .. OnlyBefore.Select(k => $"only before: {k.Method}, {k.Workload}"),
            .. OnlyAfter.Select(k => $"only after: {k.Method}, {k.Workload}"),
            .. Cautions,
        ]) + "\n";
    }

    private static Dictionary<(string, string), Sample> Ratios(Comparison comparison) => ComparedRow.From(comparison)
        .Where(r => r.Method.Id != comparison.Baseline && r.Ratio is { Median: > 0 } && r.IsSound)
        .ToDictionary(r => (r.Method.Id, r.Workload.Name), r => r.Ratio!.Value);

    private static IEnumerable<string> FindCautions(Comparison before, Comparison after)
    {
        (string What, object? A, object? B)[] facts =
        [
            ("processor", before.Environment.Cpu, after.Environment.Cpu),
            ("number of processors", before.Environment.CpuCount, after.Environment.CpuCount),
            ("kernel", before.Environment.Kernel, after.Environment.Kernel),
            ("virtualization", before.Environment.Virtualization, after.Environment.Virtualization),
            ("RAID level", before.Volume.Level, after.Volume.Level),
            ("number of members", before.Volume.Members.Count, after.Volume.Members.Count),
            ("chunk", before.Volume.ChunkBytes, after.Volume.ChunkBytes),
        ];
        foreach ((string what, object? a, object? b) in facts)
        {
            if (!Equals(a, b))
                yield return $"The {what} differs: {a ?? "none"} before, {b ?? "none"} after.";
        }

        foreach (string name in before.Workloads.Join(after.Workloads, w => w.Name, w => w.Name, (x, y) => (x, y)).Where(p => !SameLoad(p.x, p.y)).Select(p => p.x.Name))
            yield return $"The workload '{name}' is not the same in both.";
        foreach ((Comparison comparison, string when) in new[] { (before, "before"), (after, "after") })
        {
            foreach (ComparedRow row in ComparedRow.From(comparison).Where(r => !r.IsSound))
                yield return $"Left out ({when}): {row.Method.Id}, {row.Workload.Name}: {row.Flaw}.";
        }
    }

    private static bool SameLoad(WorkloadFacts a, WorkloadFacts b) =>
        (a.Pattern, a.BlockBytes, a.QueueDepth, a.Jobs, a.Engine, a.FileSystem) == (b.Pattern, b.BlockBytes, b.QueueDepth, b.Jobs, b.Engine, b.FileSystem);
}
