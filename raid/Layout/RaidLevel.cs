// The levels of arrays, and what they are called.
//
// A level with parities is known by their number: raid5 has one, raid6 two, raid7.3 three, and so on to raid7.8. Users may as
// well write the shape, N+M: 8+3 is raid7.3 on eleven drives, 4+1 is raid5 on five. All are the same layout and one code
// (StripeCode).
//
// raid50 and raid60 are stripes over groups of members, each of which is laid out as raid5 or raid6 is. As a shape they are
// GxN+M: 2x4+1 is raid50 on ten drives, in two groups of five.

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

    /// <summary>Striping over groups of members, each with one rotating parity.</summary>
    Raid50 = 50,

    /// <summary>Striping over groups of members, each with two rotating parities.</summary>
    Raid60 = 60,

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

    /// <summary>The fewest groups of a level that has them: with one, raid5 and raid6 are the same.</summary>
    public const int MinGroups = 2;

    /// <summary>The groups of a level that has them, where nothing is said.</summary>
    public const int UsualGroups = 2;

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

    /// <summary>
    /// Parses a shape, "8+3": data and parities of a stripe; or "2x4+1": the same in each of some groups. False where it is none,
    /// or none that can be.
    /// </summary>
    /// <param name="text">The shape.</param>
    /// <param name="level">The level with so many parities.</param>
    /// <param name="members">The drives that it takes.</param>
    /// <param name="groups">The groups that they make: 1 where there is no x.</param>
    public static bool TryParseShape(string text, out RaidLevel level, out int members, out int groups)
    {
        (level, members, groups) = (default, 0, 1);
        int x = text.IndexOf('x', StringComparison.OrdinalIgnoreCase);
        string[] parts = text[(x + 1)..].Split('+');
        bool isShape = parts.Length == 2 && TryParseCount(parts[0], out int data) && TryParseCount(parts[1], out int parities)
            && data >= MinDataWithParity && parities is >= 1 and <= MaxParities && data <= RaidGeometry.MaxMembers
            && (x < 0 || (TryParseCount(text[..x], out groups) && groups is >= MinGroups and <= RaidGeometry.MaxMembers))
            && (members = groups * (data + parities)) <= RaidGeometry.MaxMembers
            && TryFind(parities, x >= 0, out level);
        if (!isShape) (level, members, groups) = (default, 0, 1);
        return isShape;
    }

    /// <inheritdoc cref="TryParseShape(string, out RaidLevel, out int, out int)"/>
    public static bool TryParseShape(string text, out RaidLevel level, out int members) =>
        TryParseShape(text, out level, out members, out _);

    /// <summary>The number of parity blocks in a stripe.</summary>
    public static int ParityCount(this RaidLevel level) => level switch
    {
        RaidLevel.Raid5 or RaidLevel.Raid50 => 1,
        RaidLevel.Raid6 or RaidLevel.Raid60 => 2,
        _ => level.HasManyParities() ? (int)level - ManyParities : 0,
    };

    /// <summary>Whether stripes have more than two parities, which md does not know.</summary>
    public static bool HasManyParities(this RaidLevel level) => level is >= RaidLevel.Raid73 and <= RaidLevel.Raid78;

    /// <summary>Whether stripes lie in groups of the members.</summary>
    public static bool HasGroups(this RaidLevel level) => level is RaidLevel.Raid50 or RaidLevel.Raid60;

    /// <summary>The fewest members that the level makes sense with; of one with groups, that each group does.</summary>
    public static int MinimumOfGroup(this RaidLevel level) => level switch
    {
        RaidLevel.Raid0 => 1,
        RaidLevel.Raid1 => 2,
        RaidLevel.Raid10 => 2,
        _ => MinDataWithParity + level.ParityCount(),
    };

    /// <summary>The fewest members that the level makes sense with.</summary>
    public static int MinimumMembers(this RaidLevel level) => level.MinimumOfGroup() * (level.HasGroups() ? MinGroups : 1);

    private static bool TryFind(int parities, bool hasGroups, out RaidLevel level)
    {
        level = (parities, hasGroups) switch
        {
            (1, false) => RaidLevel.Raid5,
            (2, false) => RaidLevel.Raid6,
            (1, true) => RaidLevel.Raid50,
            (2, true) => RaidLevel.Raid60,
            _ => (RaidLevel)(ManyParities + parities),
        };
        return !hasGroups || level.HasGroups();
    }

    private static bool TryParseCount(string text, out int count) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out count);
}
