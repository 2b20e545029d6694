using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Checksums;

/// <summary>
/// A member's drive with checksums: the same bytes at the same places, up to the end of the data. What is read of the data is
/// what was written there, or ends with -EILSEQ, an error of the place, which the array mends like any block that cannot be read.
/// What lies before the data (superblocks, journal) has sums of its own and passes through. Where nothing is known of a block (it
/// was never written, or was discarded, or was cut off) it is not verified. Disposing it leaves the drive open.
/// </summary>
internal sealed class ChecksummedDrive : IBlockDevice
{
    private readonly IBlockDevice _drive;
    private readonly Action<string> _tell;
    private int _users = 1;
    private long _errors;
    private long _lastOffset = -1;

    private ChecksummedDrive(
        IBlockDevice drive,
        ChecksumLayout layout,
        Guid member,
        Reactor home,
        ArrayRunOptions options,
        bool readOnly,
        Action<string> tell)
    {
        _drive = drive;
        _tell = tell;
        Layout = layout;
        Limits = LimitsOf(drive.Limits);
        Keeper = new ChecksumKeeper(this, drive, layout, member, home, options, readOnly);
    }

    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public string Name => _drive.Name;

    /// <inheritdoc/>
    public long SizeBytes => Layout.DataEnd;

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <summary>Where the sums lie.</summary>
    public ChecksumLayout Layout { get; }

    /// <summary>What keeps them.</summary>
    public ChecksumKeeper Keeper { get; }

    /// <summary>The table that keeps changes of one block in order, and apart from the reads that must not meet one.</summary>
    public Engine.RangeLocks Locks { get; } = new();

    /// <summary>Blocks that were not what had been written, as they were read. Any thread.</summary>
    public long Errors => Interlocked.Read(ref _errors);

    /// <summary>Where on the drive the last of them was found, in bytes; -1 without one. Any thread.</summary>
    public long LastErrorOffset => Interlocked.Read(ref _lastOffset);

    /// <summary>What a drive is when it has checksums.</summary>
    public static BlockLimits LimitsOf(BlockLimits drive) => drive with
    {
        MaxTransferBytes = Math.Min(drive.MaxTransferBytes, ChecksumOp.MaxBytes),
        MaxDiscardBytes = Math.Min(drive.MaxDiscardBytes, ChecksumOp.MaxRangeBytes),
        MaxWriteZeroesBytes = Math.Min(drive.MaxWriteZeroesBytes, ChecksumOp.MaxRangeBytes),
        NeedsCpuAccessForReads = true,
        NeedsCpuAccessForWrites = true,
    };

    /// <summary>Begins with a member of which no block has a sum.</summary>
    /// <param name="drive">Its drive.</param>
    /// <param name="layout">Where its sums lie.</param>
    /// <param name="member">Its UUID.</param>
    /// <param name="home">Carries the keeper's requests.</param>
    /// <param name="options">Where the keeper runs, and by which clock.</param>
    /// <param name="tell">Told of what went wrong with the sums, in a clause. On a control thread.</param>
    /// <exception cref="IOException">The drive cannot be opened or written.</exception>
    public static async Task<ChecksummedDrive> FormatAsync(
        IBlockDevice drive, ChecksumLayout layout, Guid member, Reactor home, ArrayRunOptions options, Action<string> tell)
    {
        var its = new ChecksummedDrive(drive, layout, member, home, options, readOnly: false, tell);
        await its.BeginAsync(its.Keeper.FormatAsync(), options);
        return its;
    }

    /// <summary>Goes on with the sums that are there. Sums that cannot be used are told of, and are no error.</summary>
    /// <inheritdoc cref="FormatAsync"/>
    public static async Task<ChecksummedDrive> OpenAsync(
        IBlockDevice drive,
        ChecksumLayout layout,
        Guid member,
        Reactor home,
        ArrayRunOptions options,
        bool readOnly,
        Action<string> tell)
    {
        var its = new ChecksummedDrive(drive, layout, member, home, options, readOnly, tell);
        await its.BeginAsync(its.Keeper.OpenAsync(), options);
        return its;
    }

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor) => Open(reactor, learns: false);

    /// <summary>A queue whose reads make sums of blocks that have none.</summary>
    public IBlockQueue OpenLearner(Reactor reactor) => Open(reactor, learns: true);

    /// <summary>
    /// A queue, or the keeper, is closed. The last one takes the pages along: a drive that hangs may keep a queue open for longer
    /// than the keeper.
    /// </summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            Keeper.Pages.Dispose();
        }
    }

    /// <summary>A block is not what was written. Any thread.</summary>
    public void NoteError(long offset)
    {
        Interlocked.Exchange(ref _lastOffset, offset);
        Interlocked.Increment(ref _errors);
    }

    /// <summary>Something went wrong with the sums.</summary>
    public void Tell(string what) => _tell(what);

    /// <inheritdoc cref="ChecksumKeeper.CloseAsync"/>
    public Task<bool> CloseAsync(bool clean) => Keeper.CloseAsync(clean);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await CloseAsync(clean: true);

    /// <summary>A drive that hangs is not waited for longer than one that is to show its superblock.</summary>
    private async Task BeginAsync(Task begun, ArrayRunOptions options)
    {
        try
        {
            await begun.WaitAsync(ArrayBuilder.Patience, options.Clock);
        }
        catch (TimeoutException e)
        {
            Keeper.Leave();
            throw new IOException("it does not answer: check the drive and its cable", e);
        }
    }

    private ChecksumQueue Open(Reactor reactor, bool learns)
    {
        IBlockQueue inner = _drive.OpenQueue(reactor);
        try
        {
            var queue = new ChecksumQueue(this, inner, reactor, learns);
            Interlocked.Increment(ref _users);
            return queue;
        }
        catch
        {
            inner.Dispose();
            throw;
        }
    }
}
