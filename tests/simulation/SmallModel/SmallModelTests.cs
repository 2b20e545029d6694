// Every loss of power in small arrays: short sequences of writes, cut off after each event of a drive, with each subset of the
// writes that were not flushed by then, and with each loss of members that the level survives. The array must start, and hold
// what the model allows: sectors that were not being written are unchanged, what was acknowledged and flushed is there, and when
// nothing is lost members agree after the resync.
//
// Exhaustive means: no subset is left out. Sequences are short enough for that; MostOpen says how many writes may be open at
// once, and a sequence with more fails instead of being thinned out. An unflushed write is there or not, as a whole: torn ones
// are met in simulated lives. What was done first among requests in flight is one order for each seed.

using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>See the top of the file.</summary>
public sealed class SmallModelTests
{
    /// <summary>The most writes that are open at a crash point: 4096 subsets.</summary>
    private const int MostOpen = 12;

    /// <summary>
    /// With three parities, or two groups, there are too many to go through: so many subsets and losses of each crash point.
    /// </summary>
    private const int Samples = 5;

    /// <summary>The most writes that are open then.</summary>
    private const int MostOpenOfSamples = 24;

    private static readonly string[] s_sequences =
    [
        "write 1+2",
        "write 0+8, flush",
        "write 0+row",
        "write 4+row",
        "write 1+2, flush, write 2+2",
        "write 1+2, write 2+4, flush",
        "write 0+8 & write 4+8",
        "write 0+row, flush, write 3+1",
        "durable 2+3, write 2+1",
        "zero 0+8, flush, write 4+8",
        "zero 0+row, flush",
        "discard 0+row, write 0+2",
        "write 1+2, zero 0+row, flush",
        "write 4+8, write 0+row, flush",
        "discard 0+8, flush, write 1+1",
        "write 0+row, durable 0+1",
    ];

    private static readonly (RaidLevel, int, int?)[] s_arrays =
    [
        (RaidLevel.Raid1, 2, null), (RaidLevel.Raid1, 2, 0), (RaidLevel.Raid1, 3, null), (RaidLevel.Raid1, 3, 1),
        (RaidLevel.Raid5, 3, null), (RaidLevel.Raid5, 3, 0), (RaidLevel.Raid5, 4, null),
        (RaidLevel.Raid6, 4, null), (RaidLevel.Raid6, 4, 1),
    ];

    public static TheoryData<RaidLevel, int, int?, string> Cases
    {
        get
        {
            var cases = new TheoryData<RaidLevel, int, int?, string>();
            foreach ((RaidLevel level, int members, int? away) in s_arrays)
            {
                foreach (string sequence in s_sequences)
                {
                    cases.Add(level, members, away, sequence);
                }
            }

            return cases;
        }
    }

    public static TheoryData<RaidLevel, int, int?, string> SampledCases
    {
        get
        {
            var cases = new TheoryData<RaidLevel, int, int?, string>();
            foreach (string sequence in s_sequences)
            {
                cases.Add(RaidLevel.Raid73, 5, null, sequence);
                cases.Add(RaidLevel.Raid73, 5, 2, sequence);
                cases.Add(RaidLevel.Raid74, 6, 4, sequence);
                cases.Add(RaidLevel.Raid50, 6, null, sequence);
                cases.Add(RaidLevel.Raid50, 6, 1, sequence);
                cases.Add(RaidLevel.Raid60, 8, 5, sequence);
            }

            return cases;
        }
    }

    /// <summary>The same by samples. (Not exhaustive: the subsets and losses are drawn, the crash points are all.)</summary>
    [Theory]
    [MemberData(nameof(SampledCases))]
    public void Nothing_flushed_is_lost_with_many_parities_or_groups(RaidLevel level, int members, int? away, string sequence)
    {
        var array = new SmallArray(level, members, away, ArrayConsistency.Journal);
        SmallRun run = SmallRun.Of(array, SmallSequence.Parse(sequence, array.RowSectors), seed: 1);
        var check = new SmallCheck(array, run, MostOpenOfSamples, Samples);
        check.Run();
        Tell(level, members, away, sequence, check);
    }

    public static TheoryData<RaidLevel, int, int?, string> ChecksumCases
    {
        get
        {
            var cases = new TheoryData<RaidLevel, int, int?, string>();
            foreach (string sequence in s_sequences)
            {
                cases.Add(RaidLevel.Raid1, 2, null, sequence);
                cases.Add(RaidLevel.Raid1, 2, 0, sequence);
                cases.Add(RaidLevel.Raid5, 3, 0, sequence);
            }

            return cases;
        }
    }

    /// <summary>With checksums no block is called wrong by any crash, either.</summary>
    [Theory]
    [MemberData(nameof(ChecksumCases))]
    public void Nothing_is_lost_or_called_wrong_with_checksums(RaidLevel level, int members, int? away, string sequence)
    {
        ArrayConsistency consistency = level.ParityCount() > 0 ? ArrayConsistency.Journal : ArrayConsistency.Bitmap;
        SmallArray array = new(level, members, away, consistency) { Checksums = true };
        var check = new SmallCheck(array, SmallRun.Of(array, SmallSequence.Parse(sequence, array.RowSectors), seed: 1), MostOpen);
        check.Run();
        Tell(level, members, away, sequence, check);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Nothing_flushed_is_lost_at_any_crash_point(RaidLevel level, int members, int? away, string sequence)
    {
        var array = new SmallArray(level, members, away, level.ParityCount() > 0 ? ArrayConsistency.Journal : ArrayConsistency.Bitmap);
        var check = new SmallCheck(array, SmallRun.Of(array, SmallSequence.Parse(sequence, array.RowSectors), seed: 1), MostOpen);
        check.Run();
        Tell(level, members, away, sequence, check);
    }

    private static void Tell(RaidLevel level, int members, int? away, string sequence, SmallCheck check) => Console.WriteLine(
        $"{level} of {members}{(away is null ? string.Empty : $", {away} away")}, {sequence}: {check.Points} crash points, "
        + $"{check.Cases} cases, {check.Starts} of them different");
}
