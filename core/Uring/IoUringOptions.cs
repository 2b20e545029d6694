namespace Polyblk.Core.Uring;

/// <summary>What a ring is made for.</summary>
public sealed record IoUringOptions
{
    /// <summary>Submission entries; a power of two, 1 to 32768. The completion ring has four times as many.</summary>
    public uint Entries { get; init; } = 1024;

    /// <summary>128-byte submission entries, as ublk and NVMe passthrough commands need them (Linux 5.19).</summary>
    public bool LargeSqe { get; init; }

    /// <summary>
    /// Poll the devices for completions instead of taking interrupts. Only reads and writes of devices with poll queues.
    /// </summary>
    public bool IoPoll { get; init; }
}

/// <summary>Told of completions. One handler serves many operations, told apart by their tags.</summary>
public interface IUringHandler
{
    /// <summary>An operation finished. On the ring's thread.</summary>
    /// <param name="tag">The tag given to <see cref="IoUring.TryGetSqe"/>.</param>
    /// <param name="result">The operation's result, or a negative errno.</param>
    /// <param name="flags">IORING_CQE_F_*.</param>
    void OnUringCompletion(uint tag, int result, uint flags);
}
