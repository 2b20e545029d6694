// What stands behind the colon of a drive: a first part, and options after commas. Kinds read it by these functions, so that
// sizes, options and what is wrong with them are the same for all.

using Polyblk.Core.Block;

namespace Polyblk.Drives;

/// <summary>A drive as it was written.</summary>
/// <param name="text">All of it.</param>
/// <param name="rest">What stands behind the colon.</param>
public sealed class DriveText(string text, string rest)
{
    private readonly string[] _parts = rest.Split(',');

    /// <summary>All of it.</summary>
    public string Text => text;

    /// <summary>What stands between the colon and the first comma.</summary>
    public string First => _parts[0];

    /// <summary>The options.</summary>
    /// <exception cref="FormatException">A part is none.</exception>
    public IEnumerable<(string Name, string Value)> Options()
    {
        foreach (string part in _parts.Skip(1))
        {
            int equals = part.IndexOf('=');
            if (equals <= 0 || equals == part.Length - 1)
            {
                throw Wrong($"'{part}' is no option; write name=value.");
            }

            yield return (part[..equals], part[(equals + 1)..]);
        }
    }

    /// <summary>Reads a size of a drive in bytes.</summary>
    /// <exception cref="FormatException">It is none.</exception>
    public long ParseSize(string value) => ByteSize.TryParse(value, out long bytes) && bytes >= 512 && bytes % 512 == 0
        ? bytes
        : throw Wrong($"'{value}' is no size of a drive; write a multiple of 512 bytes such as 1GiB or 512M.");

    /// <summary>Reads a block size.</summary>
    /// <exception cref="FormatException">It is none.</exception>
    public int ParseBlockSize(string value) => value switch
    {
        "512" => 512,
        "4096" or "4K" or "4KiB" => 4096,
        _ => throw Wrong($"the block size is 512 or 4096, not '{value}'."),
    };

    /// <summary>Reads <c>on</c> or <c>off</c>.</summary>
    /// <exception cref="FormatException">It is neither.</exception>
    public bool ParseSwitch(string value) => value switch
    {
        "on" => true,
        "off" => false,
        _ => throw Wrong($"write on or off, not '{value}'."),
    };

    /// <summary>What is wrong, with the drive's text before it.</summary>
    public FormatException Wrong(string what) => new($"'{Text}': {what}");
}
