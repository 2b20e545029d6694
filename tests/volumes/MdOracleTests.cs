// Linux's own md as the oracle: an array of md and a volume of the same geometry get the same writes in a guest; afterwards every
// member carries the same bytes, data and parity. md runs on loop devices in the guest; the volume's members are files of the host.

using System.Security.Cryptography;
using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

public sealed class MdOracleTests
{
    private const long MemberBytes = 17L << 20;
    private const int ComparedBytes = 12 << 20;

    [Theory]
    [InlineData("raid5", 4, 64)]
    [InlineData("raid6", 5, 64)]
    [InlineData("raid6", 6, 16)]
    public Task Members_are_byte_identical_to_md(string level, int members, int chunkKib) =>
        Guests.RunAsync(async attempt =>
        {
            using var volume = new TestVolume(level, members, MemberBytes, $"{chunkKib}KiB");
            volume.Serve();
            GuestVm guest = attempt.Start(new GuestVmBuilder($"md-oracle-{level}-{members}", GuestKernel.Linux612)
                .VhostUserBlk(volume.Socket, queues: 2)
                .Programs("mdadm")
                .Script($$"""
                    modprobe virtio_blk; modprobe loop; modprobe raid456
                    within 30 test -b /dev/vda || { fail disk "no /dev/vda"; exit 1; }
                    devices=
                    for i in $(seq 0 {{members - 1}}); do
                      dd if=/dev/zero of=/tmp/m$i bs=1M count=16 2>/dev/null
                      mknod /dev/loop$i b 7 $i 2>/dev/null
                      losetup /dev/loop$i /tmp/m$i; devices="$devices /dev/loop$i"
                    done
                    check create mdadm --create /dev/md0 --run --metadata=1.0 --level={{level[4..]}} --raid-devices={{members}} --chunk={{chunkKib}} --assume-clean --bitmap=none $devices
                    # The same bytes to the same places: whole stripes, chunks, pages, pieces over borders, places written twice.
                    put() { # BYTES-UNIT SEEK COUNT
                      dd if=/dev/urandom of=/tmp/data bs=$1 count=$3 2>/dev/null
                      for target in /dev/vda /dev/md0; do
                        dd if=/tmp/data of=$target bs=$1 seek=$2 count=$3 oflag=direct conv=notrunc 2>/tmp/dd.err || { fail write "$target $* $(cat /tmp/dd.err)"; exit 1; }
                      done
                    }
                    put 1048576 0 8
                    put 4096 3 1; put 4096 17 5; put 4096 100 33; put 12288 7 3; put 65536 11 2; put 8192 400 40; put 512 9001 7
                    seed=12345
                    for n in $(seq 60); do
                      seed=$(( (seed * 1103515245 + 12345) & 2147483647 ))
                      put 4096 $((seed % 4000)) $((1 + seed / 4096 % 40))
                    done
                    put 1048576 18 4
                    sync
                    check stop mdadm --stop /dev/md0
                    for i in $(seq 0 {{members - 1}}); do sums="$sums $(sum /tmp/m$i {{ComparedBytes}})"; done
                    signal sums $sums
                    exit 0
                    """)
                .Timeout(TimeSpan.FromMinutes(6)));
            string[] expected = (await guest.WaitForSignalAsync("sums")).Split(' ');
            (await guest.CompletionAsync()).RequireSuccess("create", "stop");
            Assert.Equal(0, volume.Stop());
            Assert.Equal(members, expected.Length);
            for (int i = 0; i < members; i++)
            {
                Assert.Equal($"member {i}: {expected[i]}", $"member {i}: {SumOfData(volume.Members[i])}");
            }
        });

    private static string SumOfData(string member)
    {
        using FileStream file = File.OpenRead(member);
        file.Position = TestVolume.DataOffset;
        byte[] data = new byte[ComparedBytes];
        file.ReadExactly(data);
        Assert.Contains(data, b => b != 0);
        return Convert.ToHexStringLower(SHA256.HashData(data));
    }
}
