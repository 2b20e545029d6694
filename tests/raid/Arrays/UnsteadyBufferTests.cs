// A submitter that changes its buffer while a write is under way gets something of it written, but never a parity that disagrees
// with the data: that would destroy what others wrote at the next reconstruction.
//
// With members that get requests, each of them changes the whole buffer whenever it is asked for anything. Members that are
// memory are not asked: there the buffer is the member's own memory, a little further on, so that what is written changes what
// was read before. Both are the same in every run.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class UnsteadyBufferTests
{
    private const int Chunk = 64 << 10;
    /// <summary>How far behind its place a block is read that is written in place.</summary>
    private const int ShiftBytes = 1024;

    private const long MemberBytes = ArrayRig.DataOffset + (4 * Chunk);

    /// <summary>What the members are.</summary>
    public enum Members
    {
        Requests,
        Mixed,
        Memory,
    }

    /// <summary>The plans of a write (ParityRow), as writes that lead to them.</summary>
    public enum Path
    {
        Full,
        Modify,
        ModifyTwoBlocks,
        ReconstructWhole,
        ReconstructInPart,
        ModifyWithoutAMember,
        ReconstructTheLost,
        Recover,
    }

    public static TheoryData<RaidLevel, Members, Path> Cases()
    {
        var cases = new TheoryData<RaidLevel, Members, Path>();
        foreach (RaidLevel level in new[] { RaidLevel.Raid5, RaidLevel.Raid6 })
        {
            foreach (Members members in Enum.GetValues<Members>())
            {
                foreach (Path path in Enum.GetValues<Path>())
                {
                    cases.Add(level, members, path);
                }
            }
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Parity_fits_what_was_written(RaidLevel level, Members members, Path path)
    {
        int data = level == RaidLevel.Raid5 ? 3 : 4;
        using var reactors = new ReactorFixture(1, ringEntries: 0);
        var shaker = new Shaker();
        IBlockDevice[] drives = [.. Enumerable.Range(0, data + level.ParityCount()).Select(i => Make(members, i, shaker))];
        var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) };
        RaidArray array = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions { Name = "unsteady", Level = level, ChunkBytes = Chunk, AssumeZeroed = true, Run = run }, drives, reactors.Reactor);
        RaidGeometry geometry = array.Geometry;
        RequestDriver driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
        var before = new byte[array.SizeBytes];
        new Random((int)path).NextBytes(before);
        Assert.Equal(0, await driver.WriteAsync(0, before));
        ulong without = 0;
        if (path >= Path.ModifyWithoutAMember)
        {
            int lost = geometry.DataMember(0, path == Path.ModifyWithoutAMember ? data - 1 : 0);
            without = 1UL << lost;
            await driver.DisposeAsync();
            await array.DisposeAsync();
            array = await ArrayBuilder.AssembleAsync(
                new ArrayAssembleOptions { Name = "unsteady", AllowDegraded = true, Run = run }, [.. drives.Where((_, i) => i != lost)], reactors.Reactor);
            driver = await RequestDriver.OpenAsync(array, reactors.Reactor);
        }

        // The gate of the first write is open, so that what the members see from now on is the write alone.
        Assert.Equal(0, await driver.WriteAsync(array.SizeBytes - 512, before.AsMemory(before.Length - 512)));
        (int offset, int length) = RangeOf(path, data);
        int last = (offset + length - 1) / Chunk;
        int target = path == Path.ReconstructTheLost ? geometry.ParityMember(0, 0) : geometry.DataMember(0, last);
        long place = geometry.StripeOffset(0) + (Math.Max(offset, last * Chunk) % Chunk);
        bool inPlace = members == Members.Memory;
        await WriteAsync(driver, reactors.Reactor, inPlace ? null : shaker, inPlace ? (RamDrive)drives[target] : null, place + ShiftBytes, offset, length);
        await ArrayRig.AssertConsistentAsync(geometry, drives, reactors.Reactor, $"{level}, {members}, {path}", without);
        byte[] after = await driver.ReadOrThrowAsync(0, before.Length);
        Assert.True(before.AsSpan(0, offset).SequenceEqual(after.AsSpan(0, offset)), "what lies before the write changed");
        Assert.True(before.AsSpan(offset + length).SequenceEqual(after.AsSpan(offset + length)), "what lies after the write changed");
        Assert.False(before.AsSpan(offset, length).SequenceEqual(after.AsSpan(offset, length)));
        await driver.DisposeAsync();
        await array.DisposeAsync();
        foreach (IBlockDevice drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    private static (int Offset, int Length) RangeOf(Path path, int data) => path switch
    {
        Path.Full => (0, data * Chunk),
        Path.Modify or Path.ModifyWithoutAMember => (8192, 16384),
        Path.ModifyTwoBlocks => (Chunk - 16384, 24576),
        Path.ReconstructWhole => (0, (data - 1) * Chunk),
        Path.ReconstructInPart => (0, ((data - 1) * Chunk) - (Chunk / 2)),
        Path.ReconstructTheLost => (8192, 16384),
        _ => (Chunk - 16384, 24576),
    };

    private static IBlockDevice Make(Members members, int index, Shaker shaker) =>
        members == Members.Memory || (members == Members.Mixed && index % 2 == 0) ? new RamDrive(MemberBytes) : new OpaqueDrive(new RamDrive(MemberBytes), shaker.Shake);

    /// <summary>Writes from a buffer that changes meanwhile: a segment for each chunk of the array.</summary>
    private static async Task WriteAsync(RequestDriver driver, Reactor reactor, Shaker? shaker, RamDrive? alias, long aliasOffset, int offset, int length)
    {
        using var buffer = new RequestBuffer(length, new BufferLayout(SegmentBytes: Math.Min(length, Chunk - (offset % Chunk))));
        var content = new byte[length];
        new Random(99).NextBytes(content);
        buffer.CopyFrom(content);
        if (shaker is not null)
        {
            shaker.Use(buffer);
            Assert.Equal(0, await driver.SubmitAsync(BlockOperation.Write, offset, length, BlockFlags.None, buffer));
            Assert.True(shaker.Stop() > 0, "no member was asked for anything");
            return;
        }

        IBlockQueue queue = await reactor.InvokeAsync(() => alias!.OpenQueue(reactor));
        IoVec own = ExchangeWith(buffer, (IMemoryQueue)queue, aliasOffset);
        Assert.Equal(0, await driver.SubmitAsync(BlockOperation.Write, offset, length, BlockFlags.None, buffer));
        Restore(buffer, own);
        await reactor.InvokeAsync(queue.Dispose);
    }

    /// <summary>Lets the last segment of a buffer lie elsewhere; returns it as it was.</summary>
    private static unsafe IoVec ExchangeWith(RequestBuffer buffer, IMemoryQueue member, long offset)
    {
        ref IoVec last = ref buffer.Vectors[buffer.VectorCount - 1];
        IoVec before = last;
        last = new IoVec(member.Memory + offset, before.Length);
        return before;
    }

    private static unsafe void Restore(RequestBuffer buffer, IoVec last) => buffer.Vectors[buffer.VectorCount - 1] = last;

    /// <summary>Changes the buffer of the write that is under way.</summary>
    private sealed unsafe class Shaker
    {
        private RequestBuffer? _buffer;
        private int _shaken;

        public void Use(RequestBuffer buffer) => _buffer = buffer;

        public int Stop()
        {
            _buffer = null;
            return _shaken;
        }

        public void Shake()
        {
            if (_buffer is not { } buffer)
            {
                return;
            }

            _shaken++;
            for (int i = 0; i < buffer.VectorCount; i++)
            {
                foreach (ref byte b in new Span<byte>(buffer.Vectors[i].Base, (int)buffer.Vectors[i].Length))
                {
                    b += 37;
                }
            }
        }
    }
}
