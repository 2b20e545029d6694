// What is shown of an array: a snapshot, and what is wrong with it in words, with what to do.

using Polyblk.Raid.Engine;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

internal sealed partial class ArrayControl
{
    /// <summary>A snapshot of the array.</summary>
    public ArrayStatus GetStatus()
    {
        ArraySuperblock current = _superblocks.Current;
        ulong failed = _array.State.FailedMask;
        ulong rebuilding = _array.State.RebuildingMask & ~failed;
        ResyncStatus? resync = !_array.State.NeedsResync
            ? null
            : Progress(RaidUnits.ToSyncedBytes(_array.Geometry, _array.State.FirstUnsynced), isRunning: _membership.IsQuiet);
        ResyncStatus? rebuild = rebuilding == 0 ? null : Progress(_superblocks.RebuiltBytes, isRunning: !_membership.IsQuiet);
        return new ArrayStatus
        {
            Name = _array.Name,
            Uuid = _array.Uuid,
            Level = _array.Geometry.Level,
            ChunkBytes = _array.Geometry.ChunkSize,
            SizeBytes = _array.SizeBytes,
            CapacityBytes = _array.Reshaping?.Map.OldCapacity ?? _array.Geometry.Capacity,
            Consistency = _array.Consistency,
            Checksums = _array.Sums is not null,
            Health = _array.State.IsBroken ? ArrayHealth.Failed
                : (failed | rebuilding) != 0 ? ArrayHealth.Degraded
                : resync is not null ? ArrayHealth.Resyncing
                : ArrayHealth.Optimal,
            Dirty = _superblocks.IsDirty,
            EventCount = current.EventCount,
            Members = [.. _array.Members.Select(m => StatusOf(m, failed, rebuilding))],
            RangesInDoubt = _array.State.Doubts.Count,
            Resync = resync,
            Rebuild = rebuild,
            Replacement = _replacement.Describe(),
            Reshape = _reshaping.Describe(),
            Scrub = ScrubStatus,
            SpareDrives = [.. _array.Map.Spares.Select(s => s.Drive)],
            Warnings = [.. DescribeProblems(failed)],
        };
    }

    private ResyncStatus Progress(long doneBytes, bool isRunning) =>
        new(doneBytes, _array.Geometry.MemberDataSize, isRunning ? _jobs.BytesPerSecond : 0) { IsLeft = _array.Limits.ReadOnly };

    private MemberStatus StatusOf(RaidMember member, ulong failed, ulong rebuilding)
    {
        ulong bit = 1UL << member.Role;
        bool isOut = (failed & bit) != 0;
        MemberState state = member.IsAbsent ? MemberState.Missing
            : isOut ? MemberState.Failed
            : (rebuilding & bit) != 0 ? MemberState.Rebuilding
            : MemberState.Present;
        BadRanges bad = _array.State.Bad;
        return new MemberStatus(
            member.Role, member.IsAbsent ? string.Empty : member.Drive!.Name, state, member.ReadErrors, member.WriteErrors,
            member.Repairs)
        {
            ChecksumErrors = member.Sums?.Errors,
            OldestRequestSeconds = _watch.AgeSeconds(member),
            RequestsInFlight = member.InFlight,
            Traffic = member.Traffic,
            IsHanging = (_watch.HangingMask & bit) != 0,
            BadRanges = bad.CountOf(member.Role),
            BadBytes = bad.RowsOf(member.Role) * RaidUnits.RowBytes(_array.Geometry),
            Drive = member.IsAbsent ? null : member.Drive,
            WhyOut = isOut ? member.WhyOut : OutReason.Unknown,
            LastFault = member.LastFault,
        };
    }

    private IEnumerable<string> DescribeProblems(ulong failed)
    {
        if (_array.State.FencedBy is { } by)
        {
            yield return $"{by.Who} uses the array as well ({Membership.Describe(by.Member)}, {by.At:u}): writes are refused here. "
                + "End one of the two, run a check, and let the file systems be checked.";
        }
        else if (_array.State.IsBroken)
        {
            yield return _array.Members.Any(m => m is { IsAbsent: true, Drive: not null })
                ? "More members are missing than the level can lose: what lies on those that are here can be read, the rest "
                    + "ends with errors."
                : "More drives failed than the level can lose: writes are refused. Stop the array, mend the drives, and start "
                    + "it again.";
        }

        foreach (RaidMember member in _array.Members.Where(m => ((failed >> m.Role) & 1) != 0))
        {
            yield return DescribeFailed(member);
        }

        foreach (RaidMember member in _array.Members)
        {
            if (((failed >> member.Role) & 1) == 0 && _array.State.Bad.CountOf(member.Role) is int ranges and > 0)
            {
                yield return $"{EventText.BadRanges(ranges)} on {Membership.Describe(member)}: it could not write there, and "
                    + "what belongs there has less redundancy. Replace it when convenient.";
            }
        }

        foreach (string halted in new[] { _membership.Halted, _replacement.Halted, _reshaping.Halted }.OfType<string>())
        {
            yield return halted;
        }

        ulong hanging = _watch.HangingMask & ~failed;
        foreach (RaidMember member in _array.Members)
        {
            if (((hanging >> member.Role) & 1) != 0)
            {
                yield return $"Member {member.Role} ({member.Drive!.Name}) has not answered a request for "
                    + $"{_watch.AgeSeconds(member)} s: check the drive and its cable.";
            }
        }

        if (_array.State.Doubts.Count is int inDoubt and > 0)
        {
            yield return _array.Geometry.HasParity && failed != 0
                ? $"{inDoubt} ranges are unknown where the lost member's blocks lie: reading them ends with an error "
                    + "until they are written."
                : $"{inDoubt} ranges could not be read from enough members, or were refused by some, so that members "
                    + "do not agree there; they are tried again. "
                    + "Check the drives, their cables and the space they have.";
        }

        if (_superblocks.MayBeDamaged)
        {
            yield return "A member was lost while parity was not known to be right: what was being written when the array was last cut off "
                + $"may be damaged. Check the file systems, then let this warning go with 'polyblk volume acknowledge {_array.Name}'.";
        }
    }

    private static string DescribeFailed(RaidMember member)
    {
        if (member.Drive is not { } drive)
        {
            return $"Member {member.Role} is missing: the array runs without its redundancy.";
        }

        return member.WhyOut == OutReason.TimedOut ? DescribeTimedOut(member)
            : member.IsDrained ? $"Member {member.Role} ({drive.Name}) has failed: replace the drive."
            : $"Member {member.Role} ({drive.Name}) has failed, and has not answered all that was asked of it: unplug the drive, "
                + "so that its requests end, and replace it.";
    }

    private static string DescribeTimedOut(RaidMember member)
    {
        string what = member.LastFault is { } fault ? $" a {fault.Request}" : " a request";
        return $"Member {member.Role} ({member.Drive!.Name}) did not answer{what} in time and is out: " + (member.IsDrained
            ? "it has answered since. Check the drive and its cable, and take it back or replace it."
            : "it has not answered yet. Check the drive and its cable, and unplug it, so that its requests end.");
    }
}
