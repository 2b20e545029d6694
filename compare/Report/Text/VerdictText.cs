using Polyblk.Compare.Verdict;
using Spectre.Console;

namespace Polyblk.Compare.Report.Text;

/// <summary>
/// The verdict for the terminal: what to use, and what weakens that. Everything that was thought of is there on request.
/// </summary>
internal static class VerdictText
{
    /// <summary>Leads, ties and what broke them come first among the reasons.</summary>
    private const int ReasonsInShort = 3;

    public static void Write(IAnsiConsole console, Recommendation verdict, bool isVerbose)
    {
        foreach (string line in TextWrap.Lines(verdict.Headline, console.Profile.Width))
        {
            console.MarkupLine($"[bold]{Markup.Escape(line)}[/]");
        }

        bool hasChoice = verdict.Outcome != Outcome.None;
        WriteBlock(console, "Why", isVerbose ? verdict.Reasons : [.. verdict.Reasons.Take(ReasonsInShort)]);
        WriteBlock(console, "Ahead of it", verdict.Ahead);
        WriteBlock(console, verdict.WouldChangeTitle, isVerbose || !hasChoice ? verdict.WouldChange : []);
        WriteBlock(console, "Ruled out", verdict.Disqualified);
        WriteBlock(console, "Not judged", isVerbose ? verdict.NotMeasured : verdict.NotRanked);
        WriteBlock(console, "Take care", verdict.Cautions);
    }

    private static void WriteBlock(IAnsiConsole console, string title, IReadOnlyList<string> sentences)
    {
        if (sentences.Count == 0)
        {
            return;
        }

        console.MarkupLine(Markup.Escape($"{title}:"));
        foreach (string line in sentences.SelectMany(s => TextWrap.Lines(s, console.Profile.Width, "  - ", "    ")))
        {
            console.MarkupLine(Markup.Escape(line));
        }
    }
}
