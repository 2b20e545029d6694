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
    private static readonly TimeSpan s_lookEvery = TimeSpan.FromSeconds(10);

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
    private readonly ArrayReports _reports;
    private Task _loop = Task.CompletedTask;
    private int _writesWanted;
    private bool _stopping;
    private bool _ended;
    private long _writesSeen = -1;
    private long _idleSinceMs;
    private long _checkpointMs;
    private long _lookedMs;
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
        _reports = new ArrayReports(array, _superblocks, _membership, _watch, Report)
        {
            UpgradesFormat = superblock.FormatVersion < SuperblockFormat.Version,
        };
        CheckEvery = options.CheckEvery;
    }

    /// <summary>The time of the array's clock in milliseconds.</summary>
    private long NowMs => (long)_options.Clock.GetElapsedTime(0).TotalMilliseconds;

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
        _reports.Begin();
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
                _reports.BeginProgress();
                _resyncAtMs = NowMs + (long)_options.ResyncAfter.TotalMilliseconds;
                await StartDueResyncAsync();
            }
        }
        catch
        {
            // Its checksums are ended by whoever began them.
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
            await CloseSumsAsync(markClean);
            _metadata.Release();
        }

        return _array.Limits.ReadOnly || (markClean && isInOrder && !_array.State.IsBroken);
    }

    /// <summary>
    /// A member that is out is not written to any more. Sums that are not written are made anew by the next run.
    /// </summary>
    private Task CloseSumsAsync(bool markClean)
    {
        bool IsIn(RaidMember member) => _array.IsUsable(member.Role) && !member.IsLeft;
        return _array.Sums?.CloseAllAsync(sums => markClean && !_array.Limits.ReadOnly
            && _array.Members.Any(m => ReferenceEquals(m.Sums, sums) && IsIn(m))) ?? Task.CompletedTask;
    }

    private async Task RunAsync()
    {
        _idleSinceMs = _checkpointMs = _lookedMs = NowMs;
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

        _reports.OfFormat();

        _watch.Look();
        await _watch.LeavingAsync();
        _reports.OfFailures();
        _reports.OfBadRanges();
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
        _reports.OfProgress();
        await StartDueResyncAsync();
        await MendTurnAsync();
        await ScrubTurnAsync();

        await TryMarkCleanAsync();
        await CheckpointAsync();
        await LookForOthersAsync();
    }

    /// <summary>Where superblocks are not written anyway, which looks as well.</summary>
    private async Task LookForOthersAsync()
    {
        long now = NowMs;
        if (_superblocks is { IsDirty: true, HasWritten: true } && !_array.State.IsBroken && now - _lookedMs >= s_lookEvery.TotalMilliseconds)
        {
            _lookedMs = now;
            await _superblocks.LookForOthersAsync();
            _reports.OfFailures();
        }
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

    /// <summary>
    /// While nobody writes, the resync's progress is kept; a dirty array resyncs from the start after a crash. A rebuild's
    /// progress is kept always: writes go to what it has made.
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

    /// <summary>An event about a member.</summary>
    public static ArrayEvent About(ArrayEventKind kind, RaidMember member) =>
        new(kind) { Role = member.Role, Drive = member.Drive?.Name };

    private void Report(ArrayEvent e) => _options.OnEvent?.Invoke(e with { Array = _array.Name });
}
