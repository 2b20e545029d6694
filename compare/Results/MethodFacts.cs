using System.ComponentModel;
using System.Text.Json.Serialization;

namespace Polyblk.Compare.Results;

[Description("One way to deliver a volume, measured from one place; or something to compare it with.")]
public sealed record MethodFacts
{
    [Description("Stable and unique: what runs refer to, such as vhost-user-2q@guest.")]
    public required string Id { get; init; }

    [Description("What people call it, such as 'vhost-user, 2 queues'.")]
    public required string Title { get; init; }

    [Description("What was measured, in one line.")]
    public string? Description { get; init; }

    [Description("The frontend: vhost-user, vduse, ublk, virtio-iothread, nbd; for others, the program. The same for all variants of one.")]
    public required string Frontend { get; init; }

    [Description("Whether it is a way to deliver the volume, the bare thing without a frontend, or another program.")]
    public required MethodRole Role { get; init; }

    [Description("Where the load ran: on the host (as a container sees it) or in a VM.")]
    public required Vantage Vantage { get; init; }

    [Description("What was behind it. Only methods with the same backing are compared by the verdict.")]
    public Backing Backing { get; init; }

    [Description("Who can use what this method, from this place, delivers.")]
    public IReadOnlyList<Consumer> Reaches { get; init; } = [];

    [Description("Whether it could run here.")]
    public required bool Available { get; init; }

    [Description("Why not; or, where it could, why it ended before the comparison did.")]
    public string? Reason { get; init; }

    [Description("What would make it run: one command or sentence each.")]
    public IReadOnlyList<string> Remedies { get; init; } = [];

    [Description("What kept it, or some workloads of it, from being driven although it works here: no client that can is installed. Absent where there was one.")]
    public string? Undriven { get; init; }

    [Description("What drove it, such as 'fio 3.33 with io_uring'.")]
    public string? Load { get; init; }

    [Description("Whether the data that was written through it came back, checked before anything was timed.")]
    public Verification Verification { get; init; }

    [Description("What the verification did, or what it found wrong.")]
    public string? VerificationDetail { get; init; }

    [Description("The commands that were run for it, exactly, in order.")]
    public IReadOnlyList<string> Commands { get; init; } = [];

    [Description("How the data moves, and why this way was chosen: such as 'user copy: the array needs to read the data for its parity'.")]
    public string? CopyMode { get; init; }

    [Description("What it can do besides reading and writing.")]
    public MethodFeatures Features { get; init; } = new();

    [Description("What it needs of the host.")]
    public MethodNeeds Needs { get; init; } = new();
}

[Description("Of this program's frontends, by their tests: true: seen to work; false: does not; absent: not tried. Of peers, by their documentation. What depends on the kernel is said for the one that was measured on.")]
public sealed record MethodFeatures
{
    [Description("Discard (TRIM, UNMAP).")]
    public bool? Discard { get; init; }

    [Description("Flush of a volatile cache.")]
    public bool? Flush { get; init; }

    [Description("Growing while it is in use.")]
    public bool? Resize { get; init; }

    [Description("More than one queue.")]
    public bool? MultiQueue { get; init; }

    [Description("Read-only export.")]
    public bool? ReadOnly { get; init; }

    [Description("Live migration of the VM that uses it.")]
    public bool? LiveMigration { get; init; }

    /// <summary>Title and state of each, in the order in which they are shown.</summary>
    public IEnumerable<(string Title, bool? State)> All() =>
    [
        ("discard", Discard), ("flush", Flush), ("resize", Resize), ("multi-queue", MultiQueue), ("read-only", ReadOnly), ("live migration", LiveMigration),
    ];
}

[Description("What a method needs of the host.")]
public sealed record MethodNeeds
{
    [Description("Kernel modules.")]
    public IReadOnlyList<string> KernelModules { get; init; } = [];

    [Description("Privileges: root, a capability, a group.")]
    public IReadOnlyList<string> Privileges { get; init; } = [];

    [Description("Whether the VM's memory must be shared with the target.")]
    public bool SharedMemory { get; init; }

    [Description("Other programs.")]
    public IReadOnlyList<string> Programs { get; init; } = [];

    /// <summary>All of them as words.</summary>
    public IEnumerable<string> All() =>
        [.. KernelModules.Select(m => $"module {m}"), .. Privileges, .. SharedMemory ? new[] { "shared guest memory" } : [], .. Programs];
}

/// <summary>What a method stands for.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<MethodRole>))]
public enum MethodRole
{
    /// <summary>A frontend of this program: what the verdict chooses from.</summary>
    [JsonStringEnumMemberName("frontend")]
    Frontend,

    /// <summary>The drive or the array without a frontend.</summary>
    [JsonStringEnumMemberName("bare")]
    Bare,

    /// <summary>Another program doing the same.</summary>
    [JsonStringEnumMemberName("peer")]
    Peer,
}

/// <summary>What a method served.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Backing>))]
public enum Backing
{
    /// <summary>The volume of the comparison.</summary>
    [JsonStringEnumMemberName("volume")]
    Volume,

    /// <summary>One drive like those that the volume consists of.</summary>
    [JsonStringEnumMemberName("drive")]
    Drive,
}

/// <summary>Outcome of a data verification.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Verification>))]
public enum Verification
{
    [JsonStringEnumMemberName("not-run")]
    NotRun,
    [JsonStringEnumMemberName("passed")]
    Passed,
    [JsonStringEnumMemberName("failed")]
    Failed,
}
