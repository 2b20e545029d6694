// When members are made to agree: after an unclean stop, and again where that could not be done.

using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;

namespace Polyblk.Raid.Control;

internal sealed partial class ArrayControl
{
    private readonly Backoff _retry;
    private int _inDoubt;
    private long? _resyncAtMs;

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

    /// <summary>Whether a job runs that a resync does not interrupt.</summary>
    private bool IsBusyWithMore => _jobs.IsBusy && _jobs.Current is not (ScrubJob or CopyJob);

    /// <summary>Whether a resync can do anything now.</summary>
    private bool CanResync => _membership.IsQuiet && _array.State.HasRedundancyLeft;

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
        if (!isDue || _resyncAtMs is not null || IsBusyWithMore)
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
        if (!IsResyncDue || _reshaping.IsBusy || _array.State.IsBroken || !_membership.IsQuiet || IsBusyWithMore)
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
}
