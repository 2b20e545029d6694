namespace Polyblk.Core.Reactors;

/// <summary>How a reactor is made.</summary>
public sealed record ReactorOptions
{
    /// <summary>Name of the reactor and its thread (at most 15 bytes show in the kernel).</summary>
    public string Name { get; init; } = "reactor";

    /// <summary>The processor to pin the thread to, or null to let the kernel place it.</summary>
    public int? Cpu { get; init; }

    /// <summary>
    /// Where the threads that wait in this reactor's place may run (the kernel's io_uring workers, I/O threads), or null for the
    /// reactor's own processor. A reactor that polls leaves them little of its own: see <see cref="CpuSet.Without"/>.
    /// </summary>
    public CpuSet? HelperCpus { get; init; }

    /// <summary>How long to poll before sleeping.</summary>
    public IdlePolicy Idle { get; init; } = IdlePolicy.Balanced;

    /// <summary>Entries of the main io_uring; 0 makes none.</summary>
    public uint RingEntries { get; init; } = 1024;

    /// <summary>
    /// Longest sleep in nanoseconds. Every source of work rings; that a reactor looks by itself now and then is a second line of
    /// defence.
    /// </summary>
    public long MaxSleepNs { get; init; } = 1_000_000_000;
}
