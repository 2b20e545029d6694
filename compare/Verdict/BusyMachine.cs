// Whether others left enough of the processors to judge by.
//
// A run in which other programs and the hypervisor took a quarter of the processors' time says who got how much of the rest, not
// how methods compare. Where more than a third of the runs are such, nothing is recommended: the figures are shown, and what to
// do. Runs of methods that work in the kernel's threads (loop, md) do not count: their own work cannot be told from that of
// others.

using System.Globalization;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>What others took of the processors in the runs of a comparison.</summary>
/// <param name="Percent">Other programs and the hypervisor, in the middle run.</param>
/// <param name="StealPercent">The hypervisor alone, in the middle run.</param>
/// <param name="BusyRuns">Runs in which both took so much that they say little of a method.</param>
/// <param name="Runs">Runs that count.</param>
public sealed record BusyMachine(double Percent, double StealPercent, int BusyRuns, int Runs)
{
    /// <summary>What the runs show; null unless the machine was too busy for a recommendation.</summary>
    public static BusyMachine? In(Comparison comparison, Rules? rules = null)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        rules ??= Rules.Default;
        HashSet<string> inKernel =
        [
            .. comparison.Methods.Where(m => m.Role == MethodRole.Peer).Select(m => m.Id)
                .Where(id => comparison.Runs.All(r => r.Method != id || r.TargetCpuUsPerRequest is null)),
        ];
        MeasuredRun[] read = [.. comparison.Runs.Where(r => !inKernel.Contains(r.Method) && (r.OtherLoadPercent ?? r.StealPercent) is not null)];
        if (read.Length == 0)
        {
            NoiseReadings noise = comparison.Environment.Noise;
            double all = (noise.OtherLoadPercent ?? 0) + (noise.StealPercent ?? 0);
            return all >= rules.TooBusyPercent ? new BusyMachine(all, noise.StealPercent ?? 0, comparison.Runs.Count, comparison.Runs.Count) : null;
        }

        double[] percents = [.. read.Select(r => (r.OtherLoadPercent ?? 0) + (r.StealPercent ?? 0))];
        int busy = percents.Count(p => p >= rules.TooBusyPercent);
        return busy <= read.Length * rules.TooBusyShare ? null
            : new BusyMachine(Sample.Of(percents.Select(p => (double?)p))!.Value.Median, Sample.Of(read.Select(r => r.StealPercent))?.Median ?? 0, busy, read.Length);
    }

    /// <summary>What to tell the user before anything is measured; null when the machine is quiet enough.</summary>
    public static string? Warning(ForeignLoad before, Rules? rules = null)
    {
        ArgumentNullException.ThrowIfNull(before);
        rules ??= Rules.Default;
        bool isTooBusy = before.OtherPercent + before.StealPercent >= rules.TooBusyPercent;
        if (!isTooBusy && before.OtherPercent <= rules.OtherLoadWarningPercent && before.StealPercent <= rules.StealWarningPercent)
        {
            return null;
        }

        string state = string.Create(
            CultureInfo.InvariantCulture, $"this machine is busy: {Takers(before.OtherPercent, before.StealPercent)} of its processor time (load average {before.LoadAverage:0.0}).");
        string consequence = isTooBusy ? "If it stays so, there will be figures but no recommendation." : "Small differences will not be seen.";
        return $"{state} {consequence} {WhatToDo(before.StealPercent > before.OtherPercent)}";
    }

    /// <summary>
    /// What to tell the user of a comparison inside a machine, which does not see its host; null when the host was quiet enough
    /// for a verdict.
    /// </summary>
    public static string? WarningAfter(ForeignLoad during, Rules? rules = null)
    {
        ArgumentNullException.ThrowIfNull(during);
        rules ??= Rules.Default;
        return during.OtherPercent + during.StealPercent < rules.TooBusyPercent ? null
            : $"this host was too busy while its virtual machine measured, which does not see that: {Takers(during.OtherPercent, during.StealPercent)} of its processor time. "
                + $"Take the verdict above for none. {WhatToDo(during.StealPercent > during.OtherPercent)}";
    }

    /// <summary>The recommendation that is none.</summary>
    internal Recommendation Advice(Comparison comparison, Purpose purpose, Rules rules)
    {
        Field[] fields = [.. (purpose switch { Purpose.Vm => [Consumer.Vm], Purpose.Container => [Consumer.Container], _ => new[] { Consumer.Vm, Consumer.Container } })
            .Select(c => Field.For(comparison, c))];
        string typed = comparison.Settings.CommandLine is string command ? $": {command}" : ".";
        return new Recommendation
        {
            Purpose = purpose,
            Outcome = Outcome.None,
            Methods = [],
            Headline = $"No recommendation: the machine was too busy. Others took {Percents(Percent)} of its processor time while it was measured.",
            Reasons =
            [
                $"In {BusyRuns} of {Runs} runs others took {Percents(rules.TooBusyPercent)} or more of it (in the middle run {Takers(Percent - StealPercent, StealPercent)}): "
                    + "such figures say who got how much of the rest, not how the methods compare.",
            ],
            WouldChange = [WhatToDo(StealPercent > Percent - StealPercent), $"Then run it again{typed}"],
            NotMeasured = [.. fields.SelectMany(f => f.NotMeasured).Distinct()],
            NotRanked = [.. fields.SelectMany(f => f.NotRanked).Distinct()],
            Disqualified = [.. fields.SelectMany(f => f.Disqualified).Distinct()],
            Cautions = [.. Cautions.OfPlace(comparison)],
        };
    }

    private static string Takers(double other, double steal) => steal < 0.5 ? $"other programs took {Percents(other)}"
        : $"other programs took {Percents(other)} and the hypervisor {Percents(steal)}";

    private static string WhatToDo(bool isHypervisor) => isHypervisor
        ? "The host of this virtual machine has other work: measure at another time, or on another host."
        : "Stop the other programs (top shows them), or give the comparison processors of its own (taskset -c LIST polyblk compare ...).";

    private static string Percents(double percent) => string.Create(CultureInfo.InvariantCulture, $"{percent:0} %");
}
