using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Map;

/// <summary>
/// Stands for a drive that is not here, in an array that lacks more than its level can lose and is read all the same: what lies
/// on this one cannot be had, and whoever asks for it is told so as by a drive that has died.
/// </summary>
internal sealed class AbsentDrive(long sizeBytes) : IBlockDevice
{
    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public string Name => "absent";

    /// <inheritdoc/>
    public long SizeBytes => sizeBytes;

    /// <inheritdoc/>
    public BlockLimits Limits { get; } = new() { ReadOnly = true, VolatileCache = false };

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor) => new RefusingQueue(Errno.EIO);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
