using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

public sealed class SimulatedDriveTests
{
    private const int Block = 4096;

    [Theory]
    [InlineData("sim:4MiB,seed=1", 1)]
    [InlineData("sim:4MiB,seed=2,latency=1us-300us,tail=0.05:1ms", 2)]
    [InlineData("sim:4MiB,seed=3,latency=1us-300us,time=virtual,crash=on", 3)]
    [InlineData("sim:4MiB,seed=4,read-iops=100000,write-mbps=1000,cache=off,crash=on,block-size=4096", 4)]
    public async Task KeepsContent(string text, int seed)
    {
        using var fixture = new ReactorFixture();
        await using IBlockDevice drive = DriveFactory.Open(DriveSpec.Parse(text));
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await new DriveModel(driver, seed).RunAsync(rounds: 40, depth: 8);
    }

    [Fact]
    public async Task ACrashKeepsWhatWasFlushedAndOnlyEverLosesUnitsOfTheRest()
    {
        int lost = 0, torn = 0, kept = 0;
        for (ulong seed = 1; seed <= 20; seed++)
        {
            using var fixture = new ReactorFixture();
            var drive = new SimulatedDrive(1 << 20, new SimulatedDriveOptions { Seed = seed });
            await using (RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor))
            {
                // Block 0: flushed. Block 1: FUA over an unflushed write. Block 2: flushed, then overwritten. Blocks 8 to 15:
                // never flushed.
                await WriteAsync(driver, 0, 0x10);
                await WriteAsync(driver, 2, 0x12);
                Assert.Equal(0, await driver.FlushAsync());
                await WriteAsync(driver, 1, 0x71);
                await WriteAsync(driver, 1, 0x11, BlockFlags.Fua);
                await WriteAsync(driver, 2, 0x72);
                for (int block = 8; block < 16; block++)
                {
                    await WriteAsync(driver, block, 0x7F);
                }

                await drive.CrashAsync();
                Assert.Equal(-Errno.ENODEV, (await driver.ReadAsync(0, Block)).Status);
            }

            await using SimulatedDrive after = drive.Restart();
            await using RequestDriver reader = await RequestDriver.OpenAsync(after, fixture.Reactor);
            AssertOnly(seed, await reader.ReadOrThrowAsync(0, Block), 0x10);
            AssertOnly(seed, await reader.ReadOrThrowAsync(Block, Block), 0x11);
            AssertOnly(seed, await reader.ReadOrThrowAsync(2 * Block, Block), 0x12, 0x72);
            for (int block = 8; block < 16; block++)
            {
                byte[] data = await reader.ReadOrThrowAsync(block * Block, Block);
                AssertOnly(seed, data, 0, 0x7F);
                int units = data.Chunk(512).Count(unit => unit[0] != 0);
                Assert.All(data.Chunk(512), unit => Assert.Single(unit.Distinct()));
                (lost, torn, kept) = units switch { 0 => (lost + 1, torn, kept), 8 => (lost, torn, kept + 1), _ => (lost, torn + 1, kept) };
            }
        }

