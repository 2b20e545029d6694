using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Fakes;

/// <summary>A drive of which nobody sees more than <see cref="IBlockDevice"/> shows: hides that it is memory.</summary>
/// <param name="inner">The drive; disposed with this one.</param>
/// <param name="onSubmit">Called before each request is handed on, on the thread that submits it; null for nothing.</param>
public sealed class OpaqueDrive(IBlockDevice inner, Action? onSubmit = null) : IBlockDevice
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
    public IBlockQueue OpenQueue(Reactor reactor) => new Queue(inner.OpenQueue(reactor), onSubmit);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => inner.DisposeAsync();

    private sealed class Queue(IBlockQueue inner, Action? onSubmit) : IBlockQueue
    {
        public void Submit(BlockRequest request)
        {
            onSubmit?.Invoke();
            inner.Submit(request);
        }

        public void Dispose() => inner.Dispose();
    }
}
