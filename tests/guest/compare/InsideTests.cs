// A whole comparison that runs in a machine, where the kernel has the drivers that this host may lack, by the real command.
//
// The run of all methods has a collection of its own, for it takes as long as all other tests here: an emulated machine keeps
// little more than one processor busy, so two at a time are done sooner.

using Polyblk.Compare.Results;

namespace Polyblk.CompareGuest.Tests;

[Collection("all methods in a machine")]
public sealed class InsideTests
{
    /// <summary>All that there are where drives are files on a disk and kernel and QEMU have everything.</summary>
    private static readonly string[] s_methods =
    [
        "bare-drive@host", "array@host", "vhost-user-drive@host", "vhost-user-1q@host", "vhost-user-2q@host", "nbd@host", "ublk-copy@host", "ublk-user-copy@host",
        "ublk-zero-copy@host", "vduse-virtio@host", "qemu-storage-daemon-drive@host", "qemu-storage-daemon-vduse-drive@host", "mdadm@host", "loop@host",
        "vhost-user-1q@guest", "vhost-user-2q@guest", "virtio-iothread-1t@guest", "virtio-iothread-2t@guest", "nbd@guest", "virtio-iothread-ublk-1t@guest",
        "virtio-iothread-ublk-2t@guest", "ublk-host-device@guest", "virtio-iothread-vduse-2t@guest", "vduse-vhost-vdpa@guest", "qemu-storage-daemon-drive@guest",
    ];

    /// <summary>
    /// All methods on RAID 5, from the host's side and from a VM's. The machine in the machine runs by KVM on the emulated
    /// processor's virtualisation: emulated itself, it would not boot in the time of a test.
    /// </summary>
    [Fact]
    public async Task Inside_a_machine_every_method_has_figures()
    {
        using var run = new CompareRun();
        string disk = Directory.CreateDirectory(run.PathOf("disk")).FullName;
        await run.StartAsync(
            [
                "--inside-guest", "--dir", disk, "--vantage", "host,guest", "--level", "raid5", "--workloads", "randwrite", "--for", "container",
                .. CompareRun.ShortWith(simulatedDrives: 4),
            ]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.True(comparison.Environment.InsideGuest);
        Assert.Equal(Environment.MachineName, comparison.Environment.Host);
        Assert.NotEqual(Virtualization.None, comparison.Environment.Virtualization);
        Assert.StartsWith("7.", comparison.Environment.Kernel, StringComparison.Ordinal);
        run.AssertMeasured(comparison, s_methods);
        Assert.Contains("initramfs of this program", comparison.Environment.GuestSystem, StringComparison.Ordinal);
        Assert.Contains(comparison.Notes, n => n.Contains("nested KVM", StringComparison.Ordinal));
        Assert.Equal(s_methods.Order(StringComparer.Ordinal), comparison.Methods.Select(m => m.Id).Order(StringComparer.Ordinal));
        Assert.Empty(comparison.FailedRuns);
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
