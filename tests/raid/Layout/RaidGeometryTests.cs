using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Layout;

public class RaidGeometryTests
{
    private const int Chunk = 4096;

    private static RaidGeometry Make(
        RaidLevel level, int members, int rows = 24, int chunk = Chunk, long dataOffset = 1 << 20, int groups = 0)
    {
        var sizes = new long[members];
        Array.Fill(sizes, dataOffset + (long)rows * chunk);
        bool isPossible =
            RaidGeometry.TryCreate(level, chunk, sizes, out RaidGeometry? geometry, out string? error, dataOffset, groups);
        Assert.True(isPossible, error);
        return geometry!;
    }

    /// <summary>All levels with all numbers of members up to eight, and some larger.</summary>
    public static TheoryData<RaidLevel, int, int> Shapes()
    {
        var shapes = new TheoryData<RaidLevel, int, int>();
        foreach (RaidLevel level in Enum.GetValues<RaidLevel>())
            foreach (int members in new[] { 1, 2, 3, 4, 5, 6, 7, 8, 23, 64 })
                if (members >= level.MinimumMembers() && !level.HasGroups()) shapes.Add(level, members, 1);
        foreach (RaidLevel level in new[] { RaidLevel.Raid50, RaidLevel.Raid60 })
            foreach ((int members, int groups) in new[]
                { (6, 2), (8, 2), (9, 3), (12, 3), (12, 4), (14, 2), (16, 4), (63, 21), (64, 2), (64, 16) })
                if (members / groups >= level.MinimumOfGroup()) shapes.Add(level, members, groups);
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
    public void StripesOfGroupsTakeTurns() => Assert.Equal(
        [
            "0 1 P | 2 3 P",
            "5 P 4 | 7 P 6",
            "P 8 9 | P 10 11",
            "12 13 P | 14 15 P",
        ],
        GroupTable(Make(RaidLevel.Raid50, 6), 4));

    [Fact]
    public void GroupsOfTwoParitiesRotateAsOneDoes() => Assert.Equal(
        [
            "Q 0 1 P | Q 2 3 P | Q 4 5 P",
            "6 7 P Q | 8 9 P Q | 10 11 P Q",
            "13 P Q 12 | 15 P Q 14 | 17 P Q 16",
            "P Q 18 19 | P Q 20 21 | P Q 22 23",
        ],
        GroupTable(Make(RaidLevel.Raid60, 12, groups: 3), 4));

    /// <summary>A group alone is laid out as an array of its level, which is md's left-symmetric layout.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void AGroupIsAnArrayOfItsOwn(RaidLevel level, int members, int groups)
    {
        if (!level.HasGroups()) return;
        RaidGeometry geometry = Make(level, members, groups: groups);
        RaidGeometry alone = Make(level == RaidLevel.Raid50 ? RaidLevel.Raid5 : RaidLevel.Raid6, members / groups);
        Assert.Equal((alone.DataCount, alone.ParityCount), (geometry.DataCount, geometry.ParityCount));
        Assert.Equal(alone.MemberDataSize, geometry.MemberDataSize);
        Assert.Equal((alone.Capacity * groups, alone.StripeCount * groups), (geometry.Capacity, geometry.StripeCount));
        Assert.Equal((alone.StripeDataSize, alone.OptimalIoSize), (geometry.StripeDataSize, geometry.OptimalIoSize));
        for (long stripe = 0; stripe < geometry.StripeCount; stripe++)
        {
            long its = stripe / groups;
            int first = (int)(stripe % groups) * geometry.GroupSize;
            Assert.Equal(alone.StripeOffset(its), geometry.StripeOffset(stripe));
            for (int block = 0; block < geometry.GroupSize; block++)
                Assert.Equal(first + alone.BlockMember(its, block), geometry.BlockMember(stripe, block));
            for (int data = 0; data < alone.DataCount; data++)
            {
                long at = data * Chunk + 5;
                MemberPlace place = alone.Map(its * alone.StripeDataSize + at);
                Assert.Equal(place with { Member = first + place.Member }, geometry.Map(stripe * geometry.StripeDataSize + at));
            }
        }
    }

    /// <summary>What each group holds in its rows, groups apart.</summary>
    private static string[] GroupTable(RaidGeometry geometry, int rows) => Enumerable.Range(0, rows).Select(row =>
        string.Join(" | ", Enumerable.Range(0, geometry.GroupCount).Select(group =>
            string.Join(' ', Enumerable.Range(group * geometry.GroupSize, geometry.GroupSize).Select(member =>
            {
                long stripe = (long)row * geometry.GroupCount + group;
                int block = geometry.BlockIndex(stripe, member);
                return block >= geometry.DataCount ? "PQ"[block - geometry.DataCount].ToString()
                    : (geometry.Unmap(member, geometry.StripeOffset(stripe)) / geometry.ChunkSize).ToString();
            }))))).ToArray();

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
    [InlineData("2x4+1", RaidLevel.Raid50, 10, 2)]
    [InlineData("2X8+2", RaidLevel.Raid60, 20, 2)]
    [InlineData("16x2+2", RaidLevel.Raid60, 64, 16)]
    public void AShapeIsALevelAndANumberOfDrives(string text, RaidLevel level, int members, int groups = 1)
    {
        Assert.True(RaidLevels.TryParseShape(text, out RaidLevel parsed, out int drives, out int parsedGroups));
        Assert.Equal((level, members, groups), (parsed, drives, parsedGroups));
    }

    [Theory]
    [InlineData("57+8")]
    [InlineData("1+3")]
    [InlineData("8+9")]
    [InlineData("8+0")]
    [InlineData("8+-3")]
    [InlineData("8+3+1")]
    [InlineData("+3")]
    [InlineData("1x4+1")]
    [InlineData("2x1+1")]
    [InlineData("2x4+3")]
    [InlineData("13x4+1")]
    [InlineData("2147483647x2147483647+1")]
    [InlineData("x4+1")]
    [InlineData("2x2x2+1")]
    [InlineData("-2x4+1")]
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
    public void EveryByteHasItsOwnPlacesAndComesBack(RaidLevel level, int members, int groups)
    {
        RaidGeometry geometry = Make(level, members, groups: groups);
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
    public void ParityAndDataOfAStripeFillTheMembersExactlyOnce(RaidLevel level, int members, int groups)
    {
        RaidGeometry geometry = Make(level, members, groups: groups);
        if (level is RaidLevel.Raid1 or RaidLevel.Raid10) return;
        for (long stripe = 0; stripe < 2 * members; stripe++)
        {
            var used = new HashSet<int>();
            for (int block = 0; block < geometry.GroupSize; block++)
            {
                int member = geometry.BlockMember(stripe, block);
                Assert.True(used.Add(member));
                Assert.Equal(block, geometry.BlockIndex(stripe, member));
                Assert.Equal(stripe % groups, geometry.GroupOf(member));
                Assert.Equal(stripe, geometry.StripeAt(member, geometry.StripeOffset(stripe) + Chunk - 1));
            }
            Assert.Equal((1UL << geometry.GroupSize - 1 << 1) - 1, geometry.BlocksOf(stripe, ulong.MaxValue));
            for (int parity = 0; parity < geometry.ParityCount; parity++)
                Assert.Equal(-1, geometry.Unmap(geometry.ParityMember(stripe % 24, parity), geometry.StripeOffset(stripe % 24)));
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void CopiesAreOnDifferentMembers(RaidLevel level, int members, int groups)
    {
        RaidGeometry geometry = Make(level, members, groups: groups);
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
    [InlineData(RaidLevel.Raid50, 10, 192)]
    [InlineData(RaidLevel.Raid60, 12, 192)]
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
    [InlineData(RaidLevel.Raid50, 5, 65536, 1L << 30, "at least 6 drives")]
    [InlineData(RaidLevel.Raid60, 7, 65536, 1L << 30, "at least 8 drives")]
    [InlineData(RaidLevel.Raid50, 7, 65536, 1L << 30, "cannot be cut into 2 groups")]
    [InlineData(RaidLevel.Raid50, 8, 65536, 1L << 30, "cannot be cut into 3 groups", 3)]
    [InlineData(RaidLevel.Raid50, 8, 65536, 1L << 30, "at least 3 drives in each group", 4)]
    [InlineData(RaidLevel.Raid60, 9, 65536, 1L << 30, "at least 4 drives in each group", 3)]
    [InlineData(RaidLevel.Raid60, 8, 65536, 1L << 30, "with one it is raid6", 1)]
    [InlineData(RaidLevel.Raid60, 8, 65536, 1L << 30, "at least 2 groups", -2)]
    [InlineData(RaidLevel.Raid50, 66, 65536, 1L << 30, "at most 64 drives")]
    [InlineData(RaidLevel.Raid5, 8, 65536, 1L << 30, "has no groups", 2)]
    public void ImpossibleWishesAreExplained(RaidLevel level, int members, int chunk, long size, string words, int groups = 0)
    {
        var sizes = new long[members];
        Array.Fill(sizes, size);
        Assert.False(RaidGeometry.TryCreate(level, chunk, sizes, out RaidGeometry? geometry, out string? error, groups: groups));
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
        Assert.True(Make(RaidLevel.Raid50, 6).SurvivesWithout(0b100_001));
        Assert.False(Make(RaidLevel.Raid50, 6).SurvivesWithout(0b000_101));
        Assert.False(Make(RaidLevel.Raid50, 6).SurvivesWithout(0b110_001));
        Assert.True(Make(RaidLevel.Raid60, 12, groups: 3).SurvivesWithout(0b1001_0110_0011));
        Assert.False(Make(RaidLevel.Raid60, 12, groups: 3).SurvivesWithout(0b0000_0111_0000));
        Assert.Equal((1, 2), (Make(RaidLevel.Raid50, 6).Redundancy, Make(RaidLevel.Raid60, 8).Redundancy));
    }

    [Fact]
    public void RedundancyIsLeftWhereAGroupHasSome()
    {
        RaidGeometry geometry = Make(RaidLevel.Raid50, 6);
        Assert.True(geometry.HasRedundancyLeft(0b000_010) && !geometry.HasRedundancyLeft(0b001_010));
        Assert.True(geometry.HasRedundancyLeftEverywhere(0) && !geometry.HasRedundancyLeftEverywhere(0b000_010));
        Assert.Equal((0b000_111ul, 0b111_000ul), (geometry.MembersOf(0), geometry.MembersOf(1)));
        Assert.Equal((0b10ul, 0b11ul), (geometry.GroupsWith(0b010_000), geometry.GroupsWith(0b100_001)));
        Assert.Equal(0ul, geometry.GroupsWith(0));
        RaidGeometry plain = Make(RaidLevel.Raid6, 4);
        Assert.True(plain.HasRedundancyLeft(0b0001) && !plain.HasRedundancyLeft(0b0011));
    }
}
