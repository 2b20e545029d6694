// The control task of an array: everything that changes superblocks. It runs on the scheduler and by the clock of the run
// options, which are the pool's and the system's but in a simulation; one thing at a time; reactors only kick it.
//
// So that a simulation is the same each time, nothing here or below leaves the scheduler: every await goes on where it was begun,
// every wait is one by that clock.
//
// What it promises, in the order that makes it true:
//   a write starts         only after superblocks that mark its regions are flushed to every member (RequestWrites, then
//                          OpenWrites);
//   a write is             acknowledged without a member only after the others' superblocks call that member failed
//                          (ArrayMetadata.UpdateAsync);
//   an array is            called clean only when every queue has been closed while idle and every member has been flushed
//                          (TryMarkCleanAsync);
//   a resync starts        only after superblocks that call the members failed that it does without.
//
// What a superblock says, and that it is true, is ArrayMetadata's part. Until one of the above needs an update, a run leaves them
// as they are.

using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Control;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file.</summary>
[SuppressMessage(
    "Design", "CA1001", Justification = "A semaphore without a wait handle holds nothing; whoever comes after the end is told so under it.")]
internal sealed partial class ArrayControl
{
    private const int PatientTurns = 10;
    private static readonly TimeSpan s_tick = TimeSpan.FromMilliseconds(200);

    private readonly RaidArray _array;
    private readonly ArrayRunOptions _options;
    private readonly ControlSignal _signal;
    private readonly SemaphoreSlim _metadata = new(1, 1);
    private readonly ArrayMetadata _superblocks;
    private readonly JobRunner _jobs;
    private readonly Membership _membership;
    private readonly HotReplacement _replacement;
    private readonly Reshaping _reshaping;
    private readonly MemberWatch _watch;
    private Task _loop = Task.CompletedTask;
    private ulong _reportedFailures;
    private int _writesWanted;
    private bool _stopping;
    private bool _ended;
    private bool _brokenReported;
    private long _writesSeen = -1;
    private long _idleSinceMs;
    private long _checkpointMs;
    private int _inDoubt;
    private int _reportedTenths;
    private int _reportedLost;
    private readonly Backoff _retry;
    private long? _resyncAtMs;
    private bool _upgradesFormat;
    private bool _mayLackRecords;

    public ArrayControl(RaidArray array, ArraySuperblock superblock, Reactor home, ArrayRunOptions options)
    {
        _array = array;
        _options = options;
        _retry = new Backoff(options.ResyncRetryAfter);
        _mendRetry = new Backoff(options.ResyncRetryAfter);
        _signal = new ControlSignal(options.Scheduler, options.Clock);
        Home = home;
        _superblocks = new ArrayMetadata(array, superblock, home, options, Kick);
        _jobs = new JobRunner(array, home, options);
        _membership = new Membership(array, _superblocks, _jobs, options, Kick, Report);
        _replacement = new HotReplacement(array, _superblocks, _membership, _jobs, options, Report);
        _reshaping = new Reshaping(array, _superblocks, _jobs, options, Kick, Report);
        _watch = new MemberWatch(array, options, Report);
        _upgradesFormat = superblock.FormatVersion < SuperblockFormat.Version;
        _reportedBad = array.State.Bad;
        CheckEvery = options.CheckEvery;
    }

    /// <summary>The time of the array's clock in milliseconds.</summary>
    private long NowMs => (long)_options.Clock.GetElapsedTime(0).TotalMilliseconds;

    /// <summary>How much of the array is in sync, in tenths.</summary>
    private int ResyncTenths => (int)(10 * _superblocks.SyncedBytes / Math.Max(1, _array.Geometry.MemberDataSize));

    /// <summary>The reactor that carries the control I/O.</summary>
    public Reactor Home { get; }

