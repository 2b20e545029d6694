// The printed arguments under a real QEMU and a real guest: they are accepted as they stand, the guest sees the queues, its I/O
// is right, and the iothreads' processor times show that every one of them works.

using System.Diagnostics;
using Polyblk.GuestRig;

namespace Polyblk.VirtioIothread.Tests;

public sealed class QemuGuestTests
{
    [Theory]
    [InlineData(2)]
    [InlineData(1)]
    public Task The_arguments_attach_the_volume_and_all_iothreads_work(int iothreads) =>
        Guests.RunAsync(async attempt =>
        {
            await using IothreadTestExport test = await IothreadTestExport.StartAsync(("vcpus", "4"), ("iothreads", $"{iothreads}"));
            GuestVm guest = attempt.Start(new GuestVmBuilder($"virtio-iothread-{iothreads}", GuestKernel.Linux612)
                .Cpus(4)
                .Programs("mkfs.ext4", "e2fsck", "blkdiscard")
                .Qemu([.. test.Command("qemu").Arguments])
                .Qemu("-name", "guest,debug-threads=on")
                .Script("""
                    modprobe virtio_blk && modprobe ext4
                    within 30 test -b /dev/vda || { fail disk "no /dev/vda"; exit 1; }
                    equal queues $(ls /sys/block/vda/mq | wc -l) 4
                    equal serial "$(cat /sys/block/vda/serial)" iothread-serial
                    for cpu in 0 1 2 3; do
                      taskset $((1 << cpu)) dd if=/dev/urandom of=/dev/vda bs=64k seek=$((cpu * 128)) count=64 oflag=direct 2>/dev/null &
                    done
                    wait
                    for cpu in 0 1 2 3; do
                      taskset $((1 << cpu)) dd if=/dev/vda of=/dev/null bs=4k skip=$((cpu * 2048)) count=1024 iflag=direct 2>/dev/null &
                    done
                    wait
                    signal loaded
                    await go
                    check mkfs mkfs.ext4 -q -F /dev/vda
                    check mount mount -t ext4 /dev/vda /mnt
                    check write dd if=/dev/urandom of=/mnt/file bs=64k count=64 conv=fsync
                    before=$(sum /mnt/file)
                    umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt
                    equal same "$(sum /mnt/file)" "$before"
                    umount /mnt
                    check fsck e2fsck -fn /dev/vda
                    check discard blkdiscard /dev/vda
                    exit 0
                    """));

            await guest.WaitForSignalAsync("loaded");
            IReadOnlyDictionary<string, long> ticks = IothreadTicks(guest);
            await guest.SendAsync("go");
            (await guest.CompletionAsync()).RequireSuccess("queues", "serial", "mkfs", "mount", "write", "same", "fsck", "discard");
            Assert.Equal(iothreads, ticks.Count);
            Assert.All(ticks, t => Assert.True(t.Value > 0, $"{t.Key} did nothing: {string.Join(", ", ticks)}"));
            Assert.Equal(0, test.Export.GetStatistics().Errors);
        });

    /// <summary>Processor time of QEMU's iothreads, in clock ticks, by thread name (proc_pid_stat(5), utime and stime).</summary>
    private static Dictionary<string, long> IothreadTicks(GuestVm guest)
    {
        var ticks = new Dictionary<string, long>();
        string qemu = File.ReadAllText($"/proc/{guest.ProcessId}/task/{guest.ProcessId}/children").Trim();
        foreach (string task in Directory.GetDirectories($"/proc/{qemu}/task"))
        {
            string name = File.ReadAllText(Path.Combine(task, "comm")).Trim();
            if (name.StartsWith("IO iot", StringComparison.Ordinal))
            {
                string stat = File.ReadAllText(Path.Combine(task, "stat"));
                string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
                ticks[name] = long.Parse(fields[11]) + long.Parse(fields[12]);
            }
        }

        return ticks;
    }
}
