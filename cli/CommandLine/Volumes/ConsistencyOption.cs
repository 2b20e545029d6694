using System.CommandLine;
using Polyblk.Raid.Superblock;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary>The words for how an array is put right after an unclean stop.</summary>
internal static class ConsistencyOption
{
    private const string Journal = "journal", Bitmap = "bitmap", None = "none";

    /// <summary>The option <c>--consistency</c>.</summary>
    public static Option<string?> Create(string description)
    {
        var option = new Option<string?>("--consistency") { HelpName = "HOW", Description = description };
        option.AcceptOnlyFromAmong(Journal, Bitmap, None);
        return option;
    }

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

    /// <summary>What a word means, for people.</summary>
    public static string Describe(string word) => word switch
    {
        Journal => "what was being written is put right from the journal, also without members that the level can lose",
        None => "everything is resynced",
        _ => "what was being written is resynced",
    };
}
