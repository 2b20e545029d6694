// Who is a member: drives come in by a rebuild, go out by failing, and leave. A part of the control task: everything here happens
// under its lock, one thing at a time.
//
// How a drive takes a role, in the order that keeps data safe:
//   1  the member before it is out, recorded so, and owes nothing;
//   2  both slots of the drive are cleared: no superblock of something else is left beside its own. Not those of a member that was
//      away and has missed only what is marked (ArrayAssembly.MissedOnlyMarked): the rebuild makes no more than that. Of both, the
//      journal is cleared;
//   3  every queue has a way to it (RaidArray.AdoptAsync);
//   4  it counts as rebuilding, in step with nothing (ArrayState.BeginRebuild), and the superblocks say so, its own included;
//   5  the rebuild fills it (Jobs/RebuildJob.cs); how far is recorded now and then, after a flush;
//   6  all members are flushed, the superblocks call it present; only then is it counted as a survivor.
// A crash before 4 leaves the array as it was, and a drive that belongs to nothing. One after it goes on at what 5 recorded.
//
// One rebuild at a time, of all members that are to be rebuilt when it begins. What comes later waits for its end.

using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file.</summary>
internal sealed class Membership(
    RaidArray array, ArrayMetadata superblocks, JobRunner jobs, ArrayRunOptions options, Action kick, Action<ArrayEvent> report)
{
    private static readonly TimeSpan s_drainLook = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan s_drainTick = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan s_longestDrain = TimeSpan.FromSeconds(5);

    private readonly List<ReturningDrive> _returning = [];
    private ulong _spareRefused;
    private long? _dueMs;
    private readonly Backoff _retry = new(options.ResyncRetryAfter);
    private int _reportedTenths;

    /// <summary>Why the rebuild stands still, and what to do; null while it does not.</summary>
    public string? Halted { get; private set; }

    /// <summary>Whether a rebuild is under way, or needed and possible.</summary>
    public bool IsRebuilding => array.State.RebuildingMask != 0;

    /// <summary>Whether other work may have the members: no rebuild runs, or wants to.</summary>
    public bool IsQuiet => !IsRebuilding || Halted is not null;

    private ArrayState State => array.State;

    private long NowMs => (long)options.Clock.GetElapsedTime(0).TotalMilliseconds;

    private bool CanRebuild =>
        options.Resync && array.Reshaping is null && array.TracksDirt && !array.Limits.ReadOnly && !State.IsBroken;

    private int Tenths => (int)(10 * superblocks.RebuiltBytes / Math.Max(1, array.Geometry.MemberDataSize));

    /// <summary>The array has been opened: what a run before it began goes on, and drives that were away come back.</summary>
    /// <param name="returning">Drives that were away.</param>
    public void Begin(IEnumerable<ReturningDrive> returning)
    {
        _returning.AddRange(returning);
        _reportedTenths = Tenths;
        _dueMs = NowMs + (long)options.ResyncAfter.TotalMilliseconds;
    }

    /// <summary>A turn of the control task.</summary>
    public async Task TurnAsync()
    {
        if (!CanRebuild || _dueMs is not long due || NowMs < due)
        {
            ReportProgress();
            return;
        }

        _dueMs = null;
        if (await EndOfFailedAsync() && options.RebuildByItself)
        {
            await FillEmptyRolesAsync();
        }

        if (IsRebuilding && !State.IsBroken)
        {
            await StartAsync();
        }
    }

    /// <summary>Jobs were stopped: a rebuild goes on where it was.</summary>
    public void NoteInterruption() => _dueMs = IsRebuilding && Halted is null ? _dueMs ?? NowMs : _dueMs;

    /// <summary>A member has failed: somebody may take its place.</summary>
    public void NoteFailure() => _dueMs ??= NowMs;

    /// <summary>The rebuild has come to its end, or to a row that it cannot make.</summary>
    public async Task FinishAsync(RebuildJob job)
    {
        ulong whole = State.FilledMask;
        if (whole != 0 && job.FailedAt is long unit)
        {
            Halt(job.FailedStatus, RaidUnits.ToSyncedBytes(array.Geometry, unit));
            return;
        }

        if (whole != 0 && State.RebuiltUnits < RaidUnits.Count(array.Geometry))
        {
            // The members that it was for have failed, and others have come.
            _dueMs = NowMs;
            return;
        }

        if (whole != 0 && !await superblocks.FlushAsync())
        {
            // Not durable on everybody: the end is reached again, at once, and this with it.
            _dueMs = NowMs + (long)options.SlowAfter.TotalMilliseconds;
            return;
        }

        whole = State.FilledMask;
        superblocks.EndRebuild();
        await superblocks.UpdateAsync();
        State.EndRebuild();
        Halted = null;
        _retry.Reset();
        foreach (RaidMember member in array.Members.Where(m => ((whole >> m.Role) & 1) != 0 && array.IsUsable(m.Role)))
        {
            report(ArrayControl.About(ArrayEventKind.RebuildEnded, member));
        }

        if (State.FailedMask != 0)
        {
            NoteFailure();
        }
    }

    /// <summary>Gives a member up because somebody says so.</summary>
    /// <exception cref="ArrayException">The array cannot do without it.</exception>
    public async Task FailAsync(int role)
    {
        RaidMember member = MemberOf(role);
        if (!array.IsUsable(role))
        {
            return;
        }

        if (!array.TracksDirt || !State.TryFailAll(1UL << role))
        {
            throw new ArrayException(
                $"Array {array.Name} cannot do without {Describe(member)}{InGroup(role)}: data would be lost. Nothing was "
                + "changed.");
        }

        member.WhyOut = OutReason.Asked;
        await superblocks.UpdateAsync();
        NoteFailure();
    }

    /// <summary>A drive takes the place of a member that is out, or that is taken out for it.</summary>
    /// <exception cref="ArrayException">It cannot; the array is as it was.</exception>
    public async Task ReplaceAsync(int role, IBlockDevice drive, bool force, bool failFirst)
    {
        RaidMember member = MemberOf(role);
        if (!array.TracksDirt)
        {
            throw new ArrayException(
                $"Array {array.Name} has no redundancy from which a drive could be filled: copy the volume to another one.");
        }

        bool works = array.IsUsable(role) && ((State.RebuildingMask >> role) & 1) == 0;
        if (works && !failFirst)
        {
            throw new ArrayException(
                $"{Describe(member)} of array {array.Name} works. To take it out all the same, and do without it until its "
                + "successor is filled, fail it first.");
        }

        if (array.Map.ReplacementOf(role) is { } replacement)
        {
            throw new ArrayException($"{Describe(member)} of array {array.Name} is being replaced by {replacement.New.Drive!.Name} already.");
        }

        if (!await EndOfFailedAsync())
        {
            throw new ArrayException(
                $"Array {array.Name} is rebuilding {string.Join(", ", Rebuilding().Select(Describe))}: replace further drives when that is done.");
        }

        if (State.IsBroken)
        {
            throw new ArrayException($"Array {array.Name} has failed: nothing can be made for a new drive.");
        }

        if (works)
        {
            await TakeOutForAsync(role, drive, force);
        }

        await InstallAsync(role, drive, force, works ? null : await ReadReturningAsync(role, drive));
        _dueMs = NowMs;
        kick();
    }

    /// <summary>
    /// What a drive holds that was this member, and was only away: it needs what it has missed. Null for any other.
    /// </summary>
    private async Task<ArraySuperblock?> ReadReturningAsync(int role, IBlockDevice drive)
    {
        if (array.Map.Spares.Any(s => ReferenceEquals(s.Drive, drive)))
        {
            return null;
        }

        // Who is away is in the superblocks from here on.
        RefuseUnfit(drive);
        await RecordAsync();
        byte[]? slot0 = await MemberSlots.TryReadAsync(drive, superblocks.Home, 0);
        byte[]? slot1 = await MemberSlots.TryReadAsync(drive, superblocks.Home, 1);
        ArraySuperblock? its = SuperblockFormat.ParseSlots(slot0, slot1).Superblock;
        return its?.Role == role && ArrayAssembly.WasAway(its, superblocks.Current) ? its : null;
    }

    /// <summary>Gives a member up whose successor is here, and waits for what it was asked.</summary>
    private async Task TakeOutForAsync(int role, IBlockDevice drive, bool force)
    {
        RefuseUnfit(drive);
        await RefuseForeignAsync(drive, force);
        RaidMember member = array.Members[role];
        await FailAsync(role);
        long began = options.Clock.GetTimestamp();
        while (!member.IsDrained && options.Clock.GetElapsedTime(began) < s_longestDrain)
        {
            await Task.Delay(s_drainTick, options.Clock);
        }
    }

    /// <summary>A drive waits from now on for a member to fail; or takes the place of one that has.</summary>
    /// <exception cref="ArrayException">It cannot; the array is as it was.</exception>
    public async Task AddSpareAsync(IBlockDevice drive, bool force)
    {
        if (!array.TracksDirt)
        {
            throw new ArrayException($"Array {array.Name} has no redundancy: a spare could not be filled.");
        }

        SpareDrive spare = await MakeSpareAsync(drive, force);
        await superblocks.UpdateAsync(s => s with { Spares = s.Spares.Add(spare.Uuid) });
        NoteFailure();
        kick();
    }

    /// <summary>Makes a drive a spare. The next update is to say so.</summary>
    /// <exception cref="ArrayException">It cannot be one; the array is as it was.</exception>
    public async Task<SpareDrive> MakeSpareAsync(IBlockDevice drive, bool force)
    {
        if (superblocks.Current.Spares.Length >= ArraySuperblock.MaxSpares)
        {
            throw new ArrayException($"Array {array.Name} has {ArraySuperblock.MaxSpares} spares, which is the most: remove one first.");
        }

        RefuseUnfit(drive);
        await RecordAsync();
        var spare = new SpareDrive(drive, options.NewUuid());
        await TakeAsync(drive, force);
        await MemberSlots.WriteSpareAsync(superblocks.Current, spare, superblocks.Home);
        await array.AdoptAsync(array.Map.With(spare));
        return spare;
    }

    /// <summary>Lets a spare go, or forgets the drive of a member that is out.</summary>
    /// <exception cref="ArrayException">The drive is in use.</exception>
    public async Task RemoveAsync(IBlockDevice drive)
    {
        if (array.Map.Spares.FirstOrDefault(s => ReferenceEquals(s.Drive, drive)) is { } spare)
        {
            await array.AdoptAsync(array.Map.Without(spare));
            await superblocks.UpdateAsync(s => s.WithoutSpare(spare.Uuid));
            await MemberSlots.TryEraseAsync(drive, superblocks.Home, options.Clock);
            return;
        }

        _returning.RemoveAll(r => ReferenceEquals(r.Drive, drive));
        RaidMember? member = array.Members.FirstOrDefault(m => ReferenceEquals(m.Drive, drive));
        if (member is null)
        {
            // It was left out, or another one has its place: nobody uses it.
            DriveInspection found = await ArrayBuilder.InspectAsync(drive, superblocks.Home, options.Clock);
            if (found.Superblock?.ArrayUuid == array.Uuid)
            {
                await MemberSlots.TryEraseAsync(drive, superblocks.Home, options.Clock);
            }

            return;
        }

        if (array.IsUsable(member.Role))
        {
            throw new ArrayException($"{Describe(member)} of array {array.Name} is in use: fail it first.");
        }

        if (!await EndOfFailedAsync())
        {
            throw new ArrayException($"Array {array.Name} is rebuilding: remove the drive when that is done.");
        }

        RefuseOwing(member);
        await RecordAsync();

        // A job has ways of its own to the drives, and this one may be closed when the caller has it back.
        await jobs.StopAsync(superblocks.CatchUpAsync);
        await ChangeHandsAsync(new RaidMember(member.Role, null, Guid.Empty));
        State.ForgetBad(1UL << member.Role);
        await superblocks.UpdateAsync();
        await MemberSlots.TryEraseAsync(drive, superblocks.Home, options.Clock);
    }

    /// <summary>A member, as messages name it.</summary>
    public static string Describe(RaidMember member) => EventText.Member(member.Role, member.Drive?.Name);

    private string InGroup(int role) => array.Geometry.GroupCount == 1 ? string.Empty
        : $", whose group ({array.Geometry.NameOf(array.Geometry.GroupOf(role))}) can lose no more";

    /// <summary>The members that are being rebuilt.</summary>
    public IEnumerable<RaidMember> Rebuilding() => array.Members.Where(m => ((State.RebuildingMask >> m.Role) & 1) != 0);

    /// <summary>The member of a role.</summary>
    /// <exception cref="ArrayException">There is no such role.</exception>
    public RaidMember MemberOf(int role) => role >= 0 && role < array.Members.Length ? array.Members[role]
        : throw new ArrayException($"Array {array.Name} has members 0 to {array.Members.Length - 1}, not {role}.");

    /// <summary>Drives that were away go back to their roles, then spares take what stands empty.</summary>
    private async Task FillEmptyRolesAsync()
    {
        ulong tried = 0;
        for (ulong empty = State.FailedMask; empty != 0; empty = State.FailedMask & ~tried & ~State.RebuildingMask)
        {
            int role = BitOperations.TrailingZeroCount(empty);
            tried |= 1UL << role;
            if (array.Map.ReplacementOf(role) is not null)
            {
                // It turns into a rebuild (HotReplacement.cs).
                continue;
            }

            if (!array.Members[role].IsDrained)
            {
                // Its drive still has requests, which come back in a moment, unless it hangs (the status says so then).
                _dueMs = NowMs + (long)s_drainLook.TotalMilliseconds;
                continue;
            }

            ReturningDrive? returning = TakeReturning(role);
            if ((returning?.Drive ?? TakeSpare(role)) is not { } drive)
            {
                continue;
            }

            ArrayEvent taken = ArrayControl.About(ArrayEventKind.SpareTaken, array.Members[role]) with { NewDrive = drive.Name };
            try
            {
                await InstallAsync(role, drive, force: false, returning?.Superblock);
                report(taken);
            }
            catch (ArrayException e)
            {
                report(taken with { Kind = ArrayEventKind.SpareRefused, Reason = e.Message });
            }
        }
    }

    private ReturningDrive? TakeReturning(int role)
    {
        ReturningDrive? found = _returning.Find(r => r.Superblock.Role == role);
        if (found is not null)
        {
            _returning.Remove(found);
        }

        return found;
    }

    /// <summary>The spare that is kept for the role, or else any that is kept for none.</summary>
    private IBlockDevice? TakeSpare(int role) =>
        TakeSpare(spare => spare.Uuid == KeptFor(role)) ?? TakeSpare(spare => spare.Uuid != superblocks.Current.Replacing?.Spare);

    private Guid? KeptFor(int role) => superblocks.Current.Replacing is { } kept && kept.Role == role ? kept.Spare : null;

    private IBlockDevice? TakeSpare(Func<SpareDrive, bool> wanted)
    {
        for (int i = 0; i < array.Map.Spares.Length; i++)
        {
            // One that could not be used is not tried again in this run.
            if (wanted(array.Map.Spares[i]) && ((_spareRefused >> i) & 1) == 0)
            {
                _spareRefused |= 1UL << i;
                return array.Map.Spares[i].Drive;
            }
        }

        return null;
    }

    /// <summary>Steps 1 to 4 of the top of the file.</summary>
    /// <param name="role">The role, which stands empty.</param>
    /// <param name="drive">The drive.</param>
    /// <param name="force">Whether it may hold something.</param>
    /// <param name="its">What it holds, where it was this member before; null for any other drive.</param>
    public async Task InstallAsync(int role, IBlockDevice drive, bool force, ArraySuperblock? its = null)
    {
        RefuseUnfit(drive);
        RefuseOwing(array.Members[role]);
        await RecordAsync();
        bool marked = its is not null && ArrayAssembly.MissedOnlyMarked(its, superblocks.Current);

        // It may be the drive that had the role before.
        await CloseSumsAsync(array.Members[role]);
        if (!marked)
        {
            await TakeAsync(drive, force);
        }
        else
        {
            await ClearJournalAsync(drive);
        }

        await jobs.StopAsync(superblocks.CatchUpAsync);
        RaidMember member = await MakeMemberAsync(role, drive, marked ? its : null);
        SpareDrive? spare = array.Map.Spares.FirstOrDefault(s => ReferenceEquals(s.Drive, drive));
        await ChangeHandsAsync(member);
        if (spare is not null)
        {
            await array.AdoptAsync(array.Map.Without(spare));
            _spareRefused = 0;
        }

        ulong bit = 1UL << role;
        superblocks.BeginRebuild(bit, marked);
        State.BeginRebuild(bit, 0, superblocks.RebuildsMarked);
        if (!marked)
        {
            // Another drive, or one of which all is made anew.
            State.ForgetBad(bit);
        }

        _reportedTenths = 0;
        Halted = null;
        _retry.Reset();

        // What was held back for the bit that is gone now.
        await array.ForEachQueueAsync(queue => queue.ReleaseHeld());
        await superblocks.UpdateAsync(s => Installed(s, role, spare));
        if (!array.IsUsable(role))
        {
            throw new ArrayException($"{drive.Name} did not take a superblock.");
        }
    }

    private async Task<RaidMember> MakeMemberAsync(int role, IBlockDevice drive, ArraySuperblock? its)
    {
        Guid uuid = its?.MemberUuid ?? options.NewUuid();
        ChecksummedDrive? sums = array.Sums is null ? null
            : its is null ? await array.Sums.FormatAsync(drive, role, uuid)
            : await array.Sums.OpenAsync(drive, role, uuid, readOnly: false);
        var member = new RaidMember(role, drive, uuid) { Sequence = its?.Sequence ?? 0, Sums = sums };

        // What it has brought along is nobody's word, also what it did not give when it was looked at.
        member.OwnSlots.Unread = its is null ? 0 : 3;
        return member;
    }

    /// <summary>What is in memory of the checksums of a member that is out says nothing any more.</summary>
    public Task CloseSumsAsync(RaidMember member) => array.Sums?.CloseAsync(member.Sums, clean: false) ?? Task.CompletedTask;

    /// <summary>The role is another drive's: no spare is kept for the one that was to be replaced in it.</summary>
    private static ArraySuperblock Installed(ArraySuperblock superblock, int role, SpareDrive? spare)
    {
        superblock = spare is null ? superblock : superblock.WithoutSpare(spare.Uuid);
        return superblock.Replacing?.Role == role ? superblock with { Replacing = null } : superblock;
    }

    /// <summary>
    /// Brings the superblocks up to what the run has found (who is absent), before who is a member changes.
    /// </summary>
    /// <exception cref="ArrayException">They cannot be written.</exception>
    public async Task RecordAsync()
    {
        if (!superblocks.HasWritten)
        {
            await superblocks.UpdateAsync();
        }

        if (State.IsBroken)
        {
            throw new ArrayException($"Array {array.Name} has failed; its members stay what they are.");
        }
    }

    /// <summary>Another drive, or none, has the role from now on, on every queue.</summary>
    private async Task ChangeHandsAsync(RaidMember member)
    {
        RaidMember before = array.Members[member.Role];
        try
        {
            await superblocks.ReplaceAsync(member);
            await array.AdoptAsync(array.Map.With(member));
            await CloseSumsAsync(before);
        }
        catch (IOException e)
        {
            // The one before was out: nobody misses its drive.
            var none = new RaidMember(before.Role, null, before.Uuid) { OutSinceEvent = before.OutSinceEvent, WhyOut = before.WhyOut };
            await array.AdoptAsync(array.Map.With(none));
            await superblocks.ReplaceAsync(none);
            await CloseSumsAsync(before);
            await CloseSumsAsync(member);
            throw new ArrayException($"{member.Drive?.Name} cannot be opened: {e.Message}", e);
        }
    }

    public void RefuseUnfit(IBlockDevice drive)
    {
        bool isMember = array.Members.Any(m => ReferenceEquals(m.Drive, drive) && array.IsUsable(m.Role));
        string? why = isMember ? "it is a member already" : ArrayLimits.WhyNotFit(array, drive);
        if (why is not null)
        {
            throw new ArrayException($"{drive.Name} cannot be used in array {array.Name}: {why}.");
        }
    }

    /// <summary>
    /// Makes a drive free of what it held. Without force that must be nothing, or a superblock of this array: a drive that is
    /// stale, or a spare.
    /// </summary>
    private async Task TakeAsync(IBlockDevice drive, bool force)
    {
        bool isOurs = await RefuseForeignAsync(drive, force);
        await (force && !isOurs
            ? DriveEraser.EraseAllAsync(drive, array.Geometry.DataOffset, superblocks.Home)
            : MemberSlots.EraseAsync(drive, superblocks.Home, options.Clock));
        await ClearJournalAsync(drive);
    }

    /// <summary>
    /// Without force, refuses a drive that holds something else than a superblock of this array. Returns whether it holds one.
    /// </summary>
    private async Task<bool> RefuseForeignAsync(IBlockDevice drive, bool force)
    {
        DriveInspection found = await ArrayBuilder.InspectAsync(drive, superblocks.Home, options.Clock);
        bool isOurs = found.Superblock?.ArrayUuid == array.Uuid;
        if (!force && !isOurs)
        {
            ArrayBuilder.RefuseWhatIsThere(found);
        }

        return isOurs;
    }

    /// <summary>
    /// A drive may have been a member in this run, also one that has no superblock any more: its records are of rows that have
    /// been written without it.
    /// </summary>
    private async Task ClearJournalAsync(IBlockDevice drive)
    {
        if (array.Journal is null)
        {
            return;
        }

        try
        {
            await BlockIo.WriteZeroesAsync(drive, superblocks.Home, JournalLayout.AreaOffset, array.Geometry.DataOffset - JournalLayout.AreaOffset);
            await BlockIo.FlushAsync(drive, superblocks.Home);
        }
        catch (BlockIoException e)
        {
            throw new ArrayException($"{drive.Name} cannot be written: {e.Message}", e);
        }
    }

    private void RefuseOwing(RaidMember member)
    {
        if (!member.IsDrained)
        {
            throw new ArrayException(
                $"{Describe(member)} of array {array.Name} still has requests that it has not answered: unplug the drive, so that they end, "
                + "or stop the volume and start it without the drive.");
        }
    }

    /// <summary>Whether no rebuild is left: one whose new members have all failed is over.</summary>
    public async Task<bool> EndOfFailedAsync()
    {
        if (!IsRebuilding)
        {
            return true;
        }

        if (State.FilledMask != 0)
        {
            return false;
        }

        await jobs.StopAsync(superblocks.CatchUpAsync);
        superblocks.EndRebuild();
        State.EndRebuild();
        return true;
    }

    private async Task StartAsync()
    {
        await jobs.StopAsync(superblocks.CatchUpAsync);
        if (!superblocks.HasWritten)
        {
            await superblocks.UpdateAsync();
            if (State.IsBroken)
            {
                return;
            }
        }

        if (Halted is null)
        {
            foreach (RaidMember member in Rebuilding())
            {
                long? missed = State.RebuildsMarked ? array.Intent!.MarkedBytes : null;
                report(ArrayControl.About(ArrayEventKind.RebuildStarted, member) with { LengthBytes = missed });
            }
        }

        Halted = null;
        await jobs.StartAsync(new RebuildJob(array), kick);
    }

    private void Halt(int status, long bytes)
    {
        _dueMs = NowMs + _retry.NextMs();
        ArrayEvent[] stalled =
        [
            .. Rebuilding().Select(member => ArrayControl.About(ArrayEventKind.RebuildStalled, member) with
            {
                OffsetBytes = bytes, ErrorNumber = -status, IsTriedAgain = true,
            }),
        ];
        Halted = string.Join(' ', stalled.Select(EventText.SentenceOf));
        Array.ForEach(stalled, report);
    }

    private void ReportProgress()
    {
        if (IsRebuilding && Tenths is int tenths and < 10 && tenths > _reportedTenths)
        {
            _reportedTenths = tenths;
            report(new ArrayEvent(ArrayEventKind.RebuildProgress) { Percent = tenths * 10 });
        }
    }
}
