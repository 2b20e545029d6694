// The frontend against real kernels: one boot for each, with many checks. The guest serves itself; what is checked is in vduse.sh.
//
// Every level, the file systems and their recovery are seen on one kernel, packed rings and the refusals on the other: there the kernels do
// not differ. Both run RAID 5, kills under a load of vhost-vdpa, and the search for leaks. ./test --extended does everything on both.

using Polyblk.Machine;

namespace Polyblk.GuestRig.Tests;

public sealed class VduseGuestTests
{
    private const string LibBlkio = "/usr/lib/x86_64-linux-gnu/libblkio.so.1";
    private static readonly string[] s_levels = ["raid0", "raid1", "raid5", "raid6"];
    private static readonly string[] s_parts = ["refusals", "arrays", "filesystems", "packed", "vhost", "leaks"];
    private static readonly string s_folder = Path.Combine(RigPaths.Repository, "tests", "guest", "vduse");

    [Fact]
    public Task Linux_6_12() => RunAsync(GuestKernel.Linux612, kills: 1, s_levels, "arrays", "filesystems", "vhost", "leaks");

    [Fact]
    public Task Linux_7_3() => RunAsync(GuestKernel.Linux73, kills: 2, ["raid5"], "refusals", "arrays", "packed", "vhost", "leaks");

    private static async Task RunAsync(GuestKernel kernel, int kills, string[] levels, params string[] parts)
    {
        if (Environment.GetEnvironmentVariable("POLYBLK_TEST_EXTENDED") == "1")
        {
            (kills, levels, parts) = (2, s_levels, s_parts);
        }

        // For work on one part.
        string[] chosen = Environment.GetEnvironmentVariable("POLYBLK_VDUSE_PARTS")?.Split(' ') ?? parts;
        GuestResult result = await new GuestVmBuilder("vduse", kernel)
            .Memory(3072)
            .Cpus(4)
            .PolyblkStandingBy()
            .Program("Polyblk.VdpaClient", "Polyblk.Blkio")
            .Programs("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "vdpa", "fio", "setpriv")
            .File(LibBlkio, LibBlkio)
            .Script($". /rig/standby.sh\nlevels='{string.Join(' ', levels)}' parts='{string.Join(' ', chosen)}' kills={kills}\n"
                + await File.ReadAllTextAsync(Path.Combine(s_folder, "vduse.sh")))
            .Timeout(TimeSpan.FromMinutes(25))
            .RunAsync();
        result.RequireSuccess([.. chosen.SelectMany(part => Expected(part, kills, levels)), "done"]);
    }

    private static IEnumerable<string> Expected(string part, int kills, string[] levels) => part switch
    {
        "refusals" => ["no-module-remedy", "no-driver-remedy", "not-root-remedy", "refused-leaves-nothing"],
        "arrays" => [.. levels.SelectMany(ExpectedOf), "arrays-nothing-left"],
        "filesystems" =>
        [
            "tree", "fstrim-frees", "stop-mounted-reason", "taken-over", "tree-after-hand-over", "other-shape-reason", "other-volume-reason",
            "taken-over-1", "taken-over-2", "load-over-kills", "tree-after-kills", "fsck", "discard", "tree-xfs", "repair-xfs", "resized",
            "write-beyond", "io-errors", "disk-nothing-left",
        ],
        "packed" => ["packed-negotiated", "bounce", "packed-redone", "bounce-again", "packed-over-kill", "packed-nothing-left"],
        "vhost" =>
        [
            "disk-1", "disk-2", "del", "add-again", "by-hand-nothing-left", "verified", "stop-in-use-reason",
            .. Enumerable.Range(1, kills).Select(kill => $"vhost-redone-{kill}"), "still-running", "verified-over-kills", "vhost-nothing-left",
        ],
        "leaks" => ["cycle-100", "leaks-nothing-left"],
        _ => throw new ArgumentException($"There is no part '{part}'.", nameof(part)),
    };

    private static string[] ExpectedOf(string level) =>
        ["queues-" + level, "same-" + level, "healthy-" + level, level == "raid0" ? "failed-raid0" : "degraded-" + level, "finish-" + level];
}
