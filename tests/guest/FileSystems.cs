namespace Polyblk.GuestRig;

/// <summary>The file systems that a guest's arrays carry (filesystem.sh).</summary>
public static class FileSystems
{
    /// <summary>
    /// The checks of <c>carries_in_turn</c> for an array, as in raid5-degraded; none where it carries no file system.
    /// </summary>
    public static IEnumerable<string> ChecksOf(string array)
    {
        string? kind = array switch { "raid1" or "raid5-degraded" => "ext4", "raid5" or "raid1-degraded" => "xfs", _ => null };
        return kind is null ? [] : new[] { "mkfs", "mount", "fstrim", "tree", "fsck" }.Select(check => $"{kind}-{array}-{check}");
    }
}
