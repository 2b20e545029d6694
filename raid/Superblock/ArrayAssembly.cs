// Assembly: from the superblocks found on drives to the decision whether and how the array starts. Pure; touches no drive.
//
// Theory of operation. The superblock with the highest event count speaks for the array. A member belongs to it when the newest
// superblock lists its UUID in its role as present and it is at most one event behind (see ArraySuperblock for why one is
// right). Every other candidate is left out, with the reason; what is left out is never read as data. When two superblocks of
// one event count disagree about the members, the array was started twice with different drives: there is no truth to choose,
// and the user must. A member that is being rebuilt is used as far as it is made; a drive that comes back to a role that stands
// empty, because it was not there when the array was last used, is a candidate for being rebuilt in place. Spares never speak for
// the array: they count when the newest superblock of a member lists them. Where something is wrong that could be a mistake of
// the user (mixed arrays, copied drives, shrunk drives), assembly refuses as a whole instead of starting with less redundancy.

using System.Collections.Immutable;
using System.Numerics;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;

namespace Polyblk.Raid.Superblock;

/// <summary>A drive on which a superblock was found.</summary>
/// <param name="Path">How the user knows the drive.</param>
/// <param name="SizeBytes">The drive's size.</param>
/// <param name="Superblock">Its valid superblock.</param>
public sealed record AssemblyCandidate(string Path, long SizeBytes, ArraySuperblock Superblock);

/// <summary>The decision about an array.</summary>
public enum AssemblyOutcome
{
    /// <summary>All members are there and in step.</summary>
    Complete,

    /// <summary>Members are missing or stale, but no data is.</summary>
    Degraded,

    /// <summary>The array must not start like this.</summary>
    Refused,
}

/// <summary>A candidate that is not used, and why.</summary>
/// <param name="Candidate">The drive.</param>
/// <param name="Reason">Why it is left out and what to do.</param>
public sealed record LeftOutMember(AssemblyCandidate Candidate, string Reason);

/// <summary>The result of <see cref="ArrayAssembly.Assemble"/>.</summary>
public sealed record AssemblyResult
{
    /// <summary>The decision.</summary>
    public required AssemblyOutcome Outcome { get; init; }

    /// <summary>Why it is refused, and what to do; null otherwise.</summary>
    public string? Error { get; init; }

    /// <summary>The superblock that speaks for the array; null when refused before one was found.</summary>
    public ArraySuperblock? Newest { get; init; }

    /// <summary>Refused only because more members are missing than the level can lose: the rest can be read.</summary>
    public bool IsTooFew { get; init; }

    /// <summary>The geometry, unless refused for another reason than <see cref="IsTooFew"/>.</summary>
    public RaidGeometry? Geometry { get; init; }

    /// <summary>The drives by role; null where the member is missing.</summary>
    public ImmutableArray<AssemblyCandidate?> Members { get; init; } = [];

    /// <summary>Drives that are not used.</summary>
    public ImmutableArray<LeftOutMember> LeftOut { get; init; } = [];

    /// <summary>One bit for each role without a usable member.</summary>
    public ulong MissingRoles { get; init; }

    /// <summary>One bit for each role whose member is there and is being rebuilt; none of <see cref="MissingRoles"/>.</summary>
    public ulong RebuildingRoles { get; init; }

    /// <summary>The bytes of every member of <see cref="RebuildingRoles"/> that are in step.</summary>
    public long RebuildFrom { get; init; }

    /// <summary>
    /// Drives that are stale because they were away, and whose roles stand empty: they can be rebuilt without asking anybody, for
    /// nothing was wrong with them. They are in <see cref="LeftOut"/>, too.
    /// </summary>
    public ImmutableArray<AssemblyCandidate> Returning { get; init; } = [];

    /// <summary>Drives that wait to take a lost member's place.</summary>
    public ImmutableArray<AssemblyCandidate> Spares { get; init; } = [];

    /// <summary>
    /// Those of <see cref="MissingRoles"/> that the superblocks call present: nobody knows yet that the array does without them.
    /// </summary>
    public ulong AbsentRoles
    {
        get
        {
            ulong absent = 0;
            for (int role = 0; Newest is not null && role < Newest.MemberCount; role++)
            {
                absent |= Newest.Members[role].State == MemberState.Present ? MissingRoles & (1UL << role) : 0;
            }

            return absent;
        }
    }

