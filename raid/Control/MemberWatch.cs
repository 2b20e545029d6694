// What the control task looks at in every turn to tell members that hang and members that cannot be read: ages, counts, and what
// follows.

using System.Collections.Immutable;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Control;

/// <summary>
/// See the top of the file. Any thread; the control task looks in each of its turns, and whoever waits for the end of the array.
/// </summary>
internal sealed class MemberWatch(RaidArray array, ArrayRunOptions options, Action<ArrayEvent> report)
{
    private readonly long _started = options.Clock.GetTimestamp();
    private readonly long[] _reportFrom = [.. Enumerable.Repeat(1L, array.Members.Length)];
    private ImmutableArray<RaidMember> _seen = array.Members;
    private readonly Lock _lock = new();
    private ulong _hanging;

    /// <summary>Members that hang. Any thread.</summary>
    public ulong HangingMask => Volatile.Read(ref _hanging);

    /// <summary>How long a member's oldest request has been in flight. Any thread.</summary>
    public int AgeSeconds(RaidMember member)
    {
        int oldest = member.OldestSeconds();
        return oldest == int.MaxValue ? 0 : Math.Max(0, array.State.Seconds - oldest);
    }

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
        // One second beyond, so that 0 is before the start and the first period of a port is a new one.
        array.State.Seconds = 1 + (int)options.Clock.GetElapsedTime(_started).TotalSeconds;
        ulong hanging = 0;
        ImmutableArray<RaidMember> members = array.Members;
        foreach (RaidMember member in members)
        {
            if (!ReferenceEquals(member, _seen[member.Role]))
            {
                // Another drive, which has not failed anything yet.
                _reportFrom[member.Role] = 1;
            }

            LookAtReads(member);
            bool hangs = AgeSeconds(member) >= options.SlowAfter.TotalSeconds;
            hanging |= hangs ? 1UL << member.Role : 0;
            ReportHanging(member, hangs);
        }

        _seen = members;
        Volatile.Write(ref _hanging, hanging);
        ulong failed = array.State.LostMask;
        array.State.SlowMask = array.Geometry.SurvivesWithout(failed | hanging) ? hanging & ~failed : 0;
    }

    /// <summary>The drive; of two that are written as one, the one that does not answer.</summary>
    private string? NameOf(RaidMember member) =>
        array.Map.ReplacementOf(member.Role) is { } replacement && AgeSeconds(replacement.New) >= options.SlowAfter.TotalSeconds
            ? replacement.New.Drive!.Name
            : member.Drive?.Name;

    private void ReportHanging(RaidMember member, bool hangs)
    {
        bool did = ((_hanging >> member.Role) & 1) != 0;
        if (hangs && !did)
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
}
