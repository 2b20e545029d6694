namespace Polyblk.Cli.Volumes;

/// <summary>How a volume is opened, and what its user allows.</summary>
internal sealed record VolumeStart
{
    /// <summary>Nothing is written to any of its drives, superblocks included.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Without members that the superblocks call present.</summary>
    public bool AllowDegraded { get; init; }

    /// <summary>
    /// Although data may be damaged: an array that lacks a member and was not stopped in order, a member of an array served
    /// alone.
    /// </summary>
    public bool Force { get; init; }

    /// <summary>
    /// The block size in bytes of an array that does not know its own; null asks for it where it is not certain.
    /// </summary>
    public int? BlockSize { get; init; }
}
