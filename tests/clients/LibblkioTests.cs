using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Blkio;
using Polyblk.Core.Block;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Frontends.VhostUser;

namespace Polyblk.Clients.Tests;

/// <summary>A driver that is not ours: libblkio's virtio-blk-vhost-user, through a real socket.</summary>
public sealed class LibblkioTests
{
    private const string Driver = "virtio-blk-vhost-user";
    private const int Seed = 20_240_611;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(2, 2)]
    public async Task Verified_random_io_on_a_ram_device(int queues, int reactors)
    {
        await using var drive = new RamDrive(64 << 20);
        await Serve(drive, reactors, readOnly: false, socket =>
        {
            BlkioVerified verified = BlkioVerifier.Run(Driver, socket, queues, drive.SizeBytes, requestsPerQueue: 20_000, maxUnits: 16, Seed);
            Assert.True(verified.Reads > 0 && verified.Writes > 0 && verified.Others > 0, verified.ToString());
        });
    }

    /// <summary>libblkio knows nothing of a connection that ends: it would wait for ever.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Verified_random_io_goes_on_while_its_session_goes_over_again_and_again(int queues)
    {
        const int LeastMoves = 20;
        string directory = Directory.CreateTempSubdirectory("pbcl").FullName;
        await using var drive = new RamDrive(64 << 20);
        using var fixture = new ReactorFixture(2);
        var spec = new ExportSpec { Id = "clients", VolumeName = "clients", Device = drive, SocketPath = Path.Combine(directory, "s.sock") };
        var context = new ExportContext(fixture.Group, directory, directory, NullLoggerFactory.Instance);
        var frontend = new VhostUserFrontend();
        IExport export = await frontend.CreateAsync(spec, context, CancellationToken.None);
        int moves = 0;
        for (int seed = Seed; moves < LeastMoves; seed++)
        {
            Task<BlkioVerified> load = Task.Factory.StartNew(
                () => BlkioVerifier.Run(Driver, spec.SocketPath, queues, drive.SizeBytes, requestsPerQueue: 20_000, maxUnits: 16, seed),
                TaskCreationOptions.LongRunning);
            while (!load.IsCompleted)
            {
                HandedOverExport luggage = await ((IMovableExport)export).HandOverAsync();
                export = await frontend.CreateAsync(spec with { HandedOver = luggage }, context, CancellationToken.None);
                moves++;
                await Task.WhenAny(load, Task.Delay(5));
            }

            Assert.True((await load).Reads > 0);
        }

        await export.DisposeAsync();
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public async Task Two_clients_at_once_see_each_others_writes()
    {
        await using var drive = new RamDrive(1 << 20);
        await Serve(drive, reactors: 2, readOnly: false, socket =>
        {
            using var left = new BlkioClient(socket);
            using var right = new BlkioClient(socket, queues: 2);
            byte[] data = new byte[8192];
            byte[] seen = new byte[8192];
            for (int i = 0; i < 200; i++)
            {
                Array.Fill(data, (byte)i);
                Assert.Equal(0, left.Write(i % 100 * 8192, data));
                Assert.Equal(0, right.Read(i % 100 * 8192, seen, queue: i & 1));
                Assert.Equal(data, seen);
            }

            Assert.Equal(0, right.WriteZeroes(0, 4096));
            Assert.Equal(0, left.Read(0, seen));
            Assert.True(seen.AsSpan(0, 4096).IndexOfAnyExcept((byte)0) < 0 && seen[4096] == 100);
            Assert.Equal(0, left.Discard(0, 8192));
            Assert.Equal(0, left.Flush());
        });
    }

    [Fact]
    public async Task A_read_only_export_is_read_only_to_it()
    {
        await using var drive = new RamDrive(1 << 20);
        await Serve(drive, reactors: 1, readOnly: true, socket =>
        {
            using var client = new BlkioClient(socket, readOnly: true);
            Assert.Equal(0, client.Read(0, new byte[512]));
            Assert.Throws<IOException>(() => new BlkioClient(socket));
        });
    }

    private static async Task Serve(IBlockDevice device, int reactors, bool readOnly, Action<string> use)
    {
        string directory = Directory.CreateTempSubdirectory("pbcl").FullName;
        using var fixture = new ReactorFixture(reactors);
        var spec = new ExportSpec
        {
            Id = "clients", VolumeName = "clients", Device = device, ReadOnly = readOnly, SocketPath = Path.Combine(directory, "s.sock"),
        };
        var context = new ExportContext(fixture.Group, directory, directory, NullLoggerFactory.Instance);
        await using (IExport export = await new VhostUserFrontend().CreateAsync(spec, context, CancellationToken.None))
        {
            // On a thread of its own: the client polls.
            await Task.Factory.StartNew(() => use(spec.SocketPath), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }

        Directory.Delete(directory, recursive: true);
    }
}
