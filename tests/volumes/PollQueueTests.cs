// A drive with poll queues (null_blk in the guest, as NVMe has them): polyblk runs in the guest and polls it for completions
// (IOPOLL).

using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

public sealed class PollQueueTests
{
    [Fact]
    public async Task A_drive_with_poll_queues_is_polled_and_keeps_its_data()
    {
        GuestResult result = await new GuestVmBuilder("volume-poll-queues", GuestKernel.Linux612)
            .Memory(2048)
            .Polyblk()
            .Programs("qemu-io")
            .Script("""
                modprobe null_blk nr_devices=1 gb=1 memory_backed=1 queue_mode=2 submit_queues=1 poll_queues=1
                within 30 test -b /dev/nullb0 || { fail disk "no /dev/nullb0"; exit 1; }
                equal io_poll "$(cat /sys/block/nullb0/queue/io_poll)" 1

                # The kernel calls the driver's poll function only for requests of an IOPOLL ring.
                mount -t tracefs none /sys/kernel/tracing 2>/dev/null
                echo null_poll > /sys/kernel/tracing/set_ftrace_filter
                echo function > /sys/kernel/tracing/current_tracer
                polled() { grep -c null_poll /sys/kernel/tracing/trace; }
                equal polled-before "$(polled)" 0
                check create polyblk --state /tmp/state volume create data --level none /dev/nullb0
                polyblk --state /tmp/state serve data --frontend nbd --socket /tmp/data.sock >/tmp/serve.log 2>&1 & server=$!
                within 400 sh -c "test -S /tmp/data.sock || ! test -d /proc/$server"
                test -S /tmp/data.sock || { cat /tmp/serve.log; fail serve "no socket"; exit 1; }
                uri='nbd+unix:///data?socket=/tmp/data.sock'
                check write qemu-io -f raw -c 'write -P 0x5a 0 8M' -c 'write -P 0xa5 1M 4k' -c flush "$uri"
                check read qemu-io -f raw -c 'read -P 0x5a 0 1M' -c 'read -P 0xa5 1M 4k' -c 'read -P 0x5a 2M 6M' "$uri"
                grep null_poll /sys/kernel/tracing/trace | tail -n 1
                check polled test "$(polled)" -gt 0
                kill $server; wait $server
                equal stopped $? 0
                exit 0
                """)
            .Timeout(TimeSpan.FromMinutes(10))
            .RunAsync();
        result.RequireSuccess("io_poll", "polled-before", "create", "write", "read", "polled", "stopped");
    }
}
