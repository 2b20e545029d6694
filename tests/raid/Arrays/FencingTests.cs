// Two hosts that start the same array: whoever sees the other's superblocks ends his part, and the other one goes on.

using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class FencingTests
{
    private const long Slots = SuperblockFormat.MinDataOffset;

    private readonly ManualClock _clock = new();

    [Theory]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid10, 4)]
    [InlineData(RaidLevel.Raid5, 3)]
    [InlineData(RaidLevel.Raid6, 4)]
    public async Task Who_was_there_before_sees_within_ten_seconds_that_another_writes(RaidLevel level, int drives)
    {
        await using ArrayRig rig = await CreateAsync(level, drives);
        RequestDriver first = await rig.OpenAsync();
        Assert.Equal(0, await first.WriteAsync(0, new byte[4096]));
        rig.Pass(_clock, 30);
        Assert.Null(rig.Array.State.FencedBy);

        await using RaidArray other = await AssembleOtherAsync(rig);
        await using RequestDriver second = await RequestDriver.OpenAsync(other, rig.Reactors.Reactor);
        Assert.Equal(0, await second.WriteAsync(8192, new byte[4096]));
        await ArrayRig.WaitAsync(() => Passed(rig).State.FencedBy is not null, "somebody to be seen");
        Assert.Equal(-Errno.EIO, await first.WriteAsync(0, new byte[4096]));
        Assert.Equal(ArrayHealth.Failed, rig.Array.GetStatus().Health);
        Assert.Contains("uses the array as well", string.Concat(rig.Array.GetStatus().Warnings), StringComparison.Ordinal);
        await ArrayRig.WaitAsync(() => rig.Snapshot().Any(e => e.Kind == ArrayEventKind.Fenced), "the event");
        ArrayEvent told = Assert.Single(rig.Snapshot(), e => e.Kind == ArrayEventKind.Fenced);
        Assert.Equal(ArrayEventLevel.Error, told.Level);
        Assert.Contains("host b has written", told.Message, StringComparison.Ordinal);

        // The end of one that is fenced says nothing to the drives: they are the other one's.
        ulong[] events = [.. rig.Drives.Select(d => EventsOf(rig, d))];
        await rig.StopAsync();
        Assert.Equal(events, rig.Drives.Select(d => EventsOf(rig, d)));
        Assert.Equal(0, await second.WriteAsync(8192, new byte[4096]));
        Assert.Null(other.State.FencedBy);
    }

    /// <summary>
    /// A start that could not read a slot does not know what is in it: that is no other one's word when it can be read (seed
    /// 17601).
    /// </summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task What_a_start_could_not_read_for_a_moment_is_nobody_elses(int slot)
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        Assert.Equal(0, await (await rig.OpenAsync()).WriteAsync(0, new byte[4096]));
        await rig.StopAsync();
        rig.Drives[2].AddFault(new DriveFault
        {
            Operation = BlockOperation.Read, OffsetBytes = SuperblockFormat.SlotOffset((ulong)slot), LengthBytes = 4096,
            Errno = Errno.EAGAIN, Count = 1,
        });
        await rig.AssembleAsync();
        Assert.Contains(rig.Snapshot(), e => e.Message.Contains("superblock cannot be read", StringComparison.Ordinal));
        RequestDriver driver = await rig.OpenAsync();
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        rig.Pass(_clock, 30);
        Assert.Equal(0, await driver.WriteAsync(64 << 10, new byte[4096]));
        Assert.Null(rig.Array.State.FencedBy);

        // Whoever writes there after that is seen as ever.
        await using RaidArray other = await AssembleOtherAsync(rig);
        await using RequestDriver second = await RequestDriver.OpenAsync(other, rig.Reactors.Reactor);
        Assert.Equal(0, await second.WriteAsync(8192, new byte[4096]));
        await ArrayRig.WaitAsync(() => Passed(rig).State.FencedBy is not null, "somebody to be seen");
    }

    /// <summary>What the superblocks are told makes somebody look, before anything is acknowledged that relies on it.</summary>
    [Fact]
    public async Task A_failure_is_not_recorded_over_what_another_has_written()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid5, 3);
        RequestDriver first = await rig.OpenAsync();
        Assert.Equal(0, await first.WriteAsync(0, new byte[4096]));
        await using RaidArray other = await AssembleOtherAsync(rig);
        await using RequestDriver second = await RequestDriver.OpenAsync(other, rig.Reactors.Reactor);
        Assert.Equal(0, await second.WriteAsync(8192, new byte[4096]));
        ulong events = EventsOf(rig, rig.Drives[0]);

        // Marks look once a second.
        rig.Pass(_clock, 1);
        rig.Drives[2].AddFault(new DriveFault { Operation = BlockOperation.Write, OffsetBytes = Slots, LengthBytes = long.MaxValue - Slots });
        Assert.Equal(-Errno.EIO, await first.WriteAsync(0, TestBytes.Noise(64 << 10, 1)));
        Assert.NotNull(rig.Array.State.FencedBy);
        Assert.Equal(events, EventsOf(rig, rig.Drives[0]));
        Assert.Equal(events, EventsOf(rig, rig.Drives[1]));
    }

    /// <summary>A start that is overtaken by the other's first write does not get to its own.</summary>
    [Fact]
    public async Task Who_has_assembled_before_another_wrote_writes_nothing()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        await rig.StopAsync();
        await rig.AssembleAsync();
        await using RaidArray other = await AssembleOtherAsync(rig);
        await using RequestDriver second = await RequestDriver.OpenAsync(other, rig.Reactors.Reactor);
        Assert.Equal(0, await second.WriteAsync(0, TestBytes.Noise(4096, 2)));
        RequestDriver first = await rig.OpenAsync();
        Assert.Equal(-Errno.EIO, await first.WriteAsync(0, new byte[4096]));
        Assert.NotNull(rig.Array.State.FencedBy);
        (int status, byte[] read) = await second.ReadAsync(0, 4096);
        Assert.Equal(0, status);
        Assert.Equal(TestBytes.Noise(4096, 2), read);
    }

    /// <summary>
    /// A superblock of one's own that came to the drive although its write ended with an error is nobody else's.
    /// </summary>
    [Fact]
    public async Task What_a_failed_write_has_left_is_nobody_elses()
    {
        var own = new Control.OwnSlots();
        ArraySuperblock superblock = await SuperblockAsync();
        byte[][] blocks = [.. Enumerable.Range(0, 4).Select(i => BlockOf(superblock with { Sequence = (ulong)i + 6 }))];
        Guid array = superblock.ArrayUuid;

        // As it was found: 6 in slot 0, 5 or nothing in slot 1.
        Assert.Null(own.FindForeign(array, 6, [blocks[0], null]));
        Assert.Equal(7ul, own.FindForeign(array, 6, [blocks[0], blocks[1]])!.Sequence);
        own.NoteTry(7, blocks[1]);
        Assert.Null(own.FindForeign(array, 6, [blocks[0], blocks[1]]));
        byte[] again = BlockOf(superblock with { Sequence = 7, EventCount = superblock.EventCount + 1 });
        own.NoteTry(7, again);
        Assert.Null(own.FindForeign(array, 6, [blocks[0], blocks[1]]));
        Assert.Null(own.FindForeign(array, 6, [blocks[0], again]));
        own.NoteWritten(7);
        Assert.NotNull(own.FindForeign(array, 7, [blocks[0], blocks[1]]));
        Assert.Null(own.FindForeign(array, 7, [blocks[0], again]));
        Assert.NotNull(own.FindForeign(array, 7, [blocks[2], again]));
        Assert.Null(own.FindForeign(Guid.NewGuid(), 7, [blocks[2], again]));

        // Torn, or what a drive went back to.
        blocks[2][100] ^= 1;
        Assert.Null(own.FindForeign(array, 7, [blocks[2], BlockOf(superblock with { Sequence = 5 })]));
    }

    private static byte[] BlockOf(ArraySuperblock superblock)
    {
        byte[] block = new byte[SuperblockFormat.SizeBytes];
        SuperblockFormat.Write(superblock, block);
        return block;
    }

    private async Task<ArraySuperblock> SuperblockAsync()
    {
        await using ArrayRig rig = await CreateAsync(RaidLevel.Raid1, 2);
        return (await ArrayBuilder.InspectAsync([rig.Drives[0]], rig.Reactors.Reactor))[0].Superblock!;
    }

    private Task<ArrayRig> CreateAsync(RaidLevel level, int drives) => ArrayRig.CreateAsync(
        level, drives, run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, Clock = _clock });

    private RaidArray Passed(ArrayRig rig)
    {
        rig.Pass(_clock, 1);
        return rig.Array;
    }

    private static Task<RaidArray> AssembleOtherAsync(ArrayRig rig) => ArrayBuilder.AssembleAsync(
        new ArrayAssembleOptions { Name = "test", Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), RebuildByItself = false, HostName = "b" } },
        rig.Drives, rig.Reactors.Reactor);

    private static ulong EventsOf(ArrayRig rig, SimulatedDrive drive) =>
        ArrayBuilder.InspectAsync([drive], rig.Reactors.Reactor).GetAwaiter().GetResult()[0].Superblock!.EventCount;
}
