// What the control task looks at in every turn to tell members that hang and members that cannot be read: ages, counts, and what
// follows.
//
// A member that has not answered a request for DriveTimeout is given up, where the level survives without it: the bit first, as
// of any failure; then every queue, on its reactor, leaves what that drive has (RaidQueue.Late.cs). Before that it is made sure
// that it is the drive that does not answer, and not this process that has not looked: every reactor must have come around twice
// since the member was first found too old, and it must be so still a second later. A process that stood still, or a reactor that
// is behind, finds the answers then.
//
// Of members that do not answer all are given up, or none: where the level does not survive without all that hang it may well be
// the way to them, and each would have to be rebuilt.
//
// One that is out for another reason, and does not answer what it has, is left in the same way, and keeps its reason.
//
// One that hangs may have nothing in flight. So the others are asked for a block when the suspicion begins, and those that have
// not answered count as if they hung.
//
// It is not done by time while the drive is being replaced (of a twin's two drives it may be either), while the array is
// reshaped, where parity does not fit everywhere and is not known to be right all the same, and where others have bad places
// (ADR 19) that the level does not survive with: there the member may be the only one that knows, and waiting loses nothing.

using System.Collections.Immutable;
using Polyblk.Core.Block;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>
/// See the top of the file. Any thread; the control task looks in each of its turns, and whoever waits for the end of the array.
/// </summary>
internal sealed class MemberWatch(RaidArray array, ArrayRunOptions options, Action<ArrayEvent> report)
{
    private const int MaxStep = 2;
    private const int ProbeBytes = 4096;
    private static readonly TimeSpan s_stale = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_sure = TimeSpan.FromSeconds(1);

    private readonly long _started = options.Clock.GetTimestamp();
    private readonly long[] _reportFrom = [.. Enumerable.Repeat(1L, array.Members.Length)];
    private readonly long[] _reportSumsFrom = [.. Enumerable.Repeat(1L, array.Members.Length)];
    private ImmutableArray<RaidMember> _seen = array.Members;
    private readonly Lock _lock = new();
    private readonly Task<bool>?[] _probes = new Task<bool>?[array.Members.Length];
    private readonly Suspicion?[] _suspicions = new Suspicion?[array.Members.Length];
    private Task _leaving = Task.CompletedTask;
    private ulong _hanging;
    private int _lookedAt;
    private long _slowAfterTicks = options.SlowAfter.Ticks;
    private long _driveTimeoutTicks = options.DriveTimeout.Ticks;

    /// <inheritdoc cref="ArrayRunOptions.SlowAfter"/>
    public TimeSpan SlowAfter
    {
        get => new(Volatile.Read(ref _slowAfterTicks));
        set => Volatile.Write(ref _slowAfterTicks, value.Ticks);
    }

    /// <inheritdoc cref="ArrayRunOptions.DriveTimeout"/>
    public TimeSpan DriveTimeout
    {
        get => new(Volatile.Read(ref _driveTimeoutTicks));
        set => Volatile.Write(ref _driveTimeoutTicks, value.Ticks);
    }

    /// <summary>Members that hang. Any thread.</summary>
    public ulong HangingMask => Volatile.Read(ref _hanging);

    /// <summary>How long a member's oldest request has been in flight. Any thread.</summary>
    public int AgeSeconds(RaidMember member) => AgeOf(member.OldestSeconds());

    /// <summary>How long ago the request was sent that a member is out for. Any thread.</summary>
    public int OverdueSeconds(RaidMember member) => AgeOf(member.OverdueSince);

    private int AgeOf(int since) => since == int.MaxValue ? 0 : Math.Max(0, array.State.Seconds - since);

    /// <summary>
    /// Completes when every queue has left the drives that were given up. What failed is told once. The control task's.
    /// </summary>
    public Task LeavingAsync() => Interlocked.Exchange(ref _leaving, Task.CompletedTask);

    /// <summary>Looks at all members.</summary>
    public void Look()
    {
        lock (_lock)
        {
            LookAtAll();
        }
    }

