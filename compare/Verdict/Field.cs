using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>Who competes for one kind of consumer, who does not, and why.</summary>
internal sealed record Field
{
    public required Consumer Consumer { get; init; }

    /// <summary>Where all of them were measured from.</summary>
    public required Vantage Vantage { get; init; }

    /// <summary>Those that can be judged: sound, on the volume, and measured with every one of <see cref="Workloads"/>.</summary>
    public required IReadOnlyList<MethodFacts> Candidates { get; init; }

    public required IReadOnlyList<WorkloadFacts> Workloads { get; init; }

    public required IReadOnlyList<string> Disqualified { get; init; }

    public required IReadOnlyList<string> NotMeasured { get; init; }

    /// <summary>Finds the field of a consumer.</summary>
    public static Field For(Comparison comparison, Consumer consumer)
    {
        MethodFacts[] all = [.. comparison.Methods.Where(m => m.Role == MethodRole.Frontend && m.Backing == Backing.Volume && m.Reaches.Contains(consumer))];
        Vantage vantage = PreferredVantage(comparison, all, consumer);
        IReadOnlyList<ComparedRow> rows = ComparedRow.From(comparison);
        var disqualified = new List<string>();
        var notMeasured = new List<string>();
        var sound = new List<MethodFacts>();
        foreach (MethodFacts method in all)
        {
            string title = comparison.TitleOf(method);
            if (!method.Available)
                notMeasured.Add(Unavailable(title, method));
            else if (WhyUnsound(comparison, method, rows) is string why)
                disqualified.Add($"{title}: {why}");
            else if (!rows.Any(r => r.Method.Id == method.Id))
                notMeasured.Add($"{title}: it has no run.");
            else if (method.Vantage != vantage)
                notMeasured.Add($"{title}: measured from another place ({Sentences.Place(method.Vantage)}) than the others, so it cannot be ranked with them.");
            else
                sound.Add(method);
        }

        WorkloadFacts[] workloads = [.. comparison.Workloads.Where(w => sound.Any(m => Has(rows, m, w)))];
        foreach (WorkloadFacts workload in comparison.Workloads.Except(workloads).Where(_ => sound.Count > 0))
            notMeasured.Add($"The workload {workload.Title}: {workload.LeftOut ?? "no method that is judged has a run of it"}.");
        foreach (MethodFacts method in sound.Where(m => !workloads.All(w => Has(rows, m, w))))
        {
            string missing = string.Join("; ", workloads.Where(w => !Has(rows, method, w)).Select(w => w.Title));
            notMeasured.Add($"{comparison.TitleOf(method)}: not all workloads were measured (missing: {missing}).");
        }

        return new Field
        {
            Consumer = consumer,
            Vantage = vantage,
            Candidates = [.. sound.Where(m => workloads.All(w => Has(rows, m, w)))],
            Workloads = workloads,
            Disqualified = disqualified,
            NotMeasured = notMeasured,
        };
    }

    private static bool Has(IReadOnlyList<ComparedRow> rows, MethodFacts method, WorkloadFacts workload) =>
        rows.Any(r => r.Method.Id == method.Id && r.Workload.Name == workload.Name);

    /// <summary>A VM's disk is judged from inside a VM where that was measured; a container's always from the host.</summary>
    private static Vantage PreferredVantage(Comparison comparison, MethodFacts[] methods, Consumer consumer) =>
        consumer == Consumer.Vm && methods.Any(m => m.Vantage == Vantage.Guest && comparison.Runs.Any(r => r.Method == m.Id)) ? Vantage.Guest : Vantage.Host;

    private static string? WhyUnsound(Comparison comparison, MethodFacts method, IReadOnlyList<ComparedRow> rows)
    {
        FailedRun[] failed = [.. comparison.FailedRuns.Where(r => r.Method == method.Id)];
        long errors = rows.Where(r => r.Method.Id == method.Id).Sum(r => r.Errors);
        return method.Verification switch
        {
            Verification.Failed => $"its data verification failed{Sentences.Detail(method.VerificationDetail)}. Speed does not matter then.",
            Verification.NotRun when rows.Any(r => r.Method.Id == method.Id) => "its data was not verified, so its figures are not used.",
            _ when method.Reason is string reason => $"it ended before the comparison did: {reason.TrimEnd('.')}.",
            _ when errors > 0 => $"{errors} requests failed while it was measured.",
            _ when failed.Length > 0 => $"{Sentences.FailedRuns(comparison, failed)}.",
            _ => null,
        };
    }

    private static string Unavailable(string title, MethodFacts method)
    {
        string remedy = method.Remedies.Count == 0 ? string.Empty : $" To have it measured: {string.Join("; ", method.Remedies).TrimEnd('.')}.";
        return $"{title}: {method.Reason!.TrimEnd('.')}.{remedy}";
    }
}
