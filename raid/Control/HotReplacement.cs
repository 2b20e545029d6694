// A drive that works is replaced: the old one serves until the new one holds all that it holds. A part of the control task, beside
// Membership: everything here happens under its lock, one thing at a time.
//
// In the order that keeps data safe:
//   1  the new drive becomes a spare that is kept for the role, recorded so: a crash from here on leaves a spare, and the copying
//      begins anew with the next run;
//   2  every way to the role becomes a twin (Map/Replacement.cs): from then on both drives get what is written;
//   3  what was sent before that is back: nothing is on its way that the twins have not seen;
//   4  all regions are copied (Jobs/CopyJob.cs);
//   5  the new drive is flushed; then nobody is acknowledged any more whose write only one of the two has;
//   6  the superblocks name the new drive in the role, its own first, then all others. With the old superblocks the old drive has
//      all, with the new ones the new drive has: a crash may leave the array with either;
//   7  every member has that. All queues read the new drive, then all queues write to it alone;
//   8  nothing is left at the old drive: its queues are closed and its superblock is erased.
//
// The new drive fails before 6: the spare is let go, and the array is as it was. The old drive fails before 6: where there is
// redundancy the new one takes its place as any spare does, and is rebuilt. Other members may fail meanwhile: copying needs none of
// them but for what the old drive cannot read.