    private void LookAtAll()
    {
        // One second beyond, so that 0 is before the start and the first period of a port is a new one. What was sent while
        // nobody looked is dated by the last look: a pause of any length counts as little, or it would be the drives'.
        int now = 1 + (int)options.Clock.GetElapsedTime(_started).TotalSeconds;
        array.State.Seconds += Math.Min(now - _lookedAt, MaxStep);
        _lookedAt = now;
        ulong hanging = 0, stuck = 0;
        double patience = Math.Min(SlowAfter.TotalSeconds, DriveTimeout.TotalSeconds);
        ImmutableArray<RaidMember> members = array.Members;
        foreach (RaidMember member in members)
        {
            stuck |= AgeSeconds(member) >= patience ? 1UL << member.Role : 0;
        }

        bool areFew = array.State.SurvivesWithout(array.State.LostMask | stuck);
        foreach (RaidMember member in members)
        {
            if (!ReferenceEquals(member, _seen[member.Role]))
            {
                // Another drive, which has not failed anything yet.
                _reportFrom[member.Role] = 1;
                _reportSumsFrom[member.Role] = 1;
            }

            LookAtSums(member);
            LookAtReads(member);
            LookAtTime(member, areFew);
            bool hangs = AgeSeconds(member) >= SlowAfter.TotalSeconds;
            hanging |= hangs ? 1UL << member.Role : 0;
            ReportHanging(member, hangs);
        }

        _seen = members;
        Volatile.Write(ref _hanging, hanging);
        ulong failed = array.State.LostMask;
        array.State.SlowMask = array.State.SurvivesWithout(failed | hanging) ? hanging & ~failed : 0;
    }

    /// <summary>The drive; of two that are written as one, the one that does not answer.</summary>
    private string? NameOf(RaidMember member) =>
        array.Map.ReplacementOf(member.Role) is { } replacement && AgeSeconds(replacement.New) >= SlowAfter.TotalSeconds
            ? replacement.New.Drive!.Name
            : member.Drive?.Name;

    private void ReportHanging(RaidMember member, bool hangs)
    {
        bool did = ((_hanging >> member.Role) & 1) != 0;
        if (hangs && !did && !member.IsLeft)
        {
            report(ArrayControl.About(ArrayEventKind.MemberSlow, member) with
            {
                Drive = NameOf(member), Seconds = AgeSeconds(member),
            });
        }
        else if (did && !hangs)
        {
            report(ArrayControl.About(ArrayEventKind.MemberAnswersAgain, member));
        }
    }

    /// <summary>Gives a member up that has not answered for too long, when that is sure.</summary>
    private void LookAtTime(RaidMember member, bool areFew)
    {
        ref Suspicion? suspicion = ref _suspicions[member.Role];
        TimeSpan limit = DriveTimeout;
        bool isOut = !array.IsUsable(member.Role);
        if (limit <= TimeSpan.Zero || AgeOf(member.SurelySeconds()) < limit.TotalSeconds
            || !(isOut ? MayBeLeft(member) : areFew && MayTimeOut(member)))
        {
            suspicion = null;
            return;
        }

        suspicion ??= new Suspicion(options.Clock.GetTimestamp(), ComeAroundAsync(), ProbeOthers(member));
        TimeSpan age = options.Clock.GetElapsedTime(suspicion.Since);
        if (!suspicion.CameAround.IsCompletedSuccessfully || age < s_sure)
        {
            suspicion = suspicion.CameAround.IsFaulted ? null : suspicion;
            return;
        }

        if (isOut)
        {
            suspicion = null;
            Leave(member);
            return;
        }

        ulong bit = 1UL << member.Role;
        if (!array.State.SurvivesWithout(array.State.LostMask | bit | suspicion.Silent)
            || !array.State.TryFailAll(bit, out ulong set))
        {
            // Those that have answered may have ceased to.
            suspicion = age < s_stale ? suspicion : null;
            return;
        }

        suspicion = null;
        if (set == 0)
        {
            // Somebody else was faster, and knows why: the next look finds it out.
            return;
        }

        member.WhyOut = OutReason.TimedOut;
        Leave(member);
    }

    /// <summary>A member is out: whatever waits for its drive goes on without.</summary>
    private void Leave(RaidMember member)
    {
        member.IsLeft = true;
        if (member.ControlSince != int.MaxValue)
        {
            member.NoteOverdue(member.ControlSince, member.ControlRequest);
        }

        // Queues that open from here on look for that.
        Interlocked.MemoryBarrier();
        _leaving = Task.WhenAll(_leaving, array.OnEveryQueueAsync(queue => queue.Leave(member.Role)));
        array.Control.Kick();
    }

    /// <summary>Whether one that is out, for whatever reason, can be left what it has.</summary>
    private bool MayBeLeft(RaidMember member) => !member.IsLeft && !member.IsAbsent && IsAlone(member);

    /// <summary>Whether a member of an array with redundancy that is written has one drive, and goes nowhere else.</summary>
    private bool IsAlone(RaidMember member) =>
        array.TracksDirt && !array.Limits.ReadOnly && array.Reshaping is null
        && array.Map.ReplacementOf(member.Role) is null && member.Ports.All(p => p.Retired is null);

