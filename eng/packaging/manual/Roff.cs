using System.Text;

namespace Polyblk.Manual;

/// <summary>Text as man(7) takes it: what would be a request or an escape is written so that it is none.</summary>
internal static class Roff
{
    /// <summary>Text in the midst of a line.</summary>
    public static string Escape(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (char c in text)
        {
            _ = c switch
            {
                '\\' => result.Append(@"\e"),
                // A hyphen that is typed, not one of typography: people copy it into their shell.
                '-' => result.Append(@"\-"),
                '\'' => result.Append(@"\(aq"),
                '`' => result.Append(@"\(ga"),
                '^' => result.Append(@"\(ha"),
                '~' => result.Append(@"\(ti"),
                '\n' => result.Append(' '),
                _ => result.Append(c),
            };
        }

        return result.ToString();
    }

    /// <summary>A line of its own: one that begins with a dot is no request.</summary>
    public static string Line(string text) => (text.StartsWith('.') ? @"\&" : string.Empty) + Escape(text);

    /// <summary>A word as it is typed.</summary>
    public static string Bold(string text) => $@"\fB{Escape(text)}\fR";

    /// <summary>A word that something else is put in place of.</summary>
    public static string Italic(string text) => $@"\fI{Escape(text)}\fR";
}
