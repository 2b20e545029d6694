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
}

/// <summary>Names of levels as users write them.</summary>
public static class RaidLevels
{
    /// <summary>The level's name in lower case: "raid5".</summary>
    public static string Name(this RaidLevel level) => $"raid{(int)level}";

    /// <summary>Parses "raid5", "RAID5" or "5".</summary>
    public static bool TryParse(string text, out RaidLevel level)
    {
        string number = text.StartsWith("raid", StringComparison.OrdinalIgnoreCase) ? text[4..] : text;
        foreach (RaidLevel candidate in Enum.GetValues<RaidLevel>())
        {
            level = candidate;
            if (number == ((int)candidate).ToString()) return true;
        }
        level = default;
        return false;
    }

    /// <summary>The number of parity blocks in a stripe.</summary>
    public static int ParityCount(this RaidLevel level) => level switch
    {
        RaidLevel.Raid5 => 1,
        RaidLevel.Raid6 => 2,
        _ => 0,
    };

    /// <summary>The fewest members that the level makes sense with.</summary>
    public static int MinimumMembers(this RaidLevel level) => level switch
    {
        RaidLevel.Raid0 => 1,
        RaidLevel.Raid1 => 2,
        RaidLevel.Raid10 => 2,
        RaidLevel.Raid5 => 3,
        _ => 4,
    };
}
