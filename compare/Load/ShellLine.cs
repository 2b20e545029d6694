using System.Buffers;
using Polyblk.Machine;

namespace Polyblk.Compare.Load;

/// <summary>Commands as lines that a shell takes, for people to copy.</summary>
public static class ShellLine
{
    private static readonly SearchValues<char> s_plain = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%");

    /// <summary>A command; words are quoted where a shell would read them otherwise.</summary>
    public static string Of(params IEnumerable<string> words) =>
        string.Join(' ', words.Select(w => w.Length > 0 && !w.AsSpan().ContainsAnyExcept(s_plain) ? w : ShellWord.Quote(w)));

    /// <summary>What was done without a command, in the place where one would stand: a comment.</summary>
    public static string NoCommand(string whatWasDone) => $"# no command: {whatWasDone}";
}
