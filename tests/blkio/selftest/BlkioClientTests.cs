// The libblkio client proven on a backend that is known to be good: what goes wrong with it elsewhere is the target's fault.

using Polyblk.GuestRig;

namespace Polyblk.Blkio.Tests;

public sealed class BlkioClientTests : KnownGoodBackend
{
    [Fact]
    public void Every_operation_reaches_theDisk()
    {
        using var client = new BlkioClient(Socket, queues: 2);
        Assert.Equal(DiskBytes, client.CapacityBytes);
        byte[] data = new byte[64 << 10], back = new byte[64 << 10];
        new Random(1).NextBytes(data);

        Assert.Equal(0, client.Write(1 << 20, data, queue: 0));
        Assert.Equal(0, client.Flush());
        Assert.Equal(0, client.Read(1 << 20, back, queue: 1));
        Assert.Equal(data, back);
        Assert.Equal(data, File.ReadAllBytes(Disk)[(1 << 20)..((1 << 20) + data.Length)]);

        Assert.Equal(0, client.WriteZeroes(1 << 20, 4096));
        Assert.Equal(0, client.Discard(2 << 20, 4096));
        Assert.Equal(0, client.Read(1 << 20, back));
        Assert.True(back.AsSpan(0, 4096).IndexOfAnyExcept((byte)0) < 0);
        Assert.Equal(data[4096..], back[4096..]);
    }

    [Fact]
    public void A_read_beyond_the_end_is_an_error()
    {
        using var client = new BlkioClient(Socket);
        Assert.True(client.Read(DiskBytes, new byte[4096]) < 0);
        Assert.Equal(0, client.Read(0, new byte[4096]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_load_completes_requests(bool write)
    {
        var pattern = new BlkioPattern(write, Sequential: false, 4096, QueueDepth: 16, Queues: 2, DiskBytes, Seconds: 0.3, WarmupSeconds: 0.05);
        BlkioResult result = BlkioLoad.Run("virtio-blk-vhost-user", Socket, pattern);
        Assert.True(result.Requests > 16, $"{result.Requests} requests");
        Assert.Equal(0, result.Errors);
        Assert.InRange(result.P99Ns, result.P50Ns, double.MaxValue);
    }

    [Fact]
    public void Verified_random_io_finds_a_goodDisk_good()
    {
        BlkioVerified done = BlkioVerifier.Run("virtio-blk-vhost-user", Socket, queues: 2, DiskBytes, requestsPerQueue: 500, maxUnits: 8, seed: 7);
        Assert.True(done.Reads > 0 && done.Writes > 0 && done.Others > 0);
    }

    [Fact]
    public void Verified_random_io_finds_a_changed_byte()
    {
        // Asked for more when all its requests are under way, that is, when most blocks are written and before they are read
        // back.
        bool isChanged = false;
        bool ChangeIt()
        {
            using FileStream disk = File.OpenWrite(Disk);
            byte[] noise = new byte[4096];
            Array.Fill(noise, (byte)0xEE);
            for (long at = 0; at < DiskBytes && !isChanged; at += 64 << 10)
            {
                disk.Position = at;
                disk.Write(noise);
            }

            isChanged = true;
            return false;
        }

        Assert.Throws<InvalidDataException>(
            () => BlkioVerifier.Run("virtio-blk-vhost-user", Socket, queues: 1, DiskBytes, requestsPerQueue: 4_000, maxUnits: 8, seed: 7, ChangeIt));
        Assert.True(isChanged, "it found an error before there was one");
    }

    [Fact]
    public void ASocket_that_is_not_there_is_an_error()
    {
        Assert.Throws<IOException>(() => new BlkioClient(PathOf("nothing")));
    }
}
