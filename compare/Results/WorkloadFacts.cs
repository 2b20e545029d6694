using System.ComponentModel;
using System.Text.Json.Serialization;

namespace Polyblk.Compare.Results;

[Description("What the load did.")]
public sealed record WorkloadFacts
{
    [Description("Stable and unique: what runs refer to, such as 4k-randread-qd32.")]
    public required string Name { get; init; }

    [Description("What people call it, such as '4 KiB random read, QD 32'.")]
    public required string Title { get; init; }

    [Description("The set that it comes from: quick, random, io_uring, sequential, filesystem, or custom for a fio job file. (full is random, io_uring and sequential.)")]
    public string? Preset { get; init; }

    [Description("Order and direction of the requests.")]
    public required AccessPattern Pattern { get; init; }

    [Description("Bytes of a request.")]
    public required int BlockBytes { get; init; }

    [Description("Requests in flight of each job.")]
    public required int QueueDepth { get; init; }

    [Description("Jobs (threads or processes) that ran it at once.")]
    public required int Jobs { get; init; }

    [Description("How the requests were issued, such as 'libaio' or 'io_uring, fixed buffers, polled'.")]
    public string? Engine { get; init; }

    [Description("The file system that it ran on; absent for the bare device.")]
    public string? FileSystem { get; init; }

    [Description("How it was scaled from the published form to this machine, such as 'jobs 32 → 2'.")]
    public string? Scaling { get; init; }

    [Description("Why it was not run on any method, and what would make it run; absent when it was.")]
    public string? LeftOut { get; init; }

    /// <summary>Whether its result is bytes per second; requests per second otherwise.</summary>
    [JsonIgnore]
    public bool IsBandwidth => Pattern is AccessPattern.SequentialRead or AccessPattern.SequentialWrite;

    /// <summary>Its result in a run: requests or bytes per second.</summary>
    public double ResultOf(MeasuredRun run)
    {
        ArgumentNullException.ThrowIfNull(run);
        return IsBandwidth ? run.BytesPerSecond : run.Iops;
    }
}

/// <summary>Order and direction of requests.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<AccessPattern>))]
public enum AccessPattern
{
    [JsonStringEnumMemberName("random-read")]
    RandomRead,
    [JsonStringEnumMemberName("random-write")]
    RandomWrite,
    [JsonStringEnumMemberName("sequential-read")]
    SequentialRead,
    [JsonStringEnumMemberName("sequential-write")]
    SequentialWrite,
    [JsonStringEnumMemberName("custom")]
    Custom,
}
