// Members that have all grown: the array takes over what is new, while consumers hold it.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class GrowTests
{
    private const int Chunk = 16 << 10;
    private const long Before = ArrayRig.DataOffset + (256 << 10);

    public static TheoryData<RaidLevel, int> Levels => new()
    {
        { RaidLevel.Raid0, 3 }, { RaidLevel.Raid1, 2 }, { RaidLevel.Raid10, 5 }, { RaidLevel.Raid5, 3 }, { RaidLevel.Raid6, 4 },
        { RaidLevel.Raid73, 6 },
        { RaidLevel.Raid50, 6 }, { RaidLevel.Raid60, 8 },
    };

    [Theory]
    [MemberData(nameof(Levels))]
    public async Task What_all_drives_have_more_is_shown_to_consumers_and_what_was_there_stays(RaidLevel level, int count)
    {
        using var reactors = new ReactorFixture(1, ringEntries: 0);
        SizedDrive[] drives = Drives(count);
        RaidArray array = await MakeAsync(level, drives, reactors.Reactor);
        long before = array.SizeBytes;
        var sizes = new List<long>();
        array.Resized += device => sizes.Add(device.SizeBytes);
        RequestDriver driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
        byte[] data = TestBytes.Noise((int)before, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));

        await Assert.ThrowsAsync<ArrayException>(array.GrowAsync);
        drives[0].SizeBytes *= 2;
        await Assert.ThrowsAsync<ArrayException>(array.GrowAsync);
        Array.ForEach(drives, d => d.SizeBytes = Before + (128 << 10));
        await array.GrowAsync();

        Assert.Equal(before * 3 / 2, array.SizeBytes);
        Assert.Equal([array.SizeBytes], sizes);
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
        byte[] more = TestBytes.Noise((int)(array.SizeBytes - before), 2);
        Assert.Equal(0, await driver.WriteAsync(before, more));
        await ArrayRig.WaitAsync(() => array.GetStatus().Resync is null, "the resync");
        await driver.DisposeAsync();
        await array.StopAsync();

        array = await AssembleAsync(drives, reactors.Reactor);
        Assert.Equal(ArrayHealth.Optimal, array.GetStatus().Health);
        driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
        Assert.Equal(data.Concat(more), await driver.ReadOrThrowAsync(0, (int)array.SizeBytes));
        await driver.DisposeAsync();
        await ArrayRig.AssertConsistentAsync(array.Geometry, drives, reactors.Reactor, "after growing");
        await array.StopAsync();
        await DisposeAsync(drives);
    }

    /// <summary>Where the power goes out between two superblocks, whoever has the new one speaks for all.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_change_that_reached_only_some_superblocks_is_taken_over_by_the_others(int reached)
    {
        using var reactors = new ReactorFixture(1, ringEntries: 0);
        SizedDrive[] drives = Drives(3);
        RaidArray array = await MakeAsync(RaidLevel.Raid5, drives, reactors.Reactor);
        RequestDriver driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
        byte[] data = TestBytes.Noise((int)array.SizeBytes, 1);
        Assert.Equal(0, await driver.WriteAsync(0, data));
        await driver.DisposeAsync();
        await array.StopAsync();
        Array.ForEach(drives, d => d.SizeBytes = Before + (128 << 10));
        RaidGeometry grown = ArrayGrowth.Plan(array.Geometry, array.Members);
        ArraySuperblock next = ArrayGrowth.Describe(array.Control.Superblock, array.Geometry, grown, DateTimeOffset.UnixEpoch);
        foreach (Polyblk.Raid.Map.RaidMember member in array.Members.Take(reached))
        {
            await MemberSlots.WriteMemberAsync(next, member, reactors.Reactor);
        }

        array = await AssembleAsync(drives, reactors.Reactor);
        Assert.Equal(data.Length * 3L / 2, array.GetStatus().CapacityBytes);
        driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
        Assert.Equal(data, await driver.ReadOrThrowAsync(0, data.Length));
        await driver.DisposeAsync();
        await array.DisposeAsync();
        await DisposeAsync(drives);
    }

    [Fact]
    public async Task Requests_that_come_in_the_midst_of_it_wait_and_are_answered()
    {
        using var reactors = new ReactorFixture(2, ringEntries: 0);
        SizedDrive[] drives = Drives(4);
        RaidArray array = await MakeAsync(RaidLevel.Raid5, drives, reactors.Reactor);
        RequestDriver[] drivers = [await RequestDriver.OpenAsync(array, reactors.Reactors[0]), await RequestDriver.OpenAsync(array, reactors.Reactors[1])];
        Array.ForEach(drives, d => d.SizeBytes = Before + (128 << 10));
        Task grown = array.GrowAsync();
        byte[][] data = new byte[64][];
        await Task.WhenAll(Enumerable.Range(0, data.Length).Select(async i =>
        {
            data[i] = TestBytes.Noise(4096, i);
            Assert.Equal(0, await drivers[i & 1].WriteAsync(i * 8192, data[i]));
        }));
        await grown;
        for (int i = 0; i < data.Length; i++)
        {
            Assert.Equal(data[i], await drivers[i & 1].ReadOrThrowAsync(i * 8192, 4096));
        }

        foreach (RequestDriver driver in drivers)
        {
            await driver.DisposeAsync();
        }

        await array.StopAsync();
        await DisposeAsync(drives);
    }

    [Fact]
    public async Task An_array_that_lacks_a_member_does_not_grow()
    {
        using var reactors = new ReactorFixture(1, ringEntries: 0);
        SizedDrive[] drives = Drives(3);
        RaidArray array = await MakeAsync(RaidLevel.Raid5, drives, reactors.Reactor);
        Array.ForEach(drives, d => d.SizeBytes = Before + (128 << 10));
        await array.FailMemberAsync(1);
        ArrayException refused = await Assert.ThrowsAsync<ArrayException>(array.GrowAsync);
        Assert.Contains("lacks members", refused.Message, StringComparison.Ordinal);
        await array.StopAsync();
        await DisposeAsync(drives);
    }

    private static SizedDrive[] Drives(int count) =>
        [.. Enumerable.Range(0, count).Select(i => new SizedDrive(Before, 2 * Before, (ulong)(i * 1000) + 1))];

    private static Task<RaidArray> MakeAsync(RaidLevel level, SizedDrive[] drives, Reactor home) => ArrayBuilder.CreateAsync(
        new ArrayCreateOptions { Name = "test", Level = level, ChunkBytes = Chunk, AssumeZeroed = true, Run = Run }, drives, home);

    private static Task<RaidArray> AssembleAsync(SizedDrive[] drives, Reactor home) =>
        ArrayBuilder.AssembleAsync(new ArrayAssembleOptions { Name = "test", AllowDegraded = true, Run = Run }, drives, home);

    private static ArrayRunOptions Run => new() { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false };

    private static async Task DisposeAsync(SizedDrive[] drives)
    {
        foreach (SizedDrive drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    /// <summary>A drive that grows.</summary>
    private sealed class SizedDrive(long sizeBytes, long most, ulong seed) : IBlockDevice
    {
        private readonly SimulatedDrive _drive = new(most, new SimulatedDriveOptions { Seed = seed, CanCrash = false });

        public event Action<IBlockDevice>? Resized
        {
            add { }
            remove { }
        }

        public string Name => _drive.Name;

        public long SizeBytes { get; set; } = sizeBytes;

        public BlockLimits Limits => _drive.Limits;

        public IBlockQueue OpenQueue(Reactor reactor) => _drive.OpenQueue(reactor);

        public ValueTask DisposeAsync() => _drive.DisposeAsync();
    }
}
