// RAID efficiency: what the array gave against what its drives could give at best.
//
// The theory counts the drive operations that one request of the consumer costs, takes the measured single drive for what one
// operation costs, and assumes that all drives work all the time. It is an upper bound, not a forecast:
//
//   random read        N x r              every member answers
//   random write       level 0   N x w
//                      1, 10     N x w / c            c copies, all written
//                      5, 6      N / ((m+1)/r + (m+1)/w)   m parities: m+1 blocks are read and m+1 written for one write
//   sequential read    N x R              rotating parity leaves data on every member
//   sequential write   (N - m) x W        full stripes, nothing is read; level 10: N x W / c; level 1: W
//
// r, w: the single drive's random read and write requests per second; R, W: its sequential bytes per second.

using System.ComponentModel;
using System.Globalization;
using System.Text.Json.Serialization;

namespace Polyblk.Compare.Results;

[Description("The array's result for one pattern against the theoretical one from the measured single drive.")]
public sealed record EfficiencyRow
{
    [Description("Random or sequential, read or write.")]
    public required AccessPattern Pattern { get; init; }

    [Description("The workload that was run on both.")]
    public required string Workload { get; init; }

    [Description("RAID level.")]
    public required string Level { get; init; }

    [Description("Members.")]
    public required int Members { get; init; }

    [Description("Whether the members were simulated drives of a given speed.")]
    public bool Simulated { get; init; }

    [Description("Result of one drive: requests per second for random, bytes per second for sequential patterns.")]
    public required double SingleDrive { get; init; }

    [Description("What the array would give at best, in the same unit.")]
    public required double Theoretical { get; init; }

    [Description("How it was computed.")]
    public required string Formula { get; init; }

    [Description("Result of the array, in the same unit.")]
    public required double Array { get; init; }

    /// <summary>Array against theory, in percent; null when the theory gives nothing.</summary>
    [JsonIgnore]
    public double? Percent => Theoretical > 0 ? 100 * Array / Theoretical : null;

    /// <summary>Whether the figures are bytes per second.</summary>
    [JsonIgnore]
    public bool IsBandwidth => Pattern is AccessPattern.SequentialRead or AccessPattern.SequentialWrite;
}

/// <summary>The theoretical result of an array. See the head of this file.</summary>
public static class RaidTheory
{
    /// <summary>How the names of levels with three parities and more begin; their number follows.</summary>
    private const string ManyParities = "raid7.";

    /// <summary>Members' worth of data that an array holds.</summary>
    public static int DataMembers(string level, int members) => level switch
    {
        "raid1" => 1,
        "raid10" => members / 2,
        _ => members - Parities(level),
    };

    /// <summary>Parities of a stripe; 0 for a level without, or one that is not known.</summary>
    private static int Parities(string level) => level switch
    {
        "raid5" => 1,
        "raid6" => 2,
        _ when level.StartsWith(ManyParities, StringComparison.Ordinal)
            && int.TryParse(level.AsSpan(ManyParities.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int some) => some,
        _ => 0,
    };

    /// <summary>Computes it.</summary>
    /// <param name="pattern">Random or sequential, read or write.</param>
    /// <param name="level">raid0, raid1, raid10, or a level with parities.</param>
    /// <param name="members">Members, at least 1.</param>
    /// <param name="driveRead">The single drive's result for reads of the pattern's kind: requests or bytes per second.</param>
    /// <param name="driveWrite">The same for writes.</param>
    /// <exception cref="ArgumentException">The level or the pattern has no theory here.</exception>
    public static (double Value, string Formula) Theoretical(AccessPattern pattern, string level, int members, double driveRead, double driveWrite)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(members, 1);
        (int copies, int parities) = level switch
        {
            "raid0" => (1, 0),
            "raid1" => (members, 0),
            "raid10" => (2, 0),
            _ when Parities(level) is int some and > 0 => (1, some),
            _ => throw new ArgumentException($"No theory for level '{level}'.", nameof(level)),
        };
        int operations = parities + 1;
        return pattern switch
        {
            AccessPattern.RandomRead or AccessPattern.SequentialRead => (members * driveRead, $"{members} x read"),
            AccessPattern.RandomWrite when parities > 0 =>
                (members / (operations / driveRead + operations / driveWrite), $"{members} / ({operations} / read + {operations} / write)"),
            AccessPattern.RandomWrite or AccessPattern.SequentialWrite when copies > 1 =>
                (members * driveWrite / copies, $"{members} x write / {copies} copies"),
            AccessPattern.RandomWrite => (members * driveWrite, $"{members} x write"),
            AccessPattern.SequentialWrite => ((members - parities) * driveWrite, $"{members - parities} x write"),
            _ => throw new ArgumentException($"No theory for the pattern {pattern}.", nameof(pattern)),
        };
    }
}
