// The only writer of an array's superblocks. Called by the control task (Engine/ArrayControl.cs) and by the creation, one call at
// a time.
//
// What is written must be true when it becomes durable, whatever comes after. Who writes, and why it is true then:
//
//   creation        every slot of every drive was cleared and flushed before; only zeroed drives are called in sync
//   catching up     the newest superblock as it was found, for members that missed it: the first thing that a run writes
//   marks           say less than before: no write has started that needs a new one
//   a failure       the member is in the mask of all reactors before. It goes to both slots: whoever is acknowledged without that
//                   member relies on it, also when one slot cannot be read later
//   a bad place     as a failure, of a member at that place alone. One that is bad no more was written before, durably
//   clean mark      every queue was closed while idle, then every member was flushed; so marks may go, where no member is lost and
//                   nothing is left to resync
//   checkpoint      says what was in sync before the last flush, never what the resync has reached since (FlushAsync)
//   end of resync   every member was flushed after the last row
//   rebuild begins  the new member's slots were cleared; it is called in step with nothing
//   rebuilt so far  says what was made before the last flush; writes since then went to the new member, too
//   end of rebuild  every member was flushed after the last row
//   new size, a scrub's end    change nothing else
//   a reshape's frontier       all before it is at its new place, and every member was flushed since; the old place still holds the same
//   trust           what is not in sync fits all the same; called so only while it is: a row that loses it keeps its locks, and its
//                   record, until the superblocks know (ParityRow.Journal.cs), both slots of each, as of a failure. The first update of
//                   a run begins a new generation of the journal: the records of the one before have been replayed, and no write has
//                   started
//
// A start writes nothing. A run that only reads leaves every member as it was, and one that is absent can come back: it is
// recorded as failed by the first update, which is the first that a write, a resync or a failure needs.
//
// Each update raises the event count by one, unless it only has more marks, and goes to every member that is not failed. A member
// that does not take it is failed by the next update, until all that are left have the same. So a member that is not recorded as
// failed is one event behind at most. A broken array's superblocks are left as they are: the drives that do not answer may be
// sound, and must not fall behind those that do.

