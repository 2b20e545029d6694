using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.GuestPrograms.Ublk;

/// <summary>
/// A device as parity arrays are: <c>writes</c> says in its limits that it must see the data of writes; <c>late</c> says nothing
/// and then refuses every request that the CPU cannot see, as an array does that has lost a member since the export was made.
/// </summary>
internal sealed class CpuNeedingDevice(IBlockDevice inner, string kind) : IBlockDevice
{
    public string Name => inner.Name;

    public long SizeBytes => inner.SizeBytes;

    public BlockLimits Limits { get; } = kind == "writes" ? inner.Limits with { NeedsCpuAccessForWrites = true } : inner.Limits;

    public event Action<IBlockDevice>? Resized
    {
        add => inner.Resized += value;
        remove => inner.Resized -= value;
    }

    public IBlockQueue OpenQueue(Reactor reactor) => new Queue(inner.OpenQueue(reactor), kind == "late");

    public ValueTask DisposeAsync() => inner.DisposeAsync();

    private sealed class Queue(IBlockQueue inner, bool refusesAll) : IBlockQueue
    {
        public void Submit(BlockRequest request)
        {
            bool refuses = request.HasData && (refusesAll || request.Operation == BlockOperation.Write);
            if (refuses && (request.Traits & BufferTraits.CpuAccessible) == 0)
            {
                request.Complete(-Errno.EFAULT);
                return;
            }

            inner.Submit(request);
        }

        public void Dispose() => inner.Dispose();
    }
}
