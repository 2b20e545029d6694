// A machine of the user's own behind ssh: a guest with an ssh server, reached by the system's ssh through a port of this host.

using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Polyblk.Compare.Results;
using Polyblk.GuestRig;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class SshTests : IDisposable
{
    private const long DiskBytes = 64 << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-ssh-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public Task A_disk_of_ones_own_machine_is_measured_and_one_that_holds_something_is_left_alone() =>
        Guests.RunAsync(async attempt =>
        {
            string empty = Disk("empty.img");
            string used = Disk("used.img");
            TestPrograms.Run("mkfs.ext4", "-q", "-F", used);
            byte[] before = SHA256.HashData(File.ReadAllBytes(used));
            int port = FreePort();
            TestPrograms.Run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", Path.Combine(_folder, "key"));
            GuestVm guest = attempt.Start(new GuestVmBuilder("compare-ssh", GuestKernel.Linux612)
                .Programs("dropbear", "fio", "blkid")
                .Text("/root/.ssh/authorized_keys", File.ReadAllText(Path.Combine(_folder, "key.pub")))
                .Qemu("-netdev", $"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=net")
                .Script("""
                    modprobe virtio_net; modprobe virtio_blk
                    within 30 test -e /sys/class/net/eth0 || exit 1
                    ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up
                    ln -s $(disk 10) /dev/empty; ln -s $(disk 11) /dev/used
                    mkdir -p /etc/dropbear
                    dropbear -R -E -s
                    signal ready
                    await end
                    """)
                .Qemu([.. new FileDisk(empty, 1, 0).CommandLine("10"), .. new FileDisk(used, 1, 0).CommandLine("11")]));
            await guest.WaitForSignalAsync("ready");

            using var run = new CompareRun { ProgramFolder = SshProgram(port) };
            await run.StartAsync(
                "--guest-ssh", "vm", "--guest-disk", "vhost-user=/dev/empty", "--guest-disk", "nbd=/dev/used", "--methods", "ssh", "--workloads", "randread-qd32",
                "--rounds", "1", "--runtime", "0.3", "--restarts", "false", "--simulated", "0", "--member-size", "32MiB");
            Assert.True(run.ExitCode == 0, run.Text);
            Comparison comparison = await run.ReadAsync();
            MethodFacts measured = comparison.Method("vhost-user-ssh@guest");
            Assert.True(measured is { Available: true, Verification: Verification.Passed, Vantage: Vantage.Guest, Frontend: "vhost-user" }, $"{measured.Reason}\n{run.Text}");
            MeasuredRun result = Assert.Single(comparison.Runs, r => r.Method == measured.Id);
            Assert.True(result is { Iops: > 0, Errors: 0, LoadCpuUsPerRequest: > 0, TargetCpuUsPerRequest: null }, $"{result}");

            MethodFacts refused = comparison.Method("nbd-ssh@guest");
            Assert.False(refused.Available);
            Assert.Contains("TYPE=\"ext4\"", refused.Reason, StringComparison.Ordinal);
            await guest.SendAsync("end");
            (await guest.CompletionAsync()).RequireSuccess();
            Assert.Equal(before, SHA256.HashData(File.ReadAllBytes(used)));
        });

    private string Disk(string name)
    {
        string path = Path.Combine(_folder, name);
        using FileStream file = File.Create(path);
        file.SetLength(DiskBytes);
        return path;
    }

    /// <summary>A folder with an ssh that knows the machine, as the user's own configuration would.</summary>
    private string SshProgram(int port)
    {
        string configuration = Path.Combine(_folder, "config");
        File.WriteAllText(configuration, string.Create(
            CultureInfo.InvariantCulture,
            $"Host vm\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {_folder}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {_folder}/known\n  StrictHostKeyChecking accept-new\n"));
        string folder = Directory.CreateDirectory(Path.Combine(_folder, "bin")).FullName;
        string program = Path.Combine(folder, "ssh");
        File.WriteAllText(program, $"#!/bin/sh\nexec {RigPaths.Program("ssh")} -F {configuration} \"$@\"\n");
        File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        return folder;
    }

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
