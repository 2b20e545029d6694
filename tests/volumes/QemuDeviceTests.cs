// What QEMU does with a vhost-user-blk device apart from using it: as many queues as the guest has processors, and plugging.

using System.Diagnostics;
using System.Globalization;
using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

public sealed class QemuDeviceTests
{
    private const string ReplugScript = """
        modprobe virtio_blk
        within 30 test -b /dev/vda || { fail disk "no /dev/vda"; exit 1; }
        check first sh -c 'echo first | dd of=/dev/vda bs=4k conv=sync,fsync 2>/dev/null'
        signal written; await unplug
        check gone within 60 sh -c '! test -b /dev/vda'
        signal gone
        check again within 60 test -b /dev/vda
        equal content "$(head -c 5 /dev/vda)" first
        check second sh -c 'echo second | dd of=/dev/vda bs=4k seek=1 conv=sync,fsync 2>/dev/null'
        exit 0
        """;

    /// <summary>Without num-queues QEMU wants one queue for each processor, and does not start where fewer are offered.</summary>
    [Fact]
    public async Task A_machine_of_64_processors_starts_with_as_many_queues_as_it_likes()
    {
        using var volume = new TestVolume("raid1", 2, 65L << 20);
        volume.Serve(queues: null);
        string[] attach = volume.QemuArguments;
        Assert.DoesNotContain(attach, a => a.Contains("num-queues", StringComparison.Ordinal));
        string qmp = volume.Socket + ".qmp";
        string[] machine = ["-S", "-smp", "64", "-nodefaults", "-display", "none", "-qmp", $"unix:{qmp},server=on,wait=off"];
        using Process qemu = Process.Start("qemu-system-x86_64", [.. machine, .. attach]);
        try
        {
            using QmpClient client = await QmpClient.ConnectAsync(qmp);
            object device = new { path = "/machine/peripheral-anon/device[0]/virtio-backend", property = "num-queues" };
            Assert.Equal(64, (int)(await client.RunAsync("qom-get", device))!);
            await client.RunAsync("quit");
            await qemu.WaitForExitAsync();
            Assert.Equal(0, qemu.ExitCode);
        }
        finally
        {
            if (!qemu.HasExited)
            {
                qemu.Kill();
            }
        }
    }

    /// <summary>
    /// device_del and device_add on a chardev that stays, without a reconnect time: one connection, two devices.
    /// </summary>
    [Fact]
    public Task A_disk_that_is_unplugged_and_plugged_in_again_works() =>
        Guests.RunAsync(async attempt =>
        {
            using var volume = new TestVolume("raid1", 2, 65L << 20);
            volume.Serve(queues: null);
            string qmp = volume.Socket + $".qmp{attempt.GetHashCode().ToString(CultureInfo.InvariantCulture)}";
            GuestVm guest = attempt.Start(new GuestVmBuilder("replug", GuestKernel.Linux612)
                .Memory(512)
                .Cpus(2)
                .Qemu("-device", "pcie-root-port,id=rp0,chassis=1", "-chardev", $"socket,id=kept,path={volume.Socket}")
                .Qemu("-device", "vhost-user-blk-pci,id=disk,bus=rp0,chardev=kept", "-qmp", $"unix:{qmp},server=on,wait=off")
                .Script(ReplugScript)
                .Timeout(TimeSpan.FromMinutes(4)));
            await guest.WaitForSignalAsync("written");
            using QmpClient client = await QmpClient.ConnectAsync(qmp);
            await guest.SendAsync("unplug");
            await client.RunAsync("device_del", new { id = "disk" });
            await guest.WaitForSignalAsync("gone");
            var again = new { driver = "vhost-user-blk-pci", id = "disk", bus = "rp0", chardev = "kept" };
            await UntilDone(() => client.RunAsync("device_add", again));
            GuestResult result = await guest.CompletionAsync();
            result.RequireSuccess("first", "gone", "again", "content", "second");
        });

    /// <summary>
    /// QEMU forgets the device's name a moment after the guest has, and lets its chardev go a moment after that.
    /// </summary>
    private static async Task UntilDone(Func<Task> action)
    {
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                await action();
                return;
            }
            catch (InvalidOperationException e) when (attempt < 300 && IsStillThere(e.Message))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100), CancellationToken.None);
            }
        }

        static bool IsStillThere(string refusal) =>
            refusal.Contains("'disk'", StringComparison.Ordinal) || refusal.Contains("'kept'", StringComparison.Ordinal);
    }
}
