// A power supply that fails at a chosen moment: counts the writes and flushes that reach any of its drives, and when the count
// has come nothing more reaches them. With it every moment of a start, a stop or an update is tried, one after the other, instead
// of a moment of chance.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;

namespace Polyblk.Raid.Tests.Arrays;

/// <summary>Cuts its drives off after a number of writes and flushes.</summary>
/// <param name="requests">How many still reach the drives; all of them together.</param>
internal sealed class PowerFuse(int requests)
{
    private int _left = requests;
    private int _writes;

    /// <summary>Requests that reached the drives and change what they hold: all but reads and flushes.</summary>
    public int Writes => Volatile.Read(ref _writes);

    /// <summary>Whether the power is out.</summary>
    public bool IsBlown => Volatile.Read(ref _left) < 0;

    /// <summary>Completes when the power goes out.</summary>
    public TaskCompletionSource Blown { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The drives as they hang on this supply. They stay the caller's.</summary>
    public IBlockDevice[] Protect(IEnumerable<SimulatedDrive> drives) => [.. drives.Select(d => new FusedDrive(d, this))];

    private bool Passes(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Read)
        {
            return !IsBlown;
        }

        if (Interlocked.Decrement(ref _left) >= 0)
        {
            _ = request.Operation == BlockOperation.Flush ? 0 : Interlocked.Increment(ref _writes);
            return true;
        }

        Blown.TrySetResult();
        return false;
    }

    private sealed class FusedDrive(SimulatedDrive inner, PowerFuse fuse) : IBlockDevice
    {
        public event Action<IBlockDevice>? Resized
        {
            add { }
            remove { }
        }

        public string Name => inner.Name;

        public long SizeBytes => inner.SizeBytes;

        public BlockLimits Limits => inner.Limits;

        public IBlockQueue OpenQueue(Reactor reactor) => new Queue(inner.OpenQueue(reactor), fuse);

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class Queue(IBlockQueue inner, PowerFuse fuse) : IBlockQueue
    {
        public void Submit(BlockRequest request)
        {
            if (fuse.Passes(request))
            {
                inner.Submit(request);
            }
            else
            {
                request.Complete(-Errno.ENODEV);
            }
        }

        public void Dispose() => inner.Dispose();
    }
}