    /// <summary>True when parity or copies must be resynced; always false without redundancy.</summary>
    public bool NeedsResync { get; init; }

    /// <summary>The bytes of every member that need no resync any more; 0 when the resync begins anew.</summary>
    public long ResyncFrom { get; init; }
}

/// <summary>Decides how an array starts.</summary>
public static class ArrayAssembly
{
    /// <summary>How many events a member may be behind: the one update that a crash cut short.</summary>
    private const ulong MaxLag = 1;

    /// <summary>Assembles one array from all drives that claim to belong to it.</summary>
    public static AssemblyResult Assemble(IReadOnlyList<AssemblyCandidate> candidates)
    {
        if (candidates.Count == 0) return Refuse("No drive with a superblock of this array was found: check the paths.");
        if (FindMixture(candidates) is { } mixture) return Refuse(mixture);
        if (FindCopy(candidates) is { } copy) return Refuse(copy);

        ImmutableArray<LeftOutMember> unbegun = [.. FindUnbegun(candidates)];
        candidates = [.. candidates.Except(unbegun.Select(left => left.Candidate))];
        if (candidates.All(IsSpare)) return Refuse("Only spares of this array were found: connect its members.");

        ArraySuperblock newest = TakeMarks(candidates.Where(candidate => !IsSpare(candidate)).MaxBy(c => c.Superblock.EventCount)!.Superblock, candidates);
        if (FindDisagreement(candidates, newest) is { } disagreement) return Refuse(disagreement, newest);
        if (!newest.TryGetGeometry(out RaidGeometry? geometry, out string? shapeError)) return Refuse(shapeError!, newest);

        var members = new AssemblyCandidate?[newest.MemberCount];
        var leftOut = ImmutableArray.CreateBuilder<LeftOutMember>();
        leftOut.AddRange(unbegun);
        var spares = ImmutableArray.CreateBuilder<AssemblyCandidate>();
        foreach (AssemblyCandidate candidate in candidates)
        {
            if (ReasonToLeaveOut(candidate, newest) is { } reason) leftOut.Add(new LeftOutMember(candidate, reason));
            else if (IsSpare(candidate)) spares.Add(candidate);
            else members[candidate.Superblock.Role] = candidate;
        }
        if (FindShrunk(members, newest) is { } shrunk) return Refuse(shrunk, newest);
        return Decide(newest, geometry!, members, leftOut.ToImmutable()) with { Spares = spares.ToImmutable() };
    }

    /// <summary>
    /// Drives of a reshape of which no older member knows: it has not begun, they hold nothing, and do not speak for the array.
    /// Another one may have begun since, with other drives.
    /// </summary>
    private static IEnumerable<LeftOutMember> FindUnbegun(IReadOnlyList<AssemblyCandidate> candidates)
    {
        static bool IsNew(AssemblyCandidate candidate) =>
            candidate.Superblock.Reshape is { Frontier: 0 } reshape && candidate.Superblock.Role >= reshape.OldMemberCount;

        AssemblyCandidate[] others = [.. candidates.Where(candidate => !IsSpare(candidate) && !IsNew(candidate))];

        // What has a frontier has begun, also where the older ones have forgotten it since: it was over.
        AssemblyCandidate[] begun = [.. others.Where(other => other.Superblock.Reshape is not null)];
        return others.Length == 0 ? []
            : candidates.Where(candidate => IsNew(candidate) && !begun.Any(other => Lists(other.Superblock, candidate.Superblock)))
                .Select(candidate => new LeftOutMember(
                    candidate,
                    $"{candidate.Path} was to become a member by a reshape that did not begin. It can be used as a new drive."));
    }

    /// <summary>Whether a superblock has another's drive in its role.</summary>
    private static bool Lists(ArraySuperblock superblock, ArraySuperblock other) =>
        other.Role < superblock.MemberCount && superblock.Members[other.Role].Uuid == other.MemberUuid;

