using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Running;

/// <summary>A workload that a method was not given.</summary>
/// <param name="Method">The method's name.</param>
/// <param name="Workload">The workload's title.</param>
/// <param name="Reason">Why not.</param>
internal sealed record MissingRun(string Method, string Workload, string Reason);

/// <summary>What the reader should know of the runs, besides their figures.</summary>
internal static class RunNotes
{
    /// <summary>A sentence each.</summary>
    public static IEnumerable<string> Of(IEnumerable<MissingRun> missing, IReadOnlyList<RunRecord> runs, ScratchSpace scratch)
    {
        foreach (var (key, workloads) in missing.GroupBy(m => (m.Method, m.Reason), m => m.Workload).Select(g => (g.Key, g.ToArray())))
        {
            yield return $"{key.Method} has no figures of {(workloads.Length == 1 ? workloads[0] : $"{workloads.Length} workloads")}: {key.Reason}.";
        }

        if (scratch.TargetCpus.Intersect(scratch.LoadCpus).Any())
        {
            yield return "Target and load share a processor, because there is only one: latencies are those of two programs taking turns.";
        }

        int unread = runs.Count(r => r.TargetCpuNs is null || r.Load.LoadCpuNs is null);
        if (unread > 0)
        {
            yield return $"{unread} of {runs.Count} runs have no processor times or context switches of one side: they were over before both readings could be made apart from each other. "
                + "Longer runs (--runtime) have them.";
        }

        if (runs.Any(r => r.Load.Errors > 0))
        {
            yield return "Some requests ended with an error: the rows concerned are worth nothing. See errors in the JSON results.";
        }
    }
}
