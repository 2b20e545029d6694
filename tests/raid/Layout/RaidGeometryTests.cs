using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Layout;

public class RaidGeometryTests
{
    private const int Chunk = 4096;

    private static RaidGeometry Make(RaidLevel level, int members, int rows = 24, int chunk = Chunk, long dataOffset = 1 << 20)
    {
        var sizes = new long[members];
        Array.Fill(sizes, dataOffset + (long)rows * chunk);
        Assert.True(RaidGeometry.TryCreate(level, chunk, sizes, out RaidGeometry? geometry, out string? error, dataOffset), error);
        return geometry!;
    }

    /// <summary>All levels with all numbers of members up to eight, and some larger.</summary>
    public static TheoryData<RaidLevel, int> Shapes()
    {
        var shapes = new TheoryData<RaidLevel, int>();
        foreach (RaidLevel level in Enum.GetValues<RaidLevel>())
            foreach (int members in new[] { 1, 2, 3, 4, 5, 6, 7, 8, 23, 64 })
                if (members >= level.MinimumMembers()) shapes.Add(level, members);
        return shapes;
    }

    /// <summary>The cells of the first rows as text: numbers are chunks.</summary>
    private static string[] Table(RaidGeometry geometry, int rows) => Enumerable.Range(0, rows).Select(row =>
        string.Join(' ', Enumerable.Range(0, geometry.MemberCount).Select(member =>
        {
            if (geometry.HasParity && geometry.BlockIndex(row, member) is int block && block >= geometry.DataCount)
                return "PQRSTUVW"[block - geometry.DataCount].ToString();
            long offset = geometry.Unmap(member, geometry.StripeOffset(row));
            return offset < 0 ? "-" : (offset / geometry.ChunkSize).ToString();
        }))).ToArray();

    [Fact]
    public void Raid5RotatesAsMdLeftSymmetric() => Assert.Equal(
        [
            "0 1 2 3 P",
            "5 6 7 P 4",
            "10 11 P 8 9",
            "15 P 12 13 14",
            "P 16 17 18 19",
            "20 21 22 23 P",
        ],
        Table(Make(RaidLevel.Raid5, 5), 6));

    [Fact]
    public void Raid6RotatesAsMdLeftSymmetric() => Assert.Equal(
        [
            "Q 0 1 2 3 P",
            "4 5 6 7 P Q",
            "9 10 11 P Q 8",
            "14 15 P Q 12 13",
            "19 P Q 16 17 18",
            "P Q 20 21 22 23",
            "Q 24 25 26 27 P",
        ],
        Table(Make(RaidLevel.Raid6, 6), 7));

    [Fact]
    public void ThreeParitiesRotateInTheSameWay() => Assert.Equal(
        [
            "Q R 0 1 2 P",
            "R 3 4 5 P Q",
            "6 7 8 P Q R",
            "10 11 P Q R 9",
            "14 P Q R 12 13",
            "P Q R 15 16 17",
            "Q R 18 19 20 P",
        ],
        Table(Make(RaidLevel.Raid73, 6), 7));

    [Theory]
    [InlineData("8+3", RaidLevel.Raid73, 11)]
    [InlineData("2+1", RaidLevel.Raid5, 3)]
    [InlineData("4+2", RaidLevel.Raid6, 6)]
    [InlineData("56+8", RaidLevel.Raid78, 64)]
    public void AShapeIsALevelAndANumberOfDrives(string text, RaidLevel level, int members)
    {
        Assert.True(RaidLevels.TryParseShape(text, out RaidLevel parsed, out int drives));
        Assert.Equal((level, members), (parsed, drives));
    }

    [Theory]
    [InlineData("57+8")]
    [InlineData("1+3")]
    [InlineData("8+9")]
    [InlineData("8+0")]
    [InlineData("8+-3")]
    [InlineData("8+3+1")]
    [InlineData("+3")]
    [InlineData("raid5")]
    [InlineData("")]
    public void WhatIsNoShapeIsNone(string text) => Assert.False(RaidLevels.TryParseShape(text, out _, out _));

