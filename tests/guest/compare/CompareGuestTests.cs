// A comparison from inside a machine, which has a disk for each method, by the real command.

using Polyblk.Compare.Results;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class CompareGuestTests
{
    [Fact]
    public async Task A_machine_measures_each_way_to_attach_its_disk()
    {
        using var run = new CompareRun();
        await run.StartAsync(["--vantage", "guest", "--workloads", "randread-qd32", .. CompareRun.Short.Select(option => option == "0.3" ? "1" : option)]);
        Assert.True(run.ExitCode == 0, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.NotEqual(Virtualization.None, comparison.Environment.Virtualization);
        Assert.False(comparison.Environment.InsideGuest);
        Assert.NotNull(comparison.Environment.QemuVersion);
        run.AssertMeasured(
            comparison, "qemu-file@guest", "vhost-user-1q@guest", "vhost-user-2q@guest", "virtio-iothread-1t@guest", "virtio-iothread-2t@guest",
            "nbd@guest", "qemu-storage-daemon-drive@guest");
        Assert.All(comparison.Methods.Where(m => m.Id.EndsWith("@guest", StringComparison.Ordinal)), m => Assert.Equal(Vantage.Guest, m.Vantage));
        // Both sides were read: the target's process, and QEMU with all that is in it. A busy host may let one run be over before
        // its first reading.
        Assert.Contains(comparison.Runs, r => r is { TargetCpuUsPerRequest: > 0, LoadCpuUsPerRequest: > 0 });
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
}
