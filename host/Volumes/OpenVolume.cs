using Polyblk.Core.Block;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>
/// A volume whose drives are open: what the exports serve. Disposing it marks the array clean and closes the drives.
/// </summary>
public abstract class OpenVolume : IAsyncDisposable
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
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public abstract Task ResizeAsync(long? sizeBytes, CancellationToken cancellation);

    /// <summary>Lets the warning go that blocks may be damaged; does nothing where there is none.</summary>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public virtual Task AcknowledgeDamageAsync() => Task.CompletedTask;

    /// <summary>Changes how it is put right after an unclean stop.</summary>
    /// <exception cref="RefusalException">It cannot have that; the message says why.</exception>
    public virtual Task SetConsistencyAsync(ArrayConsistency consistency) =>
        throw RefusalException.Refused("One drive as it is has nothing that could disagree.");

    /// <summary>
    /// Raised when members or spares are others than before, on a thread of the volume's: what is remembered of them is old.
    /// </summary>
    public event Action? MembersChanged;

    /// <summary>
    /// Changes who is a member, and the record with it: a drive that comes is recorded before the array knows it, one that goes
    /// is forgotten after the array has forgotten it. So whatever ends in between, a start finds all drives.
    /// </summary>
    /// <param name="change">What to do.</param>
    /// <param name="store">Where the record is.</param>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public virtual Task<MemberChangeResult> ChangeMembersAsync(MemberChange change, VolumeStore store) => throw HasNoMembers();

    /// <summary>
    /// Says where the record is: drives that the array has replaced by itself leave it from now on. Those that it replaced before do
    /// so now.
    /// </summary>
    public virtual void KeepRecord(VolumeStore store)
    {
    }

    /// <summary>Starts comparing members in the background, and with a repair makes them agree.</summary>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public virtual Task StartCheckAsync(bool repair) => throw HasNoMembers();

    /// <summary>Ends the comparison that is under way; does nothing without one.</summary>
    /// <exception cref="RefusalException">That is not possible; the message says why.</exception>
    public virtual Task StopCheckAsync() => throw HasNoMembers();

    /// <summary>Bounds the speed of a resync or rebuild, in bytes a second of every member; 0 sets no bound.</summary>
    /// <exception cref="RefusalException">There can be none.</exception>
    public virtual void LimitRebuild(long bytesPerSecond) => throw HasNoMembers();

    /// <summary>After what time members are compared anew; zero never.</summary>
    /// <exception cref="RefusalException">There are none.</exception>
    public virtual void CheckEvery(TimeSpan every) => throw HasNoMembers();

    /// <summary>How long members have to answer, from now on.</summary>
    /// <exception cref="RefusalException">There are none.</exception>
    public virtual void BePatient(Patience patience) => throw HasNoMembers();

    public abstract ValueTask DisposeAsync();

    /// <summary>Tells who listens to <see cref="MembersChanged"/>.</summary>
    protected void RaiseMembersChanged() => MembersChanged?.Invoke();

    private static RefusalException HasNoMembers() => RefusalException.Refused(
        "A volume of level 'none' is one drive: it has no members to replace, and nothing to fill a drive from.");
}
