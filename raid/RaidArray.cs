// An array: a block device made of members. What is here is what all reactors and the control task share; the data path is in
// Engine/RaidQueue.cs and Levels/, changes of the superblocks are made by Engine/ArrayControl.cs, arrays are made and started by
// ArrayBuilder.

using System.Collections.Immutable;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Control;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Levels;
using Polyblk.Raid.Map;
using Polyblk.Raid.Reshape;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

/// <summary>
/// A running array. Its drives stay the caller's: dispose the array first, then them. The home reactor that it was started with
/// carries the superblock writes and the resync, and must outlive it.
/// </summary>
public sealed partial class RaidArray : IBlockDevice
{
    private readonly Lock _lock = new();
    private readonly long[] _maxPieceBytes;
    private RaidQueue[] _queues = [];
    private RaidQueue[] _closing = [];
    private ImmutableArray<RaidQueue> _everyQueue = [];
    private long _sizeBytes;
    private volatile ArrayConsistency _consistency;
    private bool _stopped;
    private bool _leavesWork;
    private ArrayMap _map;

    internal RaidArray(
        ArraySuperblock superblock, RaidGeometry geometry, ArrayMap map, Reactor home, ArrayRunOptions options, RaidStart start,
        ArrayChecksums? sums)
    {
        Options = options;
        Sums = sums;
        Uuid = superblock.ArrayUuid;
        Name = superblock.Name;
        Geometry = geometry;
        _map = map;
        ImmutableArray<RaidMember> members = map.Members;
        _sizeBytes = superblock.ExportedSize;
        ulong missing = 0;
        foreach (RaidMember member in members)
        {
            missing |= member.Drive is null ? 1UL << member.Role : 0;
        }

        _consistency = superblock.Consistency;
        bool mayHaveJournal = !members.Any(m => m.Drive is { Limits.IsEphemeral: true });
        if (ReshapeMap.UnderWay(superblock) is { } reshape)
        {
            Reshape = new ReshapeRun(superblock, reshape, mayHaveJournal, Consistency == ArrayConsistency.Journal);
        }

        State = new ArrayState(geometry, missing, RaidUnits.FromSyncedBytes(geometry, start.SyncedBytes), Reshape);
        State.BeginBad(superblock.BadRanges);
        if (start.RebuildingMask != 0)
        {
            State.BeginRebuild(
                start.RebuildingMask,
                RaidUnits.FromSyncedBytes(geometry, start.RebuiltBytes),
                (superblock.State & ArrayStateFlags.RebuildsMarked) != 0);
        }

        if (members.Any(m => m is { IsAbsent: true, Drive: not null }))
        {
            State.Break();
        }

        if ((Reshape is null ? JournalLayout.Of(geometry) : Reshape.Map.NewJournal) is { } layout && mayHaveJournal)
        {
            Journal = new WriteJournal(layout, geometry, Uuid, Consistency == ArrayConsistency.Journal);
            if (start.TrustsUnsynced || (Journal.IsOn && !State.NeedsResync))
            {
                State.BeginTrust();
                State.PersistedTrust = superblock.TrustsUnsynced;
            }
        }

        if (TracksDirt)
        {
            bool all = superblock.NeedsResync || State.LostMask != 0;
            Intent = new WriteIntent(
                geometry.Capacity,
                superblock.Regions ?? WriteIntent.Make(geometry.Capacity, all, all ? 0 : superblock.EventCount),
                marksAll: Consistency == ArrayConsistency.None);
        }

        Limits = ArrayLimits.Of(geometry, members, superblock.ExportedSize) with { LogicalBlockSize = start.LogicalBlockSize };
        if (start.ReadOnly)
        {
            Limits = Limits with { ReadOnly = true };
        }

        _maxPieceBytes = ArrayLimits.MaxPieceBytes(members);
        Control = new ArrayControl(this, superblock, home, options);
    }

    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized;

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>The array's UUID.</summary>
    public Guid Uuid { get; }

    /// <summary>How it behaves.</summary>
    internal ArrayRunOptions Options { get; }

    /// <summary>The checksums of its members; null where it has none.</summary>
    internal ArrayChecksums? Sums { get; }

