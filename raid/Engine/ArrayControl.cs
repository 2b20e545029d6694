// The control task of an array: everything that changes superblocks. It runs on pool threads, one thing at a time; reactors only
// kick it.
//
// What it promises, in the order that makes it true:
//   a write starts         only after superblocks that say dirty are flushed to every member (RequestWrites, then OpenWrites);
//   a write is             acknowledged without a member only after the others' superblocks call that member failed
//                          (ArrayMetadata.UpdateAsync);
//   an array is            called clean only when every queue has been closed while idle and every member has been flushed
//                          (TryMarkCleanAsync);
//   a resync starts        only after superblocks that call the members failed that it does without.
//
// What a superblock says, and that it is true, is ArrayMetadata's part. Until one of the above needs an update, a run leaves them
// as they are.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Engine;

/// <summary>See the top of the file.</summary>
internal sealed partial class ArrayControl : IDisposable, IThreadPoolWorkItem
{
    private const int TickMs = 200;
    private static readonly TimeSpan s_longestRetry = TimeSpan.FromHours(1);

    private readonly RaidArray _array;
    private readonly ArrayRunOptions _options;
    private readonly SemaphoreSlim _signal = new(0, 1);
    private readonly SemaphoreSlim _metadata = new(1, 1);
    private readonly ArrayMetadata _superblocks;
    private readonly ResyncRunner _resync;
    private Task _loop = Task.CompletedTask;
    private ulong _reportedFailures;
    private int _kicked;
    private int _writesWanted;
    private bool _stopping;
    private bool _ended;
    private bool _brokenReported;
    private long _writesSeen = -1;
    private long _idleSinceMs;
    private long _checkpointMs;
    private long _unsynced;
    private int _reportedTenths;
    private TimeSpan _retryAfter;
    private long? _resyncAtMs;

