namespace Polyblk.Compare.Results;

/// <summary>Whether recorded results fit together: names that are used exist, none is used twice, figures are figures.</summary>
public static class ComparisonCheck
{
    /// <summary>Finds the first contradiction.</summary>
    /// <exception cref="ComparisonFormatException">There is one.</exception>
    public static void Check(Comparison comparison)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        HashSet<string> methods = Unique(comparison.Methods.Select(m => m.Id), "method");
        HashSet<string> workloads = Unique(comparison.Workloads.Select(w => w.Name), "workload");
        Require(methods.Contains(comparison.Baseline), $"the baseline '{comparison.Baseline}' is not among the methods");

        var seen = new HashSet<(string, string, int)>();
        foreach (MeasuredRun run in comparison.Runs)
        {
            string what = $"run of '{run.Method}', '{run.Workload}', round {run.Round}";
            Require(methods.Contains(run.Method), $"{what}: there is no such method");
            Require(workloads.Contains(run.Workload), $"{what}: there is no such workload");
            Require(run.Round >= 0, $"{what}: rounds count from 0");
            Require(seen.Add((run.Method, run.Workload, run.Round)), $"{what} is recorded twice");
            Require(FiguresOf(run).All(f => f is null or >= 0 && double.IsFinite(f ?? 0)), $"{what}: a figure is negative or not a number");
        }

        foreach (FailedRun run in comparison.FailedRuns)
            Require(methods.Contains(run.Method) && workloads.Contains(run.Workload), $"failed run of '{run.Method}', '{run.Workload}': there is no such method or workload");
        foreach (MethodFacts method in comparison.Methods)
        {
            Require(method.Available || method.Reason is { Length: > 0 }, $"the method '{method.Id}' did not run, and no reason is given");
            Require(method.Available || !comparison.Runs.Any(r => r.Method == method.Id), $"the method '{method.Id}' did not run, yet it has runs");
        }

        foreach (RestartTest restart in comparison.Restarts)
            Require(methods.Contains(restart.Method), $"restart test of '{restart.Method}': there is no such method");
    }

    private static IEnumerable<double?> FiguresOf(MeasuredRun run) =>
    [
        run.Seconds, run.Iops, run.BytesPerSecond, run.Errors, run.Latency.Mean, run.Latency.P50, run.Latency.P90, run.Latency.P99, run.Latency.P999, run.Latency.P9999,
        run.TargetCpuUsPerRequest, run.LoadCpuUsPerRequest, run.ContextSwitchesPerRequest, run.LoadContextSwitchesPerRequest, run.NotificationsPerRequest, run.StealPercent, run.OtherLoadPercent,
    ];

    private static HashSet<string> Unique(IEnumerable<string> names, string kind)
    {
        var set = new HashSet<string>();
        foreach (string name in names)
            Require(name.Length > 0 && set.Add(name), $"the {kind} '{name}' is there twice, or has no name");
        return set;
    }

    private static void Require(bool condition, string problem)
    {
        if (!condition)
            throw new ComparisonFormatException($"The results contradict themselves: {problem}.");
    }
}
