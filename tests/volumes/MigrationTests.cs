// Live migration: a guest that reads and writes all the time moves to another QEMU, which has a socket of its own on the same
// volume.
//
// QEMU sends the guest's memory while it runs. What the target writes into memory behind QEMU's back (the data of reads) QEMU
// only learns from the dirty log (VHOST_USER_PROTOCOL_F_LOG_SHMFD): without it the page cache of the moved guest would hold what
// was there before.

using System.Globalization;
using System.Text.Json.Nodes;
using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

public sealed class MigrationTests
{
    private const string Script = """
        modprobe virtio_blk && modprobe ext4
        within 30 test -b /dev/vda || { fail disk "no /dev/vda"; exit 1; }
        check ext4 mkfs.ext4 -q -F /dev/vda
        mount -t ext4 /dev/vda /mnt
        for i in 0 1 2 3 4 5 6 7; do dd if=/dev/urandom of=/mnt/data.$i bs=1M count=8 2>/dev/null; done
        sync
        (cd /mnt && sha256sum data.*) > /tmp/sums

        # Pages of the cache are filled by reads over and over; another file first each time, so that every page gets other content.
        ( r=0; while [ ! -e /tmp/enough ]; do
            r=$((r + 3))
            echo 1 > /proc/sys/vm/drop_caches
            for i in 0 1 2 3 4 5; do cat /mnt/data.$(((r + i) % 8)) > /dev/null; done
          done ) & reader=$!
        ( i=0; while [ ! -e /tmp/enough ]; do
            i=$((i + 1))
            echo "round $i" | dd of=/mnt/round bs=4k conv=sync,fsync 2>/dev/null || echo write >> /tmp/failed
            grep -q "^round $i$" /mnt/round || echo compare >> /tmp/failed
            echo $i > /tmp/rounds
          done ) & writer=$!
        within 60 test -s /tmp/rounds
        signal busy; await moved
        before=$(cat /tmp/rounds)
        check goes-on within 60 sh -c "[ \$(cat /tmp/rounds) -gt $before ]"
        touch /tmp/enough; wait $reader $writer

        # As memory has it, then as the volume has it.
        (cd /mnt && sha256sum -c /tmp/sums) > /tmp/cached 2>&1
        equal cached "$(grep -c OK /tmp/cached)" 8
        echo 3 > /proc/sys/vm/drop_caches
        (cd /mnt && sha256sum -c /tmp/sums) > /tmp/stored 2>&1
        equal stored "$(grep -c OK /tmp/stored)" 8
        equal without-error "$(cat /tmp/failed 2>/dev/null)" ""
        umount /mnt
        check fsck e2fsck -fn /dev/vda
        exit 0
        """;

    [Fact]
    public Task A_guest_moves_to_another_host_while_it_reads_and_writes() =>
        Guests.RunAsync(async attempt =>
        {
            using var volume = new TestVolume("raid5", 3, 129L << 20);
            volume.Serve(second: Second.Writable);
            string folder = Directory.CreateTempSubdirectory("polyblk-migration-").FullName;
            try
            {
                string way = $"unix:{folder}/way";
                GuestVm source = attempt.Start(Guest("migration-from", volume.Socket, $"{folder}/from"));
                await source.WaitForSignalAsync("busy");
                GuestVm destination = attempt.Start(Guest("migration-to", volume.SecondSocket, $"{folder}/to", "-incoming", way));
                using QmpClient from = await QmpClient.ConnectAsync($"{folder}/from");
                using QmpClient to = await QmpClient.ConnectAsync($"{folder}/to");

                // Slow enough for many reads on the way, and the pause long enough for the last of what they dirtied.
                await from.RunAsync("migrate-set-parameters", new Dictionary<string, long> { ["max-bandwidth"] = 96 << 20, ["downtime-limit"] = 3000 });
                await from.RunAsync("migrate", new { uri = way });
                Assert.Equal("completed", await WaitAsync(from));
                await destination.SendAsync("moved");
                GuestResult result = await destination.CompletionAsync();
                result.RequireSuccess("goes-on", "cached", "stored", "without-error", "fsck");
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        });

    private static GuestBuilder Guest(string name, string socket, string qmp, params string[] more) =>
        new GuestVmBuilder(name, GuestKernel.Linux612)
            .Memory(512)
            .VhostUserBlk(socket, queues: 2)
            .Programs("mkfs.ext4", "e2fsck")
            .Qemu(["-qmp", $"unix:{qmp},server=on,wait=off", .. more])
            .Script(Script)
            .Timeout(TimeSpan.FromMinutes(6));

    /// <summary>
    /// Waits until the migration is over, one way or the other; helps one that never catches up with the guest.
    /// </summary>
    private static async Task<string> WaitAsync(QmpClient from)
    {
        for (int i = 0; ; i++)
        {
            JsonNode? state = await from.RunAsync("query-migrate");
            string status = (string?)state?["status"] ?? "none";
            if (status is "completed" or "failed" or "cancelled")
            {
                return status == "completed" ? status : $"{status}: {state?["error-desc"]}";
            }

            if (i == 100)
            {
                await from.RunAsync("migrate-set-parameters", new Dictionary<string, long> { ["downtime-limit"] = 30_000, ["max-bandwidth"] = 1L << 30 });
            }

            await Task.Delay(TimeSpan.FromMilliseconds(300), CancellationToken.None);
            Assert.True(i < 600, string.Create(CultureInfo.InvariantCulture, $"The migration is not over: {state}"));
        }
    }
}