    public ArrayControl(RaidArray array, ArraySuperblock superblock, Reactor home, ArrayRunOptions options)
    {
        _array = array;
        _options = options;
        Home = home;
        _superblocks = new ArrayMetadata(array, superblock, home);
        _resync = new ResyncRunner(array, home, options);
    }

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
    /// <exception cref="ArrayException">The superblocks of a new array could not be written.</exception>
    public async Task StartAsync(bool isNew, bool mayBeDamaged)
    {
        _superblocks.MayBeDamaged |= mayBeDamaged;
        _reportedFailures = _array.State.FailedMask;
        _brokenReported = _array.State.IsBroken;
        await _superblocks.OpenAsync().ConfigureAwait(false);
        try
        {
            if (isNew)
            {
                await _superblocks.CreateAsync().ConfigureAwait(false);
            }

            if (_options.Resync && _array.State.SyncedUnits != long.MaxValue && !_array.Limits.ReadOnly)
            {
                _reportedTenths = ResyncTenths;
                _resyncAtMs = Environment.TickCount64 + (long)_options.ResyncAfter.TotalMilliseconds;
                await StartDueResyncAsync().ConfigureAwait(false);
            }
        }
        catch
        {
            await _superblocks.CloseAsync().ConfigureAwait(false);
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

    /// <summary>
    /// Ends the task, the resync and the control queues; all queues of consumers are closed. Returns whether the superblocks say clean.
    /// </summary>
    public async Task<bool> StopAsync(bool markClean)
    {
        Volatile.Write(ref _stopping, true);
        Kick();
        await _loop.ConfigureAwait(false);
        await _resync.StopAsync().ConfigureAwait(false);

        // A change that a user asked for meanwhile is either done before, or finds that the array has ended: two updates at once
        // would write two superblocks of one event.
        await _metadata.WaitAsync().ConfigureAwait(false);
        _ended = true;
        try
        {
            if (markClean && !_array.State.IsBroken)
            {
                await FinishAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            await _superblocks.CloseAsync().ConfigureAwait(false);
            _metadata.Release();
        }

        return !_array.State.IsBroken || _array.Limits.ReadOnly;
    }

    public void Dispose() => _signal.Dispose();

    /// <summary>A snapshot of the array.</summary>
    public ArrayStatus GetStatus()
    {
        ArraySuperblock current = _superblocks.Current;
        ulong failed = _array.State.FailedMask;
        ResyncStatus? resync = _array.State.SyncedUnits == long.MaxValue
            ? null
            : new ResyncStatus(
                RaidUnits.ToSyncedBytes(_array.Geometry, _array.State.SyncedUnits), _array.Geometry.MemberDataSize, _resync.BytesPerSecond);
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
            Dirty = _superblocks.IsDirty,
            EventCount = current.EventCount,
            Members = [.. _array.Members.Select(m => new MemberStatus(
                m.Role,
                m.IsAbsent ? string.Empty : m.Drive!.Name,
                m.IsAbsent ? MemberState.Missing : ((failed >> m.Role) & 1) != 0 ? MemberState.Failed : MemberState.Present,
                m.ReadErrors,
                m.WriteErrors,
                m.Repairs))],
            Resync = resync,
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
                    : $"Member {member.Role} ({member.Drive.Name}) has failed: replace the drive.";
            }
        }

        if (Volatile.Read(ref _unsynced) is long unsynced and > 0)
        {
            yield return $"The resync could not read {unsynced} ranges from enough members; it tries them again. Check the drives and their cables.";
        }

        if (_superblocks.MayBeDamaged)
        {
            yield return "A member was lost while parity was not known to be right: what was being written when the array was last cut off may be "
                + $"damaged. Check the file systems, then let this warning go with 'polyblk volume acknowledge {_array.Name}'.";
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
                await _array.ForEachQueueAsync(queue =>
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
        if (_array.State.MetadataPending)
        {
            await _superblocks.UpdateAsync().ConfigureAwait(false);
        }

        ReportFailures();
        if (Interlocked.Exchange(ref _writesWanted, 0) != 0)
        {
            await OpenWritesAsync().ConfigureAwait(false);
        }

        if (_resync.TakeFinished(out long unsynced))
        {
            await FinishResyncAsync(unsynced).ConfigureAwait(false);
        }

        ReportProgress();
        await StartDueResyncAsync().ConfigureAwait(false);

        await TryMarkCleanAsync().ConfigureAwait(false);
        await CheckpointAsync().ConfigureAwait(false);
    }

    private async Task OpenWritesAsync()
    {
        // Also those that say dirty already must know who is absent before anything is written without him.
        if (!_array.State.IsBroken && (!_superblocks.IsDirty || !_superblocks.HasWritten))
        {
            _superblocks.IsDirty = true;
            await _superblocks.UpdateAsync().ConfigureAwait(false);
        }

        _idleSinceMs = Environment.TickCount64;
        await _array.ForEachQueueAsync(queue => queue.OpenWrites()).ConfigureAwait(false);
    }

    private async Task TryMarkCleanAsync()
    {
        long writes = _array.Queues.Sum(q => q.WritesStarted);
        long now = Environment.TickCount64;
        if (!_superblocks.IsDirty || !_superblocks.HasWritten || writes != _writesSeen || _array.State.IsBroken)
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
        await _array.ForEachQueueAsync(queue => idle &= queue.TryCloseWrites()).ConfigureAwait(false);
        if (!idle || _array.State.MetadataPending)
        {
            await _array.ForEachQueueAsync(queue => queue.OpenWrites()).ConfigureAwait(false);
            _idleSinceMs = now;
            return;
        }

        await FinishAsync().ConfigureAwait(false);
    }

    /// <summary>No write is in flight and none can start: flushes the members and marks them clean.</summary>
    private async Task FinishAsync()
    {
        if (_array.Limits.ReadOnly)
        {
            return;
        }

        await _superblocks.FlushAsync().ConfigureAwait(false);
        if (!_superblocks.HasWritten && !_array.State.MetadataPending)
        {
            // Nothing was written that the superblocks need to know of: what they say is still so.
            return;
        }

        bool wasDirty = _superblocks.IsDirty;
        _superblocks.IsDirty = false;
        if (wasDirty || _array.State.MetadataPending || _array.State.SyncedUnits != long.MaxValue)
        {
            await _superblocks.UpdateAsync().ConfigureAwait(false);
        }
    }

    private async Task FinishResyncAsync(long unsynced)
    {
        if (unsynced > 0)
        {
            await PostponeResyncAsync(unsynced).ConfigureAwait(false);
            return;
        }

        Report(ArrayEventLevel.Information, "the resync is complete");
        _unsynced = 0;
        await _superblocks.FlushAsync().ConfigureAwait(false);
        _array.State.SyncedUnits = long.MaxValue;
        await _superblocks.UpdateAsync().ConfigureAwait(false);
    }

    /// <summary>
    /// Ranges could not be read from enough members. The array is not called in sync: where it is not, writes go on making their parity from data,
    /// and the ranges are tried again, less and less often.
    /// </summary>
    private async Task PostponeResyncAsync(long unsynced)
    {
        if (unsynced != _unsynced)
        {
            Report(ArrayEventLevel.Error, $"{unsynced} ranges could not be read from enough members to make them agree; they are tried again");
        }

        _retryAfter = _unsynced == 0 ? _options.ResyncRetryAfter : _retryAfter * 2 < s_longestRetry ? _retryAfter * 2 : s_longestRetry;
        _unsynced = unsynced;
        _resyncAtMs = Environment.TickCount64 + (long)_retryAfter.TotalMilliseconds;
        await _superblocks.FlushAsync().ConfigureAwait(false);
        await _superblocks.UpdateAsync().ConfigureAwait(false);
    }

    /// <summary>Starts the resync when its time has come: the first after <see cref="ArrayRunOptions.ResyncAfter"/>, then what it could not do.</summary>
    private async Task StartDueResyncAsync()
    {
        if (_resyncAtMs is not long due || Environment.TickCount64 < due || _array.State.IsBroken)
        {
            return;
        }

        _resyncAtMs = null;
        if (!_superblocks.HasWritten)
        {
            await _superblocks.UpdateAsync().ConfigureAwait(false);
            if (_array.State.IsBroken)
            {
                return;
            }
        }

        if (_unsynced == 0)
        {
            Report(ArrayEventLevel.Information, "a resync has started");
        }

        await _resync.StartAsync(Kick).ConfigureAwait(false);
    }

    /// <summary>While nobody writes, the resync's progress is kept; a dirty array resyncs from the start after a crash.</summary>
    private async Task CheckpointAsync()
    {
        long now = Environment.TickCount64;
        bool isKept = _superblocks is { IsDirty: false, HasWritten: true } && _array.State.SyncedUnits != long.MaxValue;
        if (!isKept || _resyncAtMs is not null || now - _checkpointMs < _options.CheckpointEvery.TotalMilliseconds)
        {
            return;
        }

        _checkpointMs = now;
        await _superblocks.FlushAsync().ConfigureAwait(false);
        await _superblocks.UpdateAsync().ConfigureAwait(false);
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
                bool exposed = _superblocks.IsExposed;
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
}
