using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

public sealed class UringQueueTests
{
    [Fact]
    public async Task ARingOfOneEntryServesManyRequests()
    {
        using var files = new TemporaryFiles();
        using var fixture = new ReactorFixture(ringEntries: 1);
        await using IBlockDevice drive = DriveFactory.Open(files.Parse("file:/tmp/polyblk-test-{0}.img,size=8MiB"));
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        await new DriveModel(driver, seed: 21).RunAsync(rounds: 10, depth: 64);
    }

    [Fact]
    public async Task MoreRequestsThanSlotsWaitTheirTurn()
    {
        using var files = new TemporaryFiles();
        using var fixture = new ReactorFixture();
        await using IBlockDevice drive = DriveFactory.Open(files.Parse("file:/tmp/polyblk-test-{0}.img,size=8MiB"));
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        var layout = new BufferLayout(Misalignment: 3);
        Task<int>[] writes = [.. Enumerable.Range(0, 1000).Select(i => driver.WriteAsync(i * 4096, Pattern(i + 8), layout: layout))];
        Assert.All(await Task.WhenAll(writes), status => Assert.Equal(0, status));
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(Pattern(i + 8), await driver.ReadOrThrowAsync(i * 4096, 4096));
        }
    }

    [Fact]
    public async Task RegisteredBuffersNeedNoAddressOfThisProcess()
    {
        using var files = new TemporaryFiles();
        using var fixture = new ReactorFixture();
        await using IBlockDevice drive = DriveFactory.Open(files.Parse("file:/tmp/polyblk-test-{0}.img,size=1MiB"));
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        using var buffer = new RegisteredBuffer(fixture.Reactor);
        await fixture.Reactor.InvokeAsync(buffer.Register);
        byte[] data = Pattern(7);
        buffer.Set(data);

        // Two pieces, in the wrong order, in one request: each is an operation of its own.
        Assert.Equal(0, await buffer.RunAsync(driver.Queue, BlockOperation.Write, index: 0));
        byte[] swapped = [.. data[4096..], .. data[..4096]];
        Assert.Equal(swapped, await driver.ReadOrThrowAsync(0, 8192));
        buffer.Set(new byte[8192]);
        Assert.Equal(0, await buffer.RunAsync(driver.Queue, BlockOperation.Read, index: 0));
        Assert.Equal(data, buffer.Get());
        Assert.Equal(-Errno.EFAULT, await buffer.RunAsync(driver.Queue, BlockOperation.Read, index: 9));
        Assert.Equal(-Errno.EFAULT, await buffer.RunAsync(driver.Queue, BlockOperation.Read, index: -1));
    }

    private static byte[] Pattern(int seed)
    {
        var data = new byte[seed == 7 ? 8192 : 4096];
        new Random(seed).NextBytes(data);
        return data;
    }

    /// <summary>8 KiB registered as buffer 0 of a reactor's ring.</summary>
    private sealed unsafe class RegisteredBuffer(Reactor reactor) : IBlockCompletion, IDisposable
    {
        private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc(8192, 4096);
        private readonly IoVec* _vectors = (IoVec*)NativeMemory.Alloc(2, (nuint)sizeof(IoVec));
        private readonly BlockRequest _request = new();
        private TaskCompletionSource<int> _done = new();

        public void Register()
        {
            var vector = new IoVec(_memory, 8192);
            Assert.Equal(0, reactor.Ring!.Register(UringAbi.IORING_REGISTER_BUFFERS, &vector, 1));
            _vectors[0] = new IoVec(_memory + 4096, 4096);
            _vectors[1] = new IoVec(_memory, 4096);
        }

        public void Set(byte[] data) => data.CopyTo(new Span<byte>(_memory, 8192));

        public byte[] Get() => new Span<byte>(_memory, 8192).ToArray();

        public Task<int> RunAsync(IBlockQueue queue, BlockOperation operation, int index)
        {
            _done = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
            _request.Prepare(operation, 0, 8192, _vectors, 2, this);
            _request.Traits = BufferTraits.None;
            _request.RegisteredBuffer = index;
            Task submitted = reactor.InvokeAsync(() => queue.Submit(_request));
            return Task.WhenAll(submitted, _done.Task).ContinueWith(_ => _done.Task.Result, TaskScheduler.Default);
        }

        public void OnCompleted(BlockRequest request) => _done.SetResult(request.Status);

        public void Dispose()
        {
            NativeMemory.Free(_vectors);
            NativeMemory.AlignedFree(_memory);
        }
    }
}
