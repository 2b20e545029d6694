// A whole comparison that runs in a machine, where the kernel has the drivers that this host may lack, by the real command.
//
// These have a collection of their own: an emulated machine keeps little more than one processor busy, so two at a time are done sooner.

using Polyblk.Compare.Results;

namespace Polyblk.CompareGuest.Tests;

[Collection("drivers in a machine")]
public sealed class InsideTests
{
    /// <summary>
    /// The methods of a host, and those of a machine that need its drivers, measured in a machine that runs in it by KVM on the emulated processor's
    /// virtualisation (the others have CompareGuestTests). The scratch files are on a disk, so that ublk copies nothing.
    /// </summary>
    [Fact]
    public async Task Inside_a_machine_every_method_has_figures()
    {
        using var run = new CompareRun();
        await run.StartAsync(
        [
            "--inside-guest", "--vantage", "host,guest", "--dir", run.PathOf("."), "--workloads", "randwrite", "--for", "vm",
            "--methods", "array,vhost-user-1q@host,vhost-user-2q@host,nbd@host,ublk,vduse,qemu-storage-daemon-drive@host,loop,mdadm", .. CompareRun.Short,
        ]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.True(comparison.Environment.InsideGuest);
        Assert.Equal(Environment.MachineName, comparison.Environment.Host);
        Assert.NotEqual(Virtualization.None, comparison.Environment.Virtualization);
        Assert.StartsWith("7.", comparison.Environment.Kernel, StringComparison.Ordinal);
        Assert.Contains("initramfs of this program", comparison.Environment.GuestSystem, StringComparison.Ordinal);
        Assert.Contains(comparison.Notes, n => n.Contains("nested KVM", StringComparison.Ordinal));
        run.AssertMeasured(
            comparison, "array@host", "vhost-user-1q@host", "vhost-user-2q@host", "nbd@host", "ublk-copy@host", "ublk-user-copy@host", "ublk-zero-copy@host", "vduse-virtio@host",
            "qemu-storage-daemon-drive@host", "qemu-storage-daemon-vduse-drive@host", "mdadm@host", "loop@host",
            "virtio-iothread-ublk-1t@guest", "virtio-iothread-ublk-2t@guest", "ublk-host-device@guest", "vduse-vhost-vdpa@guest");
        Assert.All(comparison.Methods, m => Assert.True(m.Verification == Verification.Passed || m.Reason is { Length: > 0 }, m.Id));
        Assert.True(new FileInfo(run.PathOf("report.html")).Length > 10_000);
        Assert.Contains("For a VM", run.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("@progress", run.Text, StringComparison.Ordinal);
        Assert.Empty(Directory.GetDirectories(run.PathOf(".")));
    }

    [Fact]
    public async Task What_is_missing_is_said_with_the_command_that_brings_it()
    {
        using var run = new CompareRun();
        await run.StartAsync("--inside-guest", "--guest-kernel", "/nowhere/vmlinuz", "--guest-initrd", "/nowhere/initrd");
        Assert.Equal(3, run.ExitCode);
        Assert.Contains("There is no file /nowhere/vmlinuz", run.Text, StringComparison.Ordinal);
    }
}