    /// <summary>Where its bytes lie.</summary>
    public RaidGeometry Geometry { get; }

    /// <summary>The same of the run that lives: <see cref="Geometry"/> is what it was when this object was made.</summary>
    public RaidGeometry CurrentGeometry => Live.Geometry;

    /// <inheritdoc/>
    public long SizeBytes => Live.OwnSizeBytes;

    /// <summary>The size that this run shows.</summary>
    internal long OwnSizeBytes => Volatile.Read(ref _sizeBytes);

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <summary>The members of this moment, by role.</summary>
    internal ImmutableArray<RaidMember> Members => Map.Members;

    /// <summary>Which drives make it up.</summary>
    internal ArrayMap Map => Volatile.Read(ref _map);

    internal ArrayState State { get; }

    internal RangeLocks Locks { get; } = new();

    /// <summary>Which regions may be written; null for a level without redundancy.</summary>
    internal WriteIntent? Intent { get; }

    /// <summary>How it is put right after an unclean stop.</summary>
    public ArrayConsistency Consistency
    {
        get => _consistency;
        internal set => _consistency = value;
    }

    /// <summary>What is being written; null where there is no parity, no room for it, or nothing that outlives the process.</summary>
    internal WriteJournal? Journal { get; }

    internal ArrayControl Control { get; }

    /// <summary>
    /// Whether an unclean stop can leave members that disagree, so that the superblocks must say dirty before a write.
    /// </summary>
    internal bool TracksDirt => Geometry.HasParity || Geometry.CopyCount > 1;

    /// <summary>The open queues; a snapshot.</summary>
    internal RaidQueue[] Queues => Volatile.Read(ref _queues);

    /// <summary>
    /// Opens the array on a reactor; see <see cref="IBlockDevice.OpenQueue"/>. All openers of one reactor share one queue; each
    /// disposes it once.
    /// </summary>
    public IBlockQueue OpenQueue(Reactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        if (Volatile.Read(ref _successor) is { } successor)
        {
            return successor.OpenQueue(reactor);
        }

        if (Reshape is { } run)
        {
            return OpenRouter(reactor, run);
        }

        lock (_lock)
        {
            if (Array.Find(_queues, q => ReferenceEquals(q.Reactor, reactor)) is { } open)
            {
                // Queues are closed on the reactor's thread, where this is: it cannot vanish meanwhile.
                open.AddReference();
                return open;
            }
        }

        RaidQueue queue = OpenUnregistered(reactor, Shape);
        bool stopped;
        lock (_lock)
        {
            stopped = _stopped;
            successor = _successor;
            if (!stopped && successor is null)
            {
                _queues = [.. _queues, queue];
                if (_isPausing)
                {
                    queue.Park();
                }
            }
        }

        if (successor is not null)
        {
            queue.Dispose();
            return successor.OpenQueue(reactor);
        }

        // Published meanwhile to all queues but this one, which nobody knew.
        queue.Adopt(Map);

        if (stopped)
        {
            queue.Dispose();
            throw new ArrayException($"Array {Name} has been stopped: start it again.");
        }

        return queue;
    }

    /// <summary>A snapshot of the array's state. Any thread.</summary>
    public ArrayStatus GetStatus() => Live.Control.GetStatus();

    /// <summary>
    /// Shows another size to the consumers and raises <see cref="Resized"/>.
    /// </summary>
    /// <param name="newSizeBytes">A multiple of 4096, at most the capacity that the members give.</param>
    /// <exception cref="ArrayException">The size is not possible, or the superblocks could not be written.</exception>
    public async Task ResizeAsync(long newSizeBytes)
    {
        if (Volatile.Read(ref _successor) is { } successor)
        {
            await successor.ResizeAsync(newSizeBytes);
            return;
        }

        if (newSizeBytes <= 0 || newSizeBytes % 4096 != 0 || newSizeBytes > MaxSizeBytes)
        {
            throw new ArrayException(
                $"Array {Name} cannot have {newSizeBytes} bytes: use a multiple of 4096 up to {MaxSizeBytes & ~4095L}, which is what its drives give.");
        }

        await Control.ResizeAsync(newSizeBytes, () => Volatile.Write(ref _sizeBytes, newSizeBytes));
        Resized?.Invoke(this);
    }

