namespace Polyblk.Machine;

/// <summary>Words of shell scripts that are run in machines.</summary>
public static class ShellWord
{
    /// <summary>A text as one word of a POSIX shell, whatever is in it.</summary>
    public static string Quote(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return $"'{text.Replace("'", "'\\''", StringComparison.Ordinal)}'";
    }
}
