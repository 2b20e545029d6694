// Iteration over a range of the volume, by chunks or by stripes, without allocation.

namespace Polyblk.Raid.Layout;

/// <summary>A piece of a range that lies within one chunk.</summary>
/// <param name="Offset">Its volume offset.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="Member">The member that holds it (the first copy of mirrored levels).</param>
/// <param name="MemberOffset">Its offset on the member.</param>
public readonly record struct ChunkPiece(long Offset, int Length, int Member, long MemberOffset);

/// <summary>A piece of a range that lies within one stripe.</summary>
/// <param name="Stripe">The stripe.</param>
/// <param name="Offset">Its volume offset.</param>
/// <param name="OffsetInStripe">Its offset among the data of the stripe.</param>
/// <param name="Length">Its length in bytes.</param>
/// <param name="IsFull">True when it is all the data of the stripe.</param>
public readonly record struct StripePiece(long Stripe, long Offset, int OffsetInStripe, int Length, bool IsFull);

/// <summary>Enumerates the chunk pieces of a range; made by <see cref="RaidGeometry.Chunks"/>.</summary>
public ref struct ChunkEnumerator
{
    private readonly RaidGeometry geometry;
    private readonly long end;
    private long next;

    internal ChunkEnumerator(RaidGeometry geometry, long offset, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, geometry.Capacity);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, geometry.Capacity - offset);
        this.geometry = geometry;
        next = offset;
        end = offset + length;
    }

    /// <summary>The piece found by <see cref="MoveNext"/>.</summary>
    public ChunkPiece Current { get; private set; }

    /// <summary>This enumerator, for foreach.</summary>
    public readonly ChunkEnumerator GetEnumerator() => this;

    /// <summary>Steps to the next piece; false at the end of the range.</summary>
    public bool MoveNext()
    {
        if (next >= end) return false;
        int length = (int)Math.Min(end - next, geometry.ChunkSize - (next & (geometry.ChunkSize - 1)));
        MemberPlace place = geometry.Map(next);
        Current = new ChunkPiece(next, length, place.Member, place.Offset);
        next += length;
        return true;
    }
}

/// <summary>Enumerates the stripe pieces of a range; made by <see cref="RaidGeometry.Stripes"/>.</summary>
public ref struct StripeEnumerator
{
    private readonly RaidGeometry geometry;
    private readonly long end;
    private long next;

    internal StripeEnumerator(RaidGeometry geometry, long offset, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, geometry.Capacity);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, geometry.Capacity - offset);
        if (geometry.Level is RaidLevel.Raid1 or RaidLevel.Raid10)
            throw new NotSupportedException("Mirrored levels have no stripes of data: enumerate chunks.");
        this.geometry = geometry;
        next = offset;
        end = offset + length;
    }

    /// <summary>The piece found by <see cref="MoveNext"/>.</summary>
    public StripePiece Current { get; private set; }

    /// <summary>This enumerator, for foreach.</summary>
    public readonly StripeEnumerator GetEnumerator() => this;

    /// <summary>Steps to the next piece; false at the end of the range.</summary>
    public bool MoveNext()
    {
        if (next >= end) return false;
        long stripe = next / geometry.StripeDataSize;
        var inStripe = (int)(next - stripe * geometry.StripeDataSize);
        var length = (int)Math.Min(end - next, geometry.StripeDataSize - inStripe);
        Current = new StripePiece(stripe, next, inStripe, length, length == geometry.StripeDataSize);
        next += length;
        return true;
    }
}