    /// <summary>Opens what the control task needs, writes the superblocks of a new array, and starts the task.</summary>
    /// <param name="isNew">
    /// Whether the array is being made. One that was found keeps its superblocks until something changes.
    /// </param>
    /// <param name="mayBeDamaged">
    /// Whether it starts although blocks may be damaged: that is kept and shown until somebody says that he knows.
    /// </param>
    /// <param name="returning">Drives that were away.</param>
    /// <exception cref="ArrayException">The superblocks of a new array could not be written.</exception>
    public async Task StartAsync(bool isNew, bool mayBeDamaged, IEnumerable<ReturningDrive> returning)
    {
        _superblocks.MayBeDamaged |= mayBeDamaged;
        _reportedFailures = _array.State.FailedMask;
        _reportedLost = BitOperations.PopCount(_array.State.LostMask);
        _brokenReported = _array.State.IsBroken;
        await _superblocks.OpenAsync();
        try
        {
            if (isNew)
            {
                await _superblocks.CreateAsync();
            }

            _membership.Begin(returning);
            _replacement.Begin();
            if (_options.Resync && _array.State.NeedsResync && !_array.Limits.ReadOnly)
            {
                _reportedTenths = ResyncTenths;
                _resyncAtMs = NowMs + (long)_options.ResyncAfter.TotalMilliseconds;
                await StartDueResyncAsync();
            }
        }
        catch
        {
            await _superblocks.CloseAsync();
            throw;
        }

        _loop = Task.Factory.StartNew(RunAsync, CancellationToken.None, TaskCreationOptions.DenyChildAttach, _options.Scheduler).Unwrap();
    }

    /// <summary>Something changed that the control task must look at. Any thread; allocates nothing, waits for nothing.</summary>
    public void Kick() => _signal.Set();

    /// <summary>
    /// Waits for something that needs the members, whether or not the task itself has ended. Returns false when a member hangs:
    /// it may never come.
    /// </summary>
    /// <param name="task">What is waited for.</param>
    /// <param name="needsLost">Whether it needs also members that are out.</param>
    public async Task<bool> WaitUnlessHangingAsync(Task task, bool needsLost = false)
    {
        // Where one hangs already, what does not need it still gets its time.
        ulong Hanging() => _watch.HangingMask & (needsLost ? ulong.MaxValue : ~_array.State.FailedMask);
        for (int turns = 0; !task.IsCompleted && (Hanging() == 0 || turns < PatientTurns); turns++)
        {
            await Task.WhenAny(task, Task.Delay(s_tick, _options.Clock));
            _watch.Look();
        }

        if (task.IsCompleted)
        {
            await task;
        }

        return task.IsCompleted;
    }

    /// <summary>Looks at the members' ages while the control task waits for one of them.</summary>
    public void LookAtMembers() => _watch.Look();

    /// <summary>A queue has a write and its gate is closed: <see cref="RaidQueue.OpenWrites"/> will come. Any thread.</summary>
    public void RequestWrites()
    {
        Volatile.Write(ref _writesWanted, 1);
        Kick();
    }

    /// <summary>
    /// Ends the task, the resync and the control queues; all queues of consumers are closed. Returns whether the superblocks say
    /// what is so: false when the array has failed, or a member that hangs was written to.
    /// </summary>
    public async Task<bool> StopAsync(bool markClean)
    {
        Volatile.Write(ref _stopping, true);
        Kick();
        await _loop;
        bool isInOrder = await WaitUnlessHangingAsync(_reshaping.StopAsync()) & await WaitUnlessHangingAsync(_jobs.StopAsync());

        // A change that a user asked for meanwhile is either done before, or finds that the array has ended: two updates at once
        // would write two superblocks of one event.
        await _metadata.WaitAsync();
        _ended = true;
        try
        {
            if (markClean && isInOrder && !_array.State.IsBroken)
            {
                isInOrder = await FinishAsync();
            }
        }
        finally
        {
            await _superblocks.CloseAsync();
            _metadata.Release();
        }

        return _array.Limits.ReadOnly || (markClean && isInOrder && !_array.State.IsBroken);
    }

