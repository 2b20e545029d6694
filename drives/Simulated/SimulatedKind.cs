using Polyblk.Core.Block;

namespace Polyblk.Drives.Simulated;

/// <summary><c>sim:SIZE[,seed=N,...]</c>: see <see cref="SimulatedDriveOptions"/>.</summary>
internal sealed class SimulatedKind : SizedKind
{
    public override string Name => "sim";

    public override string Form => "sim:SIZE[,seed=N]";

    public override string Description => "a simulated drive, for tests, and volatile";

    protected override bool HasOwnOptions => true;

    protected override void CheckOwnOptions(IReadOnlyDictionary<string, string> options) => _ = SimulatedDriveOptions.Parse(options);

    protected override IBlockDevice Make(DriveSpec spec, long sizeBytes, int logicalBlockSize, bool readOnly)
    {
        ArgumentNullException.ThrowIfNull(spec);
        SimulatedDriveOptions options = SimulatedDriveOptions.Parse(spec.Options);
        return new SimulatedDrive(sizeBytes, options with { LogicalBlockSize = logicalBlockSize }, readOnly);
    }
}