    /// <summary>
    /// Takes over what all drives have more than when the array was made, or grown last, and shows it to the consumers, who see a
    /// pause. A resync makes members agree there.
    /// </summary>
    /// <exception cref="ArrayException">It cannot, or the drives have not all grown; the message says which.</exception>
    public async Task GrowAsync()
    {
        await ArrayGrowth.GrowAsync(Live);
        await ResizeAsync(Live.Geometry.Capacity & ~4095L);
    }

    /// <summary>
    /// Lets the warning go that blocks may be damaged (<see cref="ArrayStatus.Warnings"/>): somebody has checked what is on the
    /// volume. Does nothing when there is none.
    /// </summary>
    /// <exception cref="ArrayException">The superblocks cannot be changed.</exception>
    public Task AcknowledgeDamageAsync() => Live.Control.AcknowledgeDamageAsync();

    /// <summary>
    /// The most that a resync or rebuild does, in bytes a second of every member; 0 sets no bound. It may be changed while one runs.
    /// </summary>
    public long MaxJobBytesPerSecond
    {
        get => Live.Control.MaxJobBytesPerSecond;
        set => Live.Control.MaxJobBytesPerSecond = value;
    }

    /// <summary>
    /// Compares copies, or parities with data, over the whole array in the background (<see cref="ArrayStatus.Scrub"/>).
    /// </summary>
    /// <param name="repair">Whether members that differ are made to agree.</param>
    /// <exception cref="ArrayException">One is under way, or there is nothing to compare.</exception>
    public Task StartScrubAsync(bool repair) => Live.Control.StartScrubAsync(repair);

    /// <inheritdoc cref="ArrayRunOptions.CheckEvery"/>
    public TimeSpan CheckEvery
    {
        get => Live.Control.CheckEvery;
        set => Live.Control.CheckEvery = value;
    }

    /// <inheritdoc cref="ArrayRunOptions.SlowAfter"/>
    public TimeSpan SlowAfter
    {
        get => Live.Control.SlowAfter;
        set => Live.Control.SlowAfter = value;
    }

    /// <inheritdoc cref="ArrayRunOptions.DriveTimeout"/>
    public TimeSpan DriveTimeout
    {
        get => Live.Control.DriveTimeout;
        set => Live.Control.DriveTimeout = value;
    }

    /// <summary>Ends the scrub that is under way. Does nothing without one.</summary>
    public Task StopScrubAsync() => Live.Control.StopScrubAsync();

    /// <summary>
    /// Changes how the array is put right after an unclean stop. A journal counts from the first moment without writes on, or from
    /// the end of a resync that is under way: until then a start that lacks members still needs force.
    /// </summary>
    /// <exception cref="ArrayException">The level, or the drives, cannot have that.</exception>
    public Task SetConsistencyAsync(ArrayConsistency consistency) => Live.Control.SetConsistencyAsync(consistency);

    /// <summary>Gives a member up, as if it had failed.</summary>
    /// <param name="role">Its role.</param>
    /// <exception cref="ArrayException">The array cannot do without it; nothing was changed.</exception>
    public Task FailMemberAsync(int role) => Live.Control.FailAsync(role);

    /// <summary>
    /// Lets a drive take the place of a member that is out. Returns when the superblocks say so; the rebuild goes on in the
    /// background, over stops and crashes (<see cref="ArrayStatus.Rebuild"/>).
    /// </summary>
    /// <param name="role">The member's role.</param>
    /// <param name="drive">The drive; it stays the caller's, and must outlive the array.</param>
    /// <param name="force">Overwrite whatever the drive holds.</param>
    /// <param name="failFirst">A member that works is taken out for it, when the drive has been found to fit.</param>
    /// <exception cref="ArrayException">It cannot; the message says why and what to do.</exception>
    public Task ReplaceMemberAsync(int role, IBlockDevice drive, bool force = false, bool failFirst = false) =>
        Live.Control.ReplaceAsync(role, drive, force, failFirst);

