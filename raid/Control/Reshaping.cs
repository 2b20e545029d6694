// The reshape's part of the control task: moves the volume window by window from its old geometry to the new one. Everything here
// happens under the control task's lock, one thing at a time.
//
// The order that makes a crash at any point harmless:
//   1  the window is closed: no request touches it, none is under way that does (ReshapeRun.cs);
//   2  it is read from its old place and written to the new one (Reshape/WindowMover.cs), which holds nothing that the recorded
//      frontier needs (Reshape/ReshapeMap.cs);
//   3  every member is flushed, those that are late included: nothing goes on without them;
//   4  the frontier behind the window is written to the superblocks, until no start can miss it (ArrayMetadata.IsKnown);
//   5  the window is opened: requests go to the new place, and the old one may be written over by a later window.
// A crash before 4 leaves the old place as it was, whatever of 2 reached the drives. After it both hold the same, until 5.
//
// It goes on without members that fail, as far as the level survives. A window that cannot be read or written is opened again at
// its old place, and tried again after a while. A resync comes first; rebuilds, scrubs and replacements wait for the end.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file.</summary>
internal sealed class Reshaping(
    RaidArray array, ArrayMetadata superblocks, JobRunner jobs, ArrayRunOptions options, Action kick, Action<ArrayEvent> report)
{
    /// <summary>How much more is zeroed at a time than moved.</summary>
    private const int ZeroFactor = 16;
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(10);

    private readonly Backoff _retry = new(options.ResyncRetryAfter);
    private readonly ReshapeRun? _run = array.Reshape;
    private WindowMover? _mover;
    private Task _closing = Task.CompletedTask;
    private Phase _phase;
    private long _dueMs = (long)(options.Clock.GetElapsedTime(0) + options.ResyncAfter).TotalMilliseconds;
    private long _beganMs;
    private long _movedBytes;
    private int _reportedTenths;
    private bool _isStopping;
    private int _lostFlushes;

    private enum Phase
    {
        /// <summary>No window is closed.</summary>
        Idle,

        /// <summary>A window is closed; what touches it is under way.</summary>
        Closing,

        /// <summary>It is being moved.</summary>
        Moving,

        /// <summary>It is moved, and not yet recorded.</summary>
        Moved,

        /// <summary>It is recorded; a start could still miss that.</summary>
        Recorded,
    }

    /// <summary>Whether a window is closed: nothing else may use the members in the background.</summary>
    public bool IsBusy => _phase != Phase.Idle;

    /// <summary>Why it stands still; null while it does not.</summary>
    public string? Halted { get; private set; }

    private long NowMs => (long)options.Clock.GetElapsedTime(0).TotalMilliseconds;

    private int Tenths => (int)(10 * (_run!.Frontier / (double)_run.Map.New.Capacity));

    /// <summary>How far it is; null where there is none.</summary>
    public ReshapeStatus? Describe()
    {
        if (_run is not { IsComplete: false } run)
        {
            return null;
        }

        long seconds = Math.Max(1, (NowMs - _beganMs) / 1000);
        return new ReshapeStatus(
            run.Map.Old.Level,
            run.Map.Old.MemberCount,
            run.Map.New.Level,
            run.Map.New.MemberCount,
            new ResyncStatus(
                run.Map.NewEnd(run.Frontier), run.Map.New.MemberDataSize, _movedBytes == 0 ? 0 : _movedBytes / run.Map.New.DataCount / seconds)
            {
                IsLeft = array.Limits.ReadOnly,
            });
    }

    /// <summary>A turn of the control task.</summary>
    public async Task TurnAsync()
    {
        if (_run is not { } run || array.Limits.ReadOnly)
        {
            return;
        }

        while (await StepAsync(run))
        {
            // The next step, without waiting for a turn.
        }
    }

    /// <summary>
    /// Ends it: a window that is being moved is waited for and then left, to be moved again by the next run. The control task has
    /// ended.
    /// </summary>
    public async Task StopAsync()
    {
        _isStopping = true;
        if (_run is not { } run)
        {
            return;
        }

        while (_mover is { IsBusy: true } || (_phase == Phase.Closing && !_closing.IsCompleted))
        {
            await Task.Delay(s_look, options.Clock);
            await superblocks.CatchUpAsync();
        }

        if (IsBusy)
        {
            await OpenAsync(run, run.Frontier);
        }

        if (_mover is { } mover)
        {
            _mover = null;
            array.ForgetMover();
            await superblocks.Home.InvokeAsync(mover.Dispose);
        }
    }

    /// <summary>Does what can be done now. Returns whether more can.</summary>
    private async Task<bool> StepAsync(ReshapeRun run)
    {
        switch (_phase)
        {
            case Phase.Idle:
                return await BeginWindowAsync(run);
            case Phase.Closing:
                if (!_closing.IsCompleted)
                {
                    return false;
                }

                _phase = Phase.Moving;
                await superblocks.Home.InvokeAsync(() => _mover!.Start(run.Window));
                return !_mover!.IsBusy;
            case Phase.Moving:
                if (_mover!.IsBusy)
                {
                    return false;
                }

                if (_mover.Status != 0)
                {
                    await HaltAsync(run, _mover.Status);
                    return false;
                }

                _phase = Phase.Moved;
                return true;
            case Phase.Moved:
                return await RecordAsync(run);
            default:
                return await FinishWindowAsync(run);
        }
    }

    private async Task<bool> BeginWindowAsync(ReshapeRun run)
    {
        bool mayGoOn = !run.IsComplete && !_isStopping && options.Resync && NowMs >= _dueMs && !jobs.IsBusy && superblocks.LateMask == 0
            && array.State is { IsBroken: false, NeedsResync: false };
        if (!mayGoOn)
        {
            SayIfStuck(run);
            return false;
        }

        if (!superblocks.HasWritten)
        {
            await superblocks.UpdateAsync();
            if (array.State.IsBroken)
            {
                return false;
            }
        }

        if (_mover is null)
        {
            try
            {
                _mover = await array.OpenMoverAsync(options.ReshapeWindowBytes, kick);
            }
            catch (IOException)
            {
                // A drive cannot be opened now.
                _dueMs = NowMs + _retry.NextMs();
                return false;
            }

            _beganMs = NowMs;
            _reportedTenths = Tenths;
            report(About(ArrayEventKind.ReshapeStarted, run));
        }

        long most = options.ReshapeWindowBytes * (run.Frontier >= run.Map.OldCapacity ? ZeroFactor : 1);
        _lostFlushes = array.State.LostFlushes;
        run.Close(new ReshapeWindow(run.Frontier, run.Map.NextFrontier(run.Frontier, most)));
        _closing = Task.WhenAll(await array.AdoptReshapeAsync());
        _phase = Phase.Closing;
        if (!_closing.IsCompleted)
        {
            _ = _closing.ContinueWith(_ => kick(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }

        return true;
    }

    /// <summary>Without members, a parity array is resynced no more in this run: nothing goes on by itself then.</summary>
    private void SayIfStuck(ReshapeRun run)
    {
        bool needsResync = array.State is { NeedsResync: true, IsBroken: false };
        if (Halted is null && !run.IsComplete && needsResync && !array.State.HasRedundancyLeft)
        {
            Halt(About(ArrayEventKind.ReshapeStuck, run));
        }
    }

    /// <summary>The window is at its new place: makes that durable, then known.</summary>
    private async Task<bool> RecordAsync(ReshapeRun run)
    {
        if (superblocks.LateMask != 0 && !array.State.IsBroken)
        {
            return false;
        }

        if (array.State.IsBroken || !await superblocks.FlushAsync() || array.State.IsBroken)
        {
            if (array.State.IsBroken)
            {
                await OpenAsync(run, run.Frontier);
            }

            return false;
        }

        if (array.State.LostFlushes != _lostFlushes)
        {
            // A member refused a consumer's flush meanwhile, and stays: what the window had written may be lost with the rest,
            // and a drive says so once. The window is moved again.
            await OpenAsync(run, run.Frontier);
            return true;
        }

        // Who is away from now on has missed more than what is marked.
        array.Intent?.NoteMoved(superblocks.Current.EventCount + 1);
        ReshapeRecord record = run.Describe(run.Window.To);
        bool isLast = run.Window.To >= run.Map.New.Capacity;
        await superblocks.UpdateAsync(s => s with { Reshape = record, ExportedSize = isLast ? SizeAtEnd(run) : s.ExportedSize });
        if (array.State.IsBroken)
        {
            // Some may have it and some not; both places hold the same, and nothing is written any more.
            await OpenAsync(run, run.Frontier);
            return false;
        }

        _phase = Phase.Recorded;
        return true;
    }

    private async Task<bool> FinishWindowAsync(ReshapeRun run)
    {
        if (!superblocks.IsKnown)
        {
            // Who has it could be missing at the next start: the window waits until a late member has answered.
            return false;
        }

        long bytes = run.Window.To - run.Window.From;
        _movedBytes += bytes;
        await OpenAsync(run, run.Window.To);
        Halted = null;
        _retry.Reset();
        Throttle(bytes / run.Map.New.DataCount);
        if (run.IsComplete)
        {
            await EndAsync(run);
            return false;
        }

        if (Tenths is int tenths && tenths > _reportedTenths)
        {
            _reportedTenths = tenths;
            report(About(ArrayEventKind.ReshapeProgress, run) with { Percent = tenths * 10 });
        }

        return true;
    }

    /// <summary>All is moved: the volume has what the drives give now, when it had all that they gave before.</summary>
    private async Task EndAsync(ReshapeRun run)
    {
        WindowMover mover = _mover!;
        _mover = null;
        array.ForgetMover();
        await superblocks.Home.InvokeAsync(mover.Dispose);
        report(About(ArrayEventKind.ReshapeEnded, run));
        long size = SizeAtEnd(run);

        // With a journal, the records of this run lie where only a start finds them that knows of the reshape: the next run's
        // first update forgets it.
        if (array.Journal is null)
        {
            await superblocks.UpdateAsync(s => s with { Reshape = null });
        }

        if (size != array.OwnSizeBytes && !array.State.IsBroken)
        {
            array.ShowSize(size);
        }
    }

    /// <summary>
    /// What the drives give, when the volume had all that they gave before; the superblocks say so with the last frontier.
    /// </summary>
    private long SizeAtEnd(ReshapeRun run) =>
        array.OwnSizeBytes >= (run.Map.OldCapacity & ~4095L) ? run.Map.New.Capacity & ~4095L : array.OwnSizeBytes;

    private async Task HaltAsync(ReshapeRun run, int status)
    {
        await OpenAsync(run, run.Frontier);
        _dueMs = NowMs + _retry.NextMs();
        if (Halted is null && !array.State.IsBroken)
        {
            Halt(About(ArrayEventKind.ReshapeStalled, run) with
            {
                OffsetBytes = run.Frontier, ErrorNumber = -status, IsTriedAgain = true,
            });
        }
    }

    private void Halt(ArrayEvent why)
    {
        Halted = EventText.SentenceOf(why);
        report(why);
    }

    private static ArrayEvent About(ArrayEventKind kind, ReshapeRun run) =>
        new(kind)
        {
            Count = run.Map.Old.MemberCount,
            Of = run.Map.New.MemberCount,
            FromLevel = run.Map.Old.Level == run.Map.New.Level ? null : run.Map.Old.Level.Name(),
            ToLevel = run.Map.Old.Level == run.Map.New.Level ? null : run.Map.New.Level.Name(),
        };

    private async Task OpenAsync(ReshapeRun run, long frontier)
    {
        run.Open(frontier);
        _phase = Phase.Idle;
        await array.AdoptReshapeAsync();
    }

    /// <summary>The bound of jobs counts for it, too.</summary>
    private void Throttle(long memberBytes)
    {
        if (jobs.MaxBytesPerSecond is > 0 and long most)
        {
            _dueMs = Math.Max(_dueMs, NowMs - 1000) + (long)(memberBytes * 1000.0 / most);
        }
    }
}
