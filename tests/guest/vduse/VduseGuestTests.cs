// The frontend against real kernels: one boot for each, with many checks. The guest serves itself; what is checked is in vduse.sh.

using Polyblk.Machine;

namespace Polyblk.GuestRig.Tests;

public sealed class VduseGuestTests
{
    private const string LibBlkio = "/usr/lib/x86_64-linux-gnu/libblkio.so.1";
    private static readonly string s_folder = Path.Combine(RigPaths.Repository, "tests", "guest", "vduse");

    [Fact]
    public Task Linux_6_12() => RunAsync(GuestKernel.Linux612, "arrays filesystems packed vhost leaks", "raid0", "raid1", "raid5", "raid6");

    [Fact]
    public Task Linux_7_3() => RunAsync(GuestKernel.Linux73, "refusals arrays filesystems packed vhost leaks", "raid5");

    private static async Task RunAsync(GuestKernel kernel, string parts, params string[] levels)
    {
        // For work on one part: the others are left out, and so are their checks.
        string? only = Environment.GetEnvironmentVariable("POLYBLK_VDUSE_PARTS");
        GuestResult result = await new GuestVmBuilder("vduse", kernel)
            .Memory(3072)
            .Cpus(4)
            .Polyblk()
            .Programs("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "vdpa", "fio", "setpriv")
            .File(LibBlkio, LibBlkio)
            .File(Path.Combine(RigPaths.Repository, "artifacts", "bin", "Polyblk.VdpaClient", "release"), "/opt/client")
            .Script($"levels='{string.Join(' ', levels)}' parts='{only ?? parts}'\n"
                + await File.ReadAllTextAsync(Path.Combine(s_folder, "vduse.sh")))
            .Timeout(TimeSpan.FromMinutes(25))
            .RunAsync();
        result.RequireSuccess(only is null ? [.. Expected(parts, levels)] : ["done"]);
    }

    private static IEnumerable<string> Expected(string parts, string[] levels)
    {
        string[] refusals = ["no-module-remedy", "no-driver-remedy", "not-root-remedy", "refused-leaves-nothing", "other-shape-reason", "other-volume-reason"];
        foreach (string name in parts.StartsWith("refusals", StringComparison.Ordinal) ? refusals : [])
        {
            yield return name;
        }

        foreach (string level in levels)
        {
            yield return "queues-" + level;
            yield return "same-" + level;
            yield return "healthy-" + level;
            yield return level == "raid0" ? "failed-raid0" : "degraded-" + level;
            yield return "finish-" + level;
        }

        string[] others =
        [
            "arrays-nothing-left", "tree", "fstrim-frees", "stop-mounted-reason", "taken-over", "tree-after-hand-over", "taken-over-1", "taken-over-2", "load-over-kills", "tree-after-kills", "fsck", "discard", "tree-xfs", "repair-xfs", "resized", "write-beyond", "io-errors",
            "disk-nothing-left", "packed-negotiated", "packed-redone", "packed-over-kill", "packed-nothing-left",
            "disk-1", "disk-2", "del", "add-again", "by-hand-nothing-left", "verified", "stop-in-use-reason", "vhost-redone-1", "vhost-redone-2",
            "still-running", "verified-over-kills", "vhost-nothing-left", "cycle-100", "leaks-nothing-left", "done",
        ];
        foreach (string name in others)
        {
            yield return name;
        }
    }
}
