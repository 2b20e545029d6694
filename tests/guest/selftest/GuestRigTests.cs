// The rig proven on a backend that is known to be good: each kernel boots, sees a vhost-user-blk disk with two queues, makes a
// file system on it, runs .NET, talks with the host in steps; and a guest that fails is reported as such.

using System.Diagnostics;
using System.Security.Cryptography;

namespace Polyblk.GuestRig.Tests;

public sealed class GuestRigTests : IDisposable
{
    private const int DiskBytes = 64 << 20, PatternBytes = 4 << 20;
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-rig-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>The .NET runtime goes into guests where nothing links the command line; those have the newer kernel.</summary>
    [Theory]
    [InlineData(GuestKernel.Linux612, "6.12.", false)]
    [InlineData(GuestKernel.Linux73, "7.", true)]
    public async Task Boots_and_uses_a_vhost_user_disk(GuestKernel kernel, string release, bool hasDotNet)
    {
        string disk = Path.Combine(_folder, "disk"), socket = Path.Combine(_folder, "disk.sock");
        File.WriteAllBytes(disk, []);
        using (FileStream file = File.OpenWrite(disk)) file.SetLength(DiskBytes);
        using var daemon = new StorageDaemon(disk, socket, queues: 2);
        GuestBuilder builder = new GuestVmBuilder("rig-selftest", kernel).Memory(1536).VhostUserBlk(socket, queues: 2).Programs("mkfs.ext4", "e2fsck", "blkdiscard");
        if (hasDotNet)
        {
            builder.DotNet().File(Path.Combine(RigPaths.Repository, "artifacts", "bin", "Polyblk.GuestHello", "release"), "/opt/hello");
        }

        // An emulated kernel is entered as it is in memory (its start information is the entry's own then) and times no processor.
        bool isEmulated = MachineCache.IsEmulated();
        string emulated = !isEmulated ? "" : """
            equal entered "$(cat /sys/kernel/boot_params/version)" 0x020c
            equal not-timed "$(dmesg | grep -c 'Calibrating delay loop (skipped) preset value')" 1
            equal all-processors "$(nproc)" 2

            """;
        GuestResult result = await builder
            .Script(emulated + """
                modprobe virtio_blk && modprobe ext4
                within 30 test -b /dev/vda || { fail disk "no /dev/vda"; exit 1; }
                pass kernel $(uname -r)
                check modules sh -ec 'for m in ublk_drv vduse vhost_vdpa virtio_vdpa nbd loop raid1 raid10 raid456 dm-mod; do modprobe $m; done'
                check nodes test -c /dev/ublk-control -a -c /dev/vduse/control
                equal queues $(ls /sys/block/vda/mq | wc -l) 2
                check mkfs mkfs.ext4 -q -F /dev/vda
                check mount mount -t ext4 /dev/vda /mnt
                check write dd if=/dev/urandom of=/mnt/file bs=64k count=64 conv=fsync
                check umount umount /mnt
                check fsck e2fsck -fn /dev/vda
                if [ -d /opt/hello ]; then
                  check dotnet dotnet /opt/hello/Polyblk.GuestHello.dll /dev/vda 4194304
                  equal sum "$check_detail" "$(sum /dev/vda 4194304)"
                fi
                refuse beyond dd if=/dev/zero of=/dev/vda bs=1M seek=64 count=1 conv=notrunc
                signal ready $(sum /dev/vda 4194304)
                await go
                equal said "$said" "on with it"
                exit 0
                """)
            .RunAsync(async guest =>
            {
                string sum = await guest.WaitForSignalAsync("ready");
                Assert.Equal(SumOfBeginning(disk), sum);
                await guest.SendAsync("go on with it");
            });

        string[] ofDotNet = hasDotNet ? ["dotnet", "sum"] : [];
        string[] ofEmulation = isEmulated ? ["entered", "not-timed", "all-processors"] : [];
        result.RequireSuccess([.. ofEmulation, "kernel", "modules", "nodes", "queues", "mkfs", "mount", "write", "umount", "fsck", .. ofDotNet, "beyond", "said"]);
        Assert.StartsWith(release, result["kernel"].Detail, StringComparison.Ordinal);
        Assert.Contains("rig: booted", result.Log, StringComparison.Ordinal);
    }

    /// <summary>QEMU is ended by the signal that ends it when an assertion of its own fails, before its kernel is up.</summary>
    [Fact]
    public async Task A_machine_that_breaks_down_is_booted_again_and_what_fails_or_is_missing_then_is_reported()
    {
        int boots = 0;
        GuestResult result = await new GuestVmBuilder("rig-broken", GuestKernel.Linux612)
            .Script("signal up\ncheck good true\ncheck bad sh -c 'echo because; false'\nexit 7\n")
            .RunAsync(async guest =>
            {
                if (++boots == 1)
                {
                    Assert.True(SpinWait.SpinUntil(() => guest.QemuProcessId is not null, TimeSpan.FromMinutes(1)));
                    using var kill = Process.Start("kill", ["-ABRT", $"{guest.QemuProcessId}"]);
                    await kill.WaitForExitAsync();
                }

                await guest.WaitForSignalAsync("up");
            });

        Assert.Equal(2, boots);
        Assert.Equal(7, result.ExitStatus);
        Assert.True(result["good"].Passed);
        Assert.False(result["bad"].Passed);
        GuestException error = Assert.Throws<GuestException>(() => result.RequireSuccess("good", "bad", "absent"));
        Assert.Contains("check 'bad' failed: status 1: because", error.Message, StringComparison.Ordinal);
        Assert.Contains("check 'absent' was not reported", error.Message, StringComparison.Ordinal);
        Assert.Contains("status 7", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_machine_whose_kernel_died_of_a_breakpoint_is_booted_again()
    {
        int boots = 0;
        GuestResult result = await new GuestVmBuilder("rig-breakpoint", GuestKernel.Linux612)
            .Cpus(2)
            .Script("""
                signal up
                await go
                [ "$said" = live ] || { echo "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"; echo c >/proc/sysrq-trigger; }
                equal processors "$(nproc)" 2
                exit 0
                """)
            .RunAsync(async guest =>
            {
                await guest.WaitForSignalAsync("up");
                await guest.SendAsync(++boots == 1 ? "go die" : "go live");
            });

        result.RequireSuccess("processors");
        Assert.Equal(2, boots);
    }

    [Fact]
    public async Task A_machine_that_never_comes_to_init_is_ended_as_broken_down()
    {
        // -S: its processors are not started.
        await using GuestVm guest = new GuestVmBuilder("rig-stuck", GuestKernel.Linux612).BootWithin(TimeSpan.FromSeconds(1)).Qemu("-S").Start();
        GuestException error = await Assert.ThrowsAsync<GuestException>(() => guest.WaitForSignalAsync("never"));
        Assert.True(error.IsMachineFault);
        Assert.Contains("had not come to init", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_machine_that_cannot_start_is_an_error_with_QEMUs_words()
    {
        await using GuestVm guest = new GuestVmBuilder("rig-no-machine", GuestKernel.Linux612)
            .Qemu("-device", "no-such-device")
            .Start();
        GuestException error = await Assert.ThrowsAsync<GuestException>(guest.CompletionAsync);
        Assert.Contains("no-such-device", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<GuestException>(() => guest.WaitForSignalAsync("never"));
    }

    private static string SumOfBeginning(string file)
    {
        using FileStream stream = File.OpenRead(file);
        byte[] beginning = new byte[PatternBytes];
        stream.ReadExactly(beginning);
        return Convert.ToHexStringLower(SHA256.HashData(beginning));
    }
}