    /// <summary>The marks of all superblocks of one event: each may have some that the others lack.</summary>
    private static ArraySuperblock TakeMarks(ArraySuperblock newest, IReadOnlyList<AssemblyCandidate> candidates)
    {
        if (newest.Regions is not { } regions) return newest;
        ulong[] words = [.. regions.Words];
        foreach (AssemblyCandidate candidate in candidates)
        {
            ArraySuperblock its = candidate.Superblock;
            bool counts = !IsSpare(candidate) && its.EventCount == newest.EventCount && its.Regions?.Shift == regions.Shift;
            for (int i = 0; counts && i < words.Length; i++) words[i] |= its.Regions!.Words[i];
        }
        return newest with { Regions = regions with { Words = [.. words] } };
    }

    private static bool IsSpare(AssemblyCandidate candidate) => candidate.Superblock.Role == ArraySuperblock.SpareRole;

    private static AssemblyResult Decide(
        ArraySuperblock newest, RaidGeometry geometry, AssemblyCandidate?[] members, ImmutableArray<LeftOutMember> leftOut)
    {
        ulong missing = 0, rebuilding = 0;
        for (int role = 0; role < members.Length; role++)
        {
            if (members[role] == null) missing |= 1UL << role;
            else if (newest.Members[role].State == MemberState.Rebuilding) rebuilding |= 1UL << role;
        }
        ulong lacking = missing | rebuilding;
        bool survives = ReshapeMap.UnderWay(newest) is { } map ? map.SurvivesWithout(lacking) : geometry.SurvivesWithout(lacking);
        bool needsResync = newest.NeedsResync && geometry.CopyCount + geometry.ParityCount > 1;
        return new AssemblyResult
        {
            Outcome = !survives ? AssemblyOutcome.Refused
                : (missing | rebuilding) == 0 ? AssemblyOutcome.Complete : AssemblyOutcome.Degraded,
            Error = survives ? null : TooFew(newest, geometry, missing, rebuilding, leftOut),
            IsTooFew = !survives,
            Newest = newest,
            Geometry = geometry,
            Members = [.. members],
            LeftOut = leftOut,
            MissingRoles = missing,
            RebuildingRoles = rebuilding,
            RebuildFrom = rebuilding == 0 ? 0 : newest.RebuildCheckpoint,
            Returning = [.. leftOut.Select(left => left.Candidate).Where(candidate => IsReturning(candidate, newest))],
            NeedsResync = needsResync,
            ResyncFrom = needsResync ? Math.Max(0, newest.ResyncCheckpoint) : 0,
        };
    }

    /// <summary>
    /// Whether a stale drive that returns has missed only what is marked: it was in step until it was recorded as out, and marks
    /// are complete since before that.
    /// </summary>
    public static bool MissedOnlyMarked(ArraySuperblock its, ArraySuperblock newest)
    {
        if (its.Role == ArraySuperblock.SpareRole || newest.Regions is not { } regions || its.Role >= newest.MemberCount) return false;
        MemberEntry entry = newest.Members[its.Role];
        return entry.Uuid == its.MemberUuid && entry.State == MemberState.Failed
            && its.Members[its.Role].State == MemberState.Present
            && its.EventCount + 1 >= entry.EventCount
            && regions.SinceEvent <= its.EventCount;
    }

    /// <summary>Whether nothing is wrong with a stale drive but that it was away, or did not answer: now it does.</summary>
    private static bool IsReturning(AssemblyCandidate candidate, ArraySuperblock newest)
    {
        if (IsSpare(candidate) || candidate.Superblock.Role >= newest.MemberCount) return false;
        return newest.Members[candidate.Superblock.Role].State is MemberState.Present or MemberState.Rebuilding
            ? newest.Members[candidate.Superblock.Role].Uuid == candidate.Superblock.MemberUuid : WasAway(candidate.Superblock, newest);
    }

    /// <summary>
    /// Whether superblocks say of a member that it was away, or did not answer, and this is what is on its drive.
    /// </summary>
    public static bool WasAway(ArraySuperblock its, ArraySuperblock newest) =>
        its.ArrayUuid == newest.ArrayUuid && its.Role != ArraySuperblock.SpareRole && its.Role < newest.MemberCount
        && newest.Members[its.Role] is { State: MemberState.Failed, Reason: OutReason.Absent or OutReason.TimedOut } entry
        && entry.Uuid == its.MemberUuid;

