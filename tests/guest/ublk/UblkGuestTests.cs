// The frontend against real kernels: one boot for each, with many checks. What is checked is in ublk.sh.

using Polyblk.GuestRig;

namespace Polyblk.UblkGuest.Tests;

public sealed class UblkGuestTests
{
    private const string Parts = "basics filesystem recovery failing stopping sizes arrays unprivileged leaks";

    [Fact]
    public Task Linux_6_12() => RunAsync(GuestKernel.Linux612, "zero_copy=no resize=no fail_io=no handovers=handover levels=raid5", Parts + " command_line");

    [Fact]
    public Task Linux_7_3() => RunAsync(
        GuestKernel.Linux73, "zero_copy=yes resize=yes fail_io=yes handovers='handover handover-stay' levels='raid0 raid1 raid5 raid6'", Parts + " zero_copies array_crash");

    private static async Task RunAsync(GuestKernel kernel, string settings, string parts)
    {
        string? only = Environment.GetEnvironmentVariable("POLYBLK_UBLK_PARTS");
        GuestResult result = await new GuestVmBuilder("ublk", kernel)
            .Memory(3072)
            .Cpus(4)
            .Timeout(TimeSpan.FromMinutes(25))
            .Programs("fio", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "blockdev", "sha256sum", "mount", "umount", "setpriv")
            .PolyblkStandingBy()
            .Program("Polyblk.UblkTestHost")
            .File(Path.Combine(AppContext.BaseDirectory, "ublk.sh"), "/rig/ublk.sh")
            .Script($"export {settings} parts='{only ?? parts}'\n. /rig/ublk.sh\n")
            .RunAsync();
        result.RequireSuccess(only is null ? [.. Expected(kernel)] : ["done"]);
    }

    private static IEnumerable<string> Expected(GuestKernel kernel)
    {
        string[] both =
        [
            "probe", "copy-1-queue", "user-copy-4-queues", "copy-4-queues", "block-4096", "unaligned", "read-only", "write-read-only", "discard", "zeroes",
            "own-device-reason", "stop-idle",
            "fstrim-xfs", "stop-mounted-xfs", "fsck-xfs", "tree-xfs",
            "crash", "crash-same-device-1", "crash-same-device-2", "all-tags", "crash-all-tags", "delete-live", "delete-orphan", "no-device",
            "stop-open-reason", "handover-data", "drain-holds", "drain-releases",
            "array-raid5", "reconstruct-raid5", "degraded-raid5", "health-raid5",
            "unprivileged", "stop-unprivileged", "cycle-100", "devices-left", "done",
        ];
        string[] newest = ["fail-io-meanwhile", "fail-io-after", "null-mode", "null-reads-zeroes", "resized", "write-beyond", "handover-stay-data", "zero-copy-zero", "zero-copy-hybrid", "zero-copy-late", "zero-copy-crash", "raid5-mode",
            "array-raid0", "array-raid1", "array-raid6", "degraded-raid1", "degraded-raid6", "reconstruct-raid6", "raid5-crash",
            "raid5-crash-load", "optimal", "raid5-parity-after-crash", "degraded-raid5-served", "end-degraded-raid5"];
        string[] oldest = ["resize-too-old", "fail-io-too-old", "copy-over-crash", "serve-same-device", "fstrim-ext4", "tree-ext4", "stop-mounted-reason", "stop-forced", "forced-data", "fsck-ext4",
            "list-orphan", "delete", "deleted"];
        return kernel == GuestKernel.Linux73 ? [.. both, .. newest] : [.. both, .. oldest];
    }
}
