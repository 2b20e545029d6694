namespace Polyblk.Compare.Workloads;

/// <summary>What the load does.</summary>
/// <param name="Name">Short name, stable in results.</param>
/// <param name="IsWrite">Writes, or else reads.</param>
/// <param name="IsRandom">Random offsets, or else ascending ones.</param>
/// <param name="BlockBytes">Bytes of a request.</param>
/// <param name="Depth">Requests in flight in all, over all queues.</param>
public sealed record Workload(string Name, bool IsWrite, bool IsRandom, int BlockBytes, int Depth)
{
    /// <summary>What <c>polyblk compare</c> runs when nothing is said: each says something that the others do not.</summary>
    public static IReadOnlyList<Workload> Quick { get; } =
    [
        new("4k-randread-qd1", false, true, 4 << 10, 1),
        new("4k-randread-qd32", false, true, 4 << 10, 32),
        new("4k-randwrite-qd32", true, true, 4 << 10, 32),
        new("128k-read-qd8", false, false, 128 << 10, 8),
    ];

    /// <summary>For headings: <c>4 KiB random read, QD 32</c>.</summary>
    public string Title => $"{BlockBytes >> 10} KiB {(IsRandom ? "random" : "sequential")} {(IsWrite ? "write" : "read")}, QD {Depth}";
}
