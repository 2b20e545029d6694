// The load that a comparison drives vhost-user with, by libblkio and by the built-in driver, on a backend that is known to be
// good.

using Polyblk.Compare.Clients;
using Polyblk.Compare.Clients.Blkio;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Compare.Load;
using Polyblk.Compare.Workloads;
using Polyblk.GuestRig;

namespace Polyblk.Blkio.Tests;

public sealed class CompareLoadTests : KnownGoodBackend
{
    [Fact]
    public void Where_libblkio_is_installed_it_is_taken() => Assert.Equal("libblkio's virtio driver", new VhostUserLoad().Name);

    [Fact]
    public void Its_slots_carry_data_to_theDisk_and_back()
    {
        using IVirtioDisk disk = new BlkioDriver().Attach(Socket, queues: 2, depth: 4, bufferBytes: 8192);
        Assert.Equal(DiskBytes, disk.CapacityBytes);
        for (int slot = 0; slot < 4; slot++)
        {
            disk.Queues[0].Buffer(slot).Fill((byte)(slot + 1));
            disk.Queues[0].Submit(slot, ClientOperation.Write, slot * 8192L, 8192);
        }

        Finish(disk.Queues[0], 4);
        for (int slot = 0; slot < 4; slot++)
        {
            disk.Queues[1].Submit(slot, ClientOperation.Read, slot * 8192L, 8192);
        }

        Finish(disk.Queues[1], 4);
        for (int slot = 0; slot < 4; slot++)
        {
            Assert.True(disk.Queues[1].Buffer(slot).IndexOfAnyExcept((byte)(slot + 1)) < 0, $"slot {slot}");
            Assert.All(File.ReadAllBytes(Disk)[(slot * 8192)..((slot + 1) * 8192)], b => Assert.Equal(slot + 1, b));
        }

        disk.Queues[0].Submit(3, ClientOperation.Read, DiskBytes, 4096);
        Assert.NotEqual(0, Finish(disk.Queues[0], 1));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_run_counts_requests_without_errors_and_its_writes_reach_theDisk(bool libblkio)
    {
        var load = new VhostUserLoad(libblkio ? new BlkioDriver() : new BuiltInDriver());
        var endpoint = new VhostUserEndpoint(Socket, 2, DiskBytes);
        var settings = new LoadSettings(TimeSpan.FromMilliseconds(50), TimeSpan.FromMilliseconds(300), [], 5);
        int told = 0;
        Workload write = Presets.Quick.First(w => w.IsWrite);
        LoadResult result = await load.RunAsync(endpoint, write, settings, _ => told++, CancellationToken.None);
        Assert.True(result is { Requests: > 0, Errors: 0, MeanNs: > 0, LoadCpuNs: > 0 }, $"{result}");
        Assert.Equal(result.Requests * write.BlockBytes, result.Bytes);
        Assert.Equal(!libblkio, result.Notifications is not null);
        Assert.Equal(2, told);
        Assert.Contains(File.ReadAllBytes(Disk), b => b != 0);
    }

    /// <summary>The disk of a volume that is only read: the library wants to know that beforehand.</summary>
    [Fact]
    public async Task A_read_onlyDisk_is_driven_by_reads()
    {
        string socket = PathOf("read-only.sock");
        string disk = PathOf("read-only");
        File.Copy(Disk, disk);
        using var daemon = new StorageDaemon(disk, socket, queues: 1, writable: false);
        Assert.Throws<IOException>(() => new BlkioDriver().Attach(socket, 1, 1, 4096));
        KeptContent kept = await KeptContent.TakeAsync(DiskBytes, "It has data.", (_, _) => Task.CompletedTask, CancellationToken.None);
        Workload read = Presets.Quick.First(w => !w.IsWrite);
        LoadResult result = await new VhostUserLoad(new BlkioDriver()).RunAsync(
            new VhostUserEndpoint(socket, 1, DiskBytes) { Kept = kept }, read, new LoadSettings(TimeSpan.Zero, TimeSpan.FromMilliseconds(100), [], 5), _ => { }, CancellationToken.None);
        Assert.True(result is { Requests: > 0, Errors: 0 }, $"{result}");
    }

    /// <summary>Polls until all are answered; returns the last status that was not success, or 0.</summary>
    private static int Finish(IVirtioQueue queue, int requests)
    {
        queue.Publish();
        var done = new ClientCompletion[8];
        int status = 0;
        for (long deadline = Environment.TickCount64 + 60_000; requests > 0;)
        {
            int count = queue.Poll(done);
            requests -= count;
            status = done[..count].Select(c => (int)c.Status).LastOrDefault(s => s != 0, status);
            Assert.True(Environment.TickCount64 < deadline, "no completion within a minute");
        }

        Assert.Equal(0, queue.InFlight);
        return status;
    }
}
