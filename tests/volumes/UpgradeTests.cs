// QEMU stays attached while the daemon's program is upgraded, and while the process of a volume is killed.
//
// The first disk's QEMU has no `reconnect`: were its connection not handed over to the successor, the disk would be gone. The
// second one's volume has a process of its own (--isolate), which is killed; its disk connects again.

using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

public sealed class UpgradeTests
{
    private const int Upgrades = 3;
    private const int Kills = 2;
    private const long MemberBytes = 48L << 20;

    private const string Script = """
        modprobe virtio_blk && modprobe ext4
        within 30 test -b /dev/vdb || { fail disks "no /dev/vdb"; exit 1; }
        # load DISK: writes, flushes and reads back, until it is enough.
        load() {
          disk=$1 i=0
          mkdir /mnt/$disk
          mkfs.ext4 -q -F /dev/$disk && mount -t ext4 /dev/$disk /mnt/$disk || echo mount >> /tmp/failed
          while [ ! -e /tmp/enough ]; do
            i=$((i + 1))
            dd if=/dev/urandom of=/tmp/piece.$disk bs=64k count=4 2>/dev/null
            cp /tmp/piece.$disk /mnt/$disk/piece.$((i % 8)) && sync /mnt/$disk/piece.$((i % 8)) || echo write $disk $i >> /tmp/failed
            echo 1 > /proc/sys/vm/drop_caches
            cmp -s /tmp/piece.$disk /mnt/$disk/piece.$((i % 8)) || echo compare $disk $i >> /tmp/failed
            echo $i > /tmp/round.$disk && mv /tmp/round.$disk /tmp/rounds.$disk
          done
        }
        echo 0 > /tmp/rounds.vda
        echo 0 > /tmp/rounds.vdb
        load vda & first=$!
        load vdb & second=$!
        # Whether both have done more than two rounds since: one was begun since then.
        go_on() { [ $(cat /tmp/rounds.vda) -gt $((a + 2)) ] && [ $(cat /tmp/rounds.vdb) -gt $((b + 2)) ]; }
        for step in $STEPS; do
          a=$(cat /tmp/rounds.vda) b=$(cat /tmp/rounds.vdb)
          check goes-on-$step within 120 go_on
          signal loaded; await done
        done
        a=$(cat /tmp/rounds.vda) b=$(cat /tmp/rounds.vdb)
        check goes-on within 120 go_on
        touch /tmp/enough; wait $first $second
        equal without-error "$(cat /tmp/failed 2>/dev/null)" ""
        umount /mnt/vda /mnt/vdb
        check fsck-first e2fsck -fn /dev/vda
        check fsck-second e2fsck -fn /dev/vdb
        equal kernel "$(dmesg | grep -ciE 'i/o error|ext4-fs error|blocked for more')" 0
        exit 0
        """;

    [Fact]
    public Task A_machine_does_not_notice_upgrades_and_outlives_kills() =>
        Guests.RunAsync(async attempt =>
        {
            using var daemon = new TestDaemon();
            daemon.Start();
            string first = daemon.Serve("first", MemberBytes);
            string second = daemon.Serve("second", MemberBytes, "--isolate", "on");
            string[] steps = [.. Enumerable.Range(1, Upgrades + Kills).Select(step => $"{step}")];
            GuestVm guest = attempt.Start(new GuestVmBuilder("upgrade", GuestKernel.Linux612)
                .Memory(512)
                .VhostUserBlk(first, queues: 2, reconnectMs: 0)
                .VhostUserBlk(second, queues: 2, reconnectMs: 100)
                .Programs("mkfs.ext4", "e2fsck")
                .Script($"STEPS='{string.Join(' ', steps)}'\n" + Script)
                .Timeout(TimeSpan.FromMinutes(8)));
            for (int i = 0; i < Upgrades; i++)
            {
                await guest.WaitForSignalAsync("loaded");
                (int before, int after) = daemon.Upgrade();
                Assert.NotEqual(before, after);
                Assert.False(TestDaemon.RunsWhatWasReplaced(after));
                await guest.SendAsync("done");
            }

            for (int i = 0; i < Kills; i++)
            {
                await guest.WaitForSignalAsync("loaded");
                daemon.Kill("second");
                await guest.SendAsync("done");
            }

            (await guest.CompletionAsync()).RequireSuccess(
                [.. steps.Select(step => $"goes-on-{step}"), "goes-on", "without-error", "fsck-first", "fsck-second", "kernel"]);
        });
}