    private static string? FindMixture(IReadOnlyList<AssemblyCandidate> candidates)
    {
        AssemblyCandidate first = candidates[0];
        foreach (AssemblyCandidate other in candidates)
            if (other.Superblock.ArrayUuid != first.Superblock.ArrayUuid)
                return $"{first.Path} belongs to array '{first.Superblock.Name}' ({first.Superblock.ArrayUuid}) and {other.Path} to "
                    + $"'{other.Superblock.Name}' ({other.Superblock.ArrayUuid}): start one array at a time, with its own drives.";
        return null;
    }

    private static string? FindCopy(IReadOnlyList<AssemblyCandidate> candidates)
    {
        var seen = new Dictionary<Guid, AssemblyCandidate>();
        foreach (AssemblyCandidate candidate in candidates)
        {
            if (!seen.TryAdd(candidate.Superblock.MemberUuid, candidate))
                return $"{seen[candidate.Superblock.MemberUuid].Path} and {candidate.Path} are the same member "
                    + $"({candidate.Superblock.MemberUuid}); one is a copy or a second path of the other: leave one of them out.";
        }
        return null;
    }

    /// <summary>Superblocks that no order of events explains.</summary>
    private static string? FindDisagreement(IReadOnlyList<AssemblyCandidate> candidates, ArraySuperblock newest)
    {
        string newestPath = candidates.First(candidate => candidate.Superblock.MemberUuid == newest.MemberUuid).Path;
        foreach (AssemblyCandidate candidate in candidates)
        {
            ArraySuperblock superblock = candidate.Superblock;
            if (IsSpare(candidate)) continue;
            if (superblock.EventCount == newest.EventCount && !superblock.Members.AsSpan().SequenceEqual(newest.Members.AsSpan()))
                return $"{newestPath} and {candidate.Path} are equally new but disagree about the members: the array was started "
                    + "twice, with different drives. Decide whose data to keep and leave the other drives out.";
            if (!MayPrecede(superblock, newest) && Shape(superblock) != Shape(newest))
                return $"{newestPath} and {candidate.Path} describe the same array with different geometry: leave out the drive "
                    + "that does not belong to it.";
            if (superblock.Role >= newest.MemberCount) continue;
            // Dropped at an event that it claims to have seen: it went its own way after that.
            MemberEntry entry = newest.Members[superblock.Role];
            bool isOut = entry.Uuid == superblock.MemberUuid && entry.EventCount != 0;
            if (isOut && superblock.EventCount >= entry.EventCount) return UsedApart(candidate, newestPath, entry.EventCount, newest);
            // One of the two was an event ahead when they parted.
            if (newest.Forks?.LeftAt(superblock.Forks) is ulong left) return UsedApart(candidate, newestPath, left, newest);
        }
        return null;
    }

    private static string UsedApart(AssemblyCandidate candidate, string newestPath, ulong eventCount, ArraySuperblock newest)
    {
        ArraySuperblock its = candidate.Superblock;
        string when = its.Host.Length == 0 || newest.Host.Length == 0 ? "" : $" ({candidate.Path} last by host {its.Host}, {its.UpdatedAt:u}; "
            + $"{newestPath} by {newest.Host}, {newest.UpdatedAt:u})";
        return $"{candidate.Path} was used apart from {newestPath} after event {eventCount}{when}: the array was started twice, with "
            + "different drives. Decide whose data to keep and leave the other drives out.";
    }

    /// <summary>
    /// Whether an older superblock is of a shape that the array has had: it is stale, or has missed just the change that made the
    /// newest (ArrayGrowth, ArrayReshape), which was cut off.
    /// </summary>
    private static bool MayPrecede(ArraySuperblock older, ArraySuperblock newest)
    {
        bool mayBecome = older.GroupCount == newest.GroupCount
            && (older.Level == newest.Level || (older.ParityCount > 0 && newest.ParityCount > 0));
        if (older.EventCount >= newest.EventCount || older.ChunkSize != newest.ChunkSize || !mayBecome) return false;
        if (newest.EventCount - older.EventCount > MaxLag) return true;
        bool hasGrown = older.Level == newest.Level && older.MemberCount == newest.MemberCount
            && older.MemberDataOffset == newest.MemberDataOffset && older.MemberDataSize < newest.MemberDataSize;
        return hasGrown || (newest.Reshape is { Frontier: 0 } reshape
            && (older.Level, older.MemberCount) == (reshape.OldLevel, reshape.OldMemberCount)
            && older.MemberDataOffset == newest.MemberDataOffset + reshape.ShiftBytes
            && older.MemberDataSize == newest.MemberDataSize - reshape.ShiftBytes);
    }