        Assert.True(lost > 20 && torn > 20 && kept > 20, $"lost {lost}, torn {torn}, kept {kept}: every fate must occur");
    }

    [Fact]
    public async Task AFlushCoversWhatCompletedBeforeItWasSubmittedOnAnyQueue()
    {
        for (ulong seed = 1; seed <= 10; seed++)
        {
            using var fixture = new ReactorFixture(count: 2);
            var drive = new SimulatedDrive(1 << 20, new SimulatedDriveOptions { Seed = seed, MaximumLatencyNs = 100_000 });
            await using (RequestDriver one = await RequestDriver.OpenAsync(drive, fixture.Reactors[0]))
            await using (RequestDriver two = await RequestDriver.OpenAsync(drive, fixture.Reactors[1]))
            {
                await WriteAsync(one, 3, 0x33);
                Assert.Equal(0, await two.FlushAsync());
                await drive.CrashAsync();
            }

            await using SimulatedDrive after = drive.Restart();
            await using RequestDriver reader = await RequestDriver.OpenAsync(after, fixture.Reactor);
            AssertOnly(seed, await reader.ReadOrThrowAsync(3 * Block, Block), 0x33);
        }
    }

    [Fact]
    public async Task TheSameSeedGivesTheSameRun()
    {
        Assert.Equal(await TraceAsync(5), await TraceAsync(5));
        Assert.NotEqual(await TraceAsync(5), await TraceAsync(6));
    }

    [Fact]
    public async Task FaultsHitTheirOperationAndRangeAsOftenAsToldAndLeaveTheContent()
    {
        using var fixture = new ReactorFixture();
        await using var drive = new SimulatedDrive(1 << 20, new SimulatedDriveOptions());
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await WriteAsync(driver, 5, 0x55);
        drive.AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = 5 * Block, LengthBytes = Block, Count = 2, Errno = Errno.ENOSPC });
        var other = new byte[2 * Block];
        Assert.Equal(0, await driver.WriteAsync(6 * Block, other));
        Assert.Equal(0, await driver.WriteAsync(3 * Block, other));
        Assert.Equal(-Errno.ENOSPC, await driver.WriteAsync(4 * Block, other));
        AssertOnly(1, await driver.ReadOrThrowAsync(5 * Block, Block), 0x55);
        Assert.Equal(-Errno.ENOSPC, await driver.WriteAsync(5 * Block, other));
        Assert.Equal(0, await driver.WriteAsync(5 * Block, other));
    }

    [Fact]
    public async Task AStuckRequestIsAnsweredWhenReleasedAndFailsWhenTheDriveVanishes()
    {
        using var fixture = new ReactorFixture();
        await using var drive = new SimulatedDrive(1 << 20, new SimulatedDriveOptions());
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        drive.AddFault(new DriveFault { Operation = BlockOperation.Read, Stuck = true });
        Task<(int Status, byte[])> first = driver.ReadAsync(0, Block);
        Assert.Equal(0, await driver.WriteAsync(0, new byte[Block]));
        Assert.False(first.IsCompleted);
        await drive.ReleaseStuckAsync();
        Assert.Equal(0, (await first).Status);

        Task<(int Status, byte[])> second = driver.ReadAsync(0, Block);
        Assert.Equal(0, await driver.FlushAsync());
        await drive.VanishAsync();
        Assert.Equal(-Errno.ENODEV, (await second).Status);
        Assert.Equal(-Errno.ENODEV, await driver.FlushAsync());
        drive.Return();
        Assert.Equal(0, await driver.FlushAsync());
    }

    private static async Task<string> TraceAsync(ulong seed)
    {
        using var fixture = new ReactorFixture();
        await using var drive = new SimulatedDrive(
            1 << 20, new SimulatedDriveOptions { Seed = seed, MaximumLatencyNs = 1_000_000, ErrorProbability = 0.2, VirtualTime = true });
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        var order = new List<string>();
        var recorder = new Recorder(order);
        await fixture.Reactor.InvokeAsync(() =>
        {
            for (int i = 0; i < 50; i++)
            {
                driver.Queue.Submit(Discard(i, recorder));
            }
        });
        await recorder.Done.Task;
        return string.Join(' ', order);
    }

    private static unsafe BlockRequest Discard(int block, Recorder recorder)
    {
        var request = new BlockRequest { Tag = block };
        request.Prepare(BlockOperation.Discard, block * Block, Block, null, 0, recorder);
        return request;
    }

    private static async Task WriteAsync(RequestDriver driver, int block, byte value, BlockFlags flags = BlockFlags.None)
    {
        var data = new byte[Block];
        Array.Fill(data, value);
        Assert.Equal(0, await driver.WriteAsync((long)block * Block, data, flags));
    }

    private static void AssertOnly(ulong seed, byte[] data, params byte[] allowed) =>
        Assert.True(data.AsSpan().IndexOfAnyExcept(allowed) < 0, $"seed {seed}: found {string.Join(' ', data.Distinct())}");

    private sealed class Recorder(List<string> order) : IBlockCompletion
    {
        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void OnCompleted(BlockRequest request)
        {
            order.Add($"{request.Tag}:{request.Status}");
            if (order.Count == 50)
            {
                Done.SetResult();
            }
        }
    }
}
