using Polyblk.Host.Events;

namespace Polyblk.Host.Volumes;

/// <summary>How a volume is opened, and what its user allows.</summary>
public sealed record VolumeStart
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
    /// How long drives are waited for that are not there, before an array starts without a member that its superblocks call present.
    /// </summary>
    public TimeSpan WaitForDrives { get; init; }

    /// <summary>
    /// Called with the drives that are waited for, as often as they are others; with none when the waiting is over.
    /// </summary>
    public Action<IReadOnlyList<string>>? Waiting { get; init; }

    /// <summary>Who is told of what happens to it; null for the log alone.</summary>
    public EventTeller? Events { get; init; }

    /// <summary>Whether drives that were away, and spares, are filled without anybody asking for it.</summary>
    public bool RebuildsByItself { get; init; } = true;

    /// <summary>Whether members are brought into step at all while it is open: resync and rebuild.</summary>
    public bool RunsJobs { get; init; } = true;

    /// <summary>
    /// How long after the start a resync or rebuild begins: longer than consumers of a target that was killed take to connect
    /// again and to have their requests answered.
    /// </summary>
    public TimeSpan JobsAfter { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// The block size in bytes of an array that does not know its own; null asks for it where it is not certain.
    /// </summary>
    public int? BlockSize { get; init; }
}
