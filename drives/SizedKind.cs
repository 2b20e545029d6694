using Polyblk.Core.Block;

namespace Polyblk.Drives;

/// <summary>
/// A kind whose drives live in this process and are as large as was written: <c>NAME:SIZE[,block-size=...]</c>.
/// </summary>
public abstract class SizedKind : IDriveKind
{
    /// <inheritdoc/>
    public abstract string Name { get; }

    /// <inheritdoc/>
    public virtual string Form => $"{Name}:SIZE";

    /// <inheritdoc/>
    public abstract string Description { get; }

    /// <inheritdoc/>
    public bool IsVolatile => true;

    /// <inheritdoc/>
    public DriveSpec Parse(DriveText text)
    {
        ArgumentNullException.ThrowIfNull(text);
        long sizeBytes = text.ParseSize(text.First);
        int? blockSize = null;
        var own = new Dictionary<string, string>();
        foreach ((string name, string value) in text.Options())
        {
            if (name == "block-size")
            {
                blockSize = text.ParseBlockSize(value);
            }
            else if (HasOwnOptions)
            {
                own[name] = value;
            }
            else
            {
                throw text.Wrong($"this kind of drive has no option '{name}'; it has block-size.");
            }
        }

        CheckOwnOptions(own);
        return sizeBytes % (blockSize ?? 512) == 0
            ? new DriveSpec { Text = text.Text, Kind = this, SizeBytes = sizeBytes, LogicalBlockSize = blockSize, Options = own }
            : throw text.Wrong($"the size must be a multiple of the block size, {blockSize ?? 512}.");
    }

    /// <inheritdoc/>
    public IBlockDevice Open(DriveSpec spec, bool readOnly)
    {
        ArgumentNullException.ThrowIfNull(spec);
        return Make(spec, spec.SizeBytes ?? 0, spec.LogicalBlockSize ?? 512, readOnly);
    }

    /// <summary>Whether it has options beside the block size.</summary>
    protected virtual bool HasOwnOptions => false;

    /// <summary>Finds a wrong option when the drive is named, and not only when it is opened.</summary>
    /// <exception cref="FormatException">An option is unknown, or its value is none.</exception>
    protected virtual void CheckOwnOptions(IReadOnlyDictionary<string, string> options)
    {
    }

    /// <summary>Makes the drive.</summary>
    protected abstract IBlockDevice Make(DriveSpec spec, long sizeBytes, int logicalBlockSize, bool readOnly);
}
