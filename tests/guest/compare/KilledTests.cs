// What SIGKILL in the middle of a round leaves in the kernel: of a comparison with its servers, and of a server under a
// comparison that goes on. One machine, which has all the drivers, sees both.

using Polyblk.GuestRig;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class KilledTests
{
    /// <summary>
    /// The worst moment for VDUSE: its disk has requests in flight, for which the kernel would wait for ever. What a killed
    /// comparison left is removed by the next one. Where the server alone was killed, fio cannot be ended, and the kernel does
    /// not give the device back: the comparison serves it once more, ends when it is told to, with its results, and leaves
    /// nothing.
    /// </summary>
    [Fact]
    public async Task Devices_of_a_killed_comparison_are_removed_by_the_next_one_and_one_whose_server_was_killed_ends_when_it_is_told_to()
    {
        GuestResult result = await new GuestVmBuilder("compare-killed", GuestKernel.Linux73)
            .Memory(3072)
            .Timeout(TimeSpan.FromMinutes(15))
            .Polyblk()
            .Programs("fio", "qemu-storage-daemon", "vdpa", "mdadm", "losetup", "taskset", "setpriv")
            .Script("""
                for m in virtio_blk ublk_drv vduse virtio_vdpa loop raid456; do modprobe $m; done
                options="--member-size 16MiB --simulated 0 --restarts false --workloads randwrite --progress-lines"
                left() { ls -d /sys/block/md* /sys/block/loop*/loop /sys/block/ublkb* /sys/bus/vdpa/devices/pb* /sys/class/vduse/pb* /dev/shm/polyblk-compare-* 2>/dev/null; }
                kinds() { left | sed -E 's/[0-9]+//; s/[0-9]+.*//' | sort | uniq -c | while read -r count kind; do echo "$count $kind"; done; }
                waiting() { cat /sys/bus/vdpa/devices/pbc*/virtio*/block/*/inflight | grep '[1-9]'; }
                timed() { while read -r line; do read -r up _ </proc/uptime; echo "[$up] $line"; done; }
                # compare NAME OPTIONS...: in the background; what it says is in the log and in /tmp/NAME.
                compare() {
                  name=$1
                  shift
                  mkfifo /tmp/$name.pipe
                  timed </tmp/$name.pipe | tee /tmp/$name &
                  polyblk compare $options "$@" >/tmp/$name.pipe 2>&1 &
                }

                compare first --rounds 9 --runtime 3 --methods mdadm,loop@,ublk-user-copy,vduse
                # Servers that stand still cannot finish what is in flight before they are killed.
                stopped_in_time() {
                  kill -STOP $(pidof polyblk dotnet qemu-storage-daemon)
                  waiting && return
                  kill -CONT $(pidof polyblk dotnet qemu-storage-daemon)
                  return 1
                }
                within 300 grep -q 'round 1: .* on vduse' /tmp/first && within 300 stopped_in_time || exit 1
                kill -9 $(pidof polyblk dotnet qemu-storage-daemon)
                sleep 1
                left
                check waiting waiting
                equal left "$(echo $(kinds))" \
                  "1 /dev/shm/polyblk-compare- 4 /sys/block/loop/loop 1 /sys/block/md 1 /sys/block/ublkb 1 /sys/bus/vdpa/devices/pbc 1 /sys/bus/vdpa/devices/pbqsd 1 /sys/class/vduse/pbc 1 /sys/class/vduse/pbqsd"

                compare next --rounds 9 --methods array
                next=$!
                within 300 grep -q 'starting bare drive' /tmp/next || exit 1
                kill -TERM $next
                wait $next
                equal gone "$(left)" ""
                pass said "$(sed -n 's/.*Removed what/Removed what/p' /tmp/next)"

                server() { for p in $(pidof polyblk dotnet); do tr '\0' '\n' </proc/$p/cmdline | grep -qx serve && echo $p; done; }
                compare served --rounds 9 --runtime 30 --methods vduse --json /tmp/results.json
                served=$!
                # What fio sends to a server that stands still is in flight when it is killed.
                within 300 grep -q 'round 1: .* on vduse' /tmp/served && kill -STOP $(server) && within 60 waiting || exit 1
                kill -9 $(server)
                sleep 2
                check server-waiting waiting
                equal server-served "$(server)" ""
                kill -TERM $served
                wait $served
                equal server-status $? 130
                wait # for all that was said
                equal server-gone "$(left)" ""
                check server-results grep -q '"interrupted": true' /tmp/results.json
                equal server-clean "$(grep 'taken down' /tmp/served)" ""
                """)
            .RunAsync();
        result.RequireSuccess(
            "waiting", "left", "gone", "said", "server-waiting", "server-served", "server-status", "server-gone", "server-results", "server-clean");
        Assert.Contains("1 md array, 4 loop devices, 1 ublk device, 2 VDUSE devices, /dev/shm/polyblk-compare-", result["said"].Detail, StringComparison.Ordinal);
        Assert.DoesNotContain("remain", result["said"].Detail, StringComparison.Ordinal);
    }
}
