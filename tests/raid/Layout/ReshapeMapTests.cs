// The arithmetic of a reshape: what lies where at every frontier, against a model that knows only the levels' layouts.

using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;

namespace Polyblk.Raid.Tests.Layout;

public sealed class ReshapeMapTests
{
    public static TheoryData<RaidLevel, int, int, long> Shapes => new()
    {
        { RaidLevel.Raid0, 1, 1, 7 }, { RaidLevel.Raid0, 2, 1, 13 }, { RaidLevel.Raid0, 3, 4, 16 }, { RaidLevel.Raid5, 3, 1, 11 }, { RaidLevel.Raid5, 3, 2, 40 },
        { RaidLevel.Raid5, 5, 1, 64 }, { RaidLevel.Raid5, 4, 7, 9 }, { RaidLevel.Raid6, 4, 1, 17 }, { RaidLevel.Raid6, 5, 3, 33 }, { RaidLevel.Raid5, 3, 1, 1 },
    };

    /// <summary>The old geometry, counted from the new beginning, has every byte where it was.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void The_old_geometry_is_where_it_was(RaidLevel level, int members, int added, long stripes)
    {
        (RaidGeometry before, ReshapeMap map) = Plan(level, members, added, stripes);
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
    public void Every_chunk_is_where_the_frontier_says_whatever_of_a_window_is_written(RaidLevel level, int members, int added, long stripes)
    {
        (_, ReshapeMap map) = Plan(level, members, added, stripes);
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
    public void Rows_and_records_of_the_two_are_apart(RaidLevel level, int members, int added, long stripes)
    {
        (_, ReshapeMap map) = Plan(level, members, added, stripes);
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

    [Fact]
    public void Where_there_is_no_room_it_is_refused()
    {
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid5, 1 << 20, [32L << 20, 32L << 20, 32L << 20], out RaidGeometry? coarse, out _));
        Assert.Contains("no room", Assert.Throws<ArrayException>(() => ReshapeMap.Plan(coarse!, 1, 1, hasJournal: true)).Message, StringComparison.Ordinal);
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid1, 64 << 10, [32L << 20, 32L << 20], out RaidGeometry? mirror, out _));
        Assert.Throws<ArrayException>(() => ReshapeMap.Plan(mirror!, 1, 1, hasJournal: false));
        Assert.True(RaidGeometry.TryCreate(RaidLevel.Raid0, 4096, [.. Enumerable.Repeat(2L << 20, 64)], out RaidGeometry? wide, out _));
        Assert.Throws<ArrayException>(() => ReshapeMap.Plan(wide!, 1, 1, hasJournal: false));
    }

    private static (RaidGeometry Before, ReshapeMap Map) Plan(RaidLevel level, int members, int added, long stripes)
    {
        const int Chunk = 16 << 10;
        long[] sizes = [.. Enumerable.Repeat(RaidGeometry.DefaultDataOffset + (stripes * Chunk), members)];
        Assert.True(RaidGeometry.TryCreate(level, Chunk, sizes, out RaidGeometry? before, out _));
        return (before!, ReshapeMap.Plan(before!, added, windowBytes: stripes % 2 == 0 ? 1 << 20 : 1, hasJournal: level != RaidLevel.Raid0));
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
