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

    /// <summary>Those that have no figures, and what has no place in the ranking.</summary>
    public required IReadOnlyList<string> NotMeasured { get; init; }

    /// <summary>
    /// The part of <see cref="NotMeasured"/> that is about methods which work here and have no place in the ranking, and about
    /// workloads.
    /// </summary>
    public required IReadOnlyList<string> NotRanked { get; init; }

    /// <summary>Titles of those that work here but were not driven by the client of the candidates.</summary>
    public required IReadOnlyList<string> OtherClients { get; init; }

    /// <summary>What drove the candidates; null where that was not recorded.</summary>
    public string? Client => Candidates.Count == 0 ? null : Candidates[0].Load;

    /// <summary>
    /// Whether nothing can be chosen because of the clients: what is left has nobody beside it only because no client drives the
    /// others as it was driven.
    /// </summary>
    public bool IsLeftToClients => OtherClients.Count > 0 && Candidates.Count < 2;

    /// <summary>Finds the field of a consumer.</summary>
    public static Field For(Comparison comparison, Consumer consumer)
    {
        MethodFacts[] all = [.. comparison.Methods.Where(m => m.Role == MethodRole.Frontend && m.Backing == Backing.Volume && m.Reaches.Contains(consumer))];
        Vantage vantage = PreferredVantage(comparison, all, consumer);
        IReadOnlyList<ComparedRow> rows = ComparedRow.From(comparison);
        var disqualified = new List<string>();
        var unavailable = new List<string>();
        var notRanked = new List<string>();
        var otherClients = new List<string>();
        var sound = new List<MethodFacts>();
        foreach (MethodFacts method in all)
        {
            string title = comparison.TitleOf(method);
            if (method.Undriven is not null && method.Vantage == vantage)
                otherClients.Add(title);
            if (!method.Available)
                unavailable.Add(Unavailable(title, method));
            else if (WhyUnsound(comparison, method, rows) is string why)
                disqualified.Add($"{title}: {why}");
            else if (!rows.Any(r => r.Method.Id == method.Id))
                notRanked.Add(method.Undriven is string undriven ? $"{title}: {undriven.TrimEnd('.')}. {OneClient(vantage)}" : $"{title}: it has no run.");
            else if (method.Vantage != vantage)
                notRanked.Add($"{title}: measured from another place ({Sentences.Place(method.Vantage)}) than the others, so it cannot be ranked with them.");
            else
                sound.Add(method);
        }

        WorkloadFacts[] workloads = [.. comparison.Workloads.Where(w => sound.Any(m => Has(rows, m, w)))];
        foreach (WorkloadFacts workload in comparison.Workloads.Except(workloads).Where(_ => sound.Count > 0))
            notRanked.Add($"The workload {workload.Title}: {workload.LeftOut ?? "no method that is judged has a run of it"}.");
        foreach (MethodFacts method in sound.Where(m => !workloads.All(w => Has(rows, m, w))))
        {
            string missing = string.Join("; ", workloads.Where(w => !Has(rows, method, w)).Select(w => w.Title));
            string why = method.Undriven is null ? string.Empty : $" {OneClient(vantage)}";
            notRanked.Add($"{comparison.TitleOf(method)}: not all workloads were measured (missing: {missing}).{why}");
        }

        MethodFacts[] complete = [.. sound.Where(m => workloads.All(w => Has(rows, m, w)))];
        MethodFacts[] candidates = OfOneClient(complete);
        foreach (MethodFacts method in complete.Except(candidates))
        {
            otherClients.Add(comparison.TitleOf(method));
            string others = candidates.Length == 0 ? "and each of the others by another client" : $"those that are ranked by {candidates[0].Load}";
            notRanked.Add($"{comparison.TitleOf(method)}: it was driven by {method.Load}, {others}, so it is not ranked with them. {OneClient(vantage)}");
        }

        return new Field
        {
            Consumer = consumer,
            Vantage = vantage,
            Candidates = candidates,
            Workloads = workloads,
            Disqualified = disqualified,
            NotMeasured = [.. unavailable, .. notRanked],
            NotRanked = notRanked,
            OtherClients = [.. otherClients.Distinct()],
        };
    }

    /// <summary>
    /// A part of the difference between two methods that different programs drove is that of the programs. So only those compete
    /// that one of them drove: the most. Where as many were driven by another, none does.
    /// </summary>
    private static MethodFacts[] OfOneClient(MethodFacts[] complete)
    {
        MethodFacts[][] groups = [.. complete.GroupBy(m => m.Load).Select(g => g.ToArray()).OrderByDescending(g => g.Length)];
        return groups.Length == 0 ? [] : groups.Length > 1 && groups[0].Length == groups[1].Length ? [] : groups[0];
    }

    private static string OneClient(Vantage vantage) => vantage == Vantage.Host
        ? "To have all driven by one client: polyblk compare --vantage guest (fio in a VM drives a disk by each method), or a fio that was built with the engine libblkio (Debian's was not)."
        : "To have all driven by one client, use the same version of fio in each VM.";

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
