// The arithmetic of a reshape: what lies where at every frontier, against a model that knows only the levels' layouts.

using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;

namespace Polyblk.Raid.Tests.Layout;

public sealed class ReshapeMapTests
{
    public static TheoryData<RaidLevel, int, RaidLevel, int, long> Shapes
    {
        get
        {
            var shapes = new TheoryData<RaidLevel, int, RaidLevel, int, long>
            {
                // Another number of parities: more, with as many drives as that needs and with further ones; fewer, without and
                // with.
                { RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 11 }, { RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 40 },
                { RaidLevel.Raid5, 4, RaidLevel.Raid6, 3, 33 }, { RaidLevel.Raid5, 5, RaidLevel.Raid73, 2, 17 },
                { RaidLevel.Raid5, 3, RaidLevel.Raid78, 7, 9 }, { RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 1 },
                { RaidLevel.Raid6, 4, RaidLevel.Raid5, 0, 17 }, { RaidLevel.Raid6, 5, RaidLevel.Raid5, 0, 64 },
                { RaidLevel.Raid6, 4, RaidLevel.Raid5, 2, 11 }, { RaidLevel.Raid74, 6, RaidLevel.Raid5, 0, 20 },
                { RaidLevel.Raid6, 4, RaidLevel.Raid5, 0, 1 }, { RaidLevel.Raid73, 6, RaidLevel.Raid6, 0, 13 },
            };
            foreach ((RaidLevel level, int members, int added, long stripes) in ((RaidLevel, int, int, long)[])
            [
                (RaidLevel.Raid0, 1, 1, 7), (RaidLevel.Raid0, 2, 1, 13), (RaidLevel.Raid0, 3, 4, 16), (RaidLevel.Raid5, 3, 1, 11),
                (RaidLevel.Raid5, 3, 2, 40), (RaidLevel.Raid5, 5, 1, 64), (RaidLevel.Raid5, 4, 7, 9), (RaidLevel.Raid6, 4, 1, 17),
                (RaidLevel.Raid6, 5, 3, 33), (RaidLevel.Raid5, 3, 1, 1), (RaidLevel.Raid73, 5, 1, 13),
                (RaidLevel.Raid78, 10, 2, 8),
            ])
            {
                shapes.Add(level, members, level, added, stripes);
            }

            return shapes;
        }
    }

    /// <summary>The old geometry, counted from the new beginning, has every byte where it was.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void The_old_geometry_is_where_it_was(RaidLevel level, int members, RaidLevel becomes, int added, long stripes)
    {
        (RaidGeometry before, ReshapeMap map) = Plan(level, members, becomes, added, stripes);
        Assert.Equal(before.Capacity, map.OldCapacity);
        Assert.True(map.New.Capacity > before.Capacity);
        Assert.InRange(map.New.DataOffset, JournalLayout.AreaOffset, before.DataOffset - 1);
        Assert.Equal(before.DataOffset + before.MemberDataSize, map.New.DataOffset + map.New.MemberDataSize);
        for (long offset = 0; offset < before.Capacity; offset += 4096)
        {
            Assert.Equal(before.Map(offset), map.Old.Map(offset + map.Bias));
            for (int parity = 0; parity < before.ParityCount; parity++)
            {
                long stripe = map.Old.StripeOf(offset + map.Bias);
                Assert.Equal(before.ParityMember(before.StripeOf(offset), parity), map.Old.ParityMember(stripe, parity));
                Assert.Equal(before.StripeOffset(before.StripeOf(offset)), map.Old.StripeOffset(stripe));
            }
        }
    }

