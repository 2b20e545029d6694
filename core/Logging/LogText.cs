// Text that came from a guest or a client, made fit for one line of a log.
//
// A name in a message of a client may hold a newline, by which it would write a line of its own into the log, or an escape
// sequence, which a terminal obeys. What is printable stays as it is, so that names in any language are readable.

using System.Buffers;
using System.Globalization;
using System.Text;

namespace Polyblk.Core.Logging;

/// <summary>Escapes text for a log.</summary>
public static class LogText
{
    /// <summary>Most characters of a line; what is longer is cut, and says so.</summary>
    public const int MaxLength = 2000;

    /// <summary>
    /// Shows control characters, line separators, formatting characters (which turn the direction of text, or are invisible), and
    /// halves of surrogate pairs as <c>\n</c>, <c>\x1b</c> or <c>\u{202e}</c>. Escaping twice is the same as once.
    /// </summary>
    /// <param name="text">Any text, of any length.</param>
    /// <returns>One line of at most <see cref="MaxLength"/> characters and the note that it was cut.</returns>
    public static string Escape(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.Length <= MaxLength && IsPlain(text))
        {
            return text;
        }

        var escaped = new StringBuilder(Math.Min(text.Length, MaxLength) + 32);
        ReadOnlySpan<char> left = text;
        while (!left.IsEmpty && escaped.Length < MaxLength)
        {
            if (Rune.DecodeFromUtf16(left, out Rune rune, out int length) == OperationStatus.Done)
            {
                Append(escaped, rune);
            }
            else
            {
                escaped.Append(CultureInfo.InvariantCulture, $"\\u{{{(int)left[0]:x}}}"); // half of a surrogate pair
            }

            left = left[length..];
        }

        if (!left.IsEmpty)
        {
            escaped.Append(CultureInfo.InvariantCulture, $"... ({left.Length} more characters)");
        }

        return escaped.ToString();
    }

    private static bool IsPlain(string text)
    {
        foreach (char c in text)
        {
            if (c is < ' ' or > '~')
            {
                return false;
            }
        }

        return true;
    }

    private static void Append(StringBuilder line, Rune rune) =>
        _ = rune.Value switch
        {
            '\n' => line.Append("\\n"),
            '\r' => line.Append("\\r"),
            '\t' => line.Append("\\t"),
            _ when IsShown(rune) => line.Append(rune.ToString()),
            < 0x100 => line.Append(CultureInfo.InvariantCulture, $"\\x{rune.Value:x2}"),
            _ => line.Append(CultureInfo.InvariantCulture, $"\\u{{{rune.Value:x}}}"),
        };

    private static bool IsShown(Rune rune) => Rune.GetUnicodeCategory(rune) is not (
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned or UnicodeCategory.Surrogate);
}
