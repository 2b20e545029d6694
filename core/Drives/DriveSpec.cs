// How a drive is written on a command line.
//
//     /dev/nvme0n1                     a block device, or an existing file, by its path
//     file:PATH[,size=SIZE]            a file; with a size it is made (sparse) when it does not exist
//     ram:SIZE, null:SIZE              volatile drives: memory, and one that keeps nothing
//     sim:SIZE[,seed=N,...]            a simulated drive: see SimulatedDriveOptions
//
// Further options: block-size=512|4096 (all but a plain path), direct=on|off (file:). A path with a comma or colon in it is written
// plainly, without 'file:'.

using Polyblk.Core.Block;
using Polyblk.Core.Logging;

namespace Polyblk.Core.Drives;

/// <summary>Kinds of drives.</summary>
public enum DriveKind
{
    /// <summary>A block device or an existing file.</summary>
    Path,

    /// <summary>A file, made when it is missing and a size is given.</summary>
    File,

    /// <summary>Memory.</summary>
    Ram,

    /// <summary>Keeps nothing, reads nothing.</summary>
    Null,

    /// <summary>Simulated.</summary>
    Simulated,
}

/// <summary>What drive is wanted.</summary>
public sealed record DriveSpec
{
    private const string Forms = "a path such as /dev/nvme0n1, file:PATH[,size=SIZE], ram:SIZE, null:SIZE, or sim:SIZE[,seed=N]";

    /// <summary>The text that was parsed.</summary>
    public required string Text { get; init; }

    /// <summary>The kind.</summary>
    public required DriveKind Kind { get; init; }

    /// <summary>Path for <see cref="DriveKind.Path"/> and <see cref="DriveKind.File"/>; otherwise empty.</summary>
    public string Path { get; init; } = string.Empty;

    /// <summary>Wanted size in bytes; null when the drive's own counts.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>Wanted logical block size, 512 or 4096; null when the drive's own counts.</summary>
    public int? LogicalBlockSize { get; init; }

    /// <summary>Whether files bypass the page cache: null does where that is possible, true insists, false does not.</summary>
    public bool? Direct { get; init; }

    /// <summary>Options of a simulated drive, by name.</summary>
    public IReadOnlyDictionary<string, string> Simulation { get; init; } = new Dictionary<string, string>();

    /// <summary>Whether its content is gone when the process ends.</summary>
    public bool IsVolatile => Kind >= DriveKind.Ram;

    /// <summary>Parses a drive.</summary>
    /// <exception cref="FormatException">The text is none; the message shows how one is written.</exception>
    public static DriveSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.Any(char.IsControl))
        {
            // It would go into records, logs and command lines that are printed for copying.
            throw new FormatException(
                $"'{LogText.Escape(text)}' is no drive: its path has control characters. Rename it, or make a link to it.");
        }

        int colon = text.IndexOf(':');
        string scheme = colon < 0 ? string.Empty : text[..colon];
        string rest = text[(colon + 1)..];
        return scheme switch
        {
            "file" => ParseFile(text, rest),
            "ram" => ParseSized(text, rest, DriveKind.Ram),
            "null" => ParseSized(text, rest, DriveKind.Null),
            "sim" => ParseSized(text, rest, DriveKind.Simulated),
            _ => ParsePath(text, scheme),
        };
    }

    /// <inheritdoc/>
    public override string ToString() => Text;

    private static DriveSpec ParsePath(string text, string scheme)
    {
        // 'disk:1GiB' is a misspelt kind, './a:b' and '/dev/disk/by-path/pci-0:1' are paths.
        bool isPath = text.Length != 0 && (scheme.Length == 0 || scheme.Contains('/') || File.Exists(text));
        return isPath
            ? new DriveSpec { Text = text, Kind = DriveKind.Path, Path = text }
            : throw new FormatException($"'{text}' is no drive: write {Forms}.");
    }

    private static DriveSpec ParseFile(string text, string rest)
    {
        string[] parts = rest.Split(',');
        if (parts[0].Length == 0)
        {
            throw new FormatException($"'{text}' lacks the path: write file:PATH[,size=1GiB].");
        }

        var spec = new DriveSpec { Text = text, Kind = DriveKind.File, Path = parts[0] };
        foreach ((string name, string value) in Options(text, parts))
        {
            spec = name switch
            {
                "size" => spec with { SizeBytes = ParseSize(text, value) },
                "block-size" => spec with { LogicalBlockSize = ParseBlockSize(text, value) },
                "direct" => spec with { Direct = ParseSwitch(text, value) },
                _ => throw new FormatException($"'{text}': a file has no option '{name}'; it has size, block-size and direct."),
            };
        }

        return spec;
    }

    private static DriveSpec ParseSized(string text, string rest, DriveKind kind)
    {
        string[] parts = rest.Split(',');
        var simulation = new Dictionary<string, string>();
        var spec = new DriveSpec { Text = text, Kind = kind, SizeBytes = ParseSize(text, parts[0]), Simulation = simulation };
        foreach ((string name, string value) in Options(text, parts))
        {
            if (name == "block-size")
            {
                spec = spec with { LogicalBlockSize = ParseBlockSize(text, value) };
            }
            else if (kind == DriveKind.Simulated)
            {
                simulation[name] = value;
            }
            else
            {
                throw new FormatException($"'{text}': this kind of drive has no option '{name}'; it has block-size.");
            }
        }

        // So that a wrong option is found here and not when the drive is opened.
        _ = SimulatedDriveOptions.Parse(simulation);
        if (spec.SizeBytes % (spec.LogicalBlockSize ?? 512) != 0)
        {
            throw new FormatException($"'{text}': the size must be a multiple of the block size, {spec.LogicalBlockSize ?? 512}.");
        }

        return spec;
    }

    private static IEnumerable<(string Name, string Value)> Options(string text, string[] parts)
    {
        foreach (string part in parts.Skip(1))
        {
            int equals = part.IndexOf('=');
            if (equals <= 0 || equals == part.Length - 1)
            {
                throw new FormatException($"'{text}': '{part}' is no option; write name=value.");
            }

            yield return (part[..equals], part[(equals + 1)..]);
        }
    }

    private static long ParseSize(string text, string value)
    {
        if (!ByteSize.TryParse(value, out long bytes) || bytes < 512 || bytes % 512 != 0)
        {
            throw new FormatException($"'{text}': '{value}' is no size of a drive; write a multiple of 512 bytes such as 1GiB or 512M.");
        }

        return bytes;
    }

    private static int ParseBlockSize(string text, string value) => value switch
    {
        "512" => 512,
        "4096" or "4K" or "4KiB" => 4096,
        _ => throw new FormatException($"'{text}': the block size is 512 or 4096, not '{value}'."),
    };

    private static bool ParseSwitch(string text, string value) => value switch
    {
        "on" => true,
        "off" => false,
        _ => throw new FormatException($"'{text}': write on or off, not '{value}'."),
    };
}
