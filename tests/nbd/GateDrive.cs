using System.Collections.Concurrent;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;

namespace Polyblk.Nbd.Tests;

/// <summary>A RAM disk that keeps requests without data until the test lets them go.</summary>
internal sealed class GateDrive(long bytes) : IBlockDevice
{
    private readonly RamDrive _drive = new(bytes);
    private readonly ConcurrentQueue<Queue> _queues = new();
    private int _held;
    private int _seen;
    private volatile bool _open;

    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    /// <summary>Discards and write-zeroes that came, of which <see cref="Held"/> are kept.</summary>
    public int Seen => Volatile.Read(ref _seen);

    public int Held => Volatile.Read(ref _held);

    /// <summary>Every request that came, in order.</summary>
    public ConcurrentQueue<(BlockOperation Operation, BlockFlags Flags)> Log { get; } = new();

    /// <summary>Status for those that are let go; 0 lets them happen.</summary>
    public int Status { get; set; }

    public string Name => "gate";

    public long SizeBytes => _drive.SizeBytes;

    public BlockLimits Limits => _drive.Limits;

    public IBlockQueue OpenQueue(Reactor reactor)
    {
        var queue = new Queue(this, reactor);
        _queues.Enqueue(queue);
        return queue;
    }

    /// <summary>Lets go what is kept now; with <paramref name="forGood"/> what comes later, too.</summary>
    public async Task ReleaseAsync(bool forGood = false)
    {
        _open |= forGood;
        foreach (Queue queue in _queues)
        {
            await queue.Reactor.InvokeAsync(queue.Release);
        }
    }

    public ValueTask DisposeAsync() => _drive.DisposeAsync();

    private sealed class Queue(GateDrive drive, Reactor reactor) : IBlockQueue
    {
        private readonly IBlockQueue _queue = drive._drive.OpenQueue(reactor);
        private readonly Queue<BlockRequest> _kept = new();

        public Reactor Reactor => reactor;

        public void Submit(BlockRequest request)
        {
            drive.Log.Enqueue((request.Operation, request.Flags));
            if (request.Operation is not (BlockOperation.Discard or BlockOperation.WriteZeroes))
            {
                _queue.Submit(request);
                return;
            }

            Interlocked.Increment(ref drive._seen);
            if (drive._open)
            {
                Pass(request);
                return;
            }

            _kept.Enqueue(request);
            Interlocked.Increment(ref drive._held);
        }

        public void Release()
        {
            for (int count = _kept.Count; count > 0; count--)
            {
                Interlocked.Decrement(ref drive._held);
                Pass(_kept.Dequeue());
            }
        }

        public void Dispose() => _queue.Dispose();

        private void Pass(BlockRequest request)
        {
            if (drive.Status != 0)
            {
                request.Complete(drive.Status);
                return;
            }

            _queue.Submit(request);
        }
    }
}
