using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

/// <summary>
/// What is done inside Submit must not hold up the reactor: large requests take several rounds of its deferred work.
/// </summary>
public sealed class InlineQueueTests
{
    private const long Bytes = 1 << 20;

    [Theory]
    [InlineData("ram:8MiB", BlockOperation.Write, BlockFlags.None, Bytes / InlineQueue.DataPieceBytes)]
    [InlineData("ram:8MiB", BlockOperation.WriteZeroes, BlockFlags.None, Bytes / InlineQueue.DataPieceBytes)]
    [InlineData("ram:8MiB", BlockOperation.WriteZeroes, BlockFlags.Unmap, 1)]
    [InlineData("ram:8MiB", BlockOperation.Discard, BlockFlags.None, 1)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB", BlockOperation.Write, BlockFlags.None, Bytes / InlineQueue.DataPieceBytes)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB", BlockOperation.WriteZeroes, BlockFlags.None, Bytes / InlineQueue.DataPieceBytes)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB", BlockOperation.WriteZeroes, BlockFlags.Unmap, 1)]
    [InlineData("file:/dev/shm/polyblk-test-{0}.img,size=8MiB", BlockOperation.Discard, BlockFlags.None, 1)]
    public async Task WhatWritesEveryByteIsDoneInSmallPieces(string text, BlockOperation operation, BlockFlags flags, long pieces)
    {
        using var directory = new TemporaryFiles();
        DriveSpec spec = directory.Parse(text);
        using var fixture = new ReactorFixture(ringEntries: 0);
        await using IBlockDevice drive = DriveFactory.Open(spec);
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, fixture.Reactor);
        using var rounds = new Rounds(fixture.Reactor);
        await fixture.Reactor.InvokeAsync(() => rounds.Start(driver.Queue, operation, flags));
        Assert.Equal((0, pieces), await rounds.Done.WaitAsync(TimeSpan.FromSeconds(60)));
    }

    /// <summary>Counts the rounds of deferred work that a request takes.</summary>
    private sealed unsafe class Rounds(Reactor reactor) : ReactorWork, IBlockCompletion, IDisposable
    {
        private readonly BlockRequest _request = new();
        private readonly IoVec* _vector = (IoVec*)NativeMemory.Alloc((nuint)sizeof(IoVec));
        private readonly byte* _data = (byte*)NativeMemory.AlignedAlloc((nuint)Bytes, 4096);
        private readonly TaskCompletionSource<(int Status, long Rounds)> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private long _rounds;
        private bool _completed;

        public Task<(int Status, long Rounds)> Done => _done.Task;

        public void Start(IBlockQueue queue, BlockOperation operation, BlockFlags flags)
        {
            bool hasData = operation == BlockOperation.Write;
            *_vector = new IoVec(_data, (nuint)Bytes);
            _request.Prepare(operation, 0, Bytes, hasData ? _vector : null, hasData ? 1 : 0, this);
            _request.Flags = flags;
            queue.Submit(_request);
            reactor.DeferBulk(this);
        }

        public override void Run()
        {
            _rounds++;
            if (_completed)
            {
                _done.SetResult((_request.Status, _rounds));
                return;
            }

            reactor.DeferBulk(this);
        }

        public void OnCompleted(BlockRequest request) => _completed = true;

        public void Dispose()
        {
            NativeMemory.Free(_vector);
            NativeMemory.AlignedFree(_data);
        }
    }
}