using Polyblk.Core.Block;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file.</summary>
internal sealed class HotReplacement(
    RaidArray array,
    ArrayMetadata superblocks,
    Membership membership,
    JobRunner jobs,
    ArrayRunOptions options,
    Action<ArrayEvent> report)
{
    private static readonly TimeSpan s_lookForEnd = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan s_longestEnd = TimeSpan.FromSeconds(10);

    /// <summary>What <see cref="MemberSlots.WriteSpareAsync"/> leaves.</summary>
    private const ulong SpareSequence = 2;

    private Replacement? _retired;
    private bool _tellsReleased;
    private bool _isSettled;
    private long? _dueMs;
    private readonly Backoff _retry = new(options.ResyncRetryAfter);
    private int _reportedTenths;

    /// <summary>Why the copying stands still, and what to do; null while it does not.</summary>
    public string? Halted { get; private set; }

    /// <summary>Whether regions are to be copied, now or as soon as nothing more urgent has the members.</summary>
    public bool WantsMembers => Current is { Copies.Left: > 0 } && Halted is null;

    /// <summary>The replacement that is under way.</summary>
    public Replacement? Current => array.Map.Replacement;

    private long NowMs => (long)options.Clock.GetElapsedTime(0).TotalMilliseconds;

    private bool MayRun => options.Resync && !array.Limits.ReadOnly && !array.State.IsBroken;

    /// <summary>The array has been opened: what a run before it began is begun anew.</summary>
    public void Begin() => _dueMs = NowMs + (long)options.ResyncAfter.TotalMilliseconds;

    /// <summary>A drive begins to replace one that works.</summary>
    /// <exception cref="ArrayException">It cannot; the array is as it was.</exception>
    public async Task ReplaceAsync(int role, IBlockDevice drive, bool force)
    {
        RaidMember member = membership.MemberOf(role);
        if (Current is { } other)
        {
            throw new ArrayException(
                $"Array {array.Name} is replacing {Describe(other)}: replace further drives when that is done.");
        }

        if (superblocks.Current.Replacing is { } kept && array.Map.Spares.FirstOrDefault(s => s.Uuid == kept.Spare) is { } its
            && (kept.Role != role || !ReferenceEquals(its.Drive, drive)))
        {
            throw new ArrayException(
                $"Array {array.Name} is to replace {Membership.Describe(array.Members[kept.Role])} by {its.Drive.Name}: replace further drives when "
                + "that is done, or remove that drive first.");
        }

        if (array.State.IsBroken)
        {
            throw new ArrayException($"Array {array.Name} has failed: see to its drives first.");
        }

        if (!array.IsUsable(role) || ((array.State.RebuildingMask >> role) & 1) != 0)
        {
            throw new ArrayException(
                $"{Membership.Describe(member)} of array {array.Name} does not hold all that it should: it cannot be copied.");
        }

        await CloseRetiredAsync();
        if (_retired is not null || !member.Ports.All(p => p.IsSettled))
        {
            throw new ArrayException(
                $"Array {array.Name} has replaced a drive that has not answered all that it was asked: see to that first.");
        }

        SpareDrive? known = array.Map.Spares.FirstOrDefault(s => ReferenceEquals(s.Drive, drive));
        SpareDrive spare = known ?? await membership.MakeSpareAsync(drive, force);
        await membership.RecordAsync();
        await superblocks.UpdateAsync(s => Keep(s, spare.Uuid, role));
        try
        {
            await StartAsync(role, spare);
        }
        catch (ArrayException) when (known is null)
        {
            await LetGoAsync(spare.Uuid);
            await WaitForRetiredAsync(drive);
            throw;
        }
    }

    /// <summary>A turn of the control task.</summary>
    public async Task TurnAsync()
    {
        await CloseRetiredAsync();
        if (Current is not { } replacement)
        {
            await BeginAnewAsync();
        }
        else if (replacement.Phase == ReplacementPhase.Deciding)
        {
            await HandOverAsync(replacement);
        }
        else if (replacement.Fault != 0)
        {
            await GiveUpAsync(replacement, $"{replacement.New.Drive!.Name} has failed: {BlockIo.DescribeErrno(-replacement.Fault)}");
        }
        else if (!array.IsUsable(replacement.Role))
        {
            await TurnIntoRebuildAsync(replacement);
        }
        else if (MayRun)
        {
            await GoOnAsync(replacement);
        }
    }

    /// <summary>The copying has come to its end, or to a region that it cannot copy.</summary>
    public void Finish(CopyJob job)
    {
        if (job.FailedAt is not long offset || Current is not { Fault: 0 } replacement || !array.IsUsable(replacement.Role))
        {
            return;
        }

        _dueMs = NowMs + _retry.NextMs();
        ArrayEvent stalled = About(ArrayEventKind.ReplacementStalled, replacement) with
        {
            OffsetBytes = offset, IsTriedAgain = true,
        };
        Halted = EventText.SentenceOf(stalled);
        report(stalled);
    }

    /// <summary>The drive that was to replace another one is taken away: the array is as it was.</summary>
    /// <returns>Whether it was that of a replacement. It is in no use then.</returns>
    /// <exception cref="ArrayException">It cannot be taken away now.</exception>
    public async Task<bool> CancelAsync(IBlockDevice drive)
    {
        if (Current is not { } replacement || !ReferenceEquals(replacement.New.Drive, drive))
        {
            return false;
        }

        if (replacement.Phase != ReplacementPhase.Copying)
        {
            throw new ArrayException($"{drive.Name} has just taken the place of {Membership.Describe(replacement.Old)}.");
        }

        await GiveUpAsync(replacement, "somebody asked for that");
        await WaitForRetiredAsync(drive);
        return true;
    }

    /// <summary>How far it is; null without one.</summary>
    public ReplacementStatus? Describe()
    {
        ArraySuperblock current = superblocks.Current;
        long size = array.Geometry.DataOffset + array.Geometry.MemberDataSize;
        Replacement? retired = Volatile.Read(ref _retired);
        if ((Current ?? (retired?.Phase == ReplacementPhase.Done ? retired : null)) is { } replacement)
        {
            long left = replacement.Copies.Left;
            long done = left == 0 ? size : Math.Min(size, (replacement.Copies.Count - left) * CopyMap.RegionBytes);
            bool isCopying = jobs.Current is CopyJob && jobs.IsBusy;
            return new ReplacementStatus(
                replacement.Role,
                replacement.Old.Drive!,
                replacement.New.Drive!,
                new ResyncStatus(done, size, isCopying ? jobs.BytesPerSecond : 0));
        }

        // One that waits for its time, or is left.
        return current.Replacing is { } kept && array.Map.Spares.FirstOrDefault(s => s.Uuid == kept.Spare) is { } spare
            && array.Members[kept.Role].Drive is { } old && array.IsUsable(kept.Role)
                ? new ReplacementStatus(
                    kept.Role,
                    old,
                    spare.Drive,
                    new ResyncStatus(0, size, 0) { IsLeft = !options.Resync || array.Limits.ReadOnly })
                : null;
    }

    /// <summary>Jobs have ways of their own, which nobody exchanges. Whoever is interrupted goes on behind it.</summary>
    private async Task StopJobsAsync()
    {
        await jobs.StopAsync(superblocks.CatchUpAsync);
        membership.NoteInterruption();
    }

    private static string Describe(Replacement replacement) =>
        $"{Membership.Describe(replacement.Old)} by {replacement.New.Drive!.Name}";

    private static ArrayEvent About(ArrayEventKind kind, Replacement replacement) =>
        ArrayControl.About(kind, replacement.Old) with { NewDrive = replacement.New.Drive!.Name };

    /// <summary>The superblocks with a spare that is kept for a role; one that was kept before and is not here is forgotten.</summary>
    private ArraySuperblock Keep(ArraySuperblock superblock, Guid spare, int role)
    {
        if (superblock.Replacing is { } before && before.Spare != spare && array.Map.Spares.All(s => s.Uuid != before.Spare))
        {
            superblock = superblock.WithoutSpare(before.Spare);
        }

        bool isNew = !superblock.Spares.Contains(spare);
        return superblock with
        {
            Spares = isNew ? superblock.Spares.Add(spare) : superblock.Spares, Replacing = new SpareForRole(spare, role),
        };
    }

    /// <summary>A spare is none any more.</summary>
    private async Task LetGoAsync(Guid uuid)
    {
        if (array.Map.Spares.FirstOrDefault(s => s.Uuid == uuid) is { } spare)
        {
            await array.AdoptAsync(array.Map.Without(spare));
        }

        await superblocks.UpdateAsync(s => s.WithoutSpare(uuid));
    }

    /// <summary>Whoever has the drive back does with it what he likes: nothing of the array is there when this returns.</summary>
    private async Task WaitForRetiredAsync(IBlockDevice drive)
    {
        _tellsReleased = false;
        long began = options.Clock.GetTimestamp();
        while (true)
        {
            await CloseRetiredAsync();
            if (_retired is null)
            {
                return;
            }

            if (options.Clock.GetElapsedTime(began) > s_longestEnd)
            {
                throw new ArrayException($"{drive.Name} is not used any more, and has not answered all that it was asked: unplug it.");
            }

            await Task.Delay(s_lookForEnd, options.Clock);
        }
    }

    private async Task BeginAnewAsync()
    {
        if (NowMs < _dueMs || _retired is not null || !MayRun)
        {
            return;
        }

        if (superblocks.Current.Replacing is { } kept && array.Map.Spares.FirstOrDefault(s => s.Uuid == kept.Spare) is { } spare
            && array.IsUsable(kept.Role) && ((array.State.RebuildingMask >> kept.Role) & 1) == 0)
        {
            try
            {
                membership.RefuseUnfit(spare.Drive);
                await StartAsync(kept.Role, spare);
            }
            catch (ArrayException e)
            {
                _dueMs = NowMs + (long)options.ResyncRetryAfter.TotalMilliseconds;
                report(new ArrayEvent(ArrayEventKind.ReplacementRefused)
                {
                    Role = kept.Role, NewDrive = spare.Drive.Name, Reason = e.Message,
                });
            }
        }
    }

    /// <summary>Step 2.</summary>
    private async Task StartAsync(int role, SpareDrive spare)
    {
        await StopJobsAsync();
        RaidMember old = array.Members[role];
        ArrayMap before = array.Map;
        var member = new RaidMember(role, spare.Drive, spare.Uuid)
        {
            Sequence = SpareSequence,
            Sums = array.Sums is null ? null : await array.Sums.FormatAsync(spare.Drive, role, spare.Uuid),
        };
        var replacement = new Replacement(old, member, new CopyMap(array.Geometry));
        try
        {
            await array.AdoptAsync(before.With(replacement));
        }
        catch (IOException e)
        {
            await EndAsync(replacement);
            throw new ArrayException($"{spare.Drive.Name} cannot be opened: {e.Message}", e);
        }

        _isSettled = false;
        _dueMs = null;
        _retry.Reset();
        _reportedTenths = 0;
        Halted = null;
        report(About(ArrayEventKind.ReplacementStarted, replacement));
    }

    /// <summary>Steps 3 to 5.</summary>
    private async Task GoOnAsync(Replacement replacement)
    {
        ReportProgress(replacement);
        _isSettled = _isSettled || replacement.Old.Ports.All(p => p.Queue is TwinQueue && p.IsSettled);
        bool isCopying = jobs.IsBusy && jobs.Current is CopyJob;
        if (!_isSettled || isCopying || (_dueMs is long due && NowMs < due))
        {
            return;
        }

        _dueMs = null;
        if (replacement.Copies.Left > 0)
        {
            if ((!jobs.IsBusy || jobs.Current is ScrubJob) && membership.IsQuiet && !array.Control.IsResyncUrgent)
            {
                await jobs.StopAsync(superblocks.CatchUpAsync);
                Halted = null;
                await StartCopyingAsync(replacement);
            }
        }
        else if (superblocks.LateMask == 0)
        {
            await DecideAsync(replacement);
        }
    }

    private async Task StartCopyingAsync(Replacement replacement)
    {
        try
        {
            await jobs.StartAsync(new CopyJob(array, replacement), array.Control.Kick);
        }
        catch (IOException)
        {
            replacement.GiveUp(-Errno.EIO);
        }
    }

    private async Task DecideAsync(Replacement replacement)
    {
        if (!superblocks.HasWritten)
        {
            // The new drive must not be among those that are brought up to what was found.
            await superblocks.UpdateAsync();
            if (superblocks.LateMask != 0 || array.State.IsBroken)
            {
                return;
            }
        }

        try
        {
            await BlockIo.FlushAsync(replacement.New.Way!, superblocks.Home);
        }
        catch (BlockIoException e)
        {
            replacement.GiveUp(-e.Errno);
            return;
        }

        replacement.Enter(ReplacementPhase.Deciding);
        if (replacement.Fault != 0 || replacement.Copies.Left != 0 || !array.IsUsable(replacement.Role))
        {
            // Something went wrong since the last look: the next turn sees to it.
            await ResumeCopyingAsync(replacement);
            return;
        }

        await StopJobsAsync();
        try
        {
            await superblocks.ReplaceAsync(replacement.New);
        }
        catch (IOException)
        {
            replacement.GiveUp(-Errno.EIO);
            await ResumeCopyingAsync(replacement);
            return;
        }

        await NameAsync(replacement.New, array.Map.Spares.First(s => s.Uuid == replacement.New.Uuid));
        if (!await superblocks.HandOverAsync(replacement.New, s => s.WithoutSpare(replacement.New.Uuid)))
        {
            await TakeBackAsync(replacement);
            return;
        }

        await HandOverAsync(replacement);
    }

    /// <summary>The drive that superblocks name in the role is another one; the twins stay.</summary>
    private async Task NameAsync(RaidMember member, SpareDrive? noSpare)
    {
        ArrayMap map = array.Map.With(member);
        await array.AdoptAsync(noSpare is null ? map : map.Without(noSpare));
    }

    /// <summary>
    /// The new drive did not take its superblock, and may have it all the same, with the next event: two updates of the others put
    /// it behind.
    /// </summary>
    private async Task TakeBackAsync(Replacement replacement)
    {
        await superblocks.ReplaceAsync(replacement.Old);
        await NameAsync(replacement.Old, noSpare: null);
        await superblocks.UpdateAsync(s => s with { Replacing = null });
        await superblocks.UpdateAsync(s => s.WithoutSpare(replacement.New.Uuid));
        replacement.GiveUp(-Errno.EIO);
        replacement.Enter(ReplacementPhase.Copying);
        await EndAsync(replacement);
        report(About(ArrayEventKind.ReplacementGivenUp, replacement) with { Reason = "the new drive did not take a superblock" });
    }

    private async Task ResumeCopyingAsync(Replacement replacement)
    {
        replacement.Enter(ReplacementPhase.Copying);
        await array.ForEachQueueAsync(queue => queue.ResumeTwin(replacement.Role));
    }

    /// <summary>Step 7: the superblocks of the new drive and of all that answer say so.</summary>
    private async Task HandOverAsync(Replacement replacement)
    {
        if (superblocks.Current.Members[replacement.Role].Uuid != replacement.New.Uuid)
        {
            if (array.State.IsBroken)
            {
                // Nothing is recorded any more: whoever waits is told that it failed.
                await ResumeCopyingAsync(replacement);
            }

            return;
        }

        if (superblocks.LateMask != 0 || !superblocks.IsKnown)
        {
            // With the old drive, those that are late could start as if nothing had happened.
            return;
        }

        await StopJobsAsync();
        replacement.ReadNew();
        await array.ForEachQueueAsync(_ => { });
        replacement.Enter(ReplacementPhase.Done);
        await EndAsync(replacement);
        array.Control.MendSoon();
        report(About(ArrayEventKind.ReplacementEnded, replacement));
    }

    /// <summary>The twins become ways to one drive.</summary>
    private async Task EndAsync(Replacement replacement)
    {
        _retired = replacement;
        _tellsReleased = true;
        await StopJobsAsync();
        await array.AdoptAsync(array.Map.With((Replacement?)null));
        Halted = null;
        _dueMs = null;
    }

    private async Task GiveUpAsync(Replacement replacement, string why)
    {
        if (array.State.IsBroken)
        {
            return;
        }

        await EndAsync(replacement);
        await LetGoAsync(replacement.New.Uuid);
        report(About(ArrayEventKind.ReplacementGivenUp, replacement) with { Reason = why, ErrorNumber = -replacement.Fault });
    }

    /// <summary>The old drive has failed: the new one takes its place as any spare does.</summary>
    private async Task TurnIntoRebuildAsync(Replacement replacement)
    {
        bool owes = !replacement.Old.IsDrained || !replacement.New.IsDrained;
        if (owes || superblocks.IsBehind || array.State.IsBroken || !await membership.EndOfFailedAsync())
        {
            return;
        }

        await EndAsync(replacement);
        await CloseRetiredAsync();
        report(About(ArrayEventKind.ReplacementBecameRebuild, replacement));
        try
        {
            await membership.InstallAsync(replacement.Role, replacement.New.Drive!, force: false);
            membership.NoteFailure();
        }
        catch (ArrayException e)
        {
            report(About(ArrayEventKind.SpareRefused, replacement) with { Reason = e.Message });
        }
    }

    /// <summary>Step 8, also of a replacement that was given up: then the drive that goes is the new one.</summary>
    private async Task CloseRetiredAsync()
    {
        if (_retired is not { } replacement)
        {
            return;
        }

        RaidMember stays = replacement.Phase == ReplacementPhase.Done ? replacement.New : replacement.Old;
        RaidMember goes = ReferenceEquals(stays, replacement.New) ? replacement.Old : replacement.New;
        await array.ForEachQueueAsync(queue => queue.CloseRetired(replacement.Role));
        if (goes.Ports.Count != 0 || !stays.Ports.All(p => p.Retired is null))
        {
            return;
        }

        await membership.CloseSumsAsync(goes);
        bool isSpare = array.Map.Spares.Any(s => ReferenceEquals(s.Drive, goes.Drive));
        if (!isSpare)
        {
            await MemberSlots.TryEraseAsync(goes.Drive!, superblocks.Home, options.Clock);
            if (_tellsReleased)
            {
                options.OnReleased?.Invoke(goes.Drive!);
            }
        }

        _retired = null;
    }

    private void ReportProgress(Replacement replacement)
    {
        int tenths = (int)(10 * (replacement.Copies.Count - replacement.Copies.Left) / replacement.Copies.Count);
        if (tenths > _reportedTenths && tenths < 10)
        {
            _reportedTenths = tenths;
            report(About(ArrayEventKind.ReplacementProgress, replacement) with { Percent = tenths * 10 });
        }
    }
}
