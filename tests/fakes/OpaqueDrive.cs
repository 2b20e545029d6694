using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Fakes;

/// <summary>A drive of which nobody sees more than <see cref="IBlockDevice"/> shows: hides that it is memory.</summary>
/// <param name="inner">The drive; disposed with this one.</param>
public sealed class OpaqueDrive(IBlockDevice inner) : IBlockDevice
{
    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public string Name => inner.Name;

    /// <inheritdoc/>
    public long SizeBytes => inner.SizeBytes;

    /// <inheritdoc/>
    public BlockLimits Limits => inner.Limits;

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor) => new Queue(inner.OpenQueue(reactor));

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => inner.DisposeAsync();

    private sealed class Queue(IBlockQueue inner) : IBlockQueue
    {
        public void Submit(BlockRequest request) => inner.Submit(request);

        public void Dispose() => inner.Dispose();
    }
}