    private bool MayTimeOut(RaidMember member)
    {
        ArrayState state = array.State;
        bool isParityRight = !array.Geometry.HasParity || !state.NeedsResync || state.TrustsUnsynced;
        ulong lacking = state.LostMask | state.BadMask | (1UL << member.Role);
        return !state.IsBroken && isParityRight && array.State.SurvivesWithout(lacking) && IsAlone(member);
    }

    /// <summary>Asks the others that are not lost for a block each. One that owes an answer is not asked again.</summary>
    private Task<bool>?[] ProbeOthers(RaidMember suspect)
    {
        ulong lost = array.State.LostMask | (1UL << suspect.Role);
        foreach (RaidMember other in array.Members.Where(m => ((lost >> m.Role) & 1) == 0))
        {
            if (_probes[other.Role] is null or { IsCompleted: true })
            {
                _probes[other.Role] = ProbeAsync(other);
            }
        }

        return [.. _probes.Select((probe, role) => ((lost >> role) & 1) == 0 ? probe : null)];
    }

    /// <summary>
    /// Whether a drive answers, also that it could not read. The queue is the probe's own, and the memory the request's: both
    /// stay until the answer.
    /// </summary>
    private async Task<bool> ProbeAsync(RaidMember member)
    {
        member.IsProbed = true;
        try
        {
            long offset = SuperblockFormat.SlotOffset(member.Sequence);
            await BlockIo.ReadAsync(member.Drive!, array.Control.Home, offset, new byte[ProbeBytes]);
            return true;
        }
        catch (BlockIoException e)
        {
            return BlockErrors.KindOf(-e.Errno) != BlockErrorKind.Gone;
        }
        catch (IOException)
        {
            // No queue could be opened.
            return false;
        }
        finally
        {
            member.IsProbed = false;
        }
    }

    /// <summary>Every reactor has looked for answers, since it was asked.</summary>
    private async Task ComeAroundAsync()
    {
        await array.OnEveryQueueAsync(_ => { });
        await array.OnEveryQueueAsync(_ => { });
        await array.Control.Home.InvokeAsync(() => { });
    }

    /// <summary>Says the first block that is not what was written, then each time that there are ten times as many.</summary>
    private void LookAtSums(RaidMember member)
    {
        if (member.Sums is { Errors: long errors } sums && errors >= _reportSumsFrom[member.Role])
        {
            while (_reportSumsFrom[member.Role] <= errors)
            {
                _reportSumsFrom[member.Role] *= 10;
            }

            report(ArrayControl.About(ArrayEventKind.MemberChecksumErrors, member) with
            {
                Count = errors, OffsetBytes = sums.LastErrorOffset,
            });
        }
    }

    /// <summary>
    /// Says the first read error, then each time that there are ten times as many; gives a member up that cannot be read at all.
    /// </summary>
    private void LookAtReads(RaidMember member)
    {
        if (member.ReadErrors >= _reportFrom[member.Role])
        {
            long errors = member.ReadErrors;
            while (_reportFrom[member.Role] <= errors)
            {
                _reportFrom[member.Role] *= 10;
            }

            report(ArrayControl.About(ArrayEventKind.MemberReadErrors, member) with { Count = errors, Fault = member.LastFault });
        }

        int most = options.MaxReadErrorsInARow;
        if (most > 0 && member.ReadErrorsInARow >= most && array.TracksDirt && array.IsUsable(member.Role)
            && !array.State.NeedsResync && array.State.TryFailAll(1UL << member.Role))
        {
            report(ArrayControl.About(ArrayEventKind.MemberUnreadable, member) with { Count = most, Fault = member.LastFault });
        }
    }

    /// <summary>A member that has not answered for too long, as it was seen first.</summary>
    /// <param name="Since">When, by the clock of the run.</param>
    /// <param name="CameAround">Completes when every reactor has looked for answers since.</param>
    /// <param name="Probes">By role: whether the others answer; null where that is not asked.</param>
    private sealed record Suspicion(long Since, Task CameAround, Task<bool>?[] Probes)
    {
        /// <summary>Those that have not answered.</summary>
        public ulong Silent
        {
            get
            {
                ulong silent = 0;
                for (int role = 0; role < Probes.Length; role++)
                {
                    bool answers = Probes[role] is null or { IsCompletedSuccessfully: true, Result: true };
                    silent |= answers ? 0 : 1UL << role;
                }

                return silent;
            }
        }
    }
}
