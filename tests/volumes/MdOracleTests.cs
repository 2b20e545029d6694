// Linux's own md as the oracle: an array of md and a volume of the same geometry get the same writes in a guest; afterwards every
// member carries the same bytes, data and parity. md runs on loop devices in the guest; the volume's members are files of the
// host.

using System.Security.Cryptography;
using Polyblk.GuestRig;

namespace Polyblk.Volumes.Tests;

public sealed class MdOracleTests
{
    private const long MemberBytes = 17L << 20;
    private const int ComparedBytes = 12 << 20;

    /// <summary>
    /// compare NUMBER DISK LEVEL MEMBERS CHUNK-KIB: the same writes to the disk and to an array of md; then the sums of md's
    /// members.
    /// </summary>
    private const string Functions = """
        modprobe virtio_blk; modprobe loop; modprobe raid456
        # The same bytes to the same places: whole stripes, chunks, pages, pieces over borders, places written twice.
        put() { # BYTES-UNIT SEEK COUNT
          dd if=/dev/urandom of=/tmp/data bs=$1 count=$3 2>/dev/null
          for target in $volume /dev/md$number; do
            dd if=/tmp/data of=$target bs=$1 seek=$2 count=$3 oflag=direct conv=notrunc 2>/tmp/dd.err || { fail write "$target $* $(cat /tmp/dd.err)"; exit 1; }
          done
        }
        compare() {
          number=$1 volume=$2 members=$4 devices= sums=
          for i in $(seq 0 $((members - 1))); do
            dd if=/dev/zero of=/tmp/m$number.$i bs=1M count=16 2>/dev/null
            mknod /dev/loop$((number * 8 + i)) b 7 $((number * 8 + i)) 2>/dev/null
            losetup /dev/loop$((number * 8 + i)) /tmp/m$number.$i; devices="$devices /dev/loop$((number * 8 + i))"
          done
          check create$number mdadm --create /dev/md$number --run --metadata=1.0 --level=$3 --raid-devices=$members --chunk=$5 --assume-clean --bitmap=none $devices
          put 1048576 0 8
          put 4096 3 1; put 4096 17 5; put 4096 100 33; put 12288 7 3; put 65536 11 2; put 8192 400 40; put 512 9001 7
          seed=12345
          for n in $(seq 60); do
            seed=$(( (seed * 1103515245 + 12345) & 2147483647 ))
            put 4096 $((seed % 4000)) $((1 + seed / 4096 % 40))
          done
          put 1048576 18 4
          sync
          check stop$number mdadm --stop /dev/md$number
          for i in $(seq 0 $((members - 1))); do sums="$sums $(sum /tmp/m$number.$i COMPARED)"; done
          signal sums$number $sums
        }

        """;

    private sealed record Shape(string Level, int Members, int ChunkKib);

    private static readonly Shape[] s_shapes = [new("raid5", 4, 64), new("raid6", 5, 64), new("raid6", 6, 16)];

    /// <summary>All shapes in one guest: a boot takes as long as what is compared.</summary>
    [Fact]
    public Task Members_are_byte_identical_to_md() =>
        Guests.RunAsync(async attempt =>
        {
            var volumes = new List<TestVolume>();
            try
            {
                GuestBuilder builder = new GuestVmBuilder("md-oracle", GuestKernel.Linux612).Programs("mdadm").Timeout(TimeSpan.FromMinutes(10));
                string script = Functions.Replace("COMPARED", $"{ComparedBytes}", StringComparison.Ordinal);
                foreach (Shape shape in s_shapes)
                {
                    var volume = new TestVolume(shape.Level, shape.Members, MemberBytes, $"{shape.ChunkKib}KiB");
                    volumes.Add(volume);
                    volume.Serve();
                    string slot = builder.Disk(new VhostUserDisk(volume.Socket, 2));
                    script += $"compare {volumes.Count} $(disk {slot}) {shape.Level["raid".Length..]} {shape.Members} {shape.ChunkKib}\n";
                }

                GuestVm guest = attempt.Start(builder.Script(script + "exit 0\n"));
                var expected = new List<string[]>();
                foreach (Shape shape in s_shapes)
                {
                    expected.Add((await guest.WaitForSignalAsync($"sums{expected.Count + 1}")).Split(' '));
                    Assert.Equal(shape.Members, expected[^1].Length);
                }

                (await guest.CompletionAsync()).RequireSuccess([.. s_shapes.SelectMany((_, i) => new[] { $"create{i + 1}", $"stop{i + 1}" })]);
                Assert.All(volumes, v => Assert.Equal(0, v.Stop()));
                Assert.All(
                    volumes.SelectMany((v, array) => v.Members.Select((file, i) => (Name: $"{s_shapes[array]}, member {i}", File: file, Sum: expected[array][i]))),
                    m => Assert.Equal($"{m.Name}: {m.Sum}", $"{m.Name}: {SumOfData(m.File)}"));
            }
            finally
            {
                volumes.ForEach(v => v.Dispose());
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
