using Polyblk.Compare.Measurement;

namespace Polyblk.Compare.Results;

/// <summary>What the rounds of one method and workload say together: medians, and how far they can be trusted.</summary>
public sealed record ResultRow
{
    public required string Method { get; init; }

    public required string Workload { get; init; }

    public required int Rounds { get; init; }

    public required double Iops { get; init; }

    public required double BytesPerSecond { get; init; }

    public required double MeanNs { get; init; }

    /// <summary>NaN when the load does not tell it.</summary>
    public required double P99Ns { get; init; }

    /// <inheritdoc cref="P99Ns"/>
    public required double P999Ns { get; init; }

    /// <summary>NaN when the method has no process of its own.</summary>
    public required double TargetCpuPerRequestNs { get; init; }

    public required double LoadCpuPerRequestNs { get; init; }

    /// <summary>(maximum - minimum) / median of IOPS over the rounds.</summary>
    public required double Spread { get; init; }

    /// <summary>Median of the rounds' ratios to the baseline's IOPS; NaN without a baseline.</summary>
    public required double Ratio { get; init; }

    public required long Errors { get; init; }

    /// <summary>Computes every row that has runs, by workload and then in the order of the methods.</summary>
    public static IReadOnlyList<ResultRow> From(ComparisonResults results)
    {
        ArgumentNullException.ThrowIfNull(results);
        return
        [
            .. from workload in results.Workloads
               from method in results.Methods
               let runs = Runs(results, method.Name, workload.Name)
               where runs.Count > 0
               select Make(runs, Runs(results, results.Baseline, workload.Name)),
        ];
    }

    private static List<RunRecord> Runs(ComparisonResults results, string method, string workload) =>
        [.. results.Runs.Where(r => r.Method == method && r.Workload == workload).OrderBy(r => r.Round)];

    private static ResultRow Make(List<RunRecord> runs, List<RunRecord> baseline)
    {
        // Pair by round: a comparison that was broken off has a last round that some methods lack.
        var paired = runs.Join(baseline, r => r.Round, b => b.Round, (r, b) => (r.Iops, Base: b.Iops)).ToList();
        bool hasProcess = runs.Exists(r => r.TargetCpuNs > 0);
        return new ResultRow
        {
            Method = runs[0].Method,
            Workload = runs[0].Workload,
            Rounds = runs.Count,
            Iops = Statistic.Median(runs.Select(r => r.Iops)),
            BytesPerSecond = Statistic.Median(runs.Select(r => r.BytesPerSecond)),
            MeanNs = MedianOfAnswered(runs, r => r.Load.MeanNs),
            P99Ns = MedianOfTold(runs, r => r.Load.P99Ns),
            P999Ns = MedianOfTold(runs, r => r.Load.P999Ns),
            TargetCpuPerRequestNs = hasProcess ? MedianOfAnswered(runs, r => r.TargetCpuPerRequestNs) : double.NaN,
            LoadCpuPerRequestNs = MedianOfAnswered(runs, r => r.LoadCpuPerRequestNs),
            Spread = Statistic.Spread([.. runs.Select(r => r.Iops)]),
            Ratio = Statistic.PairedRatio([.. paired.Select(p => p.Iops)], [.. paired.Select(p => p.Base)]),
            Errors = runs.Sum(r => r.Load.Errors),
        };
    }

    /// <summary>A load that does not tell a percentile leaves it at 0.</summary>
    private static double MedianOfTold(List<RunRecord> runs, Func<RunRecord, double> value) => Statistic.Median(runs.Select(value).Where(v => v > 0));

    /// <summary>A run in which no request was answered has no latency; it counts in IOPS only.</summary>
    private static double MedianOfAnswered(List<RunRecord> runs, Func<RunRecord, double> value) =>
        Statistic.Median(runs.Where(r => r.Load.Requests > 0).Select(value));
}
