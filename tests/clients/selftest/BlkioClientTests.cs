// The libblkio client proven on a backend that is known to be good: what goes wrong with it elsewhere is the target's fault.

using Polyblk.GuestRig;

namespace Polyblk.TestClients.Tests;

public sealed class BlkioClientTests : IDisposable
{
    private const int DiskBytes = 16 << 20;
    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-blkio-").FullName;
    private readonly string _disk;
    private readonly string _socket;
    private readonly StorageDaemon _daemon;

    public BlkioClientTests()
    {
        _disk = Path.Combine(_folder, "disk");
        _socket = Path.Combine(_folder, "disk.sock");
        File.WriteAllBytes(_disk, new byte[DiskBytes]);
        _daemon = new StorageDaemon(_disk, _socket, queues: 2);
    }

    public void Dispose()
    {
        _daemon.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Every_operation_reaches_the_disk()
    {
        using var client = new BlkioClient(_socket, queues: 2);
        Assert.Equal(DiskBytes, client.CapacityBytes);
        byte[] data = new byte[64 << 10], back = new byte[64 << 10];
        new Random(1).NextBytes(data);

        Assert.Equal(0, client.Write(1 << 20, data, queue: 0));
        Assert.Equal(0, client.Flush());
        Assert.Equal(0, client.Read(1 << 20, back, queue: 1));
        Assert.Equal(data, back);
        Assert.Equal(data, File.ReadAllBytes(_disk)[(1 << 20)..((1 << 20) + data.Length)]);

        Assert.Equal(0, client.WriteZeroes(1 << 20, 4096));
        Assert.Equal(0, client.Discard(2 << 20, 4096));
        Assert.Equal(0, client.Read(1 << 20, back));
        Assert.True(back.AsSpan(0, 4096).IndexOfAnyExcept((byte)0) < 0);
        Assert.Equal(data[4096..], back[4096..]);
    }

    [Fact]
    public void A_read_beyond_the_end_is_an_error()
    {
        using var client = new BlkioClient(_socket);
        Assert.True(client.Read(DiskBytes, new byte[4096]) < 0);
        Assert.Equal(0, client.Read(0, new byte[4096]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_load_completes_requests(bool write)
    {
        using var client = new BlkioClient(_socket);
        LoadResult result = client.Load(TimeSpan.FromMilliseconds(300), depth: 16, blockBytes: 4096, write, seed: 1);
        Assert.True(result.Operations > 16, $"{result.Operations} operations");
    }

    [Fact]
    public void A_socket_that_is_not_there_is_an_error()
    {
        Assert.Throws<IOException>(() => new BlkioClient(Path.Combine(_folder, "nothing")));
    }
}