using System.Collections.Immutable;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file.</summary>
internal sealed class ArrayMetadata(
    RaidArray array, ArraySuperblock newest, Reactor home, ArrayRunOptions options, Action kick)
{
    private readonly SuperblockWriter _writer = new(array, home, options, kick);
    private ArraySuperblock _current = newest;
    private long _flushedCheckpoint = SyncedBytesOf(array);
    private long _flushedRebuilt = RebuiltBytesOf(array);
    private ulong _told = array.State.PersistedMask;
    private BadRanges _toldBad = array.State.Bad;
    private long _toldBadAdded = array.State.BadAdded;
    private readonly bool _mayHaveTornRows = newest.MayHaveTornRows || (newest.State & ArrayStateFlags.Dirty) != 0;
    private bool _leftOut;
    private bool _hasToldAll;
    private ulong _generation;
    private ulong _run;

    /// <summary>The reactor that carries the superblocks.</summary>
    public Reactor Home => home;

    /// <summary>The newest superblock that was written, or found. Any thread.</summary>
    public ArraySuperblock Current => Volatile.Read(ref _current);

    /// <summary>Whether the superblocks say dirty, or will with the next update.</summary>
    public bool IsDirty { get; set; } = (newest.State & ArrayStateFlags.Dirty) != 0;

    /// <summary>Whether a human should know that blocks may be damaged: <see cref="ArrayNotices.MayBeDamaged"/>.</summary>
    public bool MayBeDamaged { get; set; } = (newest.Notices & ArrayNotices.MayBeDamaged) != 0;

    /// <summary>Members that the superblocks call rebuilding, or will with the next update.</summary>
    public ulong RebuildingMask { get; private set; } = array.State.RebuildingMask;

    /// <summary>Bytes of every member that is being rebuilt that are made; all of them when none is.</summary>
    public long RebuiltBytes => RebuiltBytesOf(array);

    /// <summary>Whether this run has written superblocks: then they know of every member that was absent at its start.</summary>
    public bool HasWritten { get; private set; }

    /// <summary>Bytes of every member that are in sync; 0 when all is.</summary>
    public long SyncedBytes => SyncedBytesOf(array);

    /// <summary>Members that are late (<see cref="SuperblockWriter.LateMask"/>) and not given up.</summary>
    public ulong LateMask => _writer.LateMask & ~array.State.FailedMask;

    /// <summary>
    /// Whether no start can miss what the last update said: without the members that have it the array does not start. It is not
    /// while those that are late could start without them, as if nothing had happened: nothing is acknowledged that relies on it.
    /// </summary>
    public bool IsKnown { get; private set; } = true;

    /// <summary>Whether there is a failure, or a place that is bad or no more, that no update has spoken of yet.</summary>
    public bool IsBehind => array.State.FailedMask != _told || !ReferenceEquals(array.State.Bad, _toldBad)
        || array.State.BadAdded != _toldBadAdded
        || (array.State.PersistedTrust && !array.State.TrustsUnsynced);

    /// <inheritdoc cref="SuperblockWriter.IsSettled"/>
    public bool IsSettled => _writer.IsSettled;

    /// <inheritdoc cref="SuperblockWriter.TakeCaughtUp"/>
    public bool TakeCaughtUp() => _writer.TakeCaughtUp();

    /// <summary>Opens the queues.</summary>
    public Task OpenAsync() => _writer.OpenAsync();

    /// <summary>Closes the queues.</summary>
    public Task CloseAsync() => _writer.CloseAsync();

    /// <summary>
    /// Writes the first superblock of a new array to all members, to both slots: each of them can be read without the other.
    /// </summary>
    /// <exception cref="ArrayException">A member did not take it.</exception>
    public async Task CreateAsync()
    {
        ulong refused = await _writer.WriteAsync(_current, array.State.FailedMask, everySlot: true);
        refused |= LateMask;
        if (refused != 0)
        {
            IEnumerable<RaidMember> without = array.Members.Where(m => ((refused >> m.Role) & 1) != 0);
            string drives = string.Join(", ", without.Select(m => m.Drive!.Name));
            throw new ArrayException(
                $"Array {array.Name} could not be made: the superblock could not be written to {drives}. Others have it "
                + "already: once the drives are mended, or others are taken, make it again with --force.");
        }

        HasWritten = true;
    }

    /// <summary>
    /// Flushes the members: what the resync had done before is then durable and may be called so. A member that cannot is given
    /// up.
    /// </summary>
    /// <returns>
    /// Whether all were flushed that are left. One that was late at the beginning got no flush, also when it has answered since.
    /// </returns>
    public async Task<bool> FlushAsync()
    {
        long checkpoint = SyncedBytes, rebuilt = RebuiltBytes;
        ulong late = LateMask;
        Refuse(await _writer.FlushAsync(array.State.FailedMask), mayHaveLost: true);
        bool all = (late | LateMask) == 0;
        _flushedCheckpoint = all ? checkpoint : Math.Min(_flushedCheckpoint, checkpoint);
        _flushedRebuilt = all ? rebuilt : Math.Min(_flushedRebuilt, rebuilt);
        return all;
    }

    /// <summary>Members begin to be rebuilt; they hold nothing yet. The next update says so.</summary>
    /// <param name="members">One bit each, by role.</param>
    /// <param name="marked">Whether they have missed only what is marked (<see cref="ArrayStateFlags.RebuildsMarked"/>).</param>
    public void BeginRebuild(ulong members, bool marked)
    {
        RebuildsMarked = marked && (RebuildingMask == 0 || RebuildsMarked);
        RebuildingMask |= members;
        _flushedRebuilt = 0;
    }

    /// <summary>Whether the rebuild makes only what is marked.</summary>
    public bool RebuildsMarked { get; private set; } = (newest.State & ArrayStateFlags.RebuildsMarked) != 0;

    /// <summary>
    /// No write is in flight, none can start, and every member has been flushed: the next update takes all marks away, unless
    /// they are still needed.
    /// </summary>
    public void ForgetIntent()
    {
        if (!array.State.NeedsResync && array.State.LostMask == 0)
        {
            array.Intent?.Clear(_current.EventCount + 1);
        }
    }

    /// <summary>
    /// The members that were rebuilt are in step, and that is durable: the last call was a <see cref="FlushAsync"/> that returned
    /// true. Or they have failed. The next update says so.
    /// </summary>
    public void EndRebuild() => RebuildingMask = 0;

    /// <inheritdoc cref="SuperblockWriter.ReplaceAsync"/>
    public Task ReplaceAsync(RaidMember member) => _writer.ReplaceAsync(member);

    /// <summary>
    /// Looks whether somebody else uses the array, which ends this run's part of it (<see cref="ArrayState.Fence"/>).
    /// </summary>
    public async Task LookForOthersAsync()
    {
        await _writer.LookForOthersAsync(array.State.FailedMask);
        if (array.State.FencedBy is not null)
        {
            await WriteUntilAllAgreeAsync(null, null);
        }
    }

    /// <summary>
    /// Writes superblocks when there is something that they do not know: for whoever waits for rows, which may wait for them.
    /// </summary>
    public Task CatchUpAsync() => _writer.TakeCaughtUp() || IsBehind ? UpdateAsync() : Task.CompletedTask;

    /// <summary>
    /// Writes superblocks until every member that is left has the same, and acknowledges what waited for that, when it is known
    /// (<see cref="IsKnown"/>). An array that is broken or only read keeps its own.
    /// </summary>
    /// <param name="change">What else is different from now on; null changes nothing.</param>
    public async Task UpdateAsync(Func<ArraySuperblock, ArraySuperblock>? change = null)
    {
        await BringUpAsync();
        await WriteUntilAllAgreeAsync(null, change);
    }

    /// <summary>
    /// Another drive has a role from now on, which the map says already. Its drive is told first; the others only when it is.
    /// This run has written superblocks before.
    /// </summary>
    /// <returns>False when the drive did not take it: the others know nothing of it.</returns>
    public async Task<bool> HandOverAsync(RaidMember member, Func<ArraySuperblock, ArraySuperblock> change)
    {
        ulong failed = array.State.FailedMask;
        long badAdded = array.State.BadAdded;
        BadRanges bad = array.State.Bad;
        ArraySuperblock next = Describe(change(_current), failed, bad, array.State.TrustsUnsynced);
        if (!CanWrite || !await _writer.WriteFirstAsync(next, member))
        {
            return false;
        }

        await WriteUntilAllAgreeAsync(new FirstTold(next, failed, bad, badAdded, 1UL << member.Role), change);
        return true;
    }

    /// <summary>What one member was told before all others.</summary>
    private sealed record FirstTold(ArraySuperblock Superblock, ulong Failed, BadRanges Bad, long BadAdded, ulong Member);

    /// <summary>
    /// Before a run raises the event count for the first time: a run that cannot write, however often it is tried, must leave no
    /// member further behind.
    /// </summary>
    private async Task BringUpAsync()
    {
        if (!HasWritten && CanWrite)
        {
            Refuse(await _writer.WriteAsync(_current, array.State.FailedMask, everySlot: false), mayHaveLost: false);
        }
    }

    private async Task WriteUntilAllAgreeAsync(FirstTold? first, Func<ArraySuperblock, ArraySuperblock>? change)
    {
        ulong failed = first?.Failed ?? array.State.FailedMask;
        bool trust = array.State.TrustsUnsynced;
        long badAdded = array.State.PersistedBad;
        while (CanWrite)
        {
            NoteLosses(failed);

            // First: what is described then has at least these.
            badAdded = first?.BadAdded ?? array.State.BadAdded;
            BadRanges bad = first?.Bad ?? array.State.Bad;
            MayBeDamaged |= IsExposed && !_current.BadRanges.Includes(bad);
            ArraySuperblock next = first?.Superblock
                ?? Describe(change is null ? _current : change(_current), failed, bad, array.State.TrustsUnsynced);
            trust = next.TrustsUnsynced;
            ulong late = LateMask; // left out, also those that answer meanwhile
            ulong told = failed | (first?.Member ?? 0);
            bool everySlot = KnowsLess(failed) || _leftOut || (_current.TrustsUnsynced && !trust)
                || !_current.BadRanges.Includes(bad);
            ulong refused = await _writer.WriteAsync(next, told, everySlot);
            late |= LateMask;
            first = null;
            Volatile.Write(ref _current, next);
            HasWritten = true;
            _told = failed;
            _toldBad = bad;
            _toldBadAdded = badAdded;
            _leftOut = late != 0;
            _hasToldAll |= late == 0;
            IsKnown = late == 0 || !MayStartWithout(AllMembers & ~(failed | refused | late));
            Refuse(refused, mayHaveLost: false);
            ulong known = failed;
            failed = array.State.FailedMask;
            if (failed == known)
            {
                break;
            }
        }

        _told = CanWrite ? _told : array.State.FailedMask;
        _toldBad = CanWrite ? _toldBad : array.State.Bad;
        _toldBadAdded = CanWrite ? _toldBadAdded : array.State.BadAdded;
        ulong persisted = !CanWrite ? array.State.FailedMask : IsKnown ? failed : array.State.PersistedMask;
        array.State.PersistedMask = persisted;
        array.State.PersistedBad = !CanWrite ? array.State.BadAdded : IsKnown ? badAdded : array.State.PersistedBad;
        array.State.PersistedTrust = CanWrite && (trust || (!IsKnown && array.State.PersistedTrust));

        // Also where neither is new: trust that was lost and has come back meanwhile is what somebody may have waited for.
        await array.ForEachQueueAsync(queue => queue.ReleaseHeld());
    }

    /// <summary>
    /// Whether losing a member now leaves parity that nobody knows to be right. After an unclean stop that is so until the resync
    /// is over also where the journal was replayed: of rows that were being written as a whole it has no record.
    /// </summary>
    public bool IsExposed => array.Geometry.HasParity && array.State.NeedsResync && (_mayHaveTornRows || !array.State.TrustsUnsynced);

    private ulong AllMembers => array.Members.Aggregate(0UL, (all, m) => all | (1UL << m.Role));

    /// <summary>
    /// Whether others could start without members, by what their superblocks say. Until all were told once in a run, some may
    /// know nothing of its reshape, and go by the old geometry alone.
    /// </summary>
    private bool MayStartWithout(ulong members) => array.State.SurvivesWithout(members)
        || (!_hasToldAll && array.Reshape is { } run && run.Map.OldSurvivesWithout(members));

    private bool CanWrite => !array.State.IsBroken && !array.Limits.ReadOnly;

    private static long SyncedBytesOf(RaidArray array) =>
        array.State.NeedsResync ? RaidUnits.ToSyncedBytes(array.Geometry, array.State.FirstUnsynced) : 0;

    private static long RebuiltBytesOf(RaidArray array) =>
        array.State.RebuildingMask == 0 ? array.Geometry.MemberDataSize
            : RaidUnits.ToSyncedBytes(array.Geometry, array.State.RebuiltUnits);

    /// <summary>Whether the superblocks call a member present, or in step with a part, that is not.</summary>
    private bool KnowsLess(ulong failed) => array.Members.Any(
        m => ((failed >> m.Role) & 1) != 0 && _current.Members[m.Role].State is MemberState.Present or MemberState.Rebuilding);

    /// <summary>
    /// What was on a member that a start does without was not told to anybody since: only what was not flushed may be lost.
    /// </summary>
    private void NoteLosses(ulong failed) => MayBeDamaged |= IsExposed && array.Members.Any(
        m => ((failed >> m.Role) & 1) != 0 && _current.Members[m.Role].State == MemberState.Present
            && (!m.IsAbsent || !array.State.TrustsUnsynced));

    /// <summary>Gives up the members that did not take a superblock or a flush.</summary>
    /// <param name="refused">Members, one bit each, by role.</param>
    /// <param name="mayHaveLost">Whether what they had taken before may be missing, anywhere: nothing is made from one that has
    /// to stay.</param>
    private void Refuse(ulong refused, bool mayHaveLost)
    {
        for (int role = 0; role < array.Members.Length; role++)
        {
            if (((refused >> role) & 1) != 0)
            {
                _writer.GiveUp(role, mayHaveLost);
            }
        }
    }

    /// <summary>Who took members out: made when the first one is.</summary>
    private ulong Run => _run != 0 ? _run : _run = Math.Max(1, BitConverter.ToUInt64(options.NewUuid().ToByteArray(), 8));

    /// <summary>The first update of a run: event counts only rise, so no generation comes twice.</summary>
    private void BeginGeneration(ulong eventCount)
    {
        if (_generation == 0 && array.Journal is { } journal)
        {
            journal.Generation = _generation = eventCount;
            if (array.Reshape?.OldJournal is { } old)
            {
                old.Generation = eventCount;
            }
        }
    }

    /// <summary>What the superblocks are to say.</summary>
    private ArraySuperblock Describe(ArraySuperblock like, ulong failed, BadRanges bad, bool trust)
    {
        DateTimeOffset now = options.Clock.GetUtcNow();
        ulong eventCount = _current.EventCount + 1;
        var entries = ImmutableArray.CreateBuilder<MemberEntry>(array.Members.Length);
        foreach (RaidMember member in array.Members)
        {
            bool isOut = ((failed >> member.Role) & 1) != 0;
            if (isOut && member.OutSinceEvent == 0)
            {
                member.OutSinceEvent = eventCount;
            }

            MemberState state = !isOut
                ? ((RebuildingMask >> member.Role) & 1) != 0 ? MemberState.Rebuilding : MemberState.Present
                : member.Uuid == Guid.Empty ? MemberState.Missing
                : MemberState.Failed;
            entries.Add(isOut
                ? new MemberEntry(member.Uuid, state, member.OutSinceEvent, member.WhyOut)
                : new MemberEntry(member.Uuid, state));
        }

        BeginGeneration(eventCount);
        ForkHistory forks = like.Forks ?? ForkHistory.From(eventCount);
        ImmutableArray<MemberEntry> members = entries.MoveToImmutable();
        bool rebuilds = members.Any(m => m.State == MemberState.Rebuilding);

        // One that was over when this run began is forgotten with its first update.
        ReshapeRecord? reshape = array.Reshape is null ? null : like.Reshape;

        ArraySuperblock next = like with
        {
            EventCount = eventCount,
            UpdatedAt = now,
            State = (IsDirty ? ArrayStateFlags.Dirty : ArrayStateFlags.Clean)
                | (rebuilds && RebuildsMarked ? ArrayStateFlags.RebuildsMarked : ArrayStateFlags.Clean),
            DirtySince = IsDirty ? like.DirtySince ?? now : null,

            // After a crash that interrupts writes nothing counts as done: they may have been anywhere.
            ResyncCheckpoint = !array.State.NeedsResync ? ArraySuperblock.NoResync
                : IsDirty ? 0
                : Math.Min(_flushedCheckpoint, SyncedBytes),
            RebuildCheckpoint = rebuilds ? _flushedRebuilt : ArraySuperblock.NoRebuild,
            Regions = array.Intent?.Describe(),
            FormatVersion = SuperblockFormat.Version,
            Consistency = array.Consistency,
            TrustsUnsynced = trust,
            MayHaveTornRows = array.Geometry.HasParity && array.State.NeedsResync && _mayHaveTornRows,
            JournalGeneration = _generation,
            Forks = KnowsLess(failed) ? forks.With(new ArrayFork(eventCount, Run)) : forks,
            Host = options.HostName,
            LogicalBlockSize = array.Limits.LogicalBlockSize,
            Notices = MayBeDamaged ? ArrayNotices.MayBeDamaged : ArrayNotices.None,
            Members = members,

            Reshape = reshape,
            Incompatible = (reshape?.FeaturesOf(array.Geometry.Level) ?? IncompatibleFeatures.None)
                | SuperblockFormat.FeaturesOf(array.Geometry.Level)
                | (bad.Members != 0 ? IncompatibleFeatures.BadRanges : IncompatibleFeatures.None)
                | (array.Sums is not null ? IncompatibleFeatures.Checksums : IncompatibleFeatures.None),
            BadRanges = bad,
        };

        // Marks alone are no event: there can be many of them while a member is late, and it must not fall behind by them. At
        // assembly the marks of all superblocks of one event count together.
        ArraySuperblock marked = _current with { UpdatedAt = now, Regions = next.Regions };
        return next with { EventCount = _current.EventCount } == marked ? marked : next;
    }
}
