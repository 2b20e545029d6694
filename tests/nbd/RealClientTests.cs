// The export under clients that are not ours: QEMU's tools, libnbd's tools, and fio's own NBD engine.

using System.Diagnostics;
using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Drives.Ram;

namespace Polyblk.Nbd.Tests;

public sealed class RealClientTests
{
    private const int Mib = 1 << 20;

    [Fact]
    public async Task Nbdinfo_sees_size_name_and_abilities()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib));
        string text = Run("nbdinfo", server.Uri);
        Assert.Contains("export-size: 67108864", text, StringComparison.Ordinal);
        Assert.Contains("can_multi_conn: true", text, StringComparison.Ordinal);
        Assert.Contains("can_fua: true", text, StringComparison.Ordinal);
        Assert.Contains("can_trim: true", text, StringComparison.Ordinal);
        Assert.Contains("can_zero: true", text, StringComparison.Ordinal);
        Assert.Contains("base:allocation", text, StringComparison.Ordinal);
        Assert.Contains("block_size_minimum: 512", text, StringComparison.Ordinal);
        Assert.Contains(NbdTestServer.Volume, Run("nbdinfo", "--list", server.Uri), StringComparison.Ordinal);
        Assert.Contains("67108864", Run("nbdinfo", "--map", server.Uri), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Qemu_io_reads_back_what_it_wrote_zeroed_and_discarded()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib));
        Run("qemu-io", "-f", "raw", "-d", "unmap", server.Uri,
            "-c", "write -P 0x11 0 8M", "-c", "write -f -P 0x22 1M 64k", "-c", "write -z 2M 1M", "-c", "write -z -u 3M 512k", "-c", "discard 4M 1M", "-c", "flush");
        string text = Run("qemu-io", "-f", "raw", server.Uri,
            "-c", "read -P 0x11 0 1M", "-c", "read -P 0x22 1M 64k", "-c", "read -P 0 2M 1536k", "-c", "read -P 0x11 6M 2M");
        Assert.DoesNotContain("verification failed", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nbdcopy_over_several_connections_and_qemu_img_compare_agree()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib));
        string image = Path.Combine(server.Folder, "image");
        byte[] content = new byte[64 * Mib];
        new Random(5).NextBytes(content);
        await File.WriteAllBytesAsync(image, content);
        Run("nbdcopy", "--connections=4", "--flush", image, server.Uri);
        Assert.Contains("identical", Run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, server.Uri), StringComparison.Ordinal);
        string copy = Path.Combine(server.Folder, "copy");
        Run("nbdcopy", server.Uri, copy);
        Assert.Equal(content, await File.ReadAllBytesAsync(copy));
    }

    [Theory]
    [InlineData("4k", 16)]
    [InlineData("1m", 4)]
    public async Task Fio_verifies_random_writes(string blockSize, int depth)
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib));
        Run("fio", "--name=v", "--ioengine=nbd", $"--uri={server.Uri}", "--rw=randwrite", $"--bs={blockSize}", $"--iodepth={depth}", "--size=64m", "--verify=crc32c",
            "--verify_fatal=1", "--do_verify=1", "--randseed=1");
        Assert.Equal(0, server.Export.GetStatistics().Errors);
    }

    /// <summary>
    /// NBD has no message for it: who is connected goes on with the size it knows, who connects again has the new one.
    /// </summary>
    [Fact]
    public async Task A_grown_volume_has_its_new_size_for_who_connects_again_and_goes_on_for_who_is_connected()
    {
        string path = Path.GetTempFileName();
        try
        {
            Run("truncate", "--size=64M", path);
            var drive = FileDrive.Open(DriveSpec.Parse(path), readOnly: false);
            await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
            using var connected = RawClient.Transmitting(server.Socket);
            Run("truncate", "--size=128M", path);
            Assert.True(await drive.RefreshSizeAsync());
            await server.Export.ResizeAsync(CancellationToken.None);
            Assert.Equal("134217728", Run("nbdinfo", "--size", server.Uri).Trim());
            string text = Run("qemu-io", "-f", "raw", server.Uri, "-c", "write -P 0x33 100M 1M", "-c", "read -P 0x33 100M 1M", "-c", "length");
            Assert.DoesNotContain("verification failed", text, StringComparison.Ordinal);
            Assert.Contains("128 MiB", text, StringComparison.Ordinal);

            const ushort Write = 1;
            connected.SendRequest(Write, 7, (64 * Mib) - 4096, 4096, payload: new byte[4096]);
            Assert.Equal(0u, connected.ReadSimpleReply(7));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static string Run(string program, params string[] arguments)
    {
        string[] all = ["60", program, .. arguments];
        using Process process = Process.Start(new ProcessStartInfo("timeout", all) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}:\n{output}\n{error.Result}");
        return output + error.Result;
    }
}
