using Polyblk.Core.Block;

namespace Polyblk.Drives.Ram;

/// <summary><c>ram:SIZE</c>.</summary>
internal sealed class RamKind : SizedKind
{
    public override string Name => "ram";

    public override string Description => "memory, and volatile";

    protected override IBlockDevice Make(DriveSpec spec, long sizeBytes, int logicalBlockSize, bool readOnly) =>
        new RamDrive(sizeBytes, logicalBlockSize, readOnly);
}