    [Fact]
    public void EveryLevelHasANameThatIsParsed()
    {
        foreach (RaidLevel level in Enum.GetValues<RaidLevel>())
        {
            Assert.True(RaidLevels.TryParse(level.Name(), out RaidLevel parsed));
            Assert.Equal(level, parsed);
        }
        Assert.Equal("raid7.3", RaidLevel.Raid73.Name());
        Assert.False(RaidLevels.TryParse("raid73", out _));
        Assert.False(RaidLevels.TryParse("raid7.9", out _));
    }

    [Fact]
    public void Raid10IsMdNear2()
    {
        Assert.Equal(["0 0 1 1", "2 2 3 3", "4 4 5 5"], Table(Make(RaidLevel.Raid10, 4), 3));
        Assert.Equal(["0 0 1", "1 2 2", "3 3 4", "4 5 5"], Table(Make(RaidLevel.Raid10, 3), 4));
        Assert.Equal(["0 0 1", "1 2 2", "3 3 -"], Table(Make(RaidLevel.Raid10, 3, rows: 3), 3));
        Assert.Equal(["0 0", "1 1"], Table(Make(RaidLevel.Raid10, 2), 2));
    }

    [Fact]
    public void Raid0AndRaid1AreThePlainLayouts()
    {
        Assert.Equal(["0 1 2", "3 4 5"], Table(Make(RaidLevel.Raid0, 3), 2));
        Assert.Equal(["0 0 0", "1 1 1"], Table(Make(RaidLevel.Raid1, 3), 2));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void EveryByteHasItsOwnPlacesAndComesBack(RaidLevel level, int members)
    {
        RaidGeometry geometry = Make(level, members);
        var taken = new HashSet<MemberPlace>();
        for (long offset = 0; offset < geometry.Capacity; offset += Chunk / 2)
        {
            Assert.Equal(geometry.Map(offset), geometry.Copy(offset, 0));
            for (int copy = 0; copy < geometry.CopyCount; copy++)
            {
                MemberPlace place = geometry.Copy(offset, copy);
                Assert.InRange(place.Member, 0, members - 1);
                Assert.InRange(place.Offset, geometry.DataOffset, geometry.DataOffset + geometry.MemberDataSize - 1);
                Assert.True(taken.Add(place), $"{place} is used twice");
                Assert.Equal(offset, geometry.Unmap(place.Member, place.Offset));
                Assert.Equal(offset + 7, geometry.Unmap(place.Member, place.Offset + 7));
            }
        }
        Assert.Equal(geometry.Capacity / (Chunk / 2) * geometry.CopyCount, taken.Count);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void ParityAndDataOfAStripeFillTheMembersExactlyOnce(RaidLevel level, int members)
    {
        RaidGeometry geometry = Make(level, members);
        if (level is RaidLevel.Raid1 or RaidLevel.Raid10) return;
        for (long stripe = 0; stripe < 2 * members; stripe++)
        {
            var used = new HashSet<int>();
            for (int block = 0; block < members; block++)
            {
                int member = geometry.BlockMember(stripe, block);
                Assert.True(used.Add(member));
                Assert.Equal(block, geometry.BlockIndex(stripe, member));
            }
            for (int parity = 0; parity < geometry.ParityCount; parity++)
                Assert.Equal(-1, geometry.Unmap(geometry.ParityMember(stripe % 24, parity), geometry.StripeOffset(stripe % 24)));
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void CopiesAreOnDifferentMembers(RaidLevel level, int members)
    {
        RaidGeometry geometry = Make(level, members);
        for (long offset = 0; offset < geometry.Capacity; offset += Chunk)
        {
            var copies = Enumerable.Range(0, geometry.CopyCount).Select(copy => geometry.Copy(offset, copy).Member).ToHashSet();
            Assert.Equal(geometry.CopyCount, copies.Count);
        }
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 3, 72)]
    [InlineData(RaidLevel.Raid1, 3, 24)]
    [InlineData(RaidLevel.Raid10, 4, 48)]
    [InlineData(RaidLevel.Raid10, 3, 36)]
    [InlineData(RaidLevel.Raid5, 9, 192)]
    [InlineData(RaidLevel.Raid6, 10, 192)]
    public void CapacityCountsTheSmallestDriveInWholeChunks(RaidLevel level, int members, int chunks)
    {
        var sizes = Enumerable.Range(0, members).Select(i => (1L << 20) + 24 * Chunk + Chunk - 1 + i * 100_000L).Reverse().ToArray();
        Assert.True(RaidGeometry.TryCreate(level, Chunk, sizes, out RaidGeometry? geometry, out _));
        Assert.Equal((long)chunks * Chunk, geometry!.Capacity);
        Assert.Equal(24 * Chunk, geometry.MemberDataSize);
    }

    [Fact]
    public void OptimalIoIsTheFullStripeAndMinimalTheChunk()
    {
        RaidGeometry geometry = Make(RaidLevel.Raid6, 10, chunk: 65536);
        Assert.Equal(8 * 65536, geometry.OptimalIoSize);
        Assert.Equal(65536, geometry.MinimalIoSize);
        Assert.Equal(2, geometry.Redundancy);
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 2, 65536, 1L << 30, "at least 3 drives")]
    [InlineData(RaidLevel.Raid6, 3, 65536, 1L << 30, "at least 4 drives")]
    [InlineData(RaidLevel.Raid1, 1, 65536, 1L << 30, "at least 2 drives")]
    [InlineData(RaidLevel.Raid0, 65, 65536, 1L << 30, "at most 64 drives")]
    [InlineData(RaidLevel.Raid0, 4, 2048, 1L << 30, "power of two from 4 KiB to 1 MiB")]
    [InlineData(RaidLevel.Raid0, 4, 2 << 20, 1L << 30, "power of two from 4 KiB to 1 MiB")]
    [InlineData(RaidLevel.Raid0, 4, 12288, 1L << 30, "power of two from 4 KiB to 1 MiB")]
    [InlineData(RaidLevel.Raid0, 4, 65536, (1L << 20) + 65535, "use a larger drive")]
    [InlineData(RaidLevel.Raid0, 4, 65536, 0, "use a larger drive")]
    [InlineData(RaidLevel.Raid0, 4, 65536, long.MaxValue, "fewer or smaller drives")]
    [InlineData((RaidLevel)3, 4, 65536, 1L << 30, "Unknown RAID level 3")]
    public void ImpossibleWishesAreExplained(RaidLevel level, int members, int chunk, long size, string words)
    {
        var sizes = new long[members];
        Array.Fill(sizes, size);
        Assert.False(RaidGeometry.TryCreate(level, chunk, sizes, out RaidGeometry? geometry, out string? error));
        Assert.Null(geometry);
        Assert.Contains(words, error, StringComparison.Ordinal);
    }

    [Fact]
    public void LevelsAreParsedAndNamed()
    {
        foreach (RaidLevel level in Enum.GetValues<RaidLevel>())
        {
            Assert.True(RaidLevels.TryParse(level.Name(), out RaidLevel parsed));
            Assert.Equal(level, parsed);
        }
        Assert.True(RaidLevels.TryParse("RAID10", out RaidLevel ten));
        Assert.Equal(RaidLevel.Raid10, ten);
        Assert.True(RaidLevels.TryParse("6", out RaidLevel six));
        Assert.Equal(RaidLevel.Raid6, six);
        Assert.False(RaidLevels.TryParse("raid7", out _));
        Assert.False(RaidLevels.TryParse("", out _));
    }

    [Fact]
    public void SurvivalDependsOnWhichMembersAreGone()
    {
        Assert.True(Make(RaidLevel.Raid6, 6).SurvivesWithout(0b110));
        Assert.False(Make(RaidLevel.Raid6, 6).SurvivesWithout(0b111));
        Assert.False(Make(RaidLevel.Raid0, 2).SurvivesWithout(1));
        Assert.True(Make(RaidLevel.Raid1, 3).SurvivesWithout(0b110));
        Assert.True(Make(RaidLevel.Raid10, 4).SurvivesWithout(0b0101));
        Assert.False(Make(RaidLevel.Raid10, 4).SurvivesWithout(0b0011));
        Assert.False(Make(RaidLevel.Raid10, 3).SurvivesWithout(0b0101));
        Assert.True(Make(RaidLevel.Raid10, 5).SurvivesWithout(0b00101));
    }
}
