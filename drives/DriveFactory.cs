using Polyblk.Core.Block;

namespace Polyblk.Drives;

/// <summary>Opens drives from what was written on a command line.</summary>
public static class DriveFactory
{
    /// <summary>Opens a drive. The caller disposes it.</summary>
    /// <param name="spec">What drive: see <see cref="DriveSpec.Parse"/>.</param>
    /// <param name="readOnly">Refuse writes; files are then never created.</param>
    /// <exception cref="DriveException">It cannot be opened; the message says why and what to do.</exception>
    public static IBlockDevice Open(DriveSpec spec, bool readOnly = false)
    {
        ArgumentNullException.ThrowIfNull(spec);
        return spec.Kind.Open(spec, readOnly);
    }
}
