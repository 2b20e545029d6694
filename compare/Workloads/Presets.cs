// The published workloads, as sets with names. Their jobs are scaled to the machine: 32 jobs on two processors measure the
// scheduler.
//
//   quick       four workloads, each of which says something that the others do not
//   random      4 KiB random read and write, libaio, iodepth 1 and 32, 1 and 32 jobs
//   io_uring    the same with io_uring, fixed buffers, registered files and polling
//   sequential  1024k, 1472k and 1536k read and write, iodepth 1 and 32, 1 and 8 jobs with an offset increment of 10 %
//   filesystem  4 KiB random read and write in a file of fixed size, iodepth 1, 8, 16 and 128, 16 jobs
//   full        random, io_uring and sequential

namespace Polyblk.Compare.Workloads;

/// <summary>Sets of workloads. See the head of this file.</summary>
public static class Presets
{
    private const int RandomBlockBytes = 4 << 10;
    private const long FileBytes = 64L << 20;

    /// <summary>Names of the presets.</summary>
    public static IReadOnlyList<string> Names { get; } = ["quick", "random", "io_uring", "sequential", "filesystem", "full"];

    /// <summary>What <c>polyblk compare</c> runs when nothing is said.</summary>
    public static IReadOnlyList<Workload> Quick { get; } =
    [
        new("4k-randread-qd1", false, true, RandomBlockBytes, 1),
        new("4k-randread-qd32", false, true, RandomBlockBytes, 32),
        new("4k-randwrite-qd32", true, true, RandomBlockBytes, 32),
        new("128k-read-qd8", false, false, 128 << 10, 8),
    ];

    /// <summary>The workloads of a preset.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="maxJobs">Most jobs at once; what is published with more is scaled down to that and says so.</param>
    /// <exception cref="ArgumentException">There is no such preset.</exception>
    public static IReadOnlyList<Workload> Get(string name, int maxJobs)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxJobs, 1);
        return name switch
        {
            "quick" => Quick,
            "random" => [.. Random(BlockEngine.Libaio, "random", maxJobs)],
            "io_uring" => [.. Random(BlockEngine.IoUringFixed, "io_uring", maxJobs)],
            "sequential" => [.. Sequential(maxJobs)],
            "filesystem" => [.. FileSystem(maxJobs)],
            "full" => [.. Random(BlockEngine.Libaio, "random", maxJobs), .. Random(BlockEngine.IoUringFixed, "io_uring", maxJobs), .. Sequential(maxJobs)],
            _ => throw new ArgumentException($"There is no preset '{name}'; there are {string.Join(", ", Names)}.", nameof(name)),
        };
    }

    private static IEnumerable<Workload> Random(BlockEngine engine, string preset, int maxJobs) =>
        from jobs in new[] { 1, 32 }
        from depth in new[] { 1, 32 }
        from isWrite in new[] { false, true }
        let suffix = engine == BlockEngine.Libaio ? "libaio" : "uring-fixed"
        select Scale(new Workload($"4k-rand{Verb(isWrite)}-qd{depth}-j{jobs}-{suffix}", isWrite, true, RandomBlockBytes, depth) { Engine = engine, Preset = preset }, jobs, maxJobs);

    private static IEnumerable<Workload> Sequential(int maxJobs) =>
        from kib in new[] { 1024, 1472, 1536 }
        from jobs in new[] { 1, 8 }
        from depth in new[] { 1, 32 }
        from isWrite in new[] { false, true }
        select Scale(
            new Workload($"{kib}k-{Verb(isWrite)}-qd{depth}-j{jobs}", isWrite, false, kib << 10, depth)
            {
                Engine = BlockEngine.Libaio, Preset = "sequential", OffsetIncrementPercent = jobs > 1 ? 10 : 0,
            },
            jobs,
            maxJobs);

    private static IEnumerable<Workload> FileSystem(int maxJobs) =>
        from depth in new[] { 1, 8, 16, 128 }
        from isWrite in new[] { false, true }
        select Scale(
            new Workload($"fs-4k-rand{Verb(isWrite)}-qd{depth}-j16", isWrite, true, RandomBlockBytes, depth)
            {
                Engine = BlockEngine.Libaio, Preset = "filesystem", FileSystem = "ext4", FileBytes = FileBytes,
            },
            16,
            maxJobs);

    private static Workload Scale(Workload workload, int jobs, int maxJobs) => jobs <= maxJobs
        ? workload with { Jobs = jobs }
        : workload with { Jobs = maxJobs, Scaling = $"jobs {jobs} → {maxJobs}" };

    private static string Verb(bool isWrite) => isWrite ? "write" : "read";
}
