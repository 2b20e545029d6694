using System.Globalization;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;
using Polyblk.Drives.Tests;
using Polyblk.Fakes;
using Polyblk.Virtio.Memory;

namespace Polyblk.Drives.Host.Tests;

public sealed class PinnedMemoryTests : IDisposable
{
    private const ulong Size = 40ul << 20;
    private const nuint Piece = 16u << 20;

    private static readonly PinPermit s_permit = new(errno => throw new InvalidOperationException($"refused: {errno}"));

    private readonly ReactorFixture _fixture = new();
    private readonly MappedRegion _memory = MappedRegion.CreateAnonymous(Size);

    private Reactor Reactor => _fixture.Reactor;

    public void Dispose()
    {
        _fixture.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public async Task Memory_is_held_as_long_as_somebody_wants_it()
    {
        await Pin();
        await Pin();
        Until(() => Bytes() == Size);
        Assert.True(HeldKib() >= (long)(Size >> 10));
        await Unpin();
        Assert.True(Find(0, 4096) >= 0);
        await Unpin();
        Assert.Equal(-1, Find(0, 4096));

        // Rings that other tests closed a moment ago may still hold a little.
        Until(() => HeldKib() < (long)(Size >> 10));
    }

    [Fact]
    public async Task A_piece_is_found_and_what_lies_in_two_is_not()
    {
        await Pin();
        Until(() => Bytes() == Size);
        int first = Find(0, 4096);
        Assert.True(first >= 0);
        Assert.Equal(first, Find(Piece - 4096, 4096));
        Assert.Equal(first + 1, Find(Piece, 4096));
        Assert.Equal(-1, Find(Piece - 2048, 4096));
        Assert.Equal(first + 2, Find((nuint)Size - 4096, 4096));
        Assert.Equal(-1, Find((nuint)Size - 4096, 8192));
        Assert.Equal(-1, Find((nuint)Size, 4096));
        Assert.Equal(-1, Find(0, 0));
        Assert.Equal(-1, Find(unchecked(0 - (nuint)4096), 4096));
        Assert.Equal(-1, Find(0, nuint.MaxValue));
        await Unpin();
    }

    [Fact]
    public async Task A_second_range_and_a_ring_that_comes_later_have_theirs()
    {
        using MappedRegion other = MappedRegion.CreateAnonymous(4096);
        await Pin();
        await Reactor.InvokeAsync(() => Reactor.SharedMemory.Add(other, s_permit));
        IoUring? late = await Reactor.InvokeAsync(() =>
        {
            Assert.True(IoUring.TryCreate(new IoUringOptions { Entries = 8 }, out IoUring? ring, out string reason), reason);
            Reactor.AddRing(ring!);
            return ring;
        });
        Until(() => Reactor.InvokeAsync(() => late!.Pinned.Bytes).Result == Size + 4096);
        Assert.True(Find(late!, other) >= 0);
        Assert.NotEqual(Find(0, 4096), Find(Reactor.Ring!, other));
        await Unpin();
        Assert.Equal(-1, Find(0, 4096));
        Assert.True(Find(Reactor.Ring!, other) >= 0);
        await Reactor.InvokeAsync(() =>
        {
            Reactor.SharedMemory.Remove(other);
            Reactor.RemoveRing(late!);
            late!.Dispose();
        });
    }

    [Theory]
    [InlineData(0)]
    [InlineData(16 << 20)]
    [InlineData((16 << 20) - 4096)]
    public async Task A_drive_reads_and_writes_through_it(int at)
    {
        using var files = new TemporaryFiles();
        await using IBlockDevice drive = DriveFactory.Open(files.Parse("file:/var/tmp/polyblk-test-{0}.img,size=1MiB"));
        await Pin();
        Until(() => Bytes() == Size);
        byte[] written = new byte[8192];
        new Random(5).NextBytes(written);
        written.CopyTo(Content(at));
        Assert.Equal(0, await Transfer(drive, BlockOperation.Write, at));
        Content(at).Clear();
        Assert.Equal(0, await Transfer(drive, BlockOperation.Read, at));
        Assert.Equal(written, Content(at).ToArray());
        await Unpin();
    }

    [Fact]
    public unsafe void What_the_kernel_refuses_is_told_once_and_the_rest_stays()
    {
        uint* words = (uint*)NativeMemory.AllocZeroed(16, sizeof(uint));
        var kernel = new Kernel { Allowed = 2 };
        var refusals = new List<int>();
        PinnedMemory pinned = new IoUring(kernel, new UringMemory { SqTail = words }, 0).Pinned;
        pinned.Add(_memory.Address, Size, refusals.Add);
        while (pinned.Step())
        {
        }

        Assert.Equal([Errno.ENOMEM], refusals);
        Assert.Equal(2ul * Piece, pinned.Bytes);
        Assert.True(pinned.Find(_memory.Address + Piece, 512) >= 0);
        Assert.Equal(-1, pinned.Find(_memory.Address + (2 * Piece), 512));
        pinned.Remove(_memory.Address);
        while (pinned.Step())
        {
        }

        Assert.Equal(0, kernel.Held);
        NativeMemory.Free(words);
    }

    private static long HeldKib() => long.Parse(
        File.ReadLines("/proc/self/status").Single(line => line.StartsWith("VmPin:", StringComparison.Ordinal))[6..^2], CultureInfo.InvariantCulture);

    private static void Until(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, 20_000));

