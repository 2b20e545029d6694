namespace Polyblk.Compare.Results;

/// <summary>What the rounds of one method and workload say together. Computed; not recorded.</summary>
public sealed record ComparedRow
{
    public required MethodFacts Method { get; init; }

    public required WorkloadFacts Workload { get; init; }

    /// <summary>Requests per second.</summary>
    public required Sample Iops { get; init; }

    public required Sample BytesPerSecond { get; init; }

    public Sample? MeanNs { get; init; }

    public Sample? P50Ns { get; init; }

    public Sample? P90Ns { get; init; }

    public Sample? P99Ns { get; init; }

    public Sample? P999Ns { get; init; }

    public Sample? P9999Ns { get; init; }

    public Sample? TargetCpuUs { get; init; }

    public Sample? LoadCpuUs { get; init; }

    public Sample? ContextSwitches { get; init; }

    public Sample? LoadContextSwitches { get; init; }

    public Sample? Notifications { get; init; }

    /// <summary>
    /// Result (requests or bytes per second) against the baseline's, from the ratios within the rounds; null without pairs.
    /// </summary>
    public Sample? Ratio { get; init; }

    /// <summary>Failed requests of all rounds.</summary>
    public required long Errors { get; init; }

    /// <summary>Runs that failed and gave no figures.</summary>
    public int FailedRuns { get; init; }

    /// <summary>
    /// The figure that the workload is about: bytes per second for sequential, requests per second for other patterns.
    /// </summary>
    public Sample Result => Workload.IsBandwidth ? BytesPerSecond : Iops;

    /// <summary>
    /// Whether its figures may be used: no request and no run failed, and the method's data was not found wrong.
    /// </summary>
    public bool IsSound => Flaw is null;

    /// <summary>Why they may not be, shortest; null when they may.</summary>
    public string? Flaw => Method.Verification == Verification.Failed ? "wrong data" : Errors > 0 ? "requests failed" : FailedRuns > 0 ? "runs failed" : null;

    /// <summary>Processor time of both sides for a request in microseconds; null when neither side was read.</summary>
    public double? CpuUs => TargetCpuUs is null && LoadCpuUs is null ? null : (TargetCpuUs?.Median ?? 0) + (LoadCpuUs?.Median ?? 0);

    /// <summary>
    /// Latency percentiles from the median to p99.99 that were recorded: the share of requests that took longer, and the time.
    /// </summary>
    public IEnumerable<(string Name, double Beyond, Sample Ns)> Percentiles()
    {
        (string Name, double Beyond, Sample? Ns)[] all = [("p50", 0.5, P50Ns), ("p90", 0.1, P90Ns), ("p99", 0.01, P99Ns), ("p99.9", 0.001, P999Ns), ("p99.99", 0.0001, P9999Ns)];
        return all.Where(p => p.Ns is not null).Select(p => (p.Name, p.Beyond, p.Ns!.Value));
    }

    /// <summary>Every row that has runs: by workload, and then in the order of the methods.</summary>
    public static IReadOnlyList<ComparedRow> From(Comparison comparison)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        ILookup<(string, string), FailedRun> failed = comparison.FailedRuns.ToLookup(r => (r.Method, r.Workload));
        ILookup<(string, string), MeasuredRun> runs = comparison.Runs.ToLookup(r => (r.Method, r.Workload));
        return
        [
            .. from workload in comparison.Workloads
               from method in comparison.Methods
               let own = runs[(method.Id, workload.Name)].ToArray()
               where own.Length > 0
               select Make(method, workload, own, runs[(comparison.Baseline, workload.Name)]) with { FailedRuns = failed[(method.Id, workload.Name)].Count() },
        ];
    }

    private static ComparedRow Make(MethodFacts method, WorkloadFacts workload, MeasuredRun[] runs, IEnumerable<MeasuredRun> baseline) => new()
    {
        Method = method,
        Workload = workload,
        Iops = Sample.Of(runs.Select(r => (double?)r.Iops))!.Value,
        BytesPerSecond = Sample.Of(runs.Select(r => (double?)r.BytesPerSecond))!.Value,
        MeanNs = Sample.Of(runs.Select(r => r.Latency.Mean)),
        P50Ns = Sample.Of(runs.Select(r => r.Latency.P50)),
        P90Ns = OfEvery(runs.Select(r => r.Latency.P90)),
        P99Ns = OfEvery(runs.Select(r => r.Latency.P99)),
        P999Ns = OfEvery(runs.Select(r => r.Latency.P999)),
        P9999Ns = OfEvery(runs.Select(r => r.Latency.P9999)),
        TargetCpuUs = Sample.Of(runs.Select(r => r.TargetCpuUsPerRequest)),
        LoadCpuUs = Sample.Of(runs.Select(r => r.LoadCpuUsPerRequest)),
        ContextSwitches = Sample.Of(runs.Select(r => r.ContextSwitchesPerRequest)),
        LoadContextSwitches = Sample.Of(runs.Select(r => r.LoadContextSwitchesPerRequest)),
        Notifications = Sample.Of(runs.Select(r => r.NotificationsPerRequest)),
        Ratio = Sample.OfRatios(runs.Select(r => (r.Round, workload.ResultOf(r))), baseline.Select(r => (r.Round, workload.ResultOf(r)))),
        Errors = runs.Sum(r => r.Errors),
    };

    /// <summary>
    /// Null unless every run has it: slow rounds are those with too few requests for a high percentile, and a median of the
    /// others would be better than all.
    /// </summary>
    private static Sample? OfEvery(IEnumerable<double?> values) => values.All(v => v is not null) ? Sample.Of(values) : null;
}
