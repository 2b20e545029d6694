// The data path allocates nothing: 100,000 requests of each kind on every level, healthy and degraded, counted on the reactor's
// thread.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class AllocationTests
{
    private const int PerKind = 100_000;

    [Theory]
    [InlineData(RaidLevel.Raid0, 3, 0)]
    [InlineData(RaidLevel.Raid1, 2, 0)]
    [InlineData(RaidLevel.Raid1, 3, 1)]
    [InlineData(RaidLevel.Raid10, 4, 0)]
    [InlineData(RaidLevel.Raid10, 5, 1)]
    [InlineData(RaidLevel.Raid5, 4, 0)]
    [InlineData(RaidLevel.Raid5, 4, 1)]
    [InlineData(RaidLevel.Raid6, 5, 0)]
    [InlineData(RaidLevel.Raid73, 6, 0)]
    [InlineData(RaidLevel.Raid6, 5, 2)]
    [InlineData(RaidLevel.Raid73, 6, 1)]
    [InlineData(RaidLevel.Raid73, 6, 3)]
    [InlineData(RaidLevel.Raid50, 6, 0)]
    [InlineData(RaidLevel.Raid50, 6, 1)]
    [InlineData(RaidLevel.Raid60, 8, 2)]
    public Task Nothing_is_allocated(RaidLevel level, int count, int lost) => RunAsync(level, count, lost, opaque: false);

    /// <summary>Parity over members that are memory works in place; over all others, with requests.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 4, 0)]
    [InlineData(RaidLevel.Raid5, 4, 1)]
    [InlineData(RaidLevel.Raid6, 5, 0)]
    [InlineData(RaidLevel.Raid73, 6, 0)]
    [InlineData(RaidLevel.Raid6, 5, 2)]
    [InlineData(RaidLevel.Raid73, 6, 1)]
    [InlineData(RaidLevel.Raid73, 6, 3)]
    [InlineData(RaidLevel.Raid50, 6, 0)]
    [InlineData(RaidLevel.Raid60, 8, 2)]
    public Task Nothing_is_allocated_with_requests(RaidLevel level, int count, int lost) => RunAsync(level, count, lost, opaque: true);

    /// <summary>Two drives of a role are written as one, and regions are copied between them.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid0, 2)]
    [InlineData(RaidLevel.Raid1, 2)]
    [InlineData(RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid50, 6)]
    public Task Nothing_is_allocated_while_a_drive_is_replaced(RaidLevel level, int count) =>
        RunAsync(level, count, lost: 0, opaque: false, replaced: true);

    private static async Task RunAsync(RaidLevel level, int count, int lost, bool opaque, bool replaced = false)
    {
        using var reactors = new ReactorFixture(1, ringEntries: 0);
        IBlockDevice[] drives =
        [
            .. Enumerable.Range(0, count).Select(_ => new RamDrive(ArrayRig.DataOffset + (1 << 20)))
                .Select(drive => opaque ? (IBlockDevice)new OpaqueDrive(drive) : drive),
        ];
        var run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) };
        RaidArray array = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions { Name = "alloc", Level = level, ChunkBytes = 4096, AssumeZeroed = true, Run = run }, drives, reactors.Reactor);
        if (lost > 0)
        {
            await array.DisposeAsync();
            array = await ArrayBuilder.AssembleAsync(new ArrayAssembleOptions { Name = "alloc", AllowDegraded = true, Run = run }, drives[lost..], reactors.Reactor);
        }

        // The array stays open, so that its buffers and its write gate do.
        RequestDriver keeper = await RequestDriver.OpenAsync(array, reactors.Reactor);
        await using var next = new RamDrive(drives[0].SizeBytes);
        if (replaced)
        {
            array.MaxJobBytesPerSecond = 1;
            await array.ReplaceWorkingMemberAsync(0, next);
        }

        foreach (BlockOperation operation in Enum.GetValues<BlockOperation>())
        {
            foreach (int length in operation == BlockOperation.Flush ? [0] : new[] { 4096, 24 << 10 })
            {
                // The first round warms up: the write gate, tiered code.
                await Storm.RunAsync(array, reactors.Reactor, operation, length, 2000);
                long bytes = await SteadyAllocation.MeasureAsync(
                    () => Storm.RunAsync(array, reactors.Reactor, operation, length, length <= 4096 ? PerKind : PerKind / 5));
                Assert.True(bytes == 0, $"{operation} of {length} bytes allocated {bytes} bytes");
            }
        }

        await keeper.DisposeAsync();
        await array.DisposeAsync();
        foreach (IBlockDevice drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    /// <summary>A poller that keeps requests in flight and measures what its thread allocates meanwhile.</summary>
    private sealed class Storm : IPoller, IBlockCompletion
    {
        private const int Depth = 16;

        private readonly IBlockQueue _queue;
        private readonly BlockOperation _operation;
        private readonly int _length;
        private readonly long _span;
        private readonly RequestPool _pool = new(Depth, 4);
        private readonly unsafe byte* _buffer;
        private readonly TaskCompletionSource<long> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly int _total;
        private int _submitted, _completed, _failed;
        private long _allocatedBefore;
        private long _allocated = -1;

        private unsafe Storm(IBlockQueue queue, BlockOperation operation, int length, long span, int total)
        {
            _queue = queue;
            _operation = operation;
            _length = length;
            _span = span;
            _total = total;
            _buffer = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(length, 4096), 4096);
            NativeMemory.Clear(_buffer, (nuint)Math.Max(length, 4096));
        }

        public static async Task<long> RunAsync(RaidArray array, Reactor reactor, BlockOperation operation, int length, int total)
        {
            IBlockQueue queue = await reactor.InvokeAsync(() => array.OpenQueue(reactor));
            var storm = new Storm(queue, operation, length, array.SizeBytes, total);
            await reactor.InvokeAsync(() => reactor.Add(storm));
            long allocated = await storm._done.Task;
            await reactor.InvokeAsync(() =>
            {
                reactor.Remove(storm);
                queue.Dispose();
            });
            storm.Free();
            return allocated;
        }

        public unsafe int Poll()
        {
            if (_submitted == 0)
            {
                _allocatedBefore = GC.GetAllocatedBytesForCurrentThread();
            }

            int taken = 0;
            while (_submitted < _total && _pool.TryRent() is { } request)
            {
                long at = _length == 0 ? 0 : _submitted * 7919L * 512 % (_span - _length) / 512 * 512;
                int vectors = _operation > BlockOperation.Write ? 0 : 2;
                if (vectors != 0)
                {
                    request.OwnVectors[0] = new IoVec(_buffer, 512);
                    request.OwnVectors[1] = new IoVec(_buffer + 512, (nuint)_length - 512);
                }

                request.Prepare(_operation, at, _length, vectors == 0 ? null : request.OwnVectors, vectors, this);
                _submitted++;
                taken++;
                _queue.Submit(request);
            }

            if (_completed == _total && _allocated < 0)
            {
                _allocated = GC.GetAllocatedBytesForCurrentThread() - _allocatedBefore;
                _done.SetResult(_failed == 0 ? _allocated : -_failed);
            }

            return taken;
        }

        public bool TryArm() => false;

        public void Disarm()
        {
        }

        public void OnDropped(Exception error)
        {
        }

        public void OnCompleted(BlockRequest request)
        {
            _failed += request.Status != 0 ? 1 : 0;
            _completed++;
            _pool.Return(request);
        }

        private unsafe void Free()
        {
            NativeMemory.AlignedFree(_buffer);
            _pool.Dispose();
        }
    }
}
