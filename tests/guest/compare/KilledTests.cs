// What a comparison leaves in the kernel when it and its servers get SIGKILL in the middle of a round: a machine has all the drivers.

using Polyblk.GuestRig;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class KilledTests
{
    /// <summary>The worst moment for VDUSE: its disk has requests in flight, for which the kernel would wait for ever.</summary>
    [Fact]
    public async Task Devices_that_a_killed_comparison_left_in_the_kernel_are_removed_by_the_next_one()
    {
        GuestResult result = await new GuestVmBuilder("compare-killed", GuestKernel.Linux73)
            .Memory(3072)
            .Timeout(TimeSpan.FromMinutes(10))
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
                """)
            .RunAsync();
        result.RequireSuccess("waiting", "left", "gone", "said");
        Assert.Contains("1 md array, 4 loop devices, 1 ublk device, 2 VDUSE devices, /dev/shm/polyblk-compare-", result["said"].Detail, StringComparison.Ordinal);
        Assert.DoesNotContain("remain", result["said"].Detail, StringComparison.Ordinal);
    }
}
