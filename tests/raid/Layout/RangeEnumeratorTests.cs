using FsCheck;
using FsCheck.Fluent;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Layout;

public class RangeEnumeratorTests
{
    private static readonly RaidGeometry[] Geometries = [.. Enum.GetValues<RaidLevel>().SelectMany(level =>
        (level.HasGroups() ? new[] { 6, 8, 14 } : [4, 5, 9, 13]).Where(count => count >= level.MinimumMembers()).Select(members =>
        {
            var sizes = new long[members];
            Array.Fill(sizes, (1L << 20) + 40 * 8192);
            Assert.True(RaidGeometry.TryCreate(level, 8192, sizes, out RaidGeometry? geometry, out string? error), error);
            return geometry!;
        }))];

    /// <summary>A geometry and a range in it.</summary>
    private static Gen<(RaidGeometry Geometry, long Offset, long Length)> Ranges() =>
        from geometry in Gen.Elements(Geometries)
        from a in Gen.Choose(0, (int)geometry.Capacity)
        from b in Gen.Choose(0, (int)geometry.Capacity)
        select (geometry, (long)Math.Min(a, b), (long)Math.Abs(a - b));

    [Fact]
    public void ChunkPiecesCoverTheRangeExactly() => Prop.ForAll(Ranges().ToArbitrary(), range =>
    {
        long next = range.Offset;
        foreach (ChunkPiece piece in range.Geometry.Chunks(range.Offset, range.Length))
        {
            Assert.Equal(next, piece.Offset);
            Assert.InRange(piece.Length, 1, range.Geometry.ChunkSize);
            Assert.Equal(range.Geometry.ChunkOf(piece.Offset), range.Geometry.ChunkOf(piece.Offset + piece.Length - 1));
            Assert.Equal(range.Geometry.Map(piece.Offset), new MemberPlace(piece.Member, piece.MemberOffset));
            MemberPlace last = range.Geometry.Map(piece.Offset + piece.Length - 1);
            Assert.Equal(new MemberPlace(piece.Member, piece.MemberOffset + piece.Length - 1), last);
            next += piece.Length;
        }
        Assert.Equal(range.Offset + range.Length, next);
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void StripePiecesCoverTheRangeExactly() => Prop.ForAll(Ranges().ToArbitrary(), range =>
    {
        RaidGeometry geometry = range.Geometry;
        if (geometry.Level is RaidLevel.Raid1 or RaidLevel.Raid10) return;
        long next = range.Offset;
        foreach (StripePiece piece in geometry.Stripes(range.Offset, range.Length))
        {
            Assert.Equal(next, piece.Offset);
            Assert.Equal(geometry.StripeOf(piece.Offset), piece.Stripe);
            Assert.Equal(piece.Offset, piece.Stripe * geometry.StripeDataSize + piece.OffsetInStripe);
            Assert.InRange(piece.OffsetInStripe + piece.Length, 1, geometry.StripeDataSize);
            Assert.Equal(piece.Length == geometry.StripeDataSize, piece.IsFull);
            next += piece.Length;
        }
        Assert.Equal(range.Offset + range.Length, next);
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void RangesOutsideOfTheVolumeAreRefused()
    {
        RaidGeometry geometry = Geometries[0];
        Assert.Throws<ArgumentOutOfRangeException>(() => Count(geometry, -1, 10));
        Assert.Throws<ArgumentOutOfRangeException>(() => Count(geometry, 0, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => Count(geometry, 1, geometry.Capacity));
        Assert.Throws<ArgumentOutOfRangeException>(() => Count(geometry, long.MaxValue, 2));
        Assert.Equal(0, Count(geometry, geometry.Capacity, 0));
    }

    [Fact]
    public void IterationAllocatesNothing()
    {
        Count(Geometries[^1], 0, Geometries[^1].Capacity);
        long before = GC.GetAllocatedBytesForCurrentThread();
        int pieces = Count(Geometries[^1], 0, Geometries[^1].Capacity);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        Assert.Equal(Geometries[^1].Capacity / 8192, pieces);
    }

    private static int Count(RaidGeometry geometry, long offset, long length)
    {
        int count = 0;
        foreach (ChunkPiece piece in geometry.Chunks(offset, length)) count += piece.Length > 0 ? 1 : 0;
        return count;
    }
}
