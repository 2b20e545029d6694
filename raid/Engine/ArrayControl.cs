// The control task of an array: everything that changes superblocks. It runs on pool threads, one thing at a time; reactors only kick it.
//
// What it promises, in the order that makes it true:
//   a write starts         only after superblocks that say dirty are flushed to every member (RequestWrites, then OpenWrites);
//   a write is acknowledged without a member only after the others' superblocks call that member failed (PersistFailuresAsync);
//   an array is called clean only when every queue has been closed while idle and every member has been flushed (TryMarkCleanAsync).
//
// Each update raises the event count by one and goes to every member that is not failed. A member that does not take it is failed by
// the next update, until all that are left have the same. So a member that is not recorded as failed is one event behind at most: a start first
// brings it up, and an array that lost too many members writes no superblocks at all.

using System.Collections.Immutable;
using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Engine;

/// <summary>See the top of the file.</summary>
internal sealed class ArrayControl : IDisposable, IThreadPoolWorkItem
{
    private const int TickMs = 200;
    private const int PatientTurns = 10;
    private static readonly TimeSpan s_longestRetry = TimeSpan.FromHours(1);

    private readonly RaidArray _array;
    private readonly ArrayRunOptions _options;
    private readonly SemaphoreSlim _signal = new(0, 1);
    private readonly SemaphoreSlim _metadata = new(1, 1);
    private readonly SuperblockWriter _writer;
    private readonly ResyncRunner _resync;
    private readonly MemberWatch _watch;
    private Task _loop = Task.CompletedTask;
    private ArraySuperblock _current;
    private ulong _reportedFailures;
    private int _kicked;
    private int _writesWanted;
    private bool _stopping;
    private bool _dirty;
    private bool _brokenReported;
    private bool _writeHoleWarning;
    private long _writesSeen = -1;
    private long _idleSinceMs;
    private long _checkpointMs;
    private long _flushedCheckpoint;
    private int _inDoubt;
    private int _reportedTenths;
    private TimeSpan _retryAfter;
    private long? _resyncAtMs;

    public ArrayControl(RaidArray array, ArraySuperblock superblock, Reactor home, ArrayRunOptions options)
    {
        _array = array;
        _current = superblock;
        _options = options;
        _flushedCheckpoint = SyncedBytes;
        Home = home;
        _writer = new SuperblockWriter(array, home, options, Kick);
        _resync = new ResyncRunner(array, home, options);
        _watch = new MemberWatch(array, options, Report);
    }

    private long SyncedBytes =>
        _array.State.NeedsResync ? RaidUnits.ToSyncedBytes(_array.Geometry, _array.State.FirstUnsynced) : 0;

    /// <summary>How much of the array is in sync, in tenths.</summary>
    private int ResyncTenths => (int)(10 * SyncedBytes / Math.Max(1, _array.Geometry.MemberDataSize));

    /// <summary>The reactor that carries the control I/O.</summary>
    public Reactor Home { get; }

    /// <summary>Opens what the control task needs, writes the first superblocks of this run, and starts the task.</summary>
    public async Task StartAsync(bool writeHoleWarning)
    {
        _writeHoleWarning = writeHoleWarning;
        _reportedFailures = _array.State.FailedMask;
        await _writer.OpenAsync().ConfigureAwait(false);
        try
        {
            // First a member that missed the last update gets it, as it is: a start that fails, however often, must leave no member further behind.
            Refuse(await _writer.WriteAsync(_current, _array.State.FailedMask).ConfigureAwait(false));
            await UpdateAsync(_current).ConfigureAwait(false);
            if (_array.State.IsBroken)
            {
                throw new ArrayException($"Array {_array.Name} cannot start: the superblocks could not be written to enough of its drives.");
            }

            if (_options.Resync && _array.State.NeedsResync)
            {
                _reportedTenths = ResyncTenths;
                _resyncAtMs = Environment.TickCount64 + (long)_options.ResyncAfter.TotalMilliseconds;
                await StartDueResyncAsync().ConfigureAwait(false);
            }
        }
        catch
        {
            await _writer.CloseAsync().ConfigureAwait(false);
            throw;
        }

        _loop = Task.Run(RunAsync);
    }

