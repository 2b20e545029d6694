// The scrub, as users start and stop it. It has the members when nothing more urgent wants them: a rebuild or a resync comes first, and
// the scrub goes on behind it where it was.

using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

internal sealed partial class ArrayControl
{
    private ScrubJob? _scrub;
    private ScrubStatus? _lastScrub;
    private long _checkEveryTicks;

    /// <inheritdoc cref="ArrayRunOptions.CheckEvery"/>
    public TimeSpan CheckEvery
    {
        get => new(Volatile.Read(ref _checkEveryTicks));
        set => Volatile.Write(ref _checkEveryTicks, value.Ticks);
    }

    /// <summary>Starts a scrub.</summary>
    /// <exception cref="ArrayException">One is under way, or there is nothing to compare.</exception>
    public Task StartScrubAsync(bool repair) => ChangeAsync(
        () =>
        {
            if (!_array.TracksDirt)
            {
                throw new ArrayException($"Array {_array.Name} has no redundancy: there is nothing to compare.");
            }

            RefuseWhileReshaping();
            if (_scrub is not null)
            {
                throw new ArrayException($"A {NameOf(_scrub)} of array {_array.Name} is under way: stop it first, or wait for its end.");
            }

            if (_array.State.IsBroken)
            {
                throw new ArrayException($"Array {_array.Name} has failed: see to its drives first.");
            }

            _scrub = new ScrubJob(_array, repair);
            Report(new ArrayEvent(ArrayEventKind.ScrubStarted) { Scrub = Describe(_scrub, endedAt: null) });
            Kick();
            return Task.CompletedTask;
        });

    /// <summary>Ends the scrub that is under way; what it has found stays to be seen. Does nothing without one.</summary>
    public Task StopScrubAsync() => ChangeAsync(
        async () =>
        {
            if (_scrub is not { } scrub)
            {
                return;
            }

            if (ReferenceEquals(_jobs.Current, scrub))
            {
                await _jobs.StopAsync(_superblocks.CatchUpAsync);
            }

            await EndScrubAsync(scrub);
        });

    private static string NameOf(ScrubJob scrub) => scrub.IsRepair ? "repair" : "check";

    private ScrubStatus? ScrubStatus => _scrub is { } scrub ? Describe(scrub, endedAt: null)
        : _lastScrub ?? Raid.ScrubStatus.LastOf(_superblocks.Current);

    /// <summary>Starts the scrub that is wanted, or goes on with it.</summary>
    private async Task ScrubTurnAsync()
    {
        StartDueCheck();
        if (_scrub is not { } scrub || _jobs.IsBusy)
        {
            return;
        }

        if (!scrub.HasNext)
        {
            // It came to its end just when something else took its place.
            await EndScrubAsync(scrub);
        }
        else if (_membership.IsQuiet && !_replacement.WantsMembers && !_array.State.IsBroken && !IsResyncDue)
        {
            await _jobs.StartAsync(scrub, Kick);
        }
    }

    /// <summary>The time has come for a check, and nothing speaks against it.</summary>
    private void StartDueCheck()
    {
        TimeSpan every = CheckEvery;
        bool isSound = _scrub is null && every > TimeSpan.Zero && _options.Resync && _array.TracksDirt && !_array.Limits.ReadOnly
            && _array.State is { IsBroken: false, LostMask: 0, NeedsResync: false } && !_jobs.IsBusy && _array.Reshaping is null;
        ArraySuperblock current = _superblocks.Current;
        if (isSound && _options.Clock.GetUtcNow() - (current.LastScrub?.EndedAt ?? current.CreatedAt) >= every)
        {
            _scrub = new ScrubJob(_array, repair: false);
            Report(new ArrayEvent(ArrayEventKind.ScrubStarted) { Scrub = Describe(_scrub, endedAt: null), IsScheduled = true });
        }
    }

    /// <summary>A scrub is over; what one that came to its end has found is kept.</summary>
    private async Task EndScrubAsync(ScrubJob scrub)
    {
        ScrubStatus result = Describe(scrub, _options.Clock.GetUtcNow());
        _lastScrub = result;
        _scrub = null;
        Report(new ArrayEvent(ArrayEventKind.ScrubEnded) { Scrub = result });
        if (result.IsComplete && !_array.State.IsBroken && !_array.Limits.ReadOnly)
        {
            static uint Bounded(long count) => (uint)Math.Min(count, uint.MaxValue);
            var record = new LastScrub(
                result.EndedAt!.Value, result.IsRepair, Bounded(result.Differing), Bounded(result.Repaired), Bounded(result.MadeToAgree),
                Bounded(result.Unreadable), Bounded(result.Skipped), result.FirstOffset);
            await _superblocks.UpdateAsync(s => s with { LastScrub = record });
        }
    }

    private ScrubStatus Describe(ScrubJob scrub, DateTimeOffset? endedAt) => new()
    {
        IsRepair = scrub.IsRepair,
        DoneBytes = RaidUnits.ToSyncedBytes(_array.Geometry, scrub.Done),
        TotalBytes = _array.Geometry.MemberDataSize,
        IsComplete = !scrub.HasNext,
        Differing = scrub.Count(RowFinding.Differs),
        Repaired = scrub.Count(RowFinding.Repaired),
        MadeToAgree = scrub.Count(RowFinding.MadeToAgree),
        Skipped = scrub.Count(RowFinding.Skipped),
        Unreadable = scrub.Failed + scrub.Count(RowFinding.Unread),
        FirstOffset = scrub.FirstOffset,
        EndedAt = endedAt,
    };
}
