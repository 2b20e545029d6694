// A drive that keeps nothing: writes vanish, reads leave the buffer as it is. It is the floor of every measurement: what remains
// is the cost of everything above a drive.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Null;

/// <summary>Completes everything at once and touches no data (<c>null:SIZE</c>).</summary>
public sealed class NullDrive : IBlockDevice
{
    /// <summary>Makes one.</summary>
    /// <param name="sizeBytes">Size, a multiple of the block size.</param>
    /// <param name="logicalBlockSize">512 or 4096.</param>
    /// <param name="readOnly">Refuse writes.</param>
    public NullDrive(long sizeBytes, int logicalBlockSize = 512, bool readOnly = false)
    {
        DriveGeometry.Check(sizeBytes, logicalBlockSize);
        SizeBytes = sizeBytes;
        Limits = new BlockLimits
        {
            LogicalBlockSize = logicalBlockSize,
            PhysicalBlockSize = 4096,
            VolatileCache = false,
            Discard = true,
            DiscardGranularity = logicalBlockSize,
            ReadOnly = readOnly,
            KeepsNothing = true,
            IsEphemeral = true,

            // A read fills nothing. Of a buffer that only the kernel can reach nobody else has filled anything either: it would
            // show what that memory held before, perhaps another program's data.
            NeedsCpuAccessForReads = true,
        };
    }

    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public string Name => $"null:{ByteSize.Format(SizeBytes)}";

    /// <inheritdoc/>
    public long SizeBytes { get; }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor) => new Queue(this);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private sealed class Queue(NullDrive drive) : IBlockQueue
    {
        private readonly long _sizeBytes = drive.SizeBytes;
        private readonly long _blockMask = drive.Limits.LogicalBlockSize - 1;
        private readonly bool _readOnly = drive.Limits.ReadOnly;

        public void Submit(BlockRequest request) => request.Complete(RequestCheck.Validate(request, _sizeBytes, _blockMask, _readOnly));

        public void Dispose()
        {
        }
    }
}
