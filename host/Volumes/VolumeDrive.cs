using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Drives.Files;

namespace Polyblk.Host.Volumes;

/// <summary>A drive of a volume: open, or why it is not.</summary>
/// <param name="Spec">The drive, as it is recorded.</param>
/// <param name="Device">The open drive; null when it is left out.</param>
public sealed record VolumeDrive(DriveSpec Spec, IBlockDevice? Device)
{
    /// <summary>Why it is left out.</summary>
    public string? Problem { get; init; }

    /// <summary>
    /// It is there and cannot be had (in use, not permitted): a volume that needs it must not start without it.
    /// </summary>
    public RefusalException? Refusal { get; init; }

    /// <summary>As it is recorded.</summary>
    public string Text => Spec.Text;

    /// <summary>Whether another way to write a drive means this one: links, and several nodes of one device.</summary>
    public bool Is(DriveSpec other)
    {
        if (Spec.IsVolatile || other.IsVolatile)
        {
            return Spec.Text == other.Text;
        }

        return Path.GetFullPath(Spec.Path) == Path.GetFullPath(other.Path)
            || (DriveReader.IdentityOf(other.Path) is string what && what == DriveReader.IdentityOf(Spec.Path));
    }
}
