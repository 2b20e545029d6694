using Polyblk.Core.Block;

namespace Polyblk.Drives.Null;

/// <summary><c>null:SIZE</c>.</summary>
internal sealed class NullKind : SizedKind
{
    public override string Name => "null";

    public override string Description => "a drive that keeps nothing";

    protected override IBlockDevice Make(DriveSpec spec, long sizeBytes, int logicalBlockSize, bool readOnly) =>
        new NullDrive(sizeBytes, logicalBlockSize, readOnly);
}
