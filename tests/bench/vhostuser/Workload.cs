using Polyblk.Blkio;

namespace Polyblk.Bench;

/// <summary>One pattern of load.</summary>
/// <param name="Name">Short name for tables.</param>
/// <param name="Pattern"><c>randread</c>, <c>randwrite</c>, <c>read</c> or <c>write</c> (sequential).</param>
/// <param name="BlockBytes">Bytes a request.</param>
/// <param name="QueueDepth">Requests in flight on each queue.</param>
/// <param name="Queues">Queues, each driven by a thread of its own.</param>
/// <param name="Manner">How the driver waits for its answers.</param>
internal sealed record Workload(
    string Name, string Pattern, int BlockBytes, int QueueDepth, int Queues = 1, BlkioManner Manner = BlkioManner.Batches)
{
    /// <summary>Whether the result is better told in bytes than in requests.</summary>
    public bool IsLarge => BlockBytes >= 65536;

    /// <summary>Whether it writes.</summary>
    public bool Writes => Pattern.Contains("write", StringComparison.Ordinal);

    /// <summary>The standard set.</summary>
    public static IReadOnlyList<Workload> Standard { get; } =
    [
        new("read-4k-qd1", "randread", 4096, 1),
        new("read-4k-qd8", "randread", 4096, 8),
        new("read-4k-qd32", "randread", 4096, 32),
        new("read-4k-qd128", "randread", 4096, 128),
        new("read-4k-qd32-2q", "randread", 4096, 32, Queues: 2),
        .. Kinds("singly", BlkioManner.Singly),
        .. Kinds("sleeping", BlkioManner.Sleeping),
        new("write-4k-qd1", "randwrite", 4096, 1),
        new("write-4k-qd32", "randwrite", 4096, 32),
        new("read-128k-qd8", "read", 131072, 8),
        new("read-1m-qd8", "read", 1 << 20, 8),
        new("write-128k-qd8", "write", 131072, 8),
        new("write-512k-qd8", "write", 1 << 19, 8),
    ];

    private static IEnumerable<Workload> Kinds(string name, BlkioManner manner) =>
        new[] { 1, 8, 32, 128 }.Select(depth => new Workload($"{name}-4k-qd{depth}", "randread", 4096, depth, Manner: manner))
            .Append(new Workload($"{name}-4k-qd32-2q", "randread", 4096, 32, Queues: 2, manner));
}
