using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>The words for how an array is put right after an unclean stop: on the command line, in JSON, for people.</summary>
public static class ConsistencyWord
{
    private const string Journal = "journal", Bitmap = "bitmap", None = "none";

    /// <summary>All of them.</summary>
    public static string[] All => [Journal, Bitmap, None];

    /// <summary>Reads a word.</summary>
    public static bool TryParse(string? text, out ArrayConsistency consistency)
    {
        consistency = text switch
        {
            Journal => ArrayConsistency.Journal,
            Bitmap => ArrayConsistency.Bitmap,
            None => ArrayConsistency.None,
            _ => ArrayConsistency.Unrecorded,
        };
        return consistency != ArrayConsistency.Unrecorded;
    }

    /// <summary>The word of an array; null where it has no redundancy that could disagree.</summary>
    public static string? Of(ArrayConsistency consistency, RaidLevel level) => level == RaidLevel.Raid0 ? null : consistency switch
    {
        ArrayConsistency.Journal => Journal,
        ArrayConsistency.None => None,
        _ => Bitmap,
    };

    /// <summary>What a word means, for people.</summary>
    public static string Describe(string word) => word switch
    {
        Journal => "what was being written is put right from the journal, also without members that the level can lose",
        None => "everything is resynced",
        _ => "what was being written is resynced",
    };
}
