using System.Globalization;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;

namespace Polyblk.Compare.Report;

/// <summary>Where and how it was measured.</summary>
internal static class EnvironmentSection
{
    /// <summary>The lines under the page's title.</summary>
    public static Html Summary(Comparison comparison)
    {
        EnvironmentFacts e = comparison.Environment;
        VolumeFacts v = comparison.Volume;
        string volume = $"{v.Level}, {v.Members.Count} {(v.Members.Count == 1 ? "member" : "members")}, {Figures.Bytes(v.SizeBytes)}{(v.ChunkBytes is int chunk ? $", chunk {Figures.Bytes(chunk)}" : string.Empty)}";
        IEnumerable<Html> badges =
        [
            .. e.Virtualization == Virtualization.Emulation ? new[] { Parts.Badge("warn", "emulated: only ratios count") } : [],
            .. comparison.Interrupted ? new[] { Parts.Badge("warn", "broken off") } : [],
            .. v.Degraded ? new[] { Parts.Badge("warn", "degraded array") } : [],
            .. Cautions.OfNoise(e.Noise).Any() ? new[] { Parts.Badge("warn", "noise") } : [],
        ];
        return Html.Of($"""
            <p class="facts">{volume} · {e.Cpu}, {e.CpuCount} {(e.CpuCount == 1 ? "processor" : "processors")} · Linux {e.Kernel} · {comparison.StartedUtc.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)} UTC</p>
            <p class="badges">{badges}</p>
            """);
    }

    public static Html Render(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts)
    {
        EnvironmentFacts e = comparison.Environment;
        VolumeFacts v = comparison.Volume;
        NoiseReadings n = e.Noise;
        string[] warnings = [.. Cautions.OfNoise(n), .. new[] { Disturbances.In(comparison) }.OfType<string>()];
        return Html.Of($"""
            {Facts("Environment", [
                ("Host", e.Host), ("Distribution", e.Distribution), ("Kernel", e.Kernel), ("Processor", $"{e.Cpu}, {e.CpuCount}"), ("Memory", e.MemoryBytes is null ? null : Figures.Bytes(e.MemoryBytes)),
                ("Virtual machines", e.Virtualization switch { Virtualization.Kvm => "KVM", Virtualization.Emulation => "emulated (TCG): only ratios count", _ => "none" }),
                ("In the VM", e.GuestSystem), ("Ran inside a VM", e.InsideGuest ? "yes, the whole comparison" : null), ("The host itself", e.HostIsVirtual == true ? "a virtual machine" : null),
                ("polyblk", e.ProgramVersion), (".NET", e.DotnetVersion), ("QEMU", e.QemuVersion), ("fio", e.FioVersion), ("Scratch files", e.Scratch)])}
            {Facts("Volume", [
                ("Name", v.Name), ("Level", v.Level), ("Size", Figures.Bytes(v.SizeBytes)), ("Chunk", v.ChunkBytes is int c ? Figures.Bytes(c) : null),
                ("Members", string.Join("; ", v.Members)), ("State", v.Degraded ? "degraded" : "healthy")])}
            {Facts("Noise", [
                ("Steal", OfPercent(n.StealPercent)), ("Other load", OfPercent(n.OtherLoadPercent)), ("Steal before", OfPercent(n.StealPercentBefore)), ("Other load before", OfPercent(n.OtherLoadPercentBefore)),
                ("Load average at the start", n.LoadAverageAtStart?.ToString("0.0", CultureInfo.InvariantCulture) ?? "not read"),
                ("Drift of the reference run", OfPercent(n.ReferenceDriftPercent))])}
            {(warnings.Length == 0 ? Html.Of($"<p>No reading is above the limits from which the report warns.</p>") : Parts.List(warnings))}
            {(comparison.Notes.Count == 0 ? Html.Empty : Html.Of($"<h3>Notes</h3>{Parts.List(comparison.Notes)}"))}
            """);
    }

    public static Html Measurement(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts)
    {
        MeasurementSettings s = comparison.Settings;
        int made = comparison.Runs.Select(r => r.Round).Distinct().Count();
        string pinning = s.TargetCpus.Count + s.LoadCpus.Count == 0 ? "Nothing was pinned to processors."
            : $"The target ran on {Cpus(s.TargetCpus)}, the load on {Cpus(s.LoadCpus)}.";
        return Parts.List(
        [
            "Before anything was timed, the data of each method was verified; under Methods and availability it is said how. A method that returns wrong data is never recommended.",
            $"Methods took turns: in each round every method ran every workload once. {made} of {s.Rounds} rounds were made, {comparison.Runs.Count} runs in {Figures.Duration(comparison.ElapsedSeconds)}.",
            $"A run counts {Figures.Duration(s.RuntimeSeconds)} after a warm-up of {Figures.Duration(s.WarmUpSeconds)} that does not count.",
            pinning + (s.SpanBytes is long span ? $" The load covered {Figures.Bytes(span)} of the volume." : string.Empty) + (s.Seed is ulong seed ? $" The seed was {seed}." : string.Empty),
            $"A percentile of the latency is given where at least {LatencyNs.LeastBeyond} requests of a run took longer (p99.9 takes 10,000 requests, p99.99 takes 100,000); otherwise it would be the time of a single request.",
            "Figures are medians over the rounds; the spread is the range from the lowest to the highest round, divided by the median.",
            $"Ratios to {comparison.TitleOf(comparison.Method(comparison.Baseline))} are taken within each round, and their median is shown: what changes slowly on the machine then cancels out.",
            $"A difference counts as a lead when it is at least {100 * Rules.Default.LeastLead:0} %, larger than its own spread over the rounds, and seen over at least {Rules.Default.LeastRounds} rounds; everything else is called a tie.",
            "Methods that were not driven by the same client (the program that makes the requests) are not ranked with one another.",
            $"Where other programs and the hypervisor took {Rules.Default.TooBusyPercent:0} % or more of the processors' time in more than a third of the runs, nothing is recommended.",
        ]);
    }

    private static string Cpus(IReadOnlyList<int> cpus) => cpus.Count == 0 ? "any processor" : $"CPU {string.Join(", ", cpus)}";

    private static string OfPercent(double? value) => value is double v ? $"{v.ToString("0.#", CultureInfo.InvariantCulture)} %" : "not read";

    private static Html Facts(string title, IEnumerable<(string Name, string? Value)> facts) => Html.Of($"""
        <h3>{title}</h3>
        <dl>{facts.Where(f => f.Value is not null).Select(f => Html.Of($"<div><dt>{f.Name}</dt><dd>{f.Value}</dd></div>"))}</dl>
        """);
}
