// VDUSE in real kernels: the target runs in the guest and serves the guest itself.

namespace Polyblk.GuestRig.Tests;

public sealed class VduseGuestTests
{
    private static string Functions => File.ReadAllText(Path.Combine(RigPaths.Repository, "tests", "guest", "vduse", "vduse.sh"));

    [Theory]
    [InlineData(GuestKernel.Linux612)]
    [InlineData(GuestKernel.Linux73)]
    public async Task A_disk_of_the_host_lives_through_kills_of_its_target(GuestKernel kernel)
    {
        await using GuestVm guest = new GuestVmBuilder("vduse-virtio", kernel)
            .Memory(2560)
            .Polyblk()
            .Programs("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim", "vdpa", "fio")
            .Script(Functions + """
                check create volume data raid5 3 160MiB
                check serve serve data --attach virtio --queues 2 --queue-size 128
                cat /tmp/data.ready
                within 30 test -b /dev/vda || { fail disk "no /dev/vda"; dmesg | tail -30; cat /tmp/data.err; exit 1; }
                equal queues $(ls /sys/block/vda/mq | wc -l) 2
                equal optimal $(cat /sys/block/vda/queue/optimal_io_size) 131072

                check fio fio --name=verify --filename=/dev/vda --rw=randwrite --bs=4k --size=24m --iodepth=16 --ioengine=libaio --direct=1 \
                    --numjobs=1 --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=5
                check ext4 mkfs.ext4 -q -F /dev/vda
                check mount mount -t ext4 /dev/vda /mnt
                cp -a /lib/modules /mnt/tree
                want=$(tree /lib/modules)
                sync; echo 3 > /proc/sys/vm/drop_caches
                equal tree "$(tree /mnt/tree)" "$want"
                check fstrim fstrim -v /mnt

                # A clean end while it is mounted leaves the disk to a successor.
                finish; equal handed-over "$(ls -d /sys/bus/vdpa/devices/data)" /sys/bus/vdpa/devices/data
                check serve-again serve data --attach virtio --queues 2 --queue-size 128
                echo 3 > /proc/sys/vm/drop_caches
                equal tree-after-hand-over "$(tree /mnt/tree)" "$want"
                refuse other-shape polyblk serve data --frontend vduse --queues 4

                # Written and verified while the target is killed again and again.
                fio --name=load --filename=/mnt/load --size=24m --rw=randwrite --bs=4k --iodepth=32 --ioengine=libaio --direct=1 --loops=4 \
                    --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=9 >/tmp/load 2>&1 & load=$!
                for kill in 1 2 3; do
                    sleep 2
                    kill -9 $server; wait $server
                    check serve-$kill serve data --attach virtio --queues 2 --queue-size 128
                    grep -o 'Taken over[^"]*' /tmp/data.ready
                done
                wait $load; status=$?
                cat /tmp/load
                equal load-over-kills $status 0
                echo 3 > /proc/sys/vm/drop_caches
                equal tree-after-kills "$(tree /mnt/tree)" "$want"
                check umount umount /mnt
                check fsck e2fsck -fn /dev/vda

                check discard blkdiscard /dev/vda
                check xfs mkfs.xfs -q -f /dev/vda
                check mount-xfs mount -t xfs /dev/vda /mnt
                cp -a /lib/modules /mnt/tree; umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t xfs /dev/vda /mnt
                equal tree-xfs "$(tree /mnt/tree)" "$want"
                umount /mnt
                check repair-xfs xfs_repair -n /dev/vda
                equal io-errors "$(io_errors)" 0

                check finish finish
                equal disk-gone "$(ls /dev/vda 2>/dev/null)" ""
                equal bus-empty "$(ls /sys/bus/vdpa/devices)" ""
                equal device-gone "$(ls /dev/vduse)" control
                check serve-after serve data --attach virtio --packed on --queues 1
                within 30 test -b /dev/vda
                check packed sh -c 'dd if=/dev/urandom of=/tmp/p bs=64k count=16 2>/dev/null; dd if=/tmp/p of=/dev/vda bs=64k conv=fsync; echo 3 > /proc/sys/vm/drop_caches; head -c 1048576 /dev/vda | cmp - /tmp/p'
                cut -c35 /sys/block/vda/device/features
                equal packed-negotiated "$(cut -c35 /sys/block/vda/device/features)" 1
                kill -9 $server; wait $server
                check serve-packed-again serve data --attach virtio --packed on --queues 1
                echo 3 > /proc/sys/vm/drop_caches
                check packed-after-kill sh -c 'head -c 1048576 /dev/vda | cmp - /tmp/p'
                check finish-packed finish
                dmesg | tail -20
                exit 0
                """)
            .Timeout(TimeSpan.FromMinutes(14))
            .Start();
        GuestResult result = await guest.CompletionAsync();
        result.RequireSuccess(
            "create", "serve", "queues", "optimal", "fio", "ext4", "mount", "tree", "fstrim", "handed-over", "serve-again", "tree-after-hand-over",
            "other-shape", "serve-1", "serve-2", "serve-3", "load-over-kills", "tree-after-kills", "umount", "fsck", "discard", "xfs", "mount-xfs",
            "tree-xfs", "repair-xfs", "io-errors", "finish", "disk-gone", "bus-empty", "device-gone", "serve-after", "packed", "packed-negotiated",
            "serve-packed-again", "packed-after-kill", "finish-packed");
    }

