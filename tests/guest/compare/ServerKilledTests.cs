// A server that gets SIGKILL under a comparison that goes on: a machine has the drivers.
//
// In the collection of those that take less time, for balance (InsideTests.cs).

using Polyblk.GuestRig;

namespace Polyblk.CompareGuest.Tests;

[Collection("one machine at a time")]
public sealed class ServerKilledTests
{
    /// <summary>fio cannot be ended then, and the kernel does not give the device back: the comparison serves it once more.</summary>
    [Fact]
    public async Task A_comparison_whose_vduse_server_was_killed_ends_when_it_is_told_to_with_its_results_and_leaves_nothing()
    {
        GuestResult result = await new GuestVmBuilder("compare-server-killed", GuestKernel.Linux73)
            .Memory(3072)
            .Timeout(TimeSpan.FromMinutes(10))
            .Polyblk()
            .Programs("fio", "qemu-storage-daemon", "vdpa", "taskset", "setpriv")
            .Script("""
                for m in virtio_blk vduse virtio_vdpa; do modprobe $m; done
                left() { ls -d /sys/bus/vdpa/devices/pb* /sys/class/vduse/pb* /dev/shm/polyblk-compare-* 2>/dev/null; }
                waiting() { cat /sys/bus/vdpa/devices/pbc*/virtio*/block/*/inflight | grep '[1-9]'; }
                server() { for p in $(pidof polyblk dotnet); do tr '\0' '\n' </proc/$p/cmdline | grep -qx serve && echo $p; done; }
                polyblk compare --member-size 16MiB --simulated 0 --restarts false --workloads randwrite --rounds 9 --runtime 30 --methods vduse --progress-lines --json /tmp/results.json >/tmp/said 2>&1 &
                compare=$!
                # What fio sends to a server that stands still is in flight when it is killed.
                within 300 grep -q 'round 1: .* on vduse' /tmp/said && kill -STOP $(server) && within 60 waiting || { cat /tmp/said; exit 1; }
                kill -9 $(server)
                sleep 2
                check waiting waiting
                equal served "$(server)" ""
                kill -TERM $compare
                wait $compare
                equal status $? 130
                equal gone "$(left)" ""
                check results grep -q '"interrupted": true' /tmp/results.json
                equal clean "$(grep 'taken down' /tmp/said)" ""
                """)
            .RunAsync();
        result.RequireSuccess("waiting", "served", "status", "gone", "results", "clean");
    }
}
