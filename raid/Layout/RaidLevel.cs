// The levels of arrays, and what they are called.
//
// A level with parities is known by their number: raid5 has one, raid6 two, raid7.3 three, and so on to raid7.8. Users may as
// well write the shape, N+M: 8+3 is raid7.3 on eleven drives, 4+1 is raid5 on five. All are the same layout and one code
// (StripeCode).

using System.Globalization;

namespace Polyblk.Raid.Layout;

/// <summary>RAID levels; the values are stored in superblocks and never change.</summary>
public enum RaidLevel : byte
{
    /// <summary>Striping without redundancy.</summary>
    Raid0 = 0,

    /// <summary>Every member holds all data.</summary>
    Raid1 = 1,

    /// <summary>Striping with one rotating parity.</summary>
    Raid5 = 5,

    /// <summary>Striping with two rotating parities.</summary>
    Raid6 = 6,

    /// <summary>Striping over two near copies, on any number of members from two.</summary>
    Raid10 = 10,

    /// <summary>Striping with three rotating parities. The further ones follow: 70 and the number of parities.</summary>
    Raid73 = 73,

    /// <summary>Striping with four rotating parities.</summary>
    Raid74 = 74,

    /// <summary>Striping with five rotating parities.</summary>
    Raid75 = 75,

    /// <summary>Striping with six rotating parities.</summary>
    Raid76 = 76,

    /// <summary>Striping with seven rotating parities.</summary>
    Raid77 = 77,

    /// <summary>Striping with eight rotating parities.</summary>
    Raid78 = 78,
}

/// <summary>Names of levels as users write them.</summary>
public static class RaidLevels
{
    /// <summary>The most parities of a stripe.</summary>
    public const int MaxParities = 8;

    /// <summary>The fewest data blocks of a stripe with parities: with one, a mirror is the same and cheaper.</summary>
    public const int MinDataWithParity = 2;

    private const int ManyParities = 70;

    /// <summary>The level's name in lower case: "raid5", "raid7.3".</summary>
    public static string Name(this RaidLevel level) => level.HasManyParities()
        ? string.Create(CultureInfo.InvariantCulture, $"raid7.{level.ParityCount()}")
        : string.Create(CultureInfo.InvariantCulture, $"raid{(int)level}");

    /// <summary>Parses "raid5", "RAID5" or "5"; "raid7.3" or "7.3".</summary>
    public static bool TryParse(string text, out RaidLevel level)
    {
        string number = text.StartsWith("raid", StringComparison.OrdinalIgnoreCase) ? text[4..] : text;
        foreach (RaidLevel candidate in Enum.GetValues<RaidLevel>())
        {
            level = candidate;
            if (number == candidate.Name()[4..]) return true;
        }
        level = default;
        return false;
    }

    /// <summary>Parses a shape, "8+3": data and parities of a stripe. False where it is none, or none that can be.</summary>
    /// <param name="text">The shape.</param>
    /// <param name="level">The level with so many parities.</param>
    /// <param name="members">The drives that it takes.</param>
    public static bool TryParseShape(string text, out RaidLevel level, out int members)
    {
        string[] parts = text.Split('+');
        if (parts.Length == 2 && TryParseCount(parts[0], out int data) && TryParseCount(parts[1], out int parities)
            && data >= MinDataWithParity && parities is >= 1 and <= MaxParities && data + parities <= RaidGeometry.MaxMembers)
        {
            level = parities switch
            {
                1 => RaidLevel.Raid5,
                2 => RaidLevel.Raid6,
                _ => (RaidLevel)(ManyParities + parities),
            };
            members = data + parities;
            return true;
        }
        (level, members) = (default, 0);
        return false;
    }

    /// <summary>The number of parity blocks in a stripe.</summary>
    public static int ParityCount(this RaidLevel level) => level switch
    {
        RaidLevel.Raid5 => 1,
        RaidLevel.Raid6 => 2,
        _ => level.HasManyParities() ? (int)level - ManyParities : 0,
    };

    /// <summary>Whether stripes have more than two parities, which md does not know.</summary>
    public static bool HasManyParities(this RaidLevel level) => level is >= RaidLevel.Raid73 and <= RaidLevel.Raid78;

    /// <summary>The fewest members that the level makes sense with.</summary>
    public static int MinimumMembers(this RaidLevel level) => level switch
    {
        RaidLevel.Raid0 => 1,
        RaidLevel.Raid1 => 2,
        RaidLevel.Raid10 => 2,
        _ => MinDataWithParity + level.ParityCount(),
    };

    private static bool TryParseCount(string text, out int count) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out count);
}