    private static (RaidLevel Level, int Groups, int Chunk, int Members, long Offset, long Size, long Checksums) Shape(
        ArraySuperblock superblock) =>
        (superblock.Level, superblock.GroupCount, superblock.ChunkSize, superblock.MemberCount, superblock.MemberDataOffset,
            superblock.MemberDataSize, superblock.ChecksumOffset);

    private static string? ReasonToLeaveOut(AssemblyCandidate candidate, ArraySuperblock newest)
    {
        ArraySuperblock superblock = candidate.Superblock;
        if (IsSpare(candidate))
            return newest.Spares.Contains(superblock.MemberUuid) ? null
                : $"{candidate.Path} was a spare of this array and is none any more. It can be used as a new drive.";
        if (superblock.Role >= newest.MemberCount)
            return $"{candidate.Path} has role {superblock.Role}, which the array does not have. It can be used as a new drive.";
        MemberEntry entry = newest.Members[superblock.Role];
        if (entry.Uuid != superblock.MemberUuid)
            return $"{candidate.Path} was replaced in its role {superblock.Role}: its data is stale. It can be used as a new drive.";
        if (entry.State is not (MemberState.Present or MemberState.Rebuilding))
            return $"{candidate.Path} (role {superblock.Role}) failed or was missing at event {entry.EventCount}, its data is stale: "
                + "it must be rebuilt before it is used again.";
        if (newest.EventCount - superblock.EventCount > MaxLag)
            return $"{candidate.Path} (role {superblock.Role}) is stale: it is at event {superblock.EventCount}, the array at "
                + $"{newest.EventCount}. It must be rebuilt before it is used again.";
        return null;
    }

    private static string? FindShrunk(AssemblyCandidate?[] members, ArraySuperblock newest)
    {
        foreach (AssemblyCandidate? member in members)
        {
            if (member == null) continue;
            long needed = newest.MemberBytes;
            if (member.SizeBytes < needed)
                return $"{member.Path} has {member.SizeBytes} bytes but its member needs {needed}: the drive shrank or is an "
                    + "incomplete copy. Restore its size, or leave it out to start without it.";
        }
        return null;
    }

    private static string TooFew(
        ArraySuperblock newest, RaidGeometry geometry, ulong missing, ulong rebuilding, ImmutableArray<LeftOutMember> leftOut)
    {
        var roles = Enumerable.Range(0, newest.MemberCount).Where(role => (missing >> role & 1) != 0);
        string unfinished = rebuilding == 0 ? ""
            : $" {BitOperations.PopCount(rebuilding)} more were being rebuilt and hold only a part of their data.";
        string stale = leftOut.IsEmpty ? "" : " Not usable: " + string.Join(" ", leftOut.Select(member => member.Reason));
        ReshapeRecord? reshape = ReshapeMap.UnderWay(newest) is null ? null : newest.Reshape;
        bool isOfLevel = reshape is not null && reshape.OldLevel != newest.Level;
        string from = isOfLevel ? $", being reshaped from {reshape!.OldLevel.Name()}" : "";
        int most = reshape is null ? geometry.Redundancy : Math.Min(geometry.Redundancy, reshape.OldLevel.ParityCount());
        string of = newest.Level == RaidLevel.Raid10 ? " of each neighbouring pair"
            : geometry.GroupCount > 1 ? $" of each group ({NamesOfGroups(geometry)})"
            : "";
        return $"Array '{newest.Name}' ({newest.Level.Name()}{from}, {newest.MemberCount} members) lacks "
            + $"{BitOperations.PopCount(missing)} members (roles {string.Join(", ", roles)}) and can lose {most}{of}: connect the "
            + $"missing drives.{unfinished}{stale}";
    }

    private static string NamesOfGroups(RaidGeometry geometry) =>
        string.Join("; ", Enumerable.Range(0, geometry.GroupCount).Select(geometry.NameOf));

    private static AssemblyResult Refuse(string error, ArraySuperblock? newest = null) =>
        new() { Outcome = AssemblyOutcome.Refused, Error = error, Newest = newest };
}
