using Polyblk.Cli.Output;
using Polyblk.Core.Block;

namespace Polyblk.Cli.Volumes;

/// <summary>
/// A volume whose drives are open: what the exports serve. Disposing it marks the array clean and closes the drives.
/// </summary>
internal abstract class OpenVolume : IAsyncDisposable
{
    /// <summary>The device that exports open queues on.</summary>
    public abstract IBlockDevice Device { get; }

    /// <summary>What the user should know: the content is volatile, a member is missing.</summary>
    public abstract IReadOnlyList<string> Notes { get; }

    /// <summary>Health of the array; null for a single drive.</summary>
    public abstract ArrayJson? GetArray();

    /// <summary>
    /// Whether the volume is as large as its drive, and follows it. An array's size stands in its superblocks and changes on
    /// request only.
    /// </summary>
    public virtual bool HasSizeOfDrive => false;

    /// <summary>
    /// Drives that have not answered a request for so long that nothing waits for them any more; null where nobody looks at ages.
    /// </summary>
    public virtual IReadOnlyList<UnfinishedJson>? GetHanging() => null;

    /// <summary>Takes a new size, or with null reads the drives' sizes again.</summary>
    /// <exception cref="CliException">That is not possible; the message says why.</exception>
    public abstract Task ResizeAsync(long? sizeBytes, CancellationToken cancellation);

    /// <summary>Lets the warning go that blocks may be damaged; does nothing where there is none.</summary>
    /// <exception cref="CliException">That is not possible; the message says why.</exception>
    public virtual Task AcknowledgeDamageAsync() => Task.CompletedTask;

    public abstract ValueTask DisposeAsync();
}
