// The cases: a set of devices that are compared with one another under the same workloads, in the same alternating rounds.

namespace Polyblk.Bench;

/// <summary>A comparison: targets, the workloads that make sense for them, and what the ratios refer to.</summary>
/// <param name="Name">Short name.</param>
/// <param name="Targets">The targets; the first is the one whose ratios are shown against each of the others.</param>
/// <param name="Loads">Names of the workloads; empty means all.</param>
/// <param name="SizeBytes">Bytes of the device that the load touches.</param>
/// <param name="Prefill">Whether these are written once before anything is measured.</param>
internal sealed record Case(string Name, IReadOnlyList<Target> Targets, IReadOnlyList<string> Loads, long SizeBytes, bool Prefill = false);

/// <summary>The standard suite.</summary>
internal static class Suite
{
    private const long Mib = 1L << 20;

    /// <summary>All cases. Nothing is started yet.</summary>
    public static IReadOnlyList<Case> Build(BenchPaths paths, IReadOnlyList<string> blockDevices)
    {
        string[] small = [.. Workload.Standard.Where(w => !w.IsLarge).Select(w => w.Name)];
        string[] null9 = [.. Enumerable.Repeat("null:8GiB", 9)];
        string[] null10 = [.. Enumerable.Repeat("null:8GiB", 10)];
        string[] ram9 = [.. Enumerable.Repeat("ram:64MiB", 9)];
        string shmA = Path.Combine(paths.Shm, "polyblk.img");
        string shmB = Path.Combine(paths.Shm, "qsd.img");
        MakeFile(shmA, 512 * Mib);
        MakeFile(shmB, 512 * Mib);
        var cases = new List<Case>
        {
            new("null", [Single("null", "null:8GiB"), new QsdTarget("null", "driver=null-co,size=8589934592,read-zeroes=off")], small, 4096 * Mib),
            new("ram", [Single("ram", "ram:512MiB"), new QsdTarget("shm file", File(shmB, "io_uring", direct: false))], [], 512 * Mib, Prefill: true),
            new("shm-file",
                [Single("shm file", shmA), new QsdTarget("shm file io_uring", File(shmB, "io_uring", direct: false)),
                 new QsdTarget("shm file threads", File(shmB, "threads", direct: false))], [], 512 * Mib),
            new("raid-null",
                [Single("null", "null:8GiB"), Array("raid0 x4 null", "raid0", null9[..4]), Mirror("raid1 x2 null", null9[..2]),
                 Array("raid5 8+1 null", "raid5", null9), Array("raid6 8+2 null", "raid6", null10)], [], 4096 * Mib),
            new("raid-ram",
                [Single("ram", "ram:512MiB"), Array("raid0 x4 ram", "raid0", ram9[..4]), Mirror("raid1 x2 ram", ["ram:512MiB", "ram:512MiB"]),
                 Array("raid5 8+1 ram", "raid5", ram9), Array("raid6 8+2 ram", "raid6", [.. ram9, ram9[0]]),
                 new DegradedTarget("raid5 8+1 ram, one lost", 9, 64 * Mib)],
                [], 448 * Mib, Prefill: true),
        };
        for (int i = 0; i + 1 < blockDevices.Count; i += 2)
        {
            cases.Add(new Case(
                $"block {Path.GetFileName(blockDevices[i])}",
                [Single($"block {i / 2}", blockDevices[i]), new QsdTarget($"block {i / 2}", Host(blockDevices[i + 1]))],
                [], 256 * Mib));

            // What registered buffers bring, on devices alike.
            cases.Add(new Case(
                $"pinned {Path.GetFileName(blockDevices[i])}",
                [new PolyblkTarget($"block {i / 2}, pinned", "none", [blockDevices[i]], "--pin-memory", "on"), Single($"block {i / 2}", blockDevices[i + 1])],
                [], 256 * Mib));
        }

        return cases;
    }

    /// <summary>Instead of polyblk against its peers: this tree's program against other builds, device by device.</summary>
    /// <param name="cases">The suite.</param>
    /// <param name="builds">Names and program files of the others.</param>
    public static IEnumerable<Case> OfBuilds(IEnumerable<Case> cases, IReadOnlyList<KeyValuePair<string, string>> builds) =>
        from each in cases
        from target in each.Targets.OfType<PolyblkTarget>()
        select each with { Targets = [target, .. builds.Select(build => target.ByAnother(build.Key, build.Value))] };

    private static PolyblkTarget Single(string device, string drive) => new(device, "none", [drive]);

    private static PolyblkTarget Mirror(string device, IReadOnlyList<string> drives) => new(device, "raid1", drives);

    private static PolyblkTarget Array(string device, string level, IReadOnlyList<string> drives) => new(device, level, ["--chunk", "64KiB", .. drives]);

    private static string File(string path, string aio, bool direct) =>
        $"driver=file,filename={path},aio={aio},cache.direct={(direct ? "on" : "off")}";

    private static string Host(string path) => $"driver=host_device,filename={path},aio=io_uring,cache.direct=on";

    private static void MakeFile(string path, long bytes)
    {
        // Written, not sparse: a hole on tmpfs is read faster than data.
        using FileStream file = System.IO.File.Create(path);
        byte[] block = new byte[Mib];
        new Random(1).NextBytes(block);
        for (long at = 0; at < bytes; at += block.Length)
        {
            file.Write(block);
        }
    }
}
