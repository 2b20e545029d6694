using System.ComponentModel;

namespace Polyblk.Compare.Results;

[Description("One run of one workload on one method in one round.")]
public sealed record MeasuredRun
{
    [Description("Id of the method.")]
    public required string Method { get; init; }

    [Description("Name of the workload.")]
    public required string Workload { get; init; }

    [Description("The round, from 0. Runs of one round were made close together; ratios are taken within a round.")]
    public required int Round { get; init; }

    [Description("Length of the counted time in seconds.")]
    public required double Seconds { get; init; }

    [Description("Requests per second.")]
    public required double Iops { get; init; }

    [Description("Bytes per second.")]
    public required double BytesPerSecond { get; init; }

    [Description("Times from submission to completion.")]
    public LatencyNs Latency { get; init; } = new();

    [Description("Processor time of the target for a request, in microseconds; absent where the target has no process of its own.")]
    public double? TargetCpuUsPerRequest { get; init; }

    [Description("Processor time of the load for a request, in microseconds.")]
    public double? LoadCpuUsPerRequest { get; init; }

    [Description("Context switches of the target for a request.")]
    public double? ContextSwitchesPerRequest { get; init; }

    [Description("Context switches of the load for a request.")]
    public double? LoadContextSwitchesPerRequest { get; init; }

    [Description("Notifications (kicks and interrupts) for a request, as far as target or load count them.")]
    public double? NotificationsPerRequest { get; init; }

    [Description("Requests that ended with an error. Any makes the run worthless.")]
    public long Errors { get; init; }

    [Description("Share of processor time that the hypervisor took during this run, in percent.")]
    public double? StealPercent { get; init; }

    [Description("Share of processor time that neither the target nor the load nor the hypervisor used during this run, in percent.")]
    public double? OtherLoadPercent { get; init; }
}

[Description("A run that gave no figures because it failed.")]
public sealed record FailedRun
{
    [Description("Id of the method.")]
    public required string Method { get; init; }

    [Description("Name of the workload.")]
    public required string Workload { get; init; }

    [Description("The round, from 0.")]
    public required int Round { get; init; }

    [Description("What happened, in the load's words.")]
    public required string Reason { get; init; }
}

[Description("Latencies in nanoseconds. What the load does not report is absent, and so is a percentile beyond which fewer than 10 requests lie (p99.9 takes 10,000 requests).")]
public sealed record LatencyNs
{
    /// <summary>Requests beyond a percentile without which it is not recorded.</summary>
    public const int LeastBeyond = 10;

    [Description("Mean.")]
    public double? Mean { get; init; }

    [Description("50th percentile.")]
    public double? P50 { get; init; }

    [Description("90th percentile.")]
    public double? P90 { get; init; }

    [Description("99th percentile.")]
    public double? P99 { get; init; }

    [Description("99.9th percentile.")]
    public double? P999 { get; init; }

    [Description("99.99th percentile.")]
    public double? P9999 { get; init; }
}

[Description("The target was killed with SIGKILL under load and started again.")]
public sealed record RestartTest
{
    [Description("Id of the method.")]
    public required string Method { get; init; }

    [Description("Longest time without a completion, in milliseconds.")]
    public double? GapMs { get; init; }

    [Description("Whether the target did not start again, or what was waiting for it was never answered.")]
    public bool DidNotComeBack { get; init; }

    [Description("Requests that ended with an error.")]
    public required long IoErrors { get; init; }

    [Description("Whether the data was right afterwards.")]
    public Verification Verification { get; init; }

    [Description("What was done, or why it could not be measured, or how it failed.")]
    public string? Detail { get; init; }
}
