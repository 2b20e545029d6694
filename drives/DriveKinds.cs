// How a drive is written on a command line.
//
//     /dev/nvme0n1                     a block device, or an existing file, by its path
//     KIND:...[,option=value...]       a drive of a kind; what stands there is the kind's own
//
// A path with a comma or colon in it is written plainly, without 'file:'.

using Polyblk.Core.Logging;
using Polyblk.Drives.Files;
using Polyblk.Drives.Null;
using Polyblk.Drives.Ram;
using Polyblk.Drives.Simulated;

namespace Polyblk.Drives;

/// <summary>The kinds of drives that there are.</summary>
/// <param name="kinds">The kinds; help shows them in this order.</param>
public sealed class DriveKinds(params IReadOnlyList<IDriveKind> kinds)
{
    private static readonly FileKind s_file = new();

    /// <summary>The kinds of this program, one line each.</summary>
    public static DriveKinds Default { get; } = new(
        s_file,
        new RamKind(),
        new NullKind(),
        new SimulatedKind());

    /// <summary>The kinds.</summary>
    public IReadOnlyList<IDriveKind> All { get; } = kinds;

    /// <summary>How a drive may be written: an enumeration for messages.</summary>
    public string Forms =>
        string.Join(", ", ["a path such as /dev/nvme0n1", .. All.SkipLast(1).Select(k => k.Form), $"or {All[^1].Form}"]);

    /// <summary>How a drive may be written, and what it is then: sentences for help.</summary>
    public string Help =>
        string.Join("; ", ["A block device or an existing file by its path", .. All.Select(k => $"{k.Form} is {k.Description}")]) + ".";

    /// <summary>The kinds whose drives are gone with the process, as they are written: <c>ram:, null:</c>.</summary>
    public string VolatileNames => string.Join(", ", All.Where(k => k.IsVolatile).Select(k => k.Name + ":"));

    /// <summary>These kinds and one more.</summary>
    /// <exception cref="ArgumentException">There is one of that name.</exception>
    public DriveKinds With(IDriveKind kind)
    {
        ArgumentNullException.ThrowIfNull(kind);
        return Find(kind.Name) is null
            ? new DriveKinds([.. All, kind])
            : throw new ArgumentException($"There is a kind of drives '{kind.Name}' already.", nameof(kind));
    }

    /// <summary>Reads what drive is wanted.</summary>
    /// <exception cref="FormatException">The text is none; the message shows how one is written.</exception>
    public DriveSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.Any(char.IsControl))
        {
            // It would go into records, logs and command lines that are printed for copying.
            throw new FormatException(
                $"'{LogText.Escape(text)}' is no drive: its path has control characters. Rename it, or make a link to it.");
        }

        int colon = text.IndexOf(':');
        string name = colon < 0 ? string.Empty : text[..colon];
        if (Find(name) is { } kind)
        {
            return kind.Parse(new DriveText(text, text[(colon + 1)..]));
        }

        // 'disk:1GiB' is a misspelt kind, './a:b' and '/dev/disk/by-path/pci-0:1' are paths.
        bool isPath = text.Length != 0 && (name.Length == 0 || name.Contains('/') || File.Exists(text));
        return isPath
            ? new DriveSpec { Text = text, Kind = s_file, Path = text, IsPlainPath = true }
            : throw new FormatException($"'{text}' is no drive: write {Forms}.");
    }

    private IDriveKind? Find(string name) => All.FirstOrDefault(k => k.Name == name);
}
