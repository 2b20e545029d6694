// What the program prints and did not choose itself: paths, names in superblocks, messages of other programs.
//
// Such text may hold a newline, by which it would print a line of its own, or an escape sequence, which a terminal obeys. Names
// are shown on one line; whole messages keep their line ends, which the program made, and lose everything else.

using Polyblk.Core.Logging;

namespace Polyblk.Host;

/// <summary>Makes text fit to be printed.</summary>
public static class Printable
{
    // LogText cuts what is longer than a line of a log: a message is escaped in pieces below that.
    private const int PieceChars = 500;

    /// <summary>A name or a path: one line, every control character shown as an escape.</summary>
    public static string Line(string text) => Escape(text);

    /// <summary>A message: as <see cref="Line"/>, line by line.</summary>
    public static string Text(string text) =>
        text.Contains('\n', StringComparison.Ordinal) ? string.Join('\n', text.Split('\n').Select(Escape)) : Escape(text);

    private static string Escape(string text)
    {
        if (text.Length <= PieceChars)
        {
            return LogText.Escape(text);
        }

        var pieces = new List<string>();
        for (int at = 0; at < text.Length;)
        {
            int length = Math.Min(PieceChars, text.Length - at);
            length -= at + length < text.Length && char.IsHighSurrogate(text[at + length - 1]) ? 1 : 0;
            pieces.Add(LogText.Escape(text.Substring(at, length)));
            at += length;
        }

        return string.Concat(pieces);
    }
}
