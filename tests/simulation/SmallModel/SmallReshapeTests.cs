// Every loss of power in the reshape of small arrays: from before the first superblock that speaks of it until all that was there
// is moved, with every subset of the writes that were not flushed, and every loss of members that the level survives. The volume
// must start unforced, hold what was flushed at once, and again when the next run has gone on to the end.
//
// The array is so small that its second half lies where the first half's old place is: windows are moved over what was moved
// before.

using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>See the top of the file.</summary>
public sealed class SmallReshapeTests
{
    private const int MostOpen = 12;

    [Theory]
    [InlineData(RaidLevel.Raid0, 2, 5, RaidLevel.Raid0, 1, "flush")]
    [InlineData(RaidLevel.Raid5, 3, 5, RaidLevel.Raid5, 1, "write 1+2, flush")]
    [InlineData(RaidLevel.Raid5, 3, 4, RaidLevel.Raid6, 1, "write 1+2, flush")]
    [InlineData(RaidLevel.Raid6, 4, 5, RaidLevel.Raid5, 0, "write 1+2, flush")]
    public void Nothing_is_lost_at_any_crash_point_of_a_reshape(
        RaidLevel level, int members, int rows, RaidLevel next, int added, string sequence)
    {
        ArrayConsistency consistency = level.ParityCount() > 0 ? ArrayConsistency.Journal : ArrayConsistency.Unrecorded;
        var array = new SmallArray(level, members, Away: null, consistency)
        {
            Rows = rows, Added = added, Becomes = next == level ? null : next,
        };
        var check = new SmallCheck(array, SmallRun.Of(array, SmallSequence.Parse(sequence, array.RowSectors), seed: 1), MostOpen);
        check.Run();
        Console.WriteLine(
            $"{level.Name()} to {next.Name()}: {check.Points} crash points, {check.Cases} cases, {check.Starts} starts.");
    }
}