    /// <summary>Something changed that the control task must look at. Any thread; allocates nothing, waits for nothing.</summary>
    public void Kick()
    {
        if (Interlocked.Exchange(ref _kicked, 1) == 0)
        {
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        }
    }

    /// <summary>
    /// Waits for something that needs the members, whether or not the task itself has ended. Returns false when a member hangs:
    /// it may never come.
    /// </summary>
    public async Task<bool> WaitUnlessHangingAsync(Task task)
    {
        // Where one hangs already, what does not need it still gets its time.
        for (int turns = 0; !task.IsCompleted && (_watch.HangingMask == 0 || turns < PatientTurns); turns++)
        {
            await Task.WhenAny(task, Task.Delay(TickMs)).ConfigureAwait(false);
            _watch.Look();
        }

        if (task.IsCompleted)
        {
            await task.ConfigureAwait(false);
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

    /// <summary>The kick, on a pool thread.</summary>
    void IThreadPoolWorkItem.Execute()
    {
        try
        {
            _signal.Release();
        }
        catch (SemaphoreFullException)
        {
            // The task has not yet seen the last one: it will look at everything.
            return;
        }
        catch (ObjectDisposedException)
        {
            // The array has ended meanwhile.
            return;
        }
    }

    /// <summary>Changes the exported size.</summary>
    public async Task ResizeAsync(long newSizeBytes, Action applied)
    {
        await _metadata.WaitAsync().ConfigureAwait(false);
        try
        {
            await UpdateAsync(_current with { ExportedSize = newSizeBytes }).ConfigureAwait(false);
            if (_array.State.IsBroken)
            {
                throw new ArrayException($"Array {_array.Name} has failed; its size stays.");
            }

            applied();
        }
        finally
        {
            _metadata.Release();
        }
    }

    /// <summary>
    /// Ends the task, the resync and the control queues; all queues of consumers are closed. Returns whether the superblocks say clean.
    /// </summary>
    public async Task<bool> StopAsync(bool markClean)
    {
        Volatile.Write(ref _stopping, true);
        Kick();
        await _loop.ConfigureAwait(false);
        if (!await WaitUnlessHangingAsync(_resync.StopAsync()).ConfigureAwait(false))
        {
            markClean = false;
        }

        try
        {
            if (markClean && !_array.State.IsBroken)
            {
                await FinishAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            await _writer.CloseAsync().ConfigureAwait(false);
        }

        return markClean && !_array.State.IsBroken && !_dirty;
    }

    public void Dispose()
    {
        _signal.Dispose();
        _metadata.Dispose();
    }

    /// <summary>A snapshot of the array.</summary>
    public ArrayStatus GetStatus()
    {
        ArraySuperblock current = Volatile.Read(ref _current);
        ulong failed = _array.State.FailedMask;
        ResyncStatus? resync = !_array.State.NeedsResync
            ? null
            : new ResyncStatus(
                RaidUnits.ToSyncedBytes(_array.Geometry, _array.State.FirstUnsynced),
                _array.Geometry.MemberDataSize,
                _resync.BytesPerSecond);
        ulong hanging = _watch.HangingMask;
        return new ArrayStatus
        {
            Name = _array.Name,
            Uuid = _array.Uuid,
            Level = _array.Geometry.Level,
            ChunkBytes = _array.Geometry.ChunkSize,
            SizeBytes = _array.SizeBytes,
            CapacityBytes = _array.Geometry.Capacity,
            Health = _array.State.IsBroken ? ArrayHealth.Failed
                : failed != 0 ? ArrayHealth.Degraded
                : resync is not null ? ArrayHealth.Resyncing
                : ArrayHealth.Optimal,
            Dirty = _dirty,
            EventCount = current.EventCount,
            Members = [.. _array.Members.Select(m => new MemberStatus(
                m.Role,
                m.Drive?.Name ?? string.Empty,
                m.Drive is null ? MemberState.Missing : ((failed >> m.Role) & 1) != 0 ? MemberState.Failed : MemberState.Present,
                m.ReadErrors,
                m.WriteErrors,
                m.Repairs)
            {
                OldestRequestSeconds = _watch.AgeSeconds(m),
                IsHanging = ((hanging >> m.Role) & 1) != 0,
            })],
            RangesInDoubt = _array.State.Doubts.Count,
            Resync = resync,
            Warnings = [.. DescribeProblems(failed)],
        };
    }

    private IEnumerable<string> DescribeProblems(ulong failed)
    {
        if (_array.State.IsBroken)
        {
            yield return "More drives failed than the level can lose: writes are refused. Stop the array, mend the drives, and start it again.";
        }

        foreach (RaidMember member in _array.Members)
        {
            if (((failed >> member.Role) & 1) != 0)
            {
                yield return member.Drive is null
                    ? $"Member {member.Role} is missing: the array runs without its redundancy."
                    : $"Member {member.Role} ({member.Drive.Name}) has failed: replace the drive.";
            }
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

        if (_writeHoleWarning)
        {
            yield return "A member was lost while parity was not known to be right: what was being written when the array was last cut off may be "
                + "damaged. Check the file systems.";
        }
    }

    private async Task RunAsync()
    {
        _idleSinceMs = _checkpointMs = Environment.TickCount64;
        while (!Volatile.Read(ref _stopping))
        {
            await _signal.WaitAsync(TickMs).ConfigureAwait(false);
            Volatile.Write(ref _kicked, 0);
            Interlocked.MemoryBarrier(); // a kick from here on signals again; what was before it is seen below
            await _metadata.WaitAsync().ConfigureAwait(false);
            try
            {
                await TurnAsync().ConfigureAwait(false);
            }
#pragma warning disable CA1031 // A bug here must not leave writers waiting for ever: they get errors instead.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _array.State.Break();
                await ForEachQueueAsync(queue =>
                {
                    queue.OpenWrites();
                    queue.ReleaseHeld();
                }).ConfigureAwait(false);
                Report(ArrayEventLevel.Error, $"its control task failed, writes are refused from now on: {e}");
            }
            finally
            {
                _metadata.Release();
            }
        }
    }

    private async Task TurnAsync()
    {
        if (_array.State.MetadataPending || _writer.TakeCaughtUp())
        {
            await UpdateAsync(_current).ConfigureAwait(false);
        }

        _watch.Look();
        ReportFailures();
        if (Interlocked.Exchange(ref _writesWanted, 0) != 0)
        {
            await OpenWritesAsync().ConfigureAwait(false);
        }

        if (_resync.TakeFinished())
        {
            await FinishResyncAsync().ConfigureAwait(false);
        }

        ScheduleResync();

        ReportProgress();
        await StartDueResyncAsync().ConfigureAwait(false);

        await TryMarkCleanAsync().ConfigureAwait(false);
        await CheckpointAsync().ConfigureAwait(false);
    }

    private async Task OpenWritesAsync()
    {
        if (!_dirty && !_array.State.IsBroken)
        {
            _dirty = true;
            await UpdateAsync(_current).ConfigureAwait(false);
        }

        _idleSinceMs = Environment.TickCount64;
        await ForEachQueueAsync(queue => queue.OpenWrites()).ConfigureAwait(false);
    }

    private async Task TryMarkCleanAsync()
    {
        long writes = _array.Queues.Sum(q => q.WritesStarted);
        long now = Environment.TickCount64;
        if (!_dirty || writes != _writesSeen || _array.State.IsBroken || _writer.LateMask != 0)
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
        await ForEachQueueAsync(queue => idle &= queue.TryCloseWrites()).ConfigureAwait(false);
        if (!idle || _array.State.MetadataPending)
        {
            await ForEachQueueAsync(queue => queue.OpenWrites()).ConfigureAwait(false);
            _idleSinceMs = now;
            return;
        }

        await FinishAsync().ConfigureAwait(false);
    }

    /// <summary>No write is in flight and none can start: flushes the members and marks them clean.</summary>
    private async Task FinishAsync()
    {
        await FlushMembersAsync().ConfigureAwait(false);
        if (_writer.LateMask != 0)
        {
            // What a member that hangs has taken is not known to be on it: nothing is called clean.
            return;
        }

        bool wasDirty = _dirty;
        _dirty = false;
        if (wasDirty || _array.State.MetadataPending || _array.State.NeedsResync)
        {
            await UpdateAsync(_current).ConfigureAwait(false);
        }
    }

    /// <summary>A resync has come to its end. What it could not do is in doubt, or has lowered what counts as in sync.</summary>
    private async Task FinishResyncAsync()
    {
        await FlushMembersAsync().ConfigureAwait(false);
        bool counts = (!_array.State.IsUnsyncedDistrusted || CanResync) && _writer.LateMask == 0;
        if (counts && _array.State.TryAdvanceSynced(RaidUnits.Count(_array.Geometry), long.MaxValue))
        {
            _array.State.IsUnsyncedDistrusted = false;
        }

        if (!_array.State.NeedsResync)
        {
            Report(ArrayEventLevel.Information, "the resync is complete");
            _inDoubt = 0;
            _retryAfter = default;
        }

        await UpdateAsync(_current).ConfigureAwait(false);
    }

    /// <summary>Whether a resync can do anything: there is redundancy that is not used up.</summary>
    private bool CanResync =>
        !_array.Geometry.HasParity || BitOperations.PopCount(_array.State.FailedMask) < _array.Geometry.ParityCount;

    /// <summary>
    /// What is in doubt is tried again after a while, then less and less often. The array is not called in sync; there, writes go
    /// on making their parity from data.
    /// </summary>
    private void ScheduleResync()
    {
        int inDoubt = _array.State.Doubts.Count;
        if (inDoubt > _inDoubt)
        {
            Report(
                ArrayEventLevel.Error,
                $"members do not agree in {inDoubt} ranges: they were refused by some, or could not be read from enough; "
                    + (CanResync ? "they are tried again" : "what would have to be made for the lost member there is an error until it is written"));
        }

        _inDoubt = inDoubt;
        if (!_options.Resync || !_array.State.NeedsResync || _resyncAtMs is not null || _resync.IsBusy || !CanResync)
        {
            return;
        }

        _retryAfter = _retryAfter == default ? _options.ResyncRetryAfter
            : _retryAfter * 2 < s_longestRetry ? _retryAfter * 2
            : s_longestRetry;
        _resyncAtMs = Environment.TickCount64 + (long)_retryAfter.TotalMilliseconds;
    }

    /// <summary>Starts the resync when its time has come: the first after <see cref="ArrayRunOptions.ResyncAfter"/>, then what it could not do.</summary>
    private async Task StartDueResyncAsync()
    {
        if (_resyncAtMs is not long due || Environment.TickCount64 < due || _array.State.IsBroken)
        {
            return;
        }

        _resyncAtMs = null;
        if (_retryAfter == default)
        {
            Report(ArrayEventLevel.Information, "a resync has started");
        }

        await _resync.StartAsync(Kick).ConfigureAwait(false);
    }

    /// <summary>While nobody writes, the resync's progress is kept; a dirty array resyncs from the start after a crash.</summary>
    private async Task CheckpointAsync()
    {
        long now = Environment.TickCount64;
        if (_dirty || !_array.State.NeedsResync || _resyncAtMs is not null
            || now - _checkpointMs < _options.CheckpointEvery.TotalMilliseconds)
        {
            return;
        }

        _checkpointMs = now;
        await FlushMembersAsync().ConfigureAwait(false);
        await UpdateAsync(_current).ConfigureAwait(false);
    }

    /// <summary>Flushes the members: what the resync had done before is then durable and may be called so.</summary>
    private async Task FlushMembersAsync()
    {
        long checkpoint = SyncedBytes;
        await _writer.FlushAsync().ConfigureAwait(false);
        _flushedCheckpoint = _writer.LateMask == 0 ? checkpoint : Math.Min(_flushedCheckpoint, checkpoint);
    }

    /// <summary>
    /// Writes superblocks until every member that is left has the same, and acknowledges what waited for that. A broken array's are left as they
    /// are: the drives that do not answer may be sound, and must not fall behind those that do.
    /// </summary>
    private async Task UpdateAsync(ArraySuperblock like)
    {
        ulong failed = _array.State.FailedMask;
        while (!_array.State.IsBroken)
        {
            ArraySuperblock next = Describe(like with { EventCount = _current.EventCount + 1 }, failed);
            ulong refused = await _writer.WriteAsync(next, failed).ConfigureAwait(false);
            Volatile.Write(ref _current, next);
            Refuse(refused);
            ulong known = failed;
            failed = _array.State.FailedMask;
            if (failed == known)
            {
                break;
            }
        }

        ulong persisted = _array.State.IsBroken ? _array.State.FailedMask : failed;
        if (_array.State.PersistedMask != persisted)
        {
            _array.State.PersistedMask = persisted;
            await ForEachQueueAsync(queue => queue.ReleaseHeld()).ConfigureAwait(false);
        }
    }

    /// <summary>Gives up the members that did not take a superblock.</summary>
    private void Refuse(ulong refused)
    {
        for (int role = 0; role < _array.Members.Length; role++)
        {
            if (((refused >> role) & 1) != 0)
            {
                _array.Members[role].CountWriteError();
                _array.State.TryFail(role);
            }
        }
    }

    private ArraySuperblock Describe(ArraySuperblock like, ulong failed)
    {
        DateTimeOffset now = DateTimeOffset.UtcNow;
        var entries = ImmutableArray.CreateBuilder<MemberEntry>(_array.Members.Length);
        foreach (RaidMember member in _array.Members)
        {
            bool isOut = ((failed >> member.Role) & 1) != 0;
            if (isOut && member.OutSinceEvent == 0)
            {
                member.OutSinceEvent = like.EventCount;
            }

            MemberState state = !isOut ? MemberState.Present : member.Uuid == Guid.Empty ? MemberState.Missing : MemberState.Failed;
            entries.Add(new MemberEntry(member.Uuid, state, isOut ? member.OutSinceEvent : 0));
        }

        return like with
        {
            UpdatedAt = now,
            State = _dirty ? ArrayStateFlags.Dirty : ArrayStateFlags.Clean,
            DirtySince = _dirty ? like.DirtySince ?? now : null,

            // After a crash that interrupts writes nothing counts as done: they may have been anywhere.
            ResyncCheckpoint = !_array.State.NeedsResync ? ArraySuperblock.NoResync
                : _dirty ? 0
                : Math.Min(_flushedCheckpoint, SyncedBytes),
            Members = entries.MoveToImmutable(),
        };
    }

    private void ReportFailures()
    {
        ulong failed = _array.State.FailedMask;
        foreach (RaidMember member in _array.Members)
        {
            ulong bit = 1UL << member.Role;
            if ((failed & bit & ~_reportedFailures) != 0)
            {
                _reportedFailures |= bit;
                bool exposed = _array.Geometry.HasParity && _array.State.SyncedUnits != long.MaxValue;
                _writeHoleWarning |= exposed;
                Report(
                    ArrayEventLevel.Warning,
                    $"member {member.Role} ({member.Drive?.Name}) has failed and is out: replace the drive"
                        + (exposed ? "; parity was being resynced, so the file systems should be checked" : string.Empty));
            }
        }

        if (_array.State.IsBroken && !_brokenReported)
        {
            _brokenReported = true;
            Report(ArrayEventLevel.Error, "more drives failed than the level can lose: writes are refused, reads are answered where they can be");
        }
    }

    /// <summary>Says each tenth of a resync that is reached; the last one is its end.</summary>
    private void ReportProgress()
    {
        if (_array.State.SyncedUnits != long.MaxValue && ResyncTenths is int tenths and < 10 && tenths > _reportedTenths)
        {
            _reportedTenths = tenths;
            Report(ArrayEventLevel.Information, $"{tenths * 10} % of the resync are done");
        }
    }

    private void Report(ArrayEventLevel level, string what) => _options.OnEvent?.Invoke(new ArrayEvent(level, $"Array {_array.Name}: {what}."));

    private async Task ForEachQueueAsync(Action<RaidQueue> action)
    {
        foreach (RaidQueue queue in _array.Queues)
        {
            // A queue may close meanwhile and its reactor end with it.
            Task done = queue.Reactor.InvokeAsync(() =>
            {
                if (!queue.Closed.IsCompleted)
                {
                    action(queue);
                }
            });
            await (await Task.WhenAny(done, queue.Closed).ConfigureAwait(false)).ConfigureAwait(false);
        }
    }
}