    /// <summary>A snapshot of the array.</summary>
    public ArrayStatus GetStatus()
    {
        ArraySuperblock current = _superblocks.Current;
        ulong failed = _array.State.FailedMask;
        ResyncStatus? resync = !_array.State.NeedsResync
            ? null
            : new ResyncStatus(
                RaidUnits.ToSyncedBytes(_array.Geometry, _array.State.FirstUnsynced),
                _array.Geometry.MemberDataSize,
                _membership.IsQuiet ? _jobs.BytesPerSecond : 0)
            {
                IsLeft = _array.Limits.ReadOnly,
            };
        ulong rebuilding = _array.State.RebuildingMask & ~failed;
        ResyncStatus? rebuild = rebuilding == 0
            ? null
            : new ResyncStatus(_superblocks.RebuiltBytes, _array.Geometry.MemberDataSize, _membership.IsQuiet ? 0 : _jobs.BytesPerSecond)
            {
                IsLeft = _array.Limits.ReadOnly,
            };
        ulong hanging = _watch.HangingMask;
        BadRanges bad = _array.State.Bad;
        return new ArrayStatus
        {
            Name = _array.Name,
            Uuid = _array.Uuid,
            Level = _array.Geometry.Level,
            ChunkBytes = _array.Geometry.ChunkSize,
            SizeBytes = _array.SizeBytes,
            CapacityBytes = _array.Reshaping?.Map.OldCapacity ?? _array.Geometry.Capacity,
            Consistency = _array.Consistency,
            Health = _array.State.IsBroken ? ArrayHealth.Failed
                : (failed | rebuilding) != 0 ? ArrayHealth.Degraded
                : resync is not null ? ArrayHealth.Resyncing
                : ArrayHealth.Optimal,
            Dirty = _superblocks.IsDirty,
            EventCount = current.EventCount,
            Members = [.. _array.Members.Select(m => new MemberStatus(
                m.Role,
                m.IsAbsent ? string.Empty : m.Drive!.Name,
                m.IsAbsent ? MemberState.Missing
                    : ((failed >> m.Role) & 1) != 0 ? MemberState.Failed
                    : ((rebuilding >> m.Role) & 1) != 0 ? MemberState.Rebuilding
                    : MemberState.Present,
                m.ReadErrors,
                m.WriteErrors,
                m.Repairs)
            {
                OldestRequestSeconds = _watch.AgeSeconds(m),
                RequestsInFlight = m.InFlight,
                Traffic = m.Traffic,
                IsHanging = ((hanging >> m.Role) & 1) != 0,
                BadRanges = bad.CountOf(m.Role),
                BadBytes = bad.RowsOf(m.Role) * RaidUnits.RowBytes(_array.Geometry),
                Drive = m.IsAbsent ? null : m.Drive,
                WhyOut = ((failed >> m.Role) & 1) != 0 ? m.WhyOut : OutReason.Unknown,
                LastFault = m.LastFault,
            })],
            RangesInDoubt = _array.State.Doubts.Count,
            Resync = resync,
            Rebuild = rebuild,
            Replacement = _replacement.Describe(),
            Reshape = _reshaping.Describe(),
            Scrub = ScrubStatus,
            SpareDrives = [.. _array.Map.Spares.Select(s => s.Drive)],
            Warnings = [.. DescribeProblems(failed)],
        };
    }

    private IEnumerable<string> DescribeProblems(ulong failed)
    {
        if (_array.State.IsBroken)
        {
            yield return _array.Members.Any(m => m is { IsAbsent: true, Drive: not null })
                ? "More members are missing than the level can lose: what lies on those that are here can be read, the rest "
                    + "ends with errors."
                : "More drives failed than the level can lose: writes are refused. Stop the array, mend the drives, and start "
                    + "it again.";
        }

        foreach (RaidMember member in _array.Members)
        {
            if (((failed >> member.Role) & 1) != 0)
            {
                yield return member.Drive is null
                    ? $"Member {member.Role} is missing: the array runs without its redundancy."
                    : member.WhyOut == OutReason.TimedOut ? DescribeTimedOut(member)
                    : member.IsDrained ? $"Member {member.Role} ({member.Drive.Name}) has failed: replace the drive."
                    : $"Member {member.Role} ({member.Drive.Name}) has failed, and has not answered all that was asked of it: unplug the drive, "
                        + "so that its requests end, and replace it.";
            }
        }

        foreach (RaidMember member in _array.Members)
        {
            if (((failed >> member.Role) & 1) == 0 && _array.State.Bad.CountOf(member.Role) is int ranges and > 0)
            {
                yield return $"{EventText.BadRanges(ranges)} on {Membership.Describe(member)}: it could not write there, and what "
                    + "belongs there has less redundancy. Replace it when convenient.";
            }
        }

        foreach (string halted in new[] { _membership.Halted, _replacement.Halted, _reshaping.Halted }.OfType<string>())
        {
            yield return halted;
        }

        ulong hanging = _watch.HangingMask & ~failed;
        foreach (RaidMember member in _array.Members)
        {
            if (((hanging >> member.Role) & 1) != 0)
            {
                yield return $"Member {member.Role} ({member.Drive!.Name}) has not answered a request for {_watch.AgeSeconds(member)} s: "
                    + "check the drive and its cable.";
            }
        }

        if (_array.State.Doubts.Count is int inDoubt and > 0)
        {
            yield return _array.Geometry.HasParity && failed != 0
                ? $"{inDoubt} ranges are unknown where the lost member's blocks lie: reading them ends with an error "
                    + "until they are written."
                : $"{inDoubt} ranges could not be read from enough members, or were refused by some, so that members "
                    + "do not agree there; they are tried again. "
                    + "Check the drives, their cables and the space they have.";
        }

        if (_superblocks.MayBeDamaged)
        {
            yield return "A member was lost while parity was not known to be right: what was being written when the array was last cut off may be "
                + $"damaged. Check the file systems, then let this warning go with 'polyblk volume acknowledge {_array.Name}'.";
        }
    }

