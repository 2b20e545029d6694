// A whole comparison that runs in a machine, where the kernel has the drivers that this host may lack, by the real command.
//
// These have a collection of their own: an emulated machine keeps little more than one processor busy, so two at a time are done sooner.

using Polyblk.Compare.Results;

namespace Polyblk.CompareGuest.Tests;

[Collection("drivers in a machine")]
public sealed class InsideTests
{
    [Fact]
    public async Task Inside_a_machine_every_method_has_figures()
    {
        using var run = new CompareRun();
        await run.StartAsync(["--inside-guest", "--methods", "array,vhost-user-2q,vhost-user-1q,nbd@,ublk,vduse,qemu-storage-daemon-drive,loop,mdadm", "--workloads", "randwrite", "--for", "container", .. CompareRun.ShortWith(simulatedDrives: 4)]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.True(comparison.Environment.InsideGuest);
        Assert.Equal(Environment.MachineName, comparison.Environment.Host);
        Assert.NotEqual(Virtualization.None, comparison.Environment.Virtualization);
        Assert.StartsWith("7.", comparison.Environment.Kernel, StringComparison.Ordinal);
        run.AssertMeasured(
            comparison, "vhost-user-1q@host", "vhost-user-2q@host", "nbd@host", "array@host", "ublk-copy@host", "ublk-user-copy@host", "vduse-virtio@host",
            "qemu-storage-daemon-drive@host", "qemu-storage-daemon-vduse-drive@host");
        Assert.Equal("files in memory are always copied", comparison.Method("ublk-zero-copy@host").Reason);
        Assert.Contains(comparison.Methods, m => m.Id.StartsWith("loop", StringComparison.Ordinal) && m.Verification == Verification.Passed);
        Assert.Contains(comparison.Methods, m => m.Id.StartsWith("mdadm", StringComparison.Ordinal) && m.Verification == Verification.Passed);
        Assert.Equal(
            [AccessPattern.RandomRead, AccessPattern.RandomWrite, AccessPattern.SequentialRead, AccessPattern.SequentialWrite],
            comparison.Efficiency.Where(e => e is { Simulated: true, Members: 4, Array: > 0 }).Select(e => e.Pattern).Order());
        Assert.True(new FileInfo(run.PathOf("report.html")).Length > 10_000);
        Assert.Contains("For containers", run.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("@progress", run.Text, StringComparison.Ordinal);
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
