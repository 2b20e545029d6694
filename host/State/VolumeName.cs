namespace Polyblk.Host.State;

/// <summary>Names of volumes: they become names of files, sockets and devices.</summary>
public static class VolumeName
{
    public const int MaxLength = 32;

    public static bool IsValid(string name) =>
        name.Length is > 0 and <= MaxLength
        && char.IsAsciiLetterOrDigit(name[0])
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    /// <exception cref="RefusalException">The name will not do.</exception>
    public static void Check(string name)
    {
        if (!IsValid(name))
        {
            throw RefusalException.Invalid(
                $"'{name}' cannot be a volume's name.",
                $"Use 1 to {MaxLength} letters, digits, '-', '_' or '.', a letter or digit first.");
        }
    }
}