    /// <summary>
    /// Lets a drive take the place of a member that works, and that serves until the drive holds all that it holds. Returns when both
    /// get what is written; the rest goes on in the background (<see cref="ArrayStatus.Replacement"/>), begins anew after stops and
    /// crashes, and ends with <see cref="ArrayRunOptions.OnReleased"/>.
    /// </summary>
    /// <param name="role">The member's role.</param>
    /// <param name="drive">The drive; it stays the caller's, and must outlive the array.</param>
    /// <param name="force">Overwrite whatever the drive holds.</param>
    /// <exception cref="ArrayException">It cannot; the message says why and what to do.</exception>
    public Task ReplaceWorkingMemberAsync(int role, IBlockDevice drive, bool force = false) => Live.Control.ReplaceWorkingAsync(role, drive, force);

    /// <summary>Lets a drive wait to take the place of a member that fails, or take that of one that has.</summary>
    /// <param name="drive">The drive; it stays the caller's, and must outlive the array.</param>
    /// <param name="force">Overwrite whatever the drive holds.</param>
    /// <exception cref="ArrayException">It cannot; the message says why and what to do.</exception>
    public Task AddSpareAsync(IBlockDevice drive, bool force = false) => Live.Control.AddSpareAsync(drive, force);

    /// <summary>
    /// Lets a spare go, the drive of a member that is out, or one that was left out: the array has nothing to do with it any more when
    /// this returns, and it holds no superblock of the array, if it can be written.
    /// </summary>
    /// <param name="drive">The drive, as it was given.</param>
    /// <exception cref="ArrayException">It is in use.</exception>
    public Task RemoveDriveAsync(IBlockDevice drive) => Live.Control.RemoveAsync(drive);

    /// <summary>
    /// Stops the array: ends the resync (it goes on at the next start), flushes, and marks the superblocks clean. All queues must
    /// be closed.
    /// </summary>
    /// <exception cref="ArrayException">Queues are open; or the array has failed, is stopped all the same, and is not
    /// clean.</exception>
    public async Task StopAsync()
    {
        if (await TakeSuccessorAsync() is { } successor)
        {
            await successor.StopAsync();
        }
        else if (await BeginStopAsync()
            && !await Control.StopAsync(markClean: !_leavesWork))
        {
            throw new ArrayException(
                $"Array {Name} has failed, or a drive does not answer, and was not stopped in order: it needs a resync when it is started again.");
        }
    }

