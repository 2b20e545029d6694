// The two ways in which polyblk compare uses virtual machines, by the real command: a comparison from inside a machine (a disk for each
// method), and a whole comparison that runs in one, where the kernel has the drivers that this host may lack.

using Polyblk.Compare.Results;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class CompareGuestTests
{
    private static readonly string[] s_short = ["--rounds", "1", "--runtime", "0.3", "--restarts", "false", "--simulated", "0", "--member-size", "32MiB"];

    [Fact]
    public async Task A_machine_measures_each_way_to_attach_its_disk()
    {
        using var run = new CompareRun();
        await run.StartAsync(["--vantage", "guest", "--workloads", "randread-qd32", .. s_short]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.NotEqual(Virtualization.None, comparison.Environment.Virtualization);
        Assert.False(comparison.Environment.InsideGuest);
        Assert.NotNull(comparison.Environment.QemuVersion);
        AssertMeasured(
            comparison, run, "qemu-file@guest", "vhost-user-1q@guest", "vhost-user-2q@guest", "virtio-iothread-1t@guest", "virtio-iothread-2t@guest",
            "nbd@guest", "qemu-storage-daemon-drive@guest");
        Assert.All(comparison.Methods.Where(m => m.Id.EndsWith("@guest", StringComparison.Ordinal)), m => Assert.Equal(Vantage.Guest, m.Vantage));
        // Both sides were read: the target's process, and QEMU with all that is in it.
        Assert.All(comparison.Runs.Where(r => r.Method == "vhost-user-1q@guest"), r => Assert.True(r is { TargetCpuUsPerRequest: > 0, LoadCpuUsPerRequest: > 0 }));
    }

    [Fact]
    public async Task A_volume_with_data_is_read_from_a_machine_and_stays_as_it_was()
    {
        using var run = new CompareRun();
        string[] state = ["--state", run.PathOf("state")];
        string[] members = [run.PathOf("a.img"), run.PathOf("b.img")];
        await run.RunAsync(["volume", "create", "data", "--level", "raid1", .. members.Select(m => $"file:{m},size=17MiB"), .. state]);
        Assert.True(run.ExitCode == 0, run.Text);
        byte[] content = new byte[16 << 20];
        new Random(4).NextBytes(content);
        foreach (string member in members)
        {
            using FileStream file = File.OpenWrite(member);
            file.Position = 1 << 20; // behind the superblock
            file.Write(content);
        }

        await run.StartAsync(
            ["data", .. state, "--vantage", "guest", "--methods", "vhost-user-1q,virtio-iothread-1t", "--workloads", "randread-qd32,randwrite", "--rounds", "1", "--runtime", "0.3", "--simulated", "0"]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();
        Assert.Equal(["data"], [comparison.Volume.Name]);
        foreach (string id in (string[])["vhost-user-1q@guest", "virtio-iothread-1t@guest"])
        {
            MethodFacts method = comparison.Method(id);
            Assert.True(method is { Available: true, Verification: Verification.Passed, Vantage: Vantage.Guest }, $"{id}: {method.Reason ?? method.VerificationDetail}\n{run.Text}");
            Assert.Contains("nothing was written", method.VerificationDetail, StringComparison.Ordinal);
            MeasuredRun measured = Assert.Single(comparison.Runs, r => r.Method == id);
            Assert.True(measured is { Iops: > 0, Errors: 0 } && measured.Workload.Contains("read", StringComparison.Ordinal), $"{measured}");
        }

        Assert.Contains(comparison.Workloads, w => w.LeftOut is not null);
        Assert.All(members, m => Assert.True(File.ReadAllBytes(m).AsSpan(1 << 20).SequenceEqual(content), m));
    }

    [Fact]
    public async Task Inside_a_machine_every_method_has_figures()
    {
        using var run = new CompareRun();
        await run.StartAsync(["--inside-guest", "--methods", "vhost-user-2q,vhost-user-1q,nbd,ublk-user-copy,ublk-zero-copy,vduse,qemu,loop,mdadm", "--workloads", "randwrite", "--for", "container", .. s_short]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.True(comparison.Environment.InsideGuest);
        Assert.Equal(Environment.MachineName, comparison.Environment.Host);
        Assert.NotEqual(Virtualization.None, comparison.Environment.Virtualization);
        Assert.StartsWith("7.", comparison.Environment.Kernel, StringComparison.Ordinal);
        AssertMeasured(
            comparison, run, "vhost-user-1q@host", "vhost-user-2q@host", "nbd@host", "ublk-user-copy@host", "vduse-virtio@host",
            "qemu-storage-daemon-drive@host", "qemu-storage-daemon-vduse-drive@host");
        Assert.Equal("files in memory are always copied", comparison.Method("ublk-zero-copy@host").Reason);
        Assert.Contains(comparison.Methods, m => m.Id.StartsWith("loop", StringComparison.Ordinal) && m.Verification == Verification.Passed);
        Assert.Contains(comparison.Methods, m => m.Id.StartsWith("mdadm", StringComparison.Ordinal) && m.Verification == Verification.Passed);
        Assert.True(new FileInfo(run.PathOf("report.html")).Length > 10_000);
        Assert.Contains("For containers", run.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("@progress", run.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_missing_is_said_with_the_command_that_brings_it()
    {
        using var run = new CompareRun();
        await run.StartAsync("--inside-guest", "--guest-kernel", "/nowhere/vmlinuz", "--guest-initrd", "/nowhere/initrd");
        Assert.Equal(5, run.ExitCode);
        Assert.Contains("There is no file /nowhere/vmlinuz", run.Text, StringComparison.Ordinal);
    }

    private static void AssertMeasured(Comparison comparison, CompareRun run, params string[] ids)
    {
        foreach (string id in ids)
        {
            MethodFacts method = comparison.Method(id);
            Assert.True(method is { Available: true, Verification: Verification.Passed }, $"{id}: {method.Reason ?? method.VerificationDetail}\n{run.Text}");
            foreach (WorkloadFacts workload in comparison.Workloads)
            {
                MeasuredRun measured = Assert.Single(comparison.Runs, r => r.Method == id && r.Workload == workload.Name);
                Assert.True(measured is { Iops: > 0, Errors: 0 }, $"{id}, {workload.Name}: {measured}");
            }
        }
    }
}