    private static string DescribeTimedOut(RaidMember member)
    {
        string what = member.LastFault is { } fault ? $" a {fault.Request}" : " a request";
        return $"Member {member.Role} ({member.Drive!.Name}) did not answer{what} in time and is out: " + (member.IsDrained
            ? "it has answered since. Check the drive and its cable, and take it back or replace it."
            : "it has not answered yet. Check the drive and its cable, and unplug it, so that its requests end.");
    }

    private async Task RunAsync()
    {
        _idleSinceMs = _checkpointMs = NowMs;
        while (!Volatile.Read(ref _stopping))
        {
            await _signal.WaitAsync(s_tick);
            await _metadata.WaitAsync();
            try
            {
                await TurnAsync();
            }
#pragma warning disable CA1031 // A bug here must not leave writers waiting for ever: they get errors instead.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _array.State.Break();
                await _array.ForEachQueueAsync(queue =>
                {
                    queue.OpenWrites();
                    queue.ReleaseHeld();
                });
                Report(new ArrayEvent(ArrayEventKind.ControlFailed) { Reason = e.ToString() });
            }
            finally
            {
                _metadata.Release();
            }
        }
    }

    private async Task TurnAsync()
    {
        if (_superblocks.TakeCaughtUp() || _superblocks.IsBehind)
        {
            await _superblocks.UpdateAsync();
        }

        ReportFormat();

        _watch.Look();
        await _watch.LeavingAsync();
        ReportFailures();
        ReportBad();
        if (Interlocked.Exchange(ref _writesWanted, 0) != 0)
        {
            await OpenWritesAsync();
        }

        switch (_jobs.TakeFinished())
        {
            case RebuildJob rebuild:
                await _membership.FinishAsync(rebuild);
                if (_membership.IsQuiet && _array.State.NeedsResync)
                {
                    // It had to wait.
                    _resyncAtMs = NowMs;
                }

                break;
            case ScrubJob scrub:
                await EndScrubAsync(scrub);
                break;
            case CopyJob copy:
                _replacement.Finish(copy);
                break;
            case MendJob:
                break;
            case not null:
                await FinishResyncAsync();
                break;
        }

        await _membership.TurnAsync();
        await _replacement.TurnAsync();
        await _reshaping.TurnAsync();
        ScheduleResync();
        ReportProgress();
        await StartDueResyncAsync();
        await MendTurnAsync();
        await ScrubTurnAsync();

        await TryMarkCleanAsync();
        await CheckpointAsync();
    }

    private async Task OpenWritesAsync()
    {
        // Also those that say dirty already must know who is absent before anything is written without him.
        bool isMarked = !_array.Intent!.TakeWanted();
        if (!_array.State.IsBroken && (!_superblocks.IsDirty || !_superblocks.HasWritten || !isMarked))
        {
            _superblocks.IsDirty = true;
            await _superblocks.UpdateAsync();
        }

        if (!_array.State.IsBroken && !_superblocks.IsKnown)
        {
            // Those that have the mark could be missing at the next start: writes wait until a late member has answered.
            Volatile.Write(ref _writesWanted, 1);
            return;
        }

        _idleSinceMs = NowMs;
        _array.Intent.OpenMarked();
        await _array.ForEachQueueAsync(queue => queue.OpenWrites());
    }

    private async Task TryMarkCleanAsync()
    {
        long writes = _array.Queues.Sum(q => q.WritesStarted);
        long now = NowMs;
        bool mayBecomeClean = _superblocks is { IsDirty: true, HasWritten: true, LateMask: 0 } && !_array.State.IsBroken;
        if (!mayBecomeClean || writes != _writesSeen)
        {
            _writesSeen = writes;
            _idleSinceMs = now;
            return;
        }

        if (now - _idleSinceMs < _options.CleanAfter.TotalMilliseconds)
        {
            return;
        }

        bool idle = true;
        await _array.ForEachQueueAsync(queue => idle &= queue.TryCloseWrites());
        if (!idle || _array.State.MetadataPending)
        {
            await _array.ForEachQueueAsync(queue => queue.OpenWrites());
            _idleSinceMs = now;
            return;
        }

        await FinishAsync();
    }

    /// <summary>
    /// No write is in flight and none can start: flushes the members and marks them clean. Returns false when a member hangs that
    /// may have been written to: the array stays dirty.
    /// </summary>
    private async Task<bool> FinishAsync()
    {
        if (_array.Limits.ReadOnly)
        {
            return true;
        }

        // A member that was late when the flush went out, and answers again, takes the second one.
        bool isFlushed = await _superblocks.FlushAsync() || (_superblocks.LateMask == 0 && await _superblocks.FlushAsync());
        if (!_superblocks.HasWritten && !_array.State.MetadataPending)
        {
            // Nothing was written that the superblocks need to know of: what they say is still so.
            return true;
        }

        if (!isFlushed)
        {
            // What a member that hangs has taken is not known to be on it: nothing is called clean.
            return false;
        }

        bool wasDirty = _superblocks.IsDirty;
        _superblocks.IsDirty = false;
        _mayLackRecords = false;
        BeginTrust();
        _superblocks.ForgetIntent();
        if (wasDirty || _array.State.MetadataPending || _array.State.NeedsResync || _membership.IsRebuilding)
        {
            await _superblocks.UpdateAsync();
        }

        return true;
    }

    /// <summary>A resync has come to its end. What it could not do is in doubt, or has lowered what counts as in sync.</summary>
    private async Task FinishResyncAsync()
    {
        if (!await _superblocks.FlushAsync())
        {
            // It is done again. No event is counted meanwhile: a member that is late must not fall behind by it.
            return;
        }

        bool counts = !_array.State.IsUnsyncedDistrusted || CanResync;
        if (counts && _array.State.TryAdvanceSynced(RaidUnits.Count(_array.Geometry), long.MaxValue))
        {
            _array.State.IsUnsyncedDistrusted = false;
        }

        if (!_array.State.NeedsResync)
        {
            BeginTrust();
            Report(new ArrayEvent(ArrayEventKind.ResyncEnded));
            _inDoubt = 0;
            _retry.Reset();
        }

        await _superblocks.UpdateAsync();
    }

    /// <summary>All is in sync, and every write that is under way has its record.</summary>
    private void BeginTrust()
    {
        if (_array.Journal is { IsOn: true } && !_array.State.NeedsResync && !_mayLackRecords)
        {
            _array.State.BeginTrust();
            if (_array.State.NeedsResync)
            {
                // Since then: whoever loses trust notes the reason first, so this sees it, or it is lost after it was begun.
                _array.State.LoseTrust();
            }
        }
    }

    /// <summary>Whether a resync waits for nothing but the members.</summary>
    public bool IsResyncUrgent => IsResyncDue && _array.State.NeedsResync && CanResync && _options.Resync;

    private bool IsResyncDue => _resyncAtMs is long due && NowMs >= due;

    /// <summary>Whether there is redundancy that members which are lost have not used up: a resync can make something then.</summary>
    public bool HasRedundancyLeft =>
        !_array.Geometry.HasParity || BitOperations.PopCount(_array.State.LostMask) < _array.Geometry.ParityCount;

    /// <summary>Whether a resync can do anything now.</summary>
    private bool CanResync => _membership.IsQuiet && HasRedundancyLeft;

    /// <summary>
    /// What is in doubt is tried again after a while, then less and less often. The array is not called in sync; there, writes go
    /// on making their parity from data.
    /// </summary>
    private void ScheduleResync()
    {
        int inDoubt = _array.State.Doubts.Count;
        if (inDoubt > _inDoubt)
        {
            Report(new ArrayEvent(ArrayEventKind.InDoubt) { Count = inDoubt, IsTriedAgain = CanResync });
        }

        _inDoubt = inDoubt;
        bool isDue = _options.Resync && !_array.Limits.ReadOnly && _array.State.NeedsResync && CanResync;
        if (!isDue || _resyncAtMs is not null || (_jobs.IsBusy && _jobs.Current is not (ScrubJob or CopyJob)))
        {
            return;
        }

        bool isAllDone = _array.State.FirstUnsynced >= RaidUnits.Count(_array.Geometry) && _superblocks.LateMask == 0;
        if (_jobs.Current is ResyncJob { HasNext: true } || isAllDone)
        {
            // It was interrupted by something else, also when nothing but its end was left to do.
            _resyncAtMs = NowMs;
            return;
        }

        _resyncAtMs = NowMs + _retry.NextMs();
    }

    /// <summary>
    /// Starts the resync when its time has come: the first after <see cref="ArrayRunOptions.ResyncAfter"/>, then what it could
    /// not do.
    /// </summary>
    private async Task StartDueResyncAsync()
    {
        if (!IsResyncDue || _reshaping.IsBusy || _array.State.IsBroken || !_membership.IsQuiet || (_jobs.IsBusy && _jobs.Current is not (ScrubJob or CopyJob)))
        {
            return;
        }

        await _jobs.StopAsync(_superblocks.CatchUpAsync);
        _resyncAtMs = null;
        if (!_superblocks.HasWritten)
        {
            await _superblocks.UpdateAsync();
            if (_array.State.IsBroken)
            {
                return;
            }
        }

        if (_retry.IsFresh)
        {
            Report(new ArrayEvent(ArrayEventKind.ResyncStarted));
        }

        await _jobs.StartAsync(new ResyncJob(_array), Kick);
    }

    /// <summary>
    /// While nobody writes, the resync's progress is kept; a dirty array resyncs from the start after a crash. A rebuild's progress
    /// is kept always: writes go to what it has made.
    /// </summary>
    private async Task CheckpointAsync()
    {
        long now = NowMs;
        bool isResync = !_superblocks.IsDirty && _array.State.NeedsResync && CanResync && _resyncAtMs is null;
        bool isKept = (isResync || (_membership.IsRebuilding && _jobs.IsBusy))
            && _superblocks is { HasWritten: true, LateMask: 0 } && !_array.State.IsBroken;
        if (!isKept || now - _checkpointMs < _options.CheckpointEvery.TotalMilliseconds)
        {
            return;
        }

        _checkpointMs = now;
        if (await _superblocks.FlushAsync())
        {
            await _superblocks.UpdateAsync();
        }
    }

    private void ReportFailures()
    {
        ulong failed = _array.State.FailedMask;

        // Who has a new drive can fail again.
        _reportedFailures &= failed;
        foreach (RaidMember member in _array.Members)
        {
            ulong bit = 1UL << member.Role;
            if ((failed & bit & ~_reportedFailures) != 0)
            {
                _reportedFailures |= bit;
                _membership.NoteFailure();
                Report(About(ArrayEventKind.MemberFailed, member) with
                {
                    WhyOut = member.WhyOut,
                    Seconds = member.WhyOut == OutReason.TimedOut ? _watch.OverdueSeconds(member) : null,
                    Fault = member.WhyOut == OutReason.Asked ? null : member.LastFault,
                    MayHaveDamaged = _superblocks.IsExposed,
                });
            }
        }

        ReportRedundancy();

        if (_array.State.IsBroken && !_brokenReported)
        {
            _brokenReported = true;
            Report(new ArrayEvent(ArrayEventKind.ArrayFailed));
        }
    }

    /// <summary>Says when the first member is lost, or one more, and when none is any more.</summary>
    private void ReportRedundancy()
    {
        int lost = BitOperations.PopCount(_array.State.LostMask);
        if (_array.TracksDirt && lost != _reportedLost && !_array.State.IsBroken)
        {
            if (lost == 0)
            {
                Report(new ArrayEvent(ArrayEventKind.RedundancyRestored));
            }
            else if (lost > _reportedLost)
            {
                Report(new ArrayEvent(ArrayEventKind.Degraded) { Count = lost, Of = _array.Members.Length });
            }

            _reportedLost = lost;
        }
    }

    /// <summary>Says once that an older program will not know the array any more.</summary>
    private void ReportFormat()
    {
        if (_upgradesFormat && _superblocks.HasWritten)
        {
            _upgradesFormat = false;
            Report(new ArrayEvent(ArrayEventKind.FormatUpgraded) { Count = SuperblockFormat.Version });
        }
    }

    /// <summary>Says each tenth of a resync that is reached; the last one is its end.</summary>
    private void ReportProgress()
    {
        if (_array.State.SyncedUnits != long.MaxValue && ResyncTenths is int tenths and < 10 && tenths > _reportedTenths)
        {
            _reportedTenths = tenths;
            Report(new ArrayEvent(ArrayEventKind.ResyncProgress) { Percent = tenths * 10 });
        }
    }

    /// <summary>An event about a member.</summary>
    public static ArrayEvent About(ArrayEventKind kind, RaidMember member) =>
        new(kind) { Role = member.Role, Drive = member.Drive?.Name };

    private void Report(ArrayEvent e) => _options.OnEvent?.Invoke(e with { Array = _array.Name });
}
