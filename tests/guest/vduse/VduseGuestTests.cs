// The frontend against real kernels: one boot for each, with many checks. The guest serves itself; what is checked is in
// vduse.sh, the same on both kernels. The array levels are spread over them.

using Polyblk.Machine;

namespace Polyblk.GuestRig.Tests;

public sealed class VduseGuestTests
{
    private const string Firmware = "/usr/share/seabios/bios-256k.bin";
    private static readonly string[] s_parts = ["refusals", "arrays", "by_hand", "filesystems", "crashes", "machine", "leaks"];
    private static readonly string s_folder = Path.Combine(RigPaths.Repository, "tests", "guest", "vduse");

    [Fact]
    public Task Linux_6_12() => RunAsync(GuestKernel.Linux612, ["raid1", "raid5"]);

    [Fact]
    public Task Linux_7_3() => RunAsync(GuestKernel.Linux73, ["raid0", "raid6"]);

    private static async Task RunAsync(GuestKernel kernel, string[] levels)
    {
        // For work on one part.
        string[] parts = Environment.GetEnvironmentVariable("POLYBLK_VDUSE_PARTS")?.Split(' ') ?? s_parts;
        GuestResult result = await new GuestVmBuilder("vduse", kernel)
            .Memory(3072)
            .Cpus(4)
            .PolyblkServing()
            .GuestPrograms()
            .Programs("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "vdpa", "fio", "setpriv")
            .Programs("qemu-system-x86_64")
            .File(Firmware, Firmware)
            .Script($". /rig/serving.sh\n. /rig/filesystem.sh\nlevels='{string.Join(' ', levels)}' parts='{string.Join(' ', parts)}'\n"
                + await File.ReadAllTextAsync(Path.Combine(s_folder, "vduse.sh")))
            .Timeout(TimeSpan.FromMinutes(25))
            .RunAsync();
        result.RequireSuccess([.. parts.SelectMany(part => Expected(part, levels)), "done"]);
    }

    private static IEnumerable<string> Expected(string part, string[] levels) => part switch
    {
        "refusals" => ["no-module-remedy", "no-driver-remedy", "not-root-remedy", "refused-leaves-nothing", "interrupted-nothing-left", "other-frontend-nothing-left"],
        "arrays" => [.. levels.SelectMany(ExpectedOf), "arrays-nothing-left"],
        "filesystems" =>
        [
            "tree", "fstrim-frees", "stop-mounted-reason", "taken-over", "tree-after-hand-over", "other-shape-reason", "other-volume-reason",
            "caught", "load-waits", "taken-over-after-kill", "load-over-kill", "tree-after-kill", "fsck", "discard", "tree-xfs", "resized", "write-beyond", "synced",
            "taken-over-degraded", "told-degraded", "tree-degraded", "tree-written-degraded", "fstrim-degraded", "repair-xfs", "io-errors",
            "disk-nothing-left",
        ],
        "by_hand" => ["disk-1", "disk-2", "del", "add-again", "by-hand-nothing-left"],
        "crashes" =>
        [
            "packed-negotiated", "bounce", "verified", "stop-in-use-reason", "both-wait", "both-redone", "bounce-again", "packed-over-kill", "vhost-waits",
            "vhost-redone", "still-running", "verified-over-kills", "crashes-nothing-left",
        ],
        "machine" => ["machine-boots", "machine-writes", "iothread-boots", "iothread-writes", "machine-nothing-left"],
        "leaks" => ["cycle-100", "leaks-nothing-left"],
        _ => throw new ArgumentException($"There is no part '{part}'.", nameof(part)),
    };

    private static IEnumerable<string> ExpectedOf(string level)
    {
        string[] healthy =
        [
            "queues-" + level, "same-" + level, "healthy-" + level, "failed-raid0", "finish-" + level, .. InEachState(level),
        ];
        if (level == "raid0") return healthy;
        string degraded = level + "-degraded";
        return
        [
            .. healthy.Except(["failed-raid0"]), "degraded-" + level, "kept-" + level, "told-" + level, "still-degraded-" + level, .. InEachState(degraded),
        ];
    }

    private static IEnumerable<string> InEachState(string array) =>
    [
        .. FileSystems.ChecksOf(array),
        "caught-" + array, "taken-over-" + array, "killed-" + array, "discard-" + array, "resized-" + array, "beyond-" + array,
    ];
}