    private Task Pin() => Reactor.InvokeAsync(() => Reactor.SharedMemory.Add(_memory, s_permit));

    private Task Unpin() => Reactor.InvokeAsync(() => Reactor.SharedMemory.Remove(_memory));

    private ulong Bytes() => Reactor.InvokeAsync(() => Reactor.Ring!.Pinned.Bytes).Result;

    private unsafe int Find(nuint offset, nuint length) =>
        Reactor.InvokeAsync(() => Reactor.Ring!.Pinned.Find(_memory.Address + offset, length)).Result;

    private unsafe int Find(IoUring ring, MappedRegion memory) => Reactor.InvokeAsync(() => ring.Pinned.Find(memory.Address, 512)).Result;

    private unsafe Span<byte> Content(int at) => new(_memory.Address + at, 8192);

    private unsafe Task<OneTransfer> Start(IBlockDevice drive, BlockOperation operation, int at) =>
        Reactor.InvokeAsync(() => new OneTransfer(drive.OpenQueue(Reactor), operation, _memory.Address + at, 8192));

    private async Task<int> Transfer(IBlockDevice drive, BlockOperation operation, int at)
    {
        OneTransfer transfer = await Start(drive, operation, at);
        int status = await transfer.Done;
        await Reactor.InvokeAsync(transfer.Dispose);
        return status;
    }

    /// <summary>A request of one segment, straight from the pinned memory.</summary>
    private sealed unsafe class OneTransfer : IBlockCompletion, IDisposable
    {
        private readonly TaskCompletionSource<int> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly IBlockQueue _queue;
        private readonly IoVec* _vector = (IoVec*)NativeMemory.Alloc((nuint)sizeof(IoVec));

        public OneTransfer(IBlockQueue queue, BlockOperation operation, byte* address, int length)
        {
            _queue = queue;
            *_vector = new IoVec(address, (nuint)length);
            var request = new BlockRequest();
            request.Prepare(operation, 65536, length, _vector, 1, this);
            queue.Submit(request);
        }

        public Task<int> Done => _done.Task;

        public void OnCompleted(BlockRequest request) => _done.SetResult(request.Status);

        public void Dispose()
        {
            _queue.Dispose();
            NativeMemory.Free(_vector);
        }
    }

    /// <summary>Takes so many buffers and refuses the next.</summary>
    private sealed unsafe class Kernel : IUringKernel
    {
        public required int Allowed { get; init; }

        public int Held { get; private set; }

        public int Enter(uint toSubmit, uint minComplete, uint flags) => 0;

        public int Register(uint opcode, void* arg, uint nrArgs)
        {
            if (opcode != UringAbi.IORING_REGISTER_BUFFERS_UPDATE)
            {
                return 0;
            }

            var update = (io_uring_rsrc_update2*)arg;
            Assert.Equal((32u, 1u), (nrArgs, update->nr));
            if (((IoVec*)update->data)->Base is null)
            {
                Held--;
                return 1;
            }

            if (Held == Allowed)
            {
                return -Errno.ENOMEM;
            }

            Held++;
            return 1;
        }
    }
}
