using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

/// <summary>The data path allocates nothing: 100,000 requests of each kind, measured on the reactor's thread.</summary>
public sealed class DriveAllocationTests
{
    private const int Requests = 100_000;

    [Theory]
    [InlineData("null:16MiB", 256u)]
    [InlineData("ram:16MiB", 256u)]
    [InlineData("sim:16MiB", 256u)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=16MiB", 256u)]
    public Task InlineDrives(string text, uint ringEntries) => RunAsync(text, ringEntries, Requests, Requests, 0);

    // Flushes and zeroing of a real file wait for its medium: the same path each time, so fewer show the same.
    [Theory]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=16MiB,direct=off", 256u, 0)]
    [InlineData("file:/tmp/polyblk-test-{0}.img,size=16MiB,direct=off", 0u, 0)]
    public Task FilesThroughThePageCache(string text, uint ringEntries, int misalignment) => RunAsync(text, ringEntries, Requests, 200, misalignment);

    [Fact]
    public Task DirectFilesAlsoThroughBounceBuffers() => RunAsync("file:/tmp/polyblk-test-{0}.img,size=16MiB", 256, 5_000, 200, misalignment: 8);

    private static async Task RunAsync(string text, uint ringEntries, int transfers, int others, int misalignment)
    {
        using var files = new TemporaryFiles();
        DriveSpec spec = files.Parse(text);
        using var fixture = new ReactorFixture(ringEntries: ringEntries);
        await using IBlockDevice drive = DriveFactory.Open(spec);
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        foreach (BlockOperation operation in Enum.GetValues<BlockOperation>())
        {
            // The first run warms up: types are loaded, methods compiled.
            int count = operation <= BlockOperation.Write ? transfers : others;
            await using var load = new Load(fixture.Reactor, driver.Queue, operation, misalignment);
            await load.RunAsync(Math.Min(count, 2000));
            long allocated = await SteadyAllocation.MeasureAsync(() => load.RunAsync(count));
            Assert.Equal(0, load.Errors);
            Assert.True(allocated == 0, $"{count} times {operation} on {spec}: {allocated} bytes were allocated");
        }
    }

    /// <summary>Keeps 32 requests in flight until a number of them are done.</summary>
    private sealed unsafe class Load : ReactorWork, IBlockCompletion, IAsyncDisposable
    {
        private const int Depth = 32;
        private const int Bytes = 4096;
        private readonly Reactor _reactor;
        private readonly IBlockQueue _queue;
        private readonly BlockOperation _operation;
        private readonly RequestPool _pool = new(Depth, 1);
        private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc((Depth + 1) * Bytes, 4096);
        private readonly int _misalignment;
        private TaskCompletionSource<long> _done = new();
        private long _allocatedBefore;
        private int _toSubmit, _toComplete;
        private bool _deferred;

        public Load(Reactor reactor, IBlockQueue queue, BlockOperation operation, int misalignment)
        {
            _reactor = reactor;
            _queue = queue;
            _operation = operation;
            _misalignment = misalignment;
            NativeMemory.Clear(_memory, (Depth + 1) * Bytes);
        }

        public int Errors { get; private set; }

        public Task<long> RunAsync(int count)
        {
            _done = new TaskCompletionSource<long>(TaskCreationOptions.RunContinuationsAsynchronously);
            _toSubmit = _toComplete = count;
            _deferred = true;
            _reactor.Post(this);
            return _done.Task;
        }

        public override void Run()
        {
            if (_toSubmit == _toComplete)
            {
                _allocatedBefore = GC.GetAllocatedBytesForCurrentThread();
            }

            _deferred = false;
            int batch = _pool.Available;
            while (_toSubmit > 0 && batch-- > 0 && _pool.TryRent() is BlockRequest request)
            {
                _toSubmit--;
                bool hasData = _operation <= BlockOperation.Write;
                bool isFlush = _operation == BlockOperation.Flush;
                *request.OwnVectors = new IoVec(_memory + _misalignment, Bytes);
                request.Prepare(
                    _operation, isFlush ? 0 : (_toSubmit & 1023) * Bytes, isFlush ? 0 : Bytes, hasData ? request.OwnVectors : null, hasData ? 1 : 0, this);
                _queue.Submit(request);
            }
        }

        public void OnCompleted(BlockRequest request)
        {
            Errors += request.Status == 0 ? 0 : 1;
            _pool.Return(request);
            if (--_toComplete == 0)
            {
                // The result is carried out after the measurement.
                _done.SetResult(GC.GetAllocatedBytesForCurrentThread() - _allocatedBefore);
            }
            else if (!_deferred && _toSubmit > 0)
            {
                _deferred = true;
                _reactor.Defer(this);
            }
        }

        public ValueTask DisposeAsync()
        {
            _pool.Dispose();
            NativeMemory.AlignedFree(_memory);
            return ValueTask.CompletedTask;
        }
    }
}
