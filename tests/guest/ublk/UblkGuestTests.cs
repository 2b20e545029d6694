// The frontend against real kernels: one boot for each, with many checks. What is checked is in ublk.sh and volume.sh, the same
// on both kernels; what the older one lacks must be refused there. The array levels are spread over them.

using Polyblk.GuestRig;

namespace Polyblk.UblkGuest.Tests;

public sealed class UblkGuestTests
{
    private const string Parts = "basics recovery zero_copies arrays stopping leaks unprivileged volume";

    [Fact]
    public Task Linux_6_12() => RunAsync(GuestKernel.Linux612, ["raid0", "raid6"], "zero_copy=no resize=no fail_io=no handovers=handover");

    [Fact]
    public Task Linux_7_3() => RunAsync(GuestKernel.Linux73, ["raid1", "raid5"], "others='raid0 raid6' zero_copy=yes resize=yes fail_io=yes handovers='handover-stay handover'");

    private static async Task RunAsync(GuestKernel kernel, string[] levels, string settings)
    {
        // For work on one part.
        string? only = Environment.GetEnvironmentVariable("POLYBLK_UBLK_PARTS");
        GuestResult result = await new GuestVmBuilder("ublk", kernel)
            .Memory(3072)
            .Cpus(4)
            .Timeout(TimeSpan.FromMinutes(25))
            .Programs("fio", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "blockdev", "sha256sum", "mount", "umount", "setpriv")
            .PolyblkServing()
            .GuestPrograms()
            .File(Path.Combine(AppContext.BaseDirectory, "ublk.sh"), "/rig/ublk.sh")
            .File(Path.Combine(AppContext.BaseDirectory, "volume.sh"), "/rig/volume.sh")
            .Script($"export {settings} levels='{string.Join(' ', levels)}' parts='{only ?? Parts}'\n. /rig/ublk.sh\n")
            .RunAsync();
        result.RequireSuccess(only is null ? [.. Expected(kernel), .. levels.SelectMany(ExpectedOf)] : ["done"]);
    }

    private static IEnumerable<string> Expected(GuestKernel kernel)
    {
        string[] both =
        [
            "probe", "no-state-leaves-nothing", "copy-1-queue", "user-copy-4-queues", "copy-4-queues", "block-4096", "unaligned", "read-only", "write-read-only", "discard", "zeroes",
            "own-device-reason", "stop-idle",
            "delete-live", "all-tags", "caught-1", "crash-orphans-1", "delete-orphan", "other-volume", "other-volume-note", "other-mode-reason",
            "crash-same-device-1", "crash-same-null-1", "caught-2", "crash-orphans-2", "crash-same-device-2", "crash-same-null-2", "crash-all-tags", "crash",
            "no-device", "stop-open-reason", "handover-waits", "handover-data", "drain-reaches", "drain-holds", "drain-releases", "null-reads-zeroes",
            "give-up-leaves-nothing",
            "cycle-100", "devices-left", "unprivileged", "stop-unprivileged", "end-unprivileged", "end-unprivileged-away",
            "copy-waits", "serve-same-device", "copy-over-crash", "fstrim-ext4", "tree-ext4", "stop-mounted-reason", "stop-forced", "forced-data", "fsck-ext4",
            "discard-all", "fstrim-xfs", "stop-mounted-xfs", "still-served-xfs", "raid5-crash-load", "list-orphan", "raid5-crash", "optimal",
            "tree-xfs-degraded", "raid5-parity-after-crash", "degraded", "tree-written-degraded", "fstrim-degraded", "fsck-xfs-degraded", "delete", "deleted",
            "done",
        ];
        string[] newest =
        [
            "fail-io-meanwhile", "fail-io-after", "null-mode", "resized", "write-beyond", "handover-stay-waits", "handover-stay-data", "crash-zero-copy",
            "zero-copy-zero", "zero-copy-hybrid", "zero-copy-late", "raid5-mode",
            .. new[] { "raid0", "raid1", "raid5", "raid6", "raid1-degraded", "raid5-degraded", "raid6-degraded" }.SelectMany(array => new[] { "resized-" + array, "beyond-" + array }),
        ];
        string[] oldest = ["fail-io-reason", "resize-reason", "zero-copy-reason"];
        return kernel == GuestKernel.Linux73 ? [.. both, .. newest] : [.. both, .. oldest];
    }
    private static IEnumerable<string> ExpectedOf(string level)
    {
        string[] healthy = ["queues-" + level, .. FileSystems.ChecksOf(level), "caught-" + level, "same-devices-" + level, "killed-" + level, "discard-" + level, "array-" + level];
        if (level == "raid0") return [.. healthy, "failed-raid0"];
        string degraded = level + "-degraded";
        return
        [
            .. healthy, "reconstruct-" + level, "degraded-" + level, "health-" + level, "caught-" + degraded, "same-devices-" + degraded, "killed-" + degraded,
            $"health-{level}-killed", "discard-" + degraded, .. FileSystems.ChecksOf(degraded),
        ];
    }
}
