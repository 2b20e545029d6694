using Polyblk.Compare.Results;

namespace Polyblk.Compare.Verdict;

/// <summary>What weakens the figures that a choice rests on.</summary>
public static class Cautions
{
    /// <summary>Signs of noise above the rules' limits, one sentence each.</summary>
    public static IEnumerable<string> OfNoise(NoiseReadings noise, Rules? rules = null)
    {
        ArgumentNullException.ThrowIfNull(noise);
        rules ??= Rules.Default;
        if (noise.StealPercent > rules.StealWarningPercent)
            yield return $"The hypervisor took {noise.StealPercent:0.#} % of the processor time (steal) while it was measured.";
        if (noise.OtherLoadPercent > rules.OtherLoadWarningPercent)
            yield return $"Other programs used {noise.OtherLoadPercent:0.#} % of the processor time while it was measured.";
        if (noise.ReferenceDriftPercent > rules.DriftWarningPercent)
        {
            string counts = rules.LeadThatCounts(noise) > rules.LeastLead ? " Only differences larger than this count here." : string.Empty;
            yield return $"The reference run wandered by up to {noise.ReferenceDriftPercent:0} % from its median.{counts}";
        }

        if (noise is { StealPercent: null, OtherLoadPercent: null, ReferenceDriftPercent: null })
            yield return "Noise was not read: whether something else disturbed the runs is not known.";
    }

    /// <summary>What the machine is, whatever went on on it.</summary>
    internal static IEnumerable<string> OfPlace(Comparison comparison)
    {
        EnvironmentFacts environment = comparison.Environment;
        if (environment.Virtualization == Virtualization.Emulation)
            yield return "The machine was emulated: only ratios between methods mean something, absolute figures do not, and even ratios may differ on hardware.";
        if (environment.HostIsVirtual == true)
            yield return "The host is a virtual machine itself: what shares its processors and drives is not seen from here, and an interrupt costs it more than hardware.";
    }

    internal static IEnumerable<string> Of(Comparison comparison, IReadOnlyList<Choice> choices, Rules rules)
    {
        EnvironmentFacts environment = comparison.Environment;
        foreach (string place in OfPlace(comparison))
            yield return place;
        foreach (string noise in OfNoise(environment.Noise, rules))
            yield return noise;
        if (Disturbances.In(comparison, rules) is string disturbed)
            yield return disturbed;
        if (comparison.Interrupted)
            yield return "The comparison was broken off: fewer rounds were made than planned.";
        if (environment.CpuCount < 2)
            yield return "Target and load shared one processor.";
        foreach (Choice choice in choices.Where(c => c.Best is not null))
        {
            if (choice.Field is { Consumer: Consumer.Vm, Vantage: Vantage.Host })
                yield return "The methods for VMs were driven from the host, not from inside a VM: what the VM itself adds is missing.";
            int rounds = choice.Ranking.Count < 2 ? comparison.Runs.Where(r => r.Method == choice.Best!.Id).Select(r => r.Round).Distinct().Count() : choice.Ranking.Min(r => r.Ratio.Count);
            if (rounds < rules.LeastRounds)
                yield return $"Only {Sentences.Rounds(rounds)}: too few to tell a lead from chance.";
        }
    }
}
