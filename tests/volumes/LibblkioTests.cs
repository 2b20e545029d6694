// Every level, healthy and degraded, under a virtio driver that is not ours: verified random I/O of mixed sizes over one and two
// queues.

using Polyblk.Blkio;

namespace Polyblk.Volumes.Tests;

public sealed class LibblkioTests
{
    private const string Driver = "virtio-blk-vhost-user";
    private const long MemberBytes = 33L << 20;

    [Theory]
    [InlineData("raid0", 3, 0)]
    [InlineData("raid1", 2, 1)]
    [InlineData("raid10", 4, 1)]
    [InlineData("raid5", 3, 1)]
    [InlineData("raid5", 9, 1)]
    [InlineData("raid6", 4, 2)]
    [InlineData("raid6", 6, 1)]
    public void Verified_random_io_healthy_and_degraded(string level, int members, int losses)
    {
        using var volume = new TestVolume(level, members, MemberBytes);
        volume.Serve();
        Verify(volume, seed: 11);
        byte[] mark = WriteMark(volume);
        Assert.Equal(0, volume.Stop());
        if (losses == 0)
        {
            return;
        }

        for (int i = 0; i < losses; i++)
        {
            File.Delete(volume.Members[i]);
        }

        volume.Serve(allowDegraded: true);
        using (var client = new BlkioClient(volume.Socket))
        {
            byte[] back = new byte[mark.Length];
            Assert.Equal(0, client.Read(0, back));
            Assert.Equal(mark, back);
        }

        Verify(volume, seed: 12);
        Assert.Equal(0, volume.Stop());
    }

    private static void Verify(TestVolume volume, int seed)
    {
        foreach (int queues in (int[])[1, 2])
        {
            BlkioVerified done = BlkioVerifier.Run(Driver, volume.Socket, queues, spanBytes: 24 << 20, requestsPerQueue: 600, maxUnits: 80, seed + queues);
            Assert.True(done.Reads > 0 && done.Writes > 0 && done.Others > 0);
        }
    }

    private static byte[] WriteMark(TestVolume volume)
    {
        byte[] mark = new byte[3 << 20];
        new Random(9).NextBytes(mark);
        using var client = new BlkioClient(volume.Socket);
        Assert.Equal(0, client.Write(0, mark));
        Assert.Equal(0, client.Flush());
        return mark;
    }
}
