// What an array tells as events because it looks different than when it was looked at last: members that have failed, redundancy,
// bad ranges, progress. What happens at one place of the code is told there.

using System.Numerics;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file. The control task's.</summary>
internal sealed class ArrayReports(
    RaidArray array, ArrayMetadata superblocks, Membership membership, MemberWatch watch, Action<ArrayEvent> report)
{
    private ulong _reportedFailures;
    private int _reportedLost;
    private bool _brokenReported;
    private int _reportedTenths;
    private BadRanges _reportedBad = array.State.Bad;

    /// <summary>Whether superblocks, when they are written, are of a later format than they were.</summary>
    public bool UpgradesFormat { get; set; }

    /// <summary>How much of the array is in sync, in tenths.</summary>
    private int ResyncTenths => (int)(10 * superblocks.SyncedBytes / Math.Max(1, array.Geometry.MemberDataSize));

    /// <summary>What is so at the start is no event of the run.</summary>
    public void Begin()
    {
        _reportedFailures = array.State.FailedMask;
        _reportedLost = BitOperations.PopCount(array.State.LostMask);
        _brokenReported = array.State.IsBroken;
    }

    /// <summary>The tenths that are reached are none of the progress.</summary>
    public void BeginProgress() => _reportedTenths = ResyncTenths;

    /// <summary>Says of whom there are places now that it cannot write, or none any more.</summary>
    public void OfBadRanges()
    {
        BadRanges bad = array.State.Bad;
        if (ReferenceEquals(bad, _reportedBad))
        {
            return;
        }

        foreach (RaidMember member in array.Members.Where(m => array.IsUsable(m.Role)))
        {
            long before = _reportedBad.RowsOf(member.Role), now = bad.RowsOf(member.Role);
            if (now > before)
            {
                report(ArrayControl.About(ArrayEventKind.MemberBadRanges, member) with
                {
                    Count = bad.CountOf(member.Role), Fault = member.LastFault,
                });
            }
            else if (now == 0 && before != 0)
            {
                report(ArrayControl.About(ArrayEventKind.MemberBadRangesGone, member));
            }
        }

        _reportedBad = bad;
    }

    /// <summary>
    /// Says which members have failed since, what that did to the redundancy, and once that the array is broken.
    /// </summary>
    public void OfFailures()
    {
        ulong failed = array.State.FailedMask;

        // Who has a new drive can fail again.
        _reportedFailures &= failed;
        foreach (RaidMember member in array.Members)
        {
            ulong bit = 1UL << member.Role;
            if ((failed & bit & ~_reportedFailures) != 0)
            {
                _reportedFailures |= bit;
                membership.NoteFailure();
                report(ArrayControl.About(ArrayEventKind.MemberFailed, member) with
                {
                    WhyOut = member.WhyOut,
                    Seconds = member.WhyOut == OutReason.TimedOut ? watch.OverdueSeconds(member) : null,
                    Fault = member.WhyOut == OutReason.Asked ? null : member.LastFault,
                    MayHaveDamaged = superblocks.IsExposed,
                });
            }
        }

        OfRedundancy();

        if (array.State.IsBroken && !_brokenReported)
        {
            _brokenReported = true;
            report(array.State.FencedBy is not { } by ? new ArrayEvent(ArrayEventKind.ArrayFailed)
                : ArrayControl.About(ArrayEventKind.Fenced, by.Member) with { Reason = $"{by.Who} has written there, {by.At:u}" });
        }
    }

    /// <summary>Says when the first member is lost, or one more, and when none is any more.</summary>
    private void OfRedundancy()
    {
        int lost = BitOperations.PopCount(array.State.LostMask);
        if (array.TracksDirt && lost != _reportedLost && !array.State.IsBroken)
        {
            if (lost == 0)
            {
                report(new ArrayEvent(ArrayEventKind.RedundancyRestored));
            }
            else if (lost > _reportedLost)
            {
                report(new ArrayEvent(ArrayEventKind.Degraded) { Count = lost, Of = array.Members.Length });
            }

            _reportedLost = lost;
        }
    }

    /// <summary>Says once that an older program will not know the array any more.</summary>
    public void OfFormat()
    {
        if (UpgradesFormat && superblocks.HasWritten)
        {
            UpgradesFormat = false;
            report(new ArrayEvent(ArrayEventKind.FormatUpgraded) { Count = SuperblockFormat.Version });
        }
    }

    /// <summary>Says each tenth of a resync that is reached; the last one is its end.</summary>
    public void OfProgress()
    {
        if (array.State.SyncedUnits != long.MaxValue && ResyncTenths is int tenths and < 10 && tenths > _reportedTenths)
        {
            _reportedTenths = tenths;
            report(new ArrayEvent(ArrayEventKind.ResyncProgress) { Percent = tenths * 10 });
        }
    }
}
