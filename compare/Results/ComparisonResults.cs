// What a runner collects, by the names of methods and in the units in which it was measured. RunnerMapping makes the recorded
// form of it (Comparison), which is what is written, shown and judged.

using Polyblk.Compare.Load;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Results;

/// <summary>A comparison: the host, the methods, and every single run.</summary>
public sealed record ComparisonResults
{
    public required DateTimeOffset StartedUtc { get; init; }

    public required HostFacts Host { get; init; }

    public required RunSettings Settings { get; init; }

    public required IReadOnlyList<MethodRecord> Methods { get; init; }

    public required IReadOnlyList<Workload> Workloads { get; init; }

    /// <summary>Every run, in the order in which they were made.</summary>
    public required IReadOnlyList<RunRecord> Runs { get; init; }

    /// <summary>Every run that failed, by the names of method and workload.</summary>
    public IReadOnlyList<FailedRun> FailedRuns { get; init; } = [];

    /// <summary>The name of the method that ratios refer to.</summary>
    public required string Baseline { get; init; }

    /// <summary>What the reader should know: noise, one processor for both sides, a run that was broken off.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <summary>What happened when targets were killed under load.</summary>
    public IReadOnlyList<RestartTest> Restarts { get; init; } = [];

    /// <summary>The array against what its drives could give.</summary>
    public IReadOnlyList<EfficiencyRow> Efficiency { get; init; } = [];

    /// <summary>What others took of the processors before it began; null where that was not read.</summary>
    public ForeignLoad? LoadBefore { get; init; }

    /// <summary>Whether it was broken off before all rounds were made.</summary>
    public bool Interrupted { get; init; }
}

/// <summary>Where it was measured.</summary>
public sealed record HostFacts(string Processor, int Processors, bool? IsVirtual, string Kernel, string Scratch, string ScratchReason);

/// <summary>How it was measured.</summary>
public sealed record RunSettings(
    int Rounds, double SecondsPerRun, double WarmUpSeconds, IReadOnlyList<int> TargetCpus, IReadOnlyList<int> LoadCpus, long SpanBytes, int Members)
{
    /// <summary>Of the random offsets in the first round.</summary>
    public ulong Seed { get; init; }
}

/// <summary>A method, and why it has no figures when it has none.</summary>
public sealed record MethodRecord
{
    public required string Name { get; init; }

    public required string Description { get; init; }

    /// <summary>Whether it ran.</summary>
    public required bool Ran { get; init; }

    /// <summary>Why it did not run, or, where it ran, why it has no further figures.</summary>
    public string? Reason { get; init; }

    /// <summary>What would make it run.</summary>
    public IReadOnlyList<string> Remedies { get; init; } = [];

    /// <summary>
    /// Why no client that is installed drives it, or some workloads, although it works here; null where there is one.
    /// </summary>
    public string? Undriven { get; init; }

    /// <summary>What drove it.</summary>
    public string? Load { get; init; }

    /// <summary>Whether everything that was written came back, before anything was timed.</summary>
    public bool Verified { get; init; }

    /// <summary>What the verification did.</summary>
    public string? VerifiedBy { get; init; }

    /// <summary>The commands that were run for it.</summary>
    public IReadOnlyList<string> Commands { get; init; } = [];
}

/// <summary>One run of one workload on one method.</summary>
/// <param name="Method">The method's name.</param>
/// <param name="Workload">The workload's name.</param>
/// <param name="Round">The round, from 0.</param>
/// <param name="Load">What the load saw.</param>
/// <param name="TargetCpuNs">Processor time of the target's processes in the counted time, in nanoseconds: 0 where it has none,
/// null where it was not read.</param>
/// <param name="TargetContextSwitches">Their context switches.</param>
public sealed record RunRecord(string Method, string Workload, int Round, LoadResult Load, long? TargetCpuNs, long? TargetContextSwitches)
{
    /// <summary>
    /// Share of all processors' time in the run, its warm-up included, that went to other programs or to the hypervisor, 0 to 1.
    /// </summary>
    public double ForeignCpuShare { get; init; }

    /// <summary>Share of all processors' time in the run that the hypervisor gave to others, 0 to 1.</summary>
    public double StealShare { get; init; }

    /// <summary>Notifications of both sides in the counted time; null where neither tells.</summary>
    public long? Notifications { get; init; }

    public double Iops => Load.Requests / Load.Seconds;

    public double BytesPerSecond => Load.Bytes / Load.Seconds;
}
