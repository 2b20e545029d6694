using System.Globalization;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>Figures in words.</summary>
internal static class Sentences
{
    public static string Place(Vantage vantage) => vantage == Vantage.Guest ? "inside a VM" : "on the host";

    public static string Consumer(Consumer consumer) => consumer == Results.Consumer.Vm ? "a VM" : "containers";

    public static string Detail(string? detail) => detail is { Length: > 0 } ? $" ({detail.TrimEnd('.')})" : string.Empty;

    public static string Percent(double fraction) => string.Create(CultureInfo.InvariantCulture, $"{100 * fraction:0} %");

    public static string Factor(double value) => value.ToString(value >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);

    public static string Rounds(int count) => count == 1 ? "1 round" : $"{count} rounds";

    /// <summary>How many runs of a method failed, and what happened in the first.</summary>
    public static string FailedRuns(Comparison comparison, IReadOnlyList<FailedRun> failed)
    {
        string title = comparison.Workloads.First(w => w.Name == failed[0].Workload).Title;
        string first = $"{title}, round {failed[0].Round + 1}: {failed[0].Reason.TrimEnd('.')}";
        return failed.Count == 1 ? $"1 run failed: {first}" : $"{failed.Count} runs failed, the first of them {first}";
    }

    public static string Workloads(int count) => count == 1 ? "the workload" : $"the {count} workloads";

    /// <summary>1.42 (1.31 to 1.55 over 5 rounds).</summary>
    public static string Ratio(Sample ratio) =>
        $"{Factor(ratio.Median)} ({Factor(ratio.Minimum)} to {Factor(ratio.Maximum)} over {Rounds(ratio.Count)})";

    public static string List(IReadOnlyList<string> names) =>
        names.Count <= 1 ? string.Concat(names) : $"{string.Join(", ", names.Take(names.Count - 1))} and {names[^1]}";
}
