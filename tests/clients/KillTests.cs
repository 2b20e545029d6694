using System.Diagnostics;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.GuestRig;

namespace Polyblk.Clients.Tests;

/// <summary>The target is killed with SIGKILL under load and started again: consumers wait, and lose nothing.</summary>
public sealed class KillTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Killed_under_load_it_finishes_every_request_of_a_driver(bool packed)
    {
        const int seed = 99;
        const int depth = 32;
        const int blockBytes = 4096;
        var random = new Random(seed);
        using var target = new TargetProcess(16 << 20, reactors: 2);
        using var client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = target.Socket, Queues = 2, Depth = depth, Packed = packed, Inflight = true,
        });
        var generations = new ulong[2 * depth];
        for (int round = 0; round < 8; round++)
        {
            // Each slot writes its own block again and again; the last generation must be on the disk when all is done.
            var run = Stopwatch.StartNew();
            int runMs = random.Next(20, 150);
            while (run.ElapsedMilliseconds < runMs)
            {
                Step(client, generations, submit: true);
            }

            target.Kill();
            client.Disconnect();
            for (int i = 0; i < 4; i++)
            {
                Step(client, generations, submit: true);
            }

            target.StartAgain();
            client.Reconnect();
            var wait = Stopwatch.StartNew();
            while (client.Queues.Any(q => q.InFlight != 0))
            {
                Step(client, generations, submit: false);
                Assert.True(wait.ElapsedMilliseconds < 30_000, $"seed {seed}, round {round}: requests were lost");
            }

            Verify(client, generations, blockBytes, round);
        }
    }

    [Fact]
    public async Task Killed_under_a_virtual_machine_it_costs_no_error()
    {
        using var target = new TargetProcess(256 << 20, reactors: 2);
        GuestResult result = await new GuestVmBuilder("vhost-user-kill", GuestKernel.Linux612)
            .VhostUserBlk(target.Socket, queues: 2, reconnectMs: 200, properties: ",queue-size=128")
            .Programs("mkfs.ext4", "e2fsck", "blkdiscard")
            .Script("""
                modprobe virtio_blk && modprobe ext4
                within 30 test -b /dev/vda || { fail disk "no /dev/vda"; exit 1; }
                equal queues $(ls /sys/block/vda/mq | wc -l) 2
                equal serial "$(cat /sys/block/vda/serial)" target
                check discard blkdiscard /dev/vda
                check mkfs mkfs.ext4 -q -F /dev/vda
                check mount mount -t ext4 /dev/vda /mnt
                dd if=/dev/urandom of=/tmp/data bs=64k count=128 2>/dev/null
                (
                  i=0
                  while [ ! -e /tmp/stop ]; do
                    dd if=/tmp/data of=/mnt/file$((i % 8)) bs=64k conv=fsync 2>/dev/null || echo $i >> /tmp/errors
                    i=$((i + 1))
                    echo $i > /tmp/round && mv /tmp/round /tmp/rounds
                  done
                ) &
                load=$!
                written() { [ "$(cat /tmp/rounds)" -gt $1 ]; }
                in_flight() { read -r reads writes < /sys/block/vda/inflight; [ $((reads + writes)) -gt 0 ]; }
                rounds=0
                for round in 1 2 3; do
                  within 120 written $rounds
                  signal load
                  await stopped
                  check in-flight-$round within 120 in_flight
                  rounds=$(cat /tmp/rounds)
                  signal waits
                  await killed
                done
                check written-after-kills within 120 written $rounds
                touch /tmp/stop
                wait $load
                equal errors "$(cat /tmp/errors 2>/dev/null)" ""
                equal kernel "$(dmesg | grep -ciE 'i/o error|ext4-fs error|blocked for more')" 0
                umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt
                want=$(sum /tmp/data)
                for f in /mnt/file*; do [ "$(sum $f)" = "$want" ] || echo $f; done > /tmp/wrong
                equal content "$(cat /tmp/wrong)" ""
                umount /mnt
                check fsck e2fsck -fn /dev/vda
                exit 0
                """)
            .RunAsync(async guest =>
            {
                for (int round = 0; round < 3; round++)
                {
                    // A target that stands still finishes nothing of what is in flight before it is killed.
                    await guest.WaitForSignalAsync("load");
                    target.Freeze();
                    await guest.SendAsync("stopped");
                    await guest.WaitForSignalAsync("waits");
                    target.Kill();
                    target.StartAgain();
                    await guest.SendAsync("killed");
                }
            });
        result.RequireSuccess(
            "queues", "serial", "discard", "mkfs", "mount", "in-flight-1", "in-flight-2", "in-flight-3", "written-after-kills", "errors", "kernel", "content", "fsck");
    }

    private static unsafe void Step(VhostUserClient client, ulong[] generations, bool submit)
    {
        Span<ClientCompletion> done = stackalloc ClientCompletion[16];
        for (int q = 0; q < client.Queues.Count; q++)
        {
            ClientQueue queue = client.Queues[q];
            int count = queue.Poll(done);
            for (int i = 0; i < count; i++)
            {
                Assert.Equal(0, done[i].Status);
            }

            for (int slot = 0; submit && slot < queue.Depth; slot++)
            {
                if (!queue.IsBusy(slot))
                {
                    int block = (q * queue.Depth) + slot;
                    *(ulong*)queue.BufferOf(slot) = ++generations[block];
                    queue.Submit(slot, ClientOperation.Write, block * 4096L, 4096);
                }
            }

            queue.Publish();
        }
    }

    private static unsafe void Verify(VhostUserClient client, ulong[] generations, int blockBytes, int round)
    {
        ClientQueue queue = client.Queues[0];
        Span<ClientCompletion> done = stackalloc ClientCompletion[1];
        for (int block = 0; block < generations.Length; block++)
        {
            queue.Submit(0, ClientOperation.Read, (long)block * blockBytes, blockBytes);
            queue.Publish();
            while (queue.Poll(done) == 0)
            {
                Assert.True(queue.Wait(30_000), "no answer");
            }

            Assert.Equal(0, done[0].Status);
            Assert.True(
                generations[block] == *(ulong*)queue.BufferOf(0),
                $"round {round}: block {block} holds write {*(ulong*)queue.BufferOf(0)}, {generations[block]} was the last");
        }
    }
}
