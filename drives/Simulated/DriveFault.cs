using Polyblk.Core.Block;

namespace Polyblk.Drives.Simulated;

/// <summary>
/// A rule by which a simulated drive fails requests, or never answers them. The first rule that matches decides.
/// </summary>
public sealed class DriveFault
{
    private int _left = int.MaxValue;

    /// <summary>The operation that it hits; null hits all.</summary>
    public BlockOperation? Operation { get; init; }

    /// <summary>First byte of the range that it hits.</summary>
    public long OffsetBytes { get; init; }

    /// <summary>Length of the range in bytes. A flush has no range and is hit by rules of any.</summary>
    public long LengthBytes { get; init; } = long.MaxValue;

    /// <summary>Probability with which a matching request is hit.</summary>
    public double Probability { get; init; } = 1;

    /// <summary>The error, positive.</summary>
    public int Errno { get; init; } = Core.Block.Errno.EIO;

    /// <summary>
    /// Whether the request gets no answer until <see cref="SimulatedDrive.ReleaseStuckAsync"/>, instead of an error.
    /// </summary>
    public bool Stuck { get; init; }

    /// <summary>How many requests it hits before it is spent.</summary>
    public int Count
    {
        get => Volatile.Read(ref _left);
        init => _left = value;
    }

    internal bool Hits(BlockRequest request, ref SeededRandom random)
    {
        if (Operation is BlockOperation operation && operation != request.Operation)
        {
            return false;
        }

        bool overlaps = request.Operation == BlockOperation.Flush
            || (request.OffsetBytes + request.LengthBytes > OffsetBytes && request.OffsetBytes - OffsetBytes < LengthBytes);
        if (!overlaps || Count <= 0 || (Probability < 1 && !random.Chance(Probability)))
        {
            return false;
        }

        return _left == int.MaxValue || Interlocked.Decrement(ref _left) >= 0;
    }
}
