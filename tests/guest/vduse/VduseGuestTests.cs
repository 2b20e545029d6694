// The frontend against real kernels: one boot for each, with many checks. The guest serves itself; what is checked is in vduse.sh, the same
// on both kernels.

using Polyblk.Machine;

namespace Polyblk.GuestRig.Tests;

public sealed class VduseGuestTests
{
    private const string Firmware = "/usr/share/seabios/bios-256k.bin";
    private const string LibBlkio = "/usr/lib/x86_64-linux-gnu/libblkio.so.1";
    private static readonly string[] s_levels = ["raid0", "raid1", "raid5", "raid6"];
    private static readonly string[] s_parts = ["refusals", "arrays", "by_hand", "filesystems", "crashes", "machine", "leaks"];
    private static readonly string s_folder = Path.Combine(RigPaths.Repository, "tests", "guest", "vduse");

    [Fact]
    public Task Linux_6_12() => RunAsync(GuestKernel.Linux612);

    [Fact]
    public Task Linux_7_3() => RunAsync(GuestKernel.Linux73);

    private static async Task RunAsync(GuestKernel kernel)
    {
        // For work on one part.
        string[] parts = Environment.GetEnvironmentVariable("POLYBLK_VDUSE_PARTS")?.Split(' ') ?? s_parts;
        GuestResult result = await new GuestVmBuilder("vduse", kernel)
            .Memory(3072)
            .Cpus(4)
            .PolyblkStandingBy()
            .Program("Polyblk.VdpaClient", "Polyblk.Blkio")
            .Programs("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "vdpa", "fio", "setpriv")
            .File(LibBlkio, LibBlkio)
            .Programs("qemu-system-x86_64")
            .File(Firmware, Firmware)
            .Script($". /rig/standby.sh\n. /rig/filesystem.sh\nlevels='{string.Join(' ', s_levels)}' parts='{string.Join(' ', parts)}'\n"
                + await File.ReadAllTextAsync(Path.Combine(s_folder, "vduse.sh")))
            .Timeout(TimeSpan.FromMinutes(25))
            .RunAsync();
        result.RequireSuccess([.. parts.SelectMany(Expected), "done"]);
    }

    private static IEnumerable<string> Expected(string part) => part switch
    {
        "refusals" => ["no-module-remedy", "no-driver-remedy", "not-root-remedy", "refused-leaves-nothing"],
        "arrays" => [.. s_levels.SelectMany(ExpectedOf), "arrays-nothing-left"],
        "filesystems" =>
        [
            "tree", "fstrim-frees", "stop-mounted-reason", "taken-over", "tree-after-hand-over", "other-shape-reason", "other-volume-reason",
            "load-waits", "taken-over-after-kill", "load-over-kill", "tree-after-kill", "fsck", "discard", "tree-xfs", "resized", "write-beyond",
            "taken-over-degraded", "told-degraded", "tree-degraded", "tree-written-degraded", "fstrim-degraded", "repair-xfs", "io-errors",
            "disk-nothing-left",
        ],
        "by_hand" => ["disk-1", "disk-2", "del", "add-again", "by-hand-nothing-left"],
        "crashes" =>
        [
            "packed-negotiated", "bounce", "verified", "stop-in-use-reason", "both-wait", "both-redone", "bounce-again", "packed-over-kill", "vhost-redone",
            "still-running", "verified-over-kills", "crashes-nothing-left",
        ],
        "machine" => ["machine-boots", "machine-writes", "machine-nothing-left"],
        "leaks" => ["cycle-100", "leaks-nothing-left"],
        _ => throw new ArgumentException($"There is no part '{part}'.", nameof(part)),
    };

    private static string[] ExpectedOf(string level) =>
    [
        "queues-" + level, $"ext4-{level}-tree", $"ext4-{level}-fsck", "same-" + level, "healthy-" + level, "finish-" + level,
        .. level == "raid0" ? new[] { "failed-raid0" } : ["degraded-" + level, $"ext4-{level}-degraded-tree", $"ext4-{level}-degraded-fsck"],
    ];
}
