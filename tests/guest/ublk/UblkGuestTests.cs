// The frontend against real kernels: one boot for each, with many checks. What is checked is in ublk.sh.

using Polyblk.GuestRig;

namespace Polyblk.UblkGuest.Tests;

public sealed class UblkGuestTests
{
    [Fact]
    public Task Linux_6_12() => RunAsync(GuestKernel.Linux612, "zero_copy=no resize=no quiesce= levels=raid5", "basics filesystems recovery stopping sizes arrays own_device unprivileged leaks");

    [Fact]
    public Task Linux_7_3() => RunAsync(
        GuestKernel.Linux73, "zero_copy=yes resize=yes quiesce=handover-stay levels='raid0 raid1 raid5 raid6'", "basics filesystems recovery stopping sizes zero_copies arrays own_device unprivileged leaks");

    private static async Task RunAsync(GuestKernel kernel, string settings, string parts)
    {
        string? only = Environment.GetEnvironmentVariable("POLYBLK_UBLK_PARTS");
        await using GuestVm guest = new GuestVmBuilder("ublk", kernel)
            .Memory(3072)
            .Cpus(4)
            .Timeout(TimeSpan.FromMinutes(20))
            .Programs("fio", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "blockdev", "sha256sum", "mount", "umount")
            .Polyblk()
            .File(Path.Combine(RigPaths.Repository, "artifacts", "bin", "Polyblk.UblkTestHost", "release"), "/opt/host")
            .File(Path.Combine(AppContext.BaseDirectory, "ublk.sh"), "/rig/ublk.sh")
            .Script($"export {settings} parts='{only ?? parts}'\n. /rig/ublk.sh\n")
            .Start();
        GuestResult result = await guest.CompletionAsync();
        result.RequireSuccess(only is null ? [.. Expected(kernel)] : ["done"]);
    }

    private static IEnumerable<string> Expected(GuestKernel kernel)
    {
        string[] both =
        [
            "probe", "copy-1-queue", "user-copy-4-queues", "copy-4-queues", "block-4096", "read-only", "write-read-only", "discard", "zeroes", "stop-idle",
            "tree-ext4", "fsck-ext4", "tree-xfs", "fsck-xfs", "fstrim-ext4", "fstrim-xfs", "stop-mounted-ext4", "stop-mounted-xfs",
            "crash", "crash-same-device-1", "crash-all-tags", "delete-orphan", "stop-open-reason", "force", "forced-data", "handover-data", "drain-holds",
            "drain-releases", "array-raid5", "degraded-raid5", "raid5-crash", "end-degraded-raid5", "own-device-reason", "unprivileged", "stop-unprivileged", "cycle-100", "devices-left", "done",
        ];
        string[] newest = ["resized", "handover-stay-data", "zero-copy-zero", "zero-copy-hybrid", "zero-copy-late", "zero-copy-crash", "raid5-mode", "array-raid0", "array-raid1", "array-raid6",
            "degraded-raid1", "degraded-raid6"];
        return kernel == GuestKernel.Linux73 ? [.. both, .. newest] : [.. both, "resize-too-old"];
    }
}
