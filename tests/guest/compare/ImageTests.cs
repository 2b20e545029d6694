// A disk image of the user's own as the machine of a comparison, by the real command.

using System.Security.Cryptography;
using Polyblk.Compare.Results;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class ImageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-cloud-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>It is asked to end after the first round.</summary>
    [Fact]
    public async Task A_machine_from_an_image_is_measured_and_the_image_stays_as_it_is()
    {
        string image = CloudImage.Make(_folder);
        byte[] before = SHA256.HashData(await File.ReadAllBytesAsync(image));
        using var run = new CompareRun { TemporaryFolder = Directory.CreateDirectory(Path.Combine(_folder, "tmp")).FullName, TerminateAt = " round 2: " };
        await run.StartAsync(
            "--vantage", "guest", "--guest-image", image, "--methods", "vhost-user-2q,nbd", "--workloads", "randread-qd32",
            "--rounds", "500", "--runtime", "0.3", "--simulated", "0", "--member-size", "32MiB", "--progress-lines");
        Assert.True(run.ExitCode == 130, run.Text);
        Comparison comparison = await run.ReadAsync();

        Assert.True(comparison.Interrupted);
        Assert.StartsWith($"{CloudImage.System}, Linux 6.12", comparison.Environment.GuestSystem, StringComparison.Ordinal);
        Assert.EndsWith(", from cloud.qcow2", comparison.Environment.GuestSystem, StringComparison.Ordinal);
        Assert.NotEqual(Virtualization.None, comparison.Environment.Virtualization);
        foreach (string id in new[] { "qemu-file@guest", "vhost-user-2q@guest", "nbd@guest" })
        {
            MethodFacts method = comparison.Method(id);
            Assert.True(method is { Available: true, Verification: Verification.Passed }, $"{id}: {method.Reason ?? method.VerificationDetail}\n{run.Text}");
            MeasuredRun measured = Assert.Single(comparison.Runs, r => r.Method == id && r.Round == 0);
            Assert.True(measured is { Iops: > 0, Errors: 0 }, $"{id}: {measured}");
        }

        // A busy host may let one run be over before the machine's time is read.
        Assert.Contains(comparison.Runs, r => r.LoadCpuUsPerRequest > 0);
        Assert.Equal(before, SHA256.HashData(await File.ReadAllBytesAsync(image)));
        Assert.Empty(Directory.EnumerateFileSystemEntries(run.TemporaryFolder!, "polyblk-*"));
        Assert.DoesNotContain(CommandLines(), line => line.Contains(_folder, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0, false, "There is no file ")]
    [InlineData(18, false, "has no boot sector")]
    [InlineData(4096, false, "has no boot sector")]
    [InlineData(4096, true, "no code that a BIOS starts")]
    public async Task What_cannot_be_booted_is_refused_before_anything_starts(int sizeBytes, bool hasSignature, string expected)
    {
        string path = Path.Combine(_folder, "disk.img");
        if (sizeBytes > 0)
        {
            byte[] content = new byte[sizeBytes];
            if (hasSignature)
            {
                (content[510], content[511]) = (0x55, 0xAA);
            }

            await File.WriteAllBytesAsync(path, content);
        }

        using var run = new CompareRun();
        await run.StartAsync("--vantage", "guest", "--guest-image", path);
        Assert.Equal(sizeBytes > 0 ? 2 : 3, run.ExitCode);
        Assert.Contains(expected, run.Text, StringComparison.Ordinal);
        Assert.Contains(path, run.Text, StringComparison.Ordinal);
    }

    private static List<string> CommandLines()
    {
        var lines = new List<string>();
        foreach (string process in Directory.EnumerateDirectories("/proc").Where(d => int.TryParse(Path.GetFileName(d), out _)))
        {
            try
            {
                lines.Add(File.ReadAllText(Path.Combine(process, "cmdline")));
            }
            catch (IOException)
            {
                continue; // it has just ended
            }
        }

        return lines;
    }
}
