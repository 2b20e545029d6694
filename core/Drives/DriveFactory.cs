using Polyblk.Core.Block;

namespace Polyblk.Core.Drives;

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
        long sizeBytes = spec.SizeBytes ?? 0;
        int blockSize = spec.LogicalBlockSize ?? 512;
        return spec.Kind switch
        {
            DriveKind.Ram => new RamDrive(sizeBytes, blockSize, readOnly),
            DriveKind.Null => new NullDrive(sizeBytes, blockSize, readOnly),
            DriveKind.Simulated => new SimulatedDrive(
                sizeBytes, SimulatedDriveOptions.Parse(spec.Simulation) with { LogicalBlockSize = blockSize }, readOnly),
            DriveKind.Path or DriveKind.File => FileDrive.Open(spec, readOnly),
            _ => throw new ArgumentException($"{spec.Kind} is no kind of drive.", nameof(spec)),
        };
    }
}