    /// <summary>A consumer that is not the kernel's own driver, and that maps its memory directly: libblkio over vhost-vdpa.</summary>
    [Theory]
    [InlineData(GuestKernel.Linux612)]
    [InlineData(GuestKernel.Linux73)]
    public async Task Libblkio_drives_vhost_vdpa_while_the_target_is_killed(GuestKernel kernel)
    {
        const string Library = "/usr/lib/x86_64-linux-gnu/libblkio.so.1";
        await using GuestVm guest = new GuestVmBuilder("vduse-vhost", kernel)
            .Memory(2048)
            .Polyblk()
            .Programs("vdpa")
            .File(Library, Library)
            .File(Path.Combine(RigPaths.Repository, "artifacts", "bin", "Polyblk.VdpaClient", "release"), "/opt/client")
            .Script(Functions + """
                modprobe vhost_vdpa; echo 7 > /proc/sys/kernel/printk
                client() { dotnet /opt/client/Polyblk.VdpaClient.dll "$@"; }
                check create volume data raid1 2 64MiB
                check serve serve data --attach vhost --queues 2
                cat /tmp/data.ready
                within 30 test -c /dev/vhost-vdpa-0 || { fail node "no /dev/vhost-vdpa-0"; cat /tmp/data.err; exit 1; }
                check verified client /dev/vhost-vdpa-0 2 3000 16777216
                check verified-again client /dev/vhost-vdpa-0 1 1000 16777216

                client /dev/vhost-vdpa-0 2 20000 16777216 >/tmp/client 2>&1 & load=$!
                sleep 8
                for kill in 1 2 3; do
                    kill -9 $server; wait $server
                    check serve-$kill serve data --attach vhost --queues 2
                    grep -o 'Taken over[^"]*' /tmp/data.ready
                    sleep 2
                done
                check still-running kill -0 $load
                wait $load; status=$?
                cat /tmp/client
                equal verified-over-kills $status 0
                check finish finish
                equal bus-empty "$(ls /sys/bus/vdpa/devices)" ""
                equal device-gone "$(ls /dev/vduse)" control
                dmesg | tail -5
                exit 0
                """)
            .Timeout(TimeSpan.FromMinutes(12))
            .Start();
        GuestResult result = await guest.CompletionAsync();
        result.RequireSuccess(
            "create", "serve", "verified", "verified-again", "serve-1", "serve-2", "serve-3", "verified-over-kills", "finish", "bus-empty", "device-gone");
    }
}
