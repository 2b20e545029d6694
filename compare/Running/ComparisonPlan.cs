using Polyblk.Compare.Load;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Running;

/// <summary>How a comparison is to be made.</summary>
public sealed record ComparisonPlan
{
    public required IReadOnlyList<IDeliveryMethod> Methods { get; init; }

    public required IReadOnlyList<ILoadGenerator> Loads { get; init; }

    public required IReadOnlyList<Workload> Workloads { get; init; }

    /// <summary>Name of the method that ratios refer to.</summary>
    public required string Baseline { get; init; }

    public int Rounds { get; init; } = 3;

    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(0.5);

    public TimeSpan WarmUp { get; init; } = TimeSpan.FromSeconds(0.15);

    public ulong Seed { get; init; } = 1;

    /// <summary>Whether targets are killed under load, after everything is measured.</summary>
    public bool Restarts { get; init; }

    /// <summary>How RAID efficiency is measured; null leaves that out.</summary>
    public EfficiencyPlan? Efficiency { get; init; }

    /// <summary>What others took of the processors before; null where that was not read.</summary>
    public ForeignLoad? LoadBefore { get; init; }

    /// <summary>What is known beforehand and belongs into the report.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}

/// <summary>Told how far a comparison is.</summary>
/// <param name="Done">Runs that are done.</param>
/// <param name="Total">Runs in all.</param>
/// <param name="What">What happens now.</param>
public sealed record ComparisonProgress(int Done, int Total, string What);