    /// <summary>
    /// Stops the array if <see cref="StopAsync"/> was not called. All queues must be closed. A failed array ends without a
    /// complaint.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (await TakeSuccessorAsync() is { } successor)
        {
            await successor.DisposeAsync();
        }
        else if (await BeginStopAsync())
        {
            await Control.StopAsync(markClean: !_leavesWork);
        }
    }

    /// <summary>Ends the array without telling the superblocks, as a crash does. For tests.</summary>
    internal async Task AbandonAsync()
    {
        if (await TakeSuccessorAsync() is { } successor)
        {
            await successor.AbandonAsync();
        }
        else if (await BeginStopAsync())
        {
            await Control.StopAsync(markClean: false);
        }
    }

    /// <summary>A queue that the control task uses itself: it is not counted among the consumers'.</summary>
    internal RaidQueue OpenUnregistered(Reactor reactor, QueueShape shape)
    {
        RaidQueue queue = Geometry.Level switch
        {
            RaidLevel.Raid0 => new StripedQueue(this, reactor, shape),
            RaidLevel.Raid1 or RaidLevel.Raid10 => new MirrorQueue(this, reactor, shape),
            _ => new ParityQueue(this, reactor, shape),
        };

        // First: whoever takes a member out by the time that it took marks it, and then looks for queues.
        ImmutableInterlocked.Update(ref _everyQueue, (all, its) => all.Add(its), queue);
        foreach (RaidMember member in Members)
        {
            if (member.IsLeft)
            {
                queue.Leave(member.Role);
            }
        }

        return queue;
    }

    /// <summary>Every queue that is not closed: those of consumers, of jobs, and those that have work to end.</summary>
    internal ImmutableArray<RaidQueue> EveryQueue =>
        ImmutableInterlocked.InterlockedCompareExchange(ref _everyQueue, default, default);

    /// <summary>A queue is closed.</summary>
    internal void ForgetClosed(RaidQueue queue) =>
        ImmutableInterlocked.Update(ref _everyQueue, (all, its) => all.Remove(its), queue);

    /// <summary>Does something on every queue, on its reactor; completes when it was done on all that are not closed.</summary>
    internal Task OnEveryQueueAsync(Action<RaidQueue> action) => Task.WhenAll(EveryQueue.Select(queue =>
    {
        Task done = queue.Reactor.InvokeAsync(() =>
        {
            if (!queue.Closed.IsCompleted)
            {
                action(queue);
            }
        });
        return Task.WhenAny(done, queue.Closed).Unwrap();
    }));

    /// <summary>A queue was disposed. It may have work of its own to end.</summary>
    internal void Forget(RaidQueue queue)
    {
        lock (_lock)
        {
            _queues = [.. _queues.Where(q => !ReferenceEquals(q, queue))];
            _closing = [.. _closing.Where(its => !its.Closed.IsCompleted), queue];
        }
    }

    /// <summary>Whether a member is there and was not given up.</summary>
    internal bool IsUsable(int role) => ((State.FailedMask >> role) & 1) == 0;

    /// <summary>Goes by another map: returns when every queue does. The control task's.</summary>
    /// <exception cref="IOException">A queue could not open a new drive.</exception>
    internal Task AdoptAsync(ArrayMap map)
    {
        Volatile.Write(ref _map, map);
        return ForEachQueueAsync(queue => queue.Adopt(map));
    }

    /// <summary>Does something on every open queue, on its reactor, one after the other.</summary>
    internal async Task ForEachQueueAsync(Action<RaidQueue> action)
    {
        foreach (RaidQueue queue in (RaidQueue[])[.. Queues, .. Volatile.Read(ref _ownQueues)])
        {
            // A queue may close meanwhile and its reactor end with it.
            Task done = queue.Reactor.InvokeAsync(() =>
            {
                if (!queue.Closed.IsCompleted)
                {
                    action(queue);
                }
            });
            await (await Task.WhenAny(done, queue.Closed));
        }
    }

    /// <summary>The longest piece of an operation that every member takes as one request.</summary>
    internal long MaxPieceBytes(BlockOperation operation) => _maxPieceBytes[(int)operation];

    private async Task<bool> BeginStopAsync()
    {
        bool first = BeginStop();
        RaidQueue[] closing = Volatile.Read(ref _closing);
        _leavesWork |= !await Control.WaitUnlessHangingAsync(Task.WhenAll(closing.Select(queue => queue.WorkEnded)));

        // What drives have that are out changes nothing any more; they get a moment to give it back.
        await Control.WaitUnlessHangingAsync(Task.WhenAll(closing.Select(queue => queue.Closed)), needsLost: true);
        return first;
    }

    private bool BeginStop()
    {
        lock (_lock)
        {
            if (_queues.Length != 0)
            {
                throw new ArrayException($"Array {Name} is in use by {_queues.Length} queues: stop its exports first.");
            }

            bool first = !_stopped;
            _stopped = true;
            return first;
        }
    }
}

/// <summary>How an array is when it starts.</summary>
/// <param name="SyncedBytes">The bytes of every member that are in sync; <see cref="long.MaxValue"/> when all are.</param>
/// <param name="LogicalBlockSize">The unit in bytes in which consumers address it.</param>
/// <param name="ReadOnly">Whether it is only read: no member is written, superblocks and repairs included.</param>
internal readonly record struct RaidStart(long SyncedBytes, int LogicalBlockSize, bool ReadOnly)
{
    /// <summary>Members that are being rebuilt.</summary>
    public ulong RebuildingMask { get; init; }

    /// <summary>The bytes of each of them that are in step.</summary>
    public long RebuiltBytes { get; init; }

    /// <inheritdoc cref="ArrayState.TrustsUnsynced"/>
    public bool TrustsUnsynced { get; init; }
}