    /// <summary>
    /// Chunks are moved from window to window, whatever is written over is forgotten: at every frontier, before a window and
    /// after any part of it, every chunk of the volume is where the frontier says.
    /// </summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Every_chunk_is_where_the_frontier_says_whatever_of_a_window_is_written(
        RaidLevel level, int members, RaidLevel becomes, int added, long stripes)
    {
        (_, ReshapeMap map) = Plan(level, members, becomes, added, stripes);
        int chunk = map.New.ChunkSize;
        var drives = new Dictionary<MemberPlace, long>();
        for (long offset = 0; offset < map.OldCapacity; offset += chunk)
        {
            drives[map.Old.Map(offset + map.Bias)] = offset;
        }

        long frontier = 0;
        for (int windows = 0; frontier < map.New.Capacity; windows++)
        {
            Assert.InRange(windows, 0, 10_000);
            long next = map.NextFrontier(frontier, 6 * chunk);
            Assert.True(next > frontier && next <= map.New.Capacity && next % map.New.StripeDataSize == 0);
            var content = new Dictionary<long, long>();
            for (long offset = frontier; offset < Math.Min(next, map.OldCapacity); offset += chunk)
            {
                content[offset] = drives[map.Old.Map(offset + map.Bias)];
            }

            for (long stripe = frontier / map.New.StripeDataSize; stripe < next / map.New.StripeDataSize; stripe++)
            {
                WriteStripe(map, drives, content, stripe);
                AssertReads(map, drives, frontier);
            }

            frontier = next;
            AssertReads(map, drives, frontier);
        }
    }

    /// <summary>Rows belong to one geometry, or to none, and records of the two never share a place.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Rows_and_records_of_the_two_are_apart(RaidLevel level, int members, RaidLevel becomes, int added, long stripes)
    {
        (_, ReshapeMap map) = Plan(level, members, becomes, added, stripes);
        for (long frontier = 0; frontier < map.New.Capacity; frontier = map.NextFrontier(frontier, 1 << 20))
        {
            Assert.True(map.NewEnd(frontier) <= map.OldBegin(frontier));
            Assert.True(map.NewEnd(map.NextFrontier(frontier, long.MaxValue)) <= map.OldBegin(frontier));
        }

        if (map.OldJournal is { } old && map.NewJournal is { } its)
        {
            int slot = JournalLayout.HeaderBytes + map.New.ChunkSize;
            long[] oldPlaces = [.. Places(old, map.Old)];
            long[] newPlaces = [.. Places(its, map.New)];
            Assert.True(oldPlaces.Max() + slot <= newPlaces.Min());
            Assert.True(oldPlaces.Min() >= JournalLayout.AreaOffset && newPlaces.Max() + slot <= map.New.DataOffset);
        }
        else
        {
            Assert.Equal(RaidLevel.Raid0, level);
        }
    }

    /// <summary>
    /// Where stripes hold as much data as before, the gap is the shift at every frontier: it is as long as there is room for.
    /// </summary>
    [Fact]
    public void With_equal_width_windows_are_as_long_as_the_shift()
    {
        (_, ReshapeMap map) = Plan(RaidLevel.Raid5, 4, RaidLevel.Raid6, 1, 40);
        Assert.Equal(map.Old.DataCount, map.New.DataCount);
        long stripes = map.ShiftBytes / map.New.ChunkSize;
        Assert.InRange(stripes, 2 * 4, 1000);
        for (long frontier = 0; frontier < map.OldCapacity; frontier = map.NextFrontier(frontier, long.MaxValue))
        {
            Assert.Equal(map.ShiftBytes, map.OldBegin(frontier) - map.NewEnd(frontier));
            Assert.Equal(stripes * map.New.StripeDataSize, map.NextFrontier(frontier, long.MaxValue) - frontier);
        }
    }

    /// <summary>The array does without members only where both geometries do, each without those that it has.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 0b0001, true)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 0b1000, true)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 0b0011, false)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 1, 0b1001, true)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 2, 0b11000, true)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 2, 0b11001, false)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 0, 0b0100, true)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 0, 0b0101, false)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid6, 1, 0b10001, true)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid6, 1, 0b10011, false)]
    public void It_survives_what_both_do(RaidLevel level, int members, RaidLevel becomes, int added, uint missing, bool survives)
    {
        (_, ReshapeMap map) = Plan(level, members, becomes, added, 12);
        Assert.Equal(survives, map.SurvivesWithout(missing));
        Assert.Equal(map.OldSurvivesWithout(missing), map.Old.SurvivesWithout(missing & ((1UL << members) - 1)));
        for (int more = 0; more < members + added; more++)
        {
            // What is left over makes up for one more, whichever it is, or nothing is left.
            bool isMore = ((missing >> more) & 1) == 0;
            Assert.True(!isMore || !map.HasRedundancyLeft(missing) || map.SurvivesWithout(missing | (1UL << more)));
        }
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 0, "add 1 drive or more")]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid73, 1, "add 2 drives or more")]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid6, 0, "drives to add, or another level")]
    [InlineData(RaidLevel.Raid0, 3, RaidLevel.Raid5, 1, "from one with parity to another")]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid0, 0, "from one with parity to another")]
    [InlineData(RaidLevel.Raid1, 2, RaidLevel.Raid5, 1, "from one with parity to another")]
    [InlineData(RaidLevel.Raid10, 4, RaidLevel.Raid10, 1, "not to raid10")]
    [InlineData(RaidLevel.Raid6, 60, RaidLevel.Raid6, 5, "at most 64 drives")]
    public void What_cannot_be_is_refused_and_says_why(RaidLevel level, int members, RaidLevel becomes, int added, string why) =>
        Assert.Contains(
            why, Assert.Throws<ArrayException>(() => Plan(level, members, becomes, added, 64)).Message, StringComparison.Ordinal);

    /// <summary>Where the journals need the room, the shift is smaller than what is wanted.</summary>
    [Fact]
    public void Where_the_journals_need_the_room_windows_are_shorter()
    {
        Assert.True(RaidGeometry.TryCreate(
            RaidLevel.Raid5, 16 << 10, [.. Enumerable.Repeat(8L << 20, 3)], out RaidGeometry? before, out _, 512 << 10));
        Assert.Equal(96 << 10, ReshapeMap.Plan(before!, RaidLevel.Raid78, 7, 4 << 20, hasJournal: false).ShiftBytes);
        ReshapeMap map = ReshapeMap.Plan(before!, RaidLevel.Raid78, 7, 4 << 20, hasJournal: true);
        Assert.Equal((1, 48L << 10), (map.NewJournal!.SlotCount, map.ShiftBytes));
        Assert.NotNull(map.OldJournal);
    }

    [Fact]
    public void Where_there_is_no_room_it_is_refused()
    {
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid5, 1 << 20, [32L << 20, 32L << 20, 32L << 20], out RaidGeometry? coarse, out _));
        ArrayException e = Assert.Throws<ArrayException>(() => ReshapeMap.Plan(coarse!, RaidLevel.Raid5, 1, 1, hasJournal: true));
        Assert.Contains("no room", e.Message, StringComparison.Ordinal);
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid1, 64 << 10, [32L << 20, 32L << 20], out RaidGeometry? mirror, out _));
        Assert.Throws<ArrayException>(() => ReshapeMap.Plan(mirror!, RaidLevel.Raid1, 1, 1, hasJournal: false));
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid0, 4096, [.. Enumerable.Repeat(2L << 20, 64)], out RaidGeometry? wide, out _));
        Assert.Throws<ArrayException>(() => ReshapeMap.Plan(wide!, RaidLevel.Raid0, 1, 1, hasJournal: false));
    }

    private static (RaidGeometry Before, ReshapeMap Map) Plan(
        RaidLevel level, int members, RaidLevel becomes, int added, long stripes)
    {
        const int Chunk = 16 << 10;
        long[] sizes = [.. Enumerable.Repeat(RaidGeometry.DefaultDataOffset + (stripes * Chunk), members)];
        Assert.True(RaidGeometry.TryCreate(level, Chunk, sizes, out RaidGeometry? before, out _));
        ReshapeMap map = ReshapeMap.Plan(
            before!, becomes, added, windowBytes: stripes % 2 == 0 ? 1 << 20 : 1, hasJournal: level != RaidLevel.Raid0);
        return (before!, map);
    }

    /// <summary>A whole stripe of the new geometry: its data, and parities, which are nobody's chunk.</summary>
    private static void WriteStripe(ReshapeMap map, Dictionary<MemberPlace, long> drives, Dictionary<long, long> content, long stripe)
    {
        for (int member = 0; member < map.New.MemberCount; member++)
        {
            int block = map.New.BlockIndex(stripe, member);
            long offset = ((stripe * map.New.DataCount) + block) * map.New.ChunkSize;
            bool isData = block < map.New.DataCount && content.ContainsKey(offset);
            drives[new MemberPlace(member, map.New.StripeOffset(stripe))] = isData ? content[offset] : -1;
        }
    }

    private static void AssertReads(ReshapeMap map, Dictionary<MemberPlace, long> drives, long frontier)
    {
        for (long offset = 0; offset < map.OldCapacity; offset += map.New.ChunkSize)
        {
            MemberPlace place = offset < frontier ? map.New.Map(offset) : map.Old.Map(offset + map.Bias);
            Assert.True(drives.TryGetValue(place, out long found) && found == offset, $"at frontier {frontier}, chunk {offset} is lost");
        }
    }

    private static IEnumerable<long> Places(JournalLayout layout, RaidGeometry geometry) =>
        from parity in Enumerable.Range(0, geometry.ParityCount)
        from slot in Enumerable.Range(0, layout.SlotCount)
        select layout.OffsetOf(parity, slot);
}
