// A comparison inside a machine that starts a machine of its own: the only way in which a host without VDUSE and ublk sees what a VM gets from them.
//
// In the collection of those that take less time, for balance (InsideTests.cs).

using Polyblk.Compare.Results;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class NestedTests
{
    /// <summary>The inner machine runs by KVM on the emulated processor's virtualisation. Emulated itself, it would not boot in the time of a test.</summary>
    [Fact]
    public async Task A_machine_in_a_machine_measures_its_disks_by_the_kernels_devices()
    {
        using var run = new CompareRun();
        await run.StartAsync(
            [
                "--inside-guest", "--vantage", "guest", "--guest-cpus", "4", "--methods", "vhost-vdpa,virtio-iothread-ublk-2t,virtio-iothread-vduse-2t",
                "--workloads", "randwrite", "--for", "vm", .. CompareRun.Short,
            ]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.True(comparison.Environment.InsideGuest);
        Assert.Contains("initramfs of this program", comparison.Environment.GuestSystem, StringComparison.Ordinal);
        Assert.Contains(comparison.Notes, n => n.Contains("nested KVM", StringComparison.Ordinal));
        run.AssertMeasured(comparison, "qemu-file@guest", "vduse-vhost-vdpa@guest", "virtio-iothread-ublk-2t@guest", "virtio-iothread-vduse-2t@guest");
        Assert.Contains("For a VM", run.Text, StringComparison.Ordinal);
    }
}
