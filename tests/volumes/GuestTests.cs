// A volume in a virtual machine with a Debian kernel: file systems, restarts, crashes of the target, lost drives, a second guest.

using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

public sealed class GuestTests
{
    private const long MemberBytes = 132L << 20;

    /// <summary>Guest functions: a tree to copy, and its checksums.</summary>
    private const string Functions = """
        modprobe virtio_blk && modprobe ext4
        within 30 test -b /dev/vda || { fail disk "no /dev/vda"; exit 1; }
        tree() { (cd "$1" && find . -type f | sort | xargs sha256sum | sha256sum | cut -d' ' -f1); }
        io_errors() { dmesg | grep -ciE 'I/O error|EXT4-fs error|XFS.*(error|corrupt)|blk_update_request' || true; }

        """;

    [Fact]
    public Task File_systems_survive_restarts_crashes_of_the_target_and_a_lost_drive() =>
        Guests.RunAsync(async attempt =>
        {
            using var volume = new TestVolume("raid5", 4, MemberBytes, size: "256MiB");
            volume.Serve();

            // As a user would attach it, with what serve prints: packed rings, which so meet the kernel's driver, its restarts
            // and its crashes. The guest's memory is a file with a name.
            string memory = Path.Combine("/dev/shm", $"polyblk-guest-{Guid.NewGuid():N}");
            GuestVm guest = attempt.Start(new GuestVmBuilder("volume-life", GuestKernel.Linux612)
                .Memory(1024)
                .MemoryIn($"memory-backend-file,mem-path={memory},discard-data=on")
                .Qemu(volume.QemuArguments)
                .Programs("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "blkdiscard", "fstrim")
                .Script(Functions + """
                    equal queues $(ls /sys/block/vda/mq | wc -l) 2
                    equal packed "$(cut -c 35 /sys/block/vda/device/features)" 1
                    equal size-before $(cat /sys/block/vda/size) $((256 * 2048))
                    signal grow; await grown
                    larger() { [ "$(cat /sys/block/vda/size)" = $((384 * 2048)) ]; }
                    check resized within 60 larger
                    equal optimal $(cat /sys/block/vda/queue/optimal_io_size) 196608
                    check ext4 mkfs.ext4 -q -F /dev/vda
                    check mount mount -t ext4 /dev/vda /mnt
                    check copy cp -a /lib /mnt/tree
                    want=$(tree /lib)
                    equal tree "$(tree /mnt/tree)" "$want"
                    check fstrim fstrim -v /mnt
                    check umount umount /mnt
                    check fsck e2fsck -fn /dev/vda

                    signal stop-and-start; await started
                    mount -t ext4 /dev/vda /mnt
                    equal tree-after-restart "$(tree /mnt/tree)" "$want"

                    # Written and verified while the target is killed again and again.
                    ( i=0; while [ ! -e /tmp/enough ]; do
                        i=$((i + 1))
                        dd if=/dev/urandom of=/tmp/piece bs=64k count=8 2>/dev/null
                        cp /tmp/piece /mnt/piece.$((i % 8)) && sync /mnt/piece.$((i % 8)) || echo write >> /tmp/failed
                        echo 1 > /proc/sys/vm/drop_caches
                        cmp -s /tmp/piece /mnt/piece.$((i % 8)) || echo compare >> /tmp/failed
                        echo $i > /tmp/round && mv /tmp/round /tmp/rounds
                      done ) & load=$!
                    written() { [ "$(cat /tmp/rounds)" -gt $1 ]; }
                    in_flight() { read -r reads writes < /sys/block/vda/inflight; [ $((reads + writes)) -gt 0 ]; }
                    rounds=0
                    for kill in 1 2 3; do
                      within 120 written $rounds
                      signal loaded; await stopped
                      check in-flight-$kill within 120 in_flight
                      rounds=$(cat /tmp/rounds)
                      signal waits; await served
                    done
                    check written-after-kills within 120 written $rounds
                    touch /tmp/enough; wait $load
                    echo "rounds: $(cat /tmp/rounds)"
                    equal load-without-error "$(cat /tmp/failed 2>/dev/null)" ""
                    equal tree-after-kills "$(tree /mnt/tree)" "$want"
                    umount /mnt
                    check fsck-after-kills e2fsck -fn /dev/vda

                    signal lose-a-drive; await lost
                    mount -t ext4 /dev/vda /mnt
                    equal tree-degraded "$(tree /mnt/tree)" "$want"
                    check write-degraded cp -a /mnt/tree /mnt/second
                    echo 3 > /proc/sys/vm/drop_caches
                    equal second-degraded "$(tree /mnt/second)" "$want"
                    umount /mnt
                    check fsck-degraded e2fsck -fn /dev/vda

                    check discard blkdiscard /dev/vda
                    modprobe xfs # a large module, and dear
                    check xfs mkfs.xfs -q -f /dev/vda
                    check mount-xfs mount -t xfs /dev/vda /mnt
                    check copy-xfs cp -a /lib /mnt/tree
                    umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t xfs /dev/vda /mnt
                    equal tree-xfs "$(tree /mnt/tree)" "$want"
                    umount /mnt
                    check repair-xfs xfs_repair -n /dev/vda
                    equal io-errors "$(io_errors)" 0
                    signal tree "$want"
                    exit 0
                    """)
                .Timeout(TimeSpan.FromMinutes(12)));

            await guest.WaitForSignalAsync("grow");
            File.Delete(memory);
            volume.Run(["volume", "resize", TestVolume.Name, "--size", "384MiB"]);
            await guest.SendAsync("grown");
            await guest.WaitForSignalAsync("stop-and-start");
            Assert.Equal(0, volume.Stop());
            volume.Serve();
            await guest.SendAsync("started");
            for (int i = 0; i < 3; i++)
            {
                // A server that stands still finishes nothing of what is in flight before it is killed.
                await guest.WaitForSignalAsync("loaded");
                volume.FreezeServer();
                await guest.SendAsync("stopped");
                await guest.WaitForSignalAsync("waits");
                volume.KillServer();
                volume.Serve();
                await guest.SendAsync("served");
            }

            await guest.WaitForSignalAsync("lose-a-drive");
            volume.WaitForResync();
            Assert.Equal(0, volume.Stop());
            File.Delete(volume.Members[1]);
            volume.Serve(allowDegraded: true);
            await guest.SendAsync("lost");
            GuestResult result = await guest.CompletionAsync();
            result.RequireSuccess(
                "queues", "packed", "size-before", "resized", "optimal", "ext4", "mount", "copy", "tree", "fstrim", "umount", "fsck", "tree-after-restart", "in-flight-1", "in-flight-2", "in-flight-3",
                "written-after-kills", "load-without-error", "tree-after-kills",
                "fsck-after-kills", "tree-degraded", "write-degraded", "second-degraded", "fsck-degraded", "discard", "xfs", "mount-xfs", "copy-xfs", "tree-xfs",
                "repair-xfs", "io-errors");
        });

    /// <summary>
    /// The first guest's memory is huge pages. It stays attached: two sessions of one volume, and both outlive the target.
    /// </summary>
    [Fact]
    public Task Data_outlives_the_target_and_a_second_guest_reads_it() =>
        Guests.RunAsync(async attempt =>
        {
            const int MemoryMib = 640;
            using var pages = new HugePages(MemoryMib / 2);
            using var volume = new TestVolume("raid6", 4, MemberBytes);
            volume.Serve(second: Second.ReadOnly);
            GuestVm first = attempt.Start(new GuestVmBuilder("volume-first", GuestKernel.Linux612)
                .Memory(MemoryMib)
                .MemoryIn("memory-backend-memfd,hugetlb=on,hugetlbsize=2M")
                .VhostUserBlk(volume.Socket, queues: 2, reconnectMs: 100)
                .Programs("mkfs.ext4", "e2fsck")
                .Script(Functions + """
                    check ext4 mkfs.ext4 -q -F /dev/vda
                    mount -t ext4 /dev/vda /mnt
                    check copy cp -a /lib /mnt/tree
                    sum=$(tree /lib)
                    umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt
                    equal tree "$(tree /mnt/tree)" "$sum"
                    check umount umount /mnt
                    signal tree $sum
                    await second-is-done
                    check fsck e2fsck -fn /dev/vda
                    exit 0
                    """)
                .Timeout(TimeSpan.FromMinutes(8)));
            string sum = await first.WaitForSignalAsync("tree");
            GuestVm second = attempt.Start(new GuestVmBuilder("volume-second", GuestKernel.Linux612)
                .VhostUserBlk(volume.SecondSocket, queues: 2, reconnectMs: 100)
                .Script(Functions + $"""
                    equal read-only $(cat /sys/block/vda/ro) 1
                    refuse write dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct
                    check mount mount -t ext4 -o ro,noload /dev/vda /mnt
                    equal tree "$(tree /mnt/tree)" {sum}
                    umount /mnt
                    signal read; await served-again
                    echo 3 > /proc/sys/vm/drop_caches
                    check mount-again mount -t ext4 -o ro,noload /dev/vda /mnt
                    equal tree-again "$(tree /mnt/tree)" {sum}
                    exit 0
                    """)
                .Timeout(TimeSpan.FromMinutes(5)));
            await second.WaitForSignalAsync("read");
            Assert.Equal(0, volume.Stop());
            volume.Serve(second: Second.ReadOnly);
            await second.SendAsync("served-again");
            (await second.CompletionAsync()).RequireSuccess("read-only", "write", "mount", "tree", "mount-again", "tree-again");
            await first.SendAsync("second-is-done");
            (await first.CompletionAsync()).RequireSuccess("ext4", "copy", "tree", "umount", "fsck");
        });

    /// <summary>Huge pages of 2 MiB that are reserved while the test runs.</summary>
    private sealed class HugePages : IDisposable
    {
        private const string Reserved = "/proc/sys/vm/nr_hugepages";

        private readonly string _before = File.ReadAllText(Reserved);

        public HugePages(int pages)
        {
            int wanted = int.Parse(_before) + pages;
            File.WriteAllText(Reserved, $"{wanted}");
            Assert.Equal(wanted, int.Parse(File.ReadAllText(Reserved)));
        }

        public void Dispose() => File.WriteAllText(Reserved, _before);
    }
}
