using System.Globalization;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>
/// Single runs that something else disturbed: the hypervisor or other programs took more of the processors than in the middle run
/// of the same method and workload, by more than the limits of the rules. Noise that is always there (also a method's own work in
/// threads of the kernel, which nobody can tell apart) is in the middle run too, and is warned of by its median.
/// </summary>
public static class Disturbances
{
    private const int MostNamed = 5;

    /// <summary>A sentence with the worst of them; null when there is none.</summary>
    public static string? In(Comparison comparison, Rules? rules = null)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        rules ??= Rules.Default;
        (MeasuredRun Run, double Percent)[] disturbed =
        [
            .. comparison.Runs.GroupBy(r => (r.Method, r.Workload)).SelectMany(g => Of([.. g], rules)).OrderByDescending(d => d.Percent),
        ];
        if (disturbed.Length == 0)
            return null;
        string more = disturbed.Length > MostNamed ? $"; and {disturbed.Length - MostNamed} more (otherLoadPercent and stealPercent of the runs in results.json)" : string.Empty;
        string runs = disturbed.Length == 1 ? "1 run was" : $"{disturbed.Length} runs were";
        return $"{runs} disturbed: {string.Join("; ", disturbed.Take(MostNamed).Select(d => Words(comparison, d.Run, d.Percent)))}{more}.";
    }

    private static IEnumerable<(MeasuredRun Run, double Percent)> Of(MeasuredRun[] runs, Rules rules)
    {
        double steal = Sample.Of(runs.Select(r => r.StealPercent))?.Median ?? 0;
        double other = Sample.Of(runs.Select(r => r.OtherLoadPercent))?.Median ?? 0;
        return from run in runs
               where run.StealPercent - steal > rules.StealWarningPercent || run.OtherLoadPercent - other > rules.OtherLoadWarningPercent
               select (run, (run.StealPercent ?? 0) + (run.OtherLoadPercent ?? 0));
    }

    private static string Words(Comparison comparison, MeasuredRun run, double percent) => string.Create(
        CultureInfo.InvariantCulture,
        $"{comparison.TitleOf(comparison.Method(run.Method))}, {comparison.Workloads.First(w => w.Name == run.Workload).Title}, round {run.Round + 1} (others took {percent:0} %)");
}
