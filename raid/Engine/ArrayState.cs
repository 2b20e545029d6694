// What all reactors of an array must agree on in an instant: who failed, what of that is on disk, how far the resync is.
//
// Theory of operation. A reactor that sees a write fail sets the member's bit here before it lets go of the stripe (or range)
// that it holds; whoever locks that stripe next therefore sees the bit (the lock's interlocked operations order the two), and
// never trusts what the failed member holds. The acknowledgement of that write, and of every other write and flush from then on,
// is held back until the superblocks of the survivors say so too (FailedMask == PersistedMask): after a crash the failed member
// must not come back as if nothing had happened.
//
// A member that is being rebuilt is in RebuildingMask. It is in step below RebuiltUnits, where it is read and written like any
// other; from there on it counts as lost (LostAt). The rebuild moves RebuiltUnits over a range while it holds the range's lock,
// so whoever holds the lock of a range sees one answer for as long as he does. A bit of FailedMask goes away in one way only:
// when a new drive has taken the member's place, its bit moves to RebuildingMask (BeginRebuild), and RebuiltUnits was 0 before.
// Should that drive fail, its bit is in both masks, and FailedMask counts.
//
// When more members refuse a write than can be given up, none of them is: what they hold is readable, only the redundancy of that
// place is not right. The place is put in doubt (DoubtSet) and the request fails. The array breaks, and takes no writes any more,
// only when a member that it cannot do without is gone, refuses a superblock, or may have lost writes at an unknown place. What a
// member still answers that may have lost writes is read directly, but nothing is made from it (DistrustedMask).

//
// A member that cannot write a place, and works otherwise, is lost at that place alone (Bad, ADR 19): LostAt says so to whoever
// holds the lock of it. A place comes in under the lock of a row or range that was refused, and acknowledgements wait for the
// superblocks as they do for a failed member. It goes under the lock of the whole row, when what lies there is right and durable;
// the superblocks may say so later. Those of a member whose drive is another one go while the member is lost everywhere.

using System.Numerics;
using System.Runtime.InteropServices;
using Polyblk.Raid.Control;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Reshape;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Engine;

/// <summary>What became of an attempt to record a place as bad.</summary>
internal enum BadOutcome
{
    /// <summary>It is recorded.</summary>
    Recorded,

    /// <summary>It cannot be: the list is full, or it is not the time for it.</summary>
    NoRoom,

    /// <summary>Too much would be lacking there.</summary>
    LacksTooMuch,
}

/// <summary>Who else has written superblocks of an array that this run uses.</summary>
/// <param name="Member">On which member it was found first.</param>
/// <param name="Who">In words.</param>
/// <param name="At">When, by the other's clock.</param>
internal sealed record Fencing(RaidMember Member, string Who, DateTimeOffset At);

/// <summary>State shared by the reactors of one array, padded to cache lines of its own.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct SharedWords
{
    [FieldOffset(64)]
    public ulong FailedMask;

    [FieldOffset(72)]
    public ulong PersistedMask;

    [FieldOffset(80)]
    public long SyncedUnits;

    [FieldOffset(88)]
    public int Broken;

    [FieldOffset(92)]
    public int UnsyncedDistrusted;

    [FieldOffset(96)]
    public ulong DistrustedMask;

    [FieldOffset(104)]
    public ulong SlowMask;

    [FieldOffset(112)]
    public int Seconds;

    [FieldOffset(120)]
    public ulong RebuildingMask;

    [FieldOffset(128)]
    public long RebuiltUnits;

    [FieldOffset(136)]
    public int Trust;

    [FieldOffset(140)]
    public int PersistedTrust;

    [FieldOffset(144)]
    public long WholeRows;

    [FieldOffset(152)]
    public long FlushedWholeRows;

    [FieldOffset(160)]
    public long BadAdded;

    [FieldOffset(168)]
    public long PersistedBad;
}

/// <summary>See the top of the file.</summary>
/// <param name="geometry">The geometry; that which the array gets while it is being reshaped.</param>
/// <param name="missing">Members without a drive, one bit each, by role.</param>
/// <param name="syncedUnits">How many units are in sync.</param>
/// <param name="reshape">The reshape that the run has begun with; null without one.</param>
internal sealed class ArrayState(RaidGeometry geometry, ulong missing, long syncedUnits, ReshapeRun? reshape = null)
{
    private readonly int _rowShift = RaidUnits.RowShift(geometry);
    private readonly int _rowsPerChunk = geometry.ChunkSize / RaidUnits.RowBytes(geometry);
    private BadRanges _bad = BadRanges.None;
    private int _lowered;
    private int _lostFlushes;
    private Fencing? _fencedBy;
    private SharedWords _words = new()
    {
        FailedMask = missing, PersistedMask = missing, SyncedUnits = syncedUnits, RebuiltUnits = long.MaxValue,
    };

    /// <summary>Members that are out, neither read nor written: one bit each, by role.</summary>
    public ulong FailedMask => Volatile.Read(ref _words.FailedMask);

    /// <summary>Members that are being rebuilt, which may have failed meanwhile.</summary>
    public ulong RebuildingMask => Volatile.Read(ref _words.RebuildingMask);

    /// <summary>Those of them that have not failed: what the rebuild fills.</summary>
    public ulong FilledMask => RebuildingMask & ~FailedMask;

    /// <summary>
    /// Lock units below this are in step on members that are being rebuilt; <see cref="long.MaxValue"/> without any.
    /// </summary>
    public long RebuiltUnits => Volatile.Read(ref _words.RebuiltUnits);

    /// <summary>
    /// Whether nothing is lost without members: a part of an array that is being reshaped lies where the old geometry says, which
    /// may survive the loss of fewer.
    /// </summary>
    /// <param name="members">One bit each, by role.</param>
    public bool SurvivesWithout(ulong members) =>
        reshape is { IsComplete: false } run ? run.Map.SurvivesWithout(members) : geometry.SurvivesWithout(members);

    /// <summary>
    /// Whether there is redundancy that members which are lost have not used up: a resync can make something then. A group that
    /// has none left counts as in sync when it is over: any parities fit what is lost. So where they are not to be believed, all
    /// groups must have some left.
    /// </summary>
    public bool HasRedundancyLeft => !geometry.HasParity
        || (reshape is { IsComplete: false } run ? run.Map.HasRedundancyLeft(LostMask)
            : IsUnsyncedDistrusted ? geometry.HasRedundancyLeftEverywhere(LostMask) : geometry.HasRedundancyLeft(LostMask));

    /// <summary>Those of some members in whose groups a member is lost.</summary>
    /// <param name="members">One bit each, by role.</param>
    public ulong BesideLost(ulong members)
    {
        ulong beside = 0;
        for (ulong groups = geometry.GroupsWith(LostMask); groups != 0; groups &= groups - 1)
        {
            beside |= members & geometry.MembersOf(BitOperations.TrailingZeroCount(groups));
        }

        return beside;
    }

    /// <summary>Members that do not hold all that they should: out, or being rebuilt.</summary>
    public ulong LostMask => FailedMask | RebuildingMask;

    /// <summary>Members that hold nothing usable at a unit. Lasts for as long as the unit is locked.</summary>
    public ulong LostAt(long unit) => LostBesidesBad(unit) | BadAt(unit);

    /// <summary>The places that members could not write.</summary>
    public BadRanges Bad => Volatile.Read(ref _bad);

    /// <summary>Members that have such places, anywhere.</summary>
    public ulong BadMask => Volatile.Read(ref _bad).Members;

    /// <summary>Members whose place at a unit is bad.</summary>
    public ulong BadAt(long unit)
    {
        BadRanges bad = Volatile.Read(ref _bad);
        return ReferenceEquals(bad, BadRanges.None) ? 0 : In(bad, unit, unit);
    }

    /// <summary>Members that have a bad place from one unit to another, which is included.</summary>
    public ulong BadIn(long first, long last)
    {
        BadRanges bad = Volatile.Read(ref _bad);
        return ReferenceEquals(bad, BadRanges.None) ? 0 : In(bad, first, last);
    }

    /// <summary>Members that hold nothing usable at a unit, not counting single places that are bad.</summary>
    public ulong LostBesidesBad(long unit)
    {
        // In this order: BeginRebuild writes them in the opposite one, so a member is seen in one of the two masks.
        ulong failed = FailedMask;
        ulong rebuilding = RebuildingMask;
        return rebuilding != 0 && unit >= RebuiltUnits ? failed | rebuilding : failed;
    }

    /// <summary>The failures that the superblocks of the survivors know of.</summary>
    public ulong PersistedMask
    {
        get => Volatile.Read(ref _words.PersistedMask);
        set => Volatile.Write(ref _words.PersistedMask, value);
    }

    /// <summary>Grows whenever a place is recorded as bad. Read before <see cref="Bad"/>, all that it stands for are in
    /// that.</summary>
    public long BadAdded => Volatile.Read(ref _words.BadAdded);

    /// <summary>What that was when the superblocks were last told.</summary>
    public long PersistedBad
    {
        get => Volatile.Read(ref _words.PersistedBad);
        set => Volatile.Write(ref _words.PersistedBad, value);
    }

    /// <summary>Whether the superblocks do not know yet of a place that is bad.</summary>
    public bool IsBadPending => Volatile.Read(ref _words.BadAdded) != Volatile.Read(ref _words.PersistedBad);

    /// <summary>Whether acknowledgements of writes and flushes must wait for the superblocks.</summary>
    public bool MetadataPending =>
        Volatile.Read(ref _words.FailedMask) != Volatile.Read(ref _words.PersistedMask)
        || IsBadPending
        || Volatile.Read(ref _words.PersistedTrust) > Volatile.Read(ref _words.Trust);

    /// <summary>
    /// Lock units below this are in sync: mirrors are equal, parity is right, but for <see cref="Doubts"/>. <see
    /// cref="long.MaxValue"/> when all are.
    /// </summary>
    public long SyncedUnits => Volatile.Read(ref _words.SyncedUnits);

    /// <summary>How often <see cref="LowerSynced"/> was called.</summary>
    public int Lowered => Volatile.Read(ref _lowered);

    /// <summary>Ranges below <see cref="SyncedUnits"/> whose redundancy does not match the data.</summary>
    public DoubtSet Doubts { get; } = new();

    /// <summary>Whether something is not in sync.</summary>
    public bool NeedsResync => SyncedUnits != long.MaxValue || Doubts.Count != 0;

    /// <summary>The first unit that is not in sync or in doubt; <see cref="long.MaxValue"/> when there is none.</summary>
    public long FirstUnsynced => Math.Min(SyncedUnits, Doubts.First);

    /// <summary>
    /// Whether what is not in sync can be made from redundancy all the same: nobody has written there, or what was being written
    /// has been put right from the journal; and all since was recorded there.
    /// </summary>
    public bool TrustsUnsynced => Volatile.Read(ref _words.Trust) != 0;

    /// <summary>Whether the superblocks say so; not for longer than it is so (<see cref="MetadataPending"/>).</summary>
    public bool PersistedTrust
    {
        get => Volatile.Read(ref _words.PersistedTrust) != 0;
        set => Volatile.Write(ref _words.PersistedTrust, value ? 1 : 0);
    }

    /// <summary>Rows that were written without a record and may be in the drives' caches.</summary>
    public bool HasUnflushedRows => Volatile.Read(ref _words.WholeRows) != Volatile.Read(ref _words.FlushedWholeRows);

    /// <summary>
    /// How many rows were written without a record. Taken before a flush, and given to <see cref="NoteRowsFlushed"/>.
    /// </summary>
    public long WholeRows => Volatile.Read(ref _words.WholeRows);

    /// <summary>How many flushes members have refused that stay all the same.</summary>
    public int LostFlushes => Volatile.Read(ref _lostFlushes);

    /// <summary>Another one.</summary>
    public void NoteLostFlush() => Interlocked.Increment(ref _lostFlushes);

    /// <summary>A row, or several, was written without a record. Under its lock.</summary>
    public void NoteWholeRow() => Interlocked.Increment(ref _words.WholeRows);

    /// <summary>All members have been flushed since so many rows were written.</summary>
    public void NoteRowsFlushed(long rows)
    {
        long seen = Volatile.Read(ref _words.FlushedWholeRows);
        while (rows > seen)
        {
            long found = Interlocked.CompareExchange(ref _words.FlushedWholeRows, rows, seen);
            if (found == seen)
            {
                return;
            }

            seen = found;
        }
    }

    /// <summary>Somewhere redundancy does not fit the data, and no record says what does.</summary>
    public void LoseTrust() => Interlocked.Exchange(ref _words.Trust, 0);

    /// <summary>All is in sync, or right but for what nobody has written, and writes are recorded. The control task's.</summary>
    public void BeginTrust() => Interlocked.Exchange(ref _words.Trust, 1);

    /// <summary>
    /// Whether nothing may be made from redundancy that is not resynced: more places came in doubt than can be remembered.
    /// </summary>
    public bool IsUnsyncedDistrusted
    {
        get => Volatile.Read(ref _words.UnsyncedDistrusted) != 0;
        set => Volatile.Write(ref _words.UnsyncedDistrusted, value ? 1 : 0);
    }

    /// <summary>Members that may hold old content at an unknown place: read directly, but nothing is made from them.</summary>
    public ulong DistrustedMask => Volatile.Read(ref _words.DistrustedMask);

    /// <summary>
    /// Members that have left a request unanswered for long: others are read in their place where that is possible.
    /// </summary>
    public ulong SlowMask
    {
        get => Volatile.Read(ref _words.SlowMask);
        set => Volatile.Write(ref _words.SlowMask, value);
    }

    /// <summary>
    /// Seconds that the array has run and the control task has looked (<see cref="MemberWatch"/>): how reactors tell the age of
    /// requests without reading a clock. Slower than the clock where it has not looked for long.
    /// </summary>
    public int Seconds
    {
        get => Volatile.Read(ref _words.Seconds);
        set => Volatile.Write(ref _words.Seconds, value);
    }

    /// <summary>Whether more failed than the redundancy makes up for: every write ends with -EIO from then on.</summary>
    public bool IsBroken => Volatile.Read(ref _words.Broken) != 0;

    /// <summary>Who else uses the array, where that was found: then it is broken, and stays so. Any thread.</summary>
    public Fencing? FencedBy => Volatile.Read(ref _fencedBy);

    /// <summary>Somebody else writes to the members: nothing that this run writes can be called safe any more.</summary>
    public void Fence(Fencing by)
    {
        _ = Interlocked.CompareExchange(ref _fencedBy, by, null);
        Break();
    }

    /// <summary>Writes cannot be made safe any more.</summary>
    public void Break() => Volatile.Write(ref _words.Broken, 1);

    /// <summary>
    /// A member cannot be used any more. Returns true when the array goes on without it (also when it had been given up before),
    /// false when that would lose data: the array is broken then and the member keeps its state.
    /// </summary>
    public bool TryFail(int member)
    {
        if (TryFailAll(1UL << member))
        {
            return true;
        }

        Break();
        return false;
    }

    /// <summary>Gives up all of these members, or none of them when that would lose data: false then.</summary>
    public bool TryFailAll(ulong members) => TryFailAll(members, out _);

    /// <summary>The same, and which of them this call has given up: the others were out.</summary>
    public bool TryFailAll(ulong members, out ulong set)
    {
        set = 0;
        ulong seen = FailedMask;
        while ((seen & members) != members)
        {
            if (!SurvivesWithout(seen | members | RebuildingMask))
            {
                return false;
            }

            ulong found = Interlocked.CompareExchange(ref _words.FailedMask, seen | members, seen);
            if (found == seen)
            {
                set = members & ~seen;
                return true;
            }

            seen = found;
        }

        return true;
    }

    /// <summary>What the superblocks said when the array was started.</summary>
    public void BeginBad(BadRanges bad) => Volatile.Write(ref _bad, bad);

    /// <summary>
    /// Members refused to write a range and are lost there from now on. Units of the range that was refused are locked by the
    /// caller; the whole rows that they are in become bad.
    /// </summary>
    /// <param name="first">The first unit.</param>
    /// <param name="last">The last unit.</param>
    /// <param name="members">The members, one bit each, by role.</param>
    public BadOutcome TryAddBad(long first, long last, ulong members)
    {
        if (((FailedMask | RebuildingMask) & members) != 0)
        {
            return BadOutcome.NoRoom;
        }

        while (true)
        {
            BadRanges seen = Bad;
            if (!SurvivesWithout(LostMask | In(seen, first, last) | members))
            {
                return BadOutcome.LacksTooMuch;
            }

            BadRanges? next = With(seen, first, last, members);
            if (next is null)
            {
                return BadOutcome.NoRoom;
            }

            if (next.Equals(seen))
            {
                return BadOutcome.Recorded;
            }

            // Before, so that whoever sees the place as bad waits for the superblocks; and after, so that an update that looked
            // in between does not count as one that tells it.
            Interlocked.Increment(ref _words.BadAdded);
            bool isAdded = ReferenceEquals(Interlocked.CompareExchange(ref _bad, next, seen), seen);
            Interlocked.Increment(ref _words.BadAdded);
            if (isAdded)
            {
                return BadOutcome.Recorded;
            }
        }
    }

    /// <summary>What members hold in the row of a unit is right, and durable. The whole row is locked by the caller.</summary>
    public void RemoveBad(long unit, ulong members)
    {
        (long row, ulong its) = MemberRow(unit);
        ChangeBad(bad => bad.Without(row, 1, members & its));
    }

    /// <summary>Members have other drives, and are lost everywhere.</summary>
    public void ForgetBad(ulong members) => ChangeBad(bad => bad.WithoutMembers(members));

    /// <summary>The row of the grid of what is bad, and of which members: of a group's, where the array has groups.</summary>
    private (long Row, ulong Members) MemberRow(long unit)
    {
        if (geometry.GroupCount == 1)
        {
            return (unit >> _rowShift, ulong.MaxValue);
        }

        int group = (int)(unit / _rowsPerChunk % geometry.GroupCount);
        return (RaidUnits.OfGroup(geometry, group, unit, unit).Row, geometry.MembersOf(group));
    }

    /// <summary>Members that a list calls bad from one unit to another, which is included.</summary>
    private ulong In(BadRanges bad, long first, long last)
    {
        if (geometry.GroupCount == 1)
        {
            long from = first >> _rowShift;
            return bad.In(from, (last >> _rowShift) - from + 1);
        }

        ulong members = 0;
        for (ulong groups = geometry.GroupsWith(bad.Members); groups != 0; groups &= groups - 1)
        {
            int group = BitOperations.TrailingZeroCount(groups);
            (long row, long rows) = RaidUnits.OfGroup(geometry, group, first, last);
            members |= rows == 0 ? 0 : bad.In(row, rows) & geometry.MembersOf(group);
        }

        return members;
    }

    /// <summary>A list with what members have from one unit to another; null when it has no room for that.</summary>
    private BadRanges? With(BadRanges bad, long first, long last, ulong members)
    {
        if (geometry.GroupCount == 1)
        {
            long from = first >> _rowShift;
            return bad.With(from, (last >> _rowShift) - from + 1, members);
        }

        BadRanges? with = bad;
        for (ulong groups = geometry.GroupsWith(members); groups != 0 && with is not null; groups &= groups - 1)
        {
            int group = BitOperations.TrailingZeroCount(groups);
            (long row, long rows) = RaidUnits.OfGroup(geometry, group, first, last);
            with = rows == 0 ? with : with.With(row, rows, members & geometry.MembersOf(group));
        }

        return with;
    }

    private void ChangeBad(Func<BadRanges, BadRanges> change)
    {
        BadRanges seen, found = Bad;
        do
        {
            seen = found;
            found = Interlocked.CompareExchange(ref _bad, change(seen), seen);
        }
        while (!ReferenceEquals(found, seen));
    }

    /// <summary>Whether members that are being rebuilt have missed only what is marked (<see cref="WriteIntent"/>).</summary>
    public bool RebuildsMarked { get; private set; }

    /// <summary>
    /// A new drive has taken a member's place, and every queue has a way to it: the member holds nothing up to
    /// <paramref name="rebuiltUnits"/>, and takes part from there on as far as the rebuild comes. The control task's.
    /// </summary>
    /// <param name="members">One bit each, by role.</param>
    /// <param name="rebuiltUnits">What they hold already.</param>
    /// <param name="marked">Whether they have missed only what is marked.</param>
    public void BeginRebuild(ulong members, long rebuiltUnits, bool marked)
    {
        RebuildsMarked = marked;
        Volatile.Write(ref _words.RebuiltUnits, rebuiltUnits);

        // Lost in one way or the other at every moment.
        Interlocked.Or(ref _words.RebuildingMask, members);
        Interlocked.And(ref _words.FailedMask, ~members);
        Interlocked.And(ref _words.PersistedMask, ~members);
    }

    /// <summary>
    /// The rebuild is over: all of it is durable and recorded, or the members have failed (and are in <see cref="FailedMask"/>).
    /// The control task's.
    /// </summary>
    public void EndRebuild()
    {
        Volatile.Write(ref _words.RebuildingMask, 0);
        Volatile.Write(ref _words.RebuiltUnits, long.MaxValue);
    }

    /// <summary>The rebuild has made all below a unit, and holds the locks of what it has just made. The rebuild's.</summary>
    public void AdvanceRebuilt(long unit) => Volatile.Write(ref _words.RebuiltUnits, unit);

    /// <summary>
    /// These members may have lost writes at an unknown place, and the array cannot do without them: it is broken.
    /// </summary>
    public void Distrust(ulong members)
    {
        Interlocked.Or(ref _words.DistrustedMask, members);
        Break();
    }

    /// <summary>
    /// The redundancy of columns [from, to), in bytes, of the range at a unit does not match the data. The range is locked by the
    /// caller.
    /// </summary>
    public void PutInDoubt(long unit, int from, int to)
    {
        if (!Doubts.Add(unit, from, to))
        {
            IsUnsyncedDistrusted = true;
            LowerSynced(unit);
        }

        // Afterwards: partner of ArrayControl.BeginTrust.
        LoseTrust();
    }

    /// <summary>A resync could not do the range at a unit, of that many bytes. The range is locked by the caller.</summary>
    public void NoteNotSynced(long unit, int bytes)
    {
        if (!Doubts.Add(unit, 0, bytes))
        {
            LowerSynced(unit);
        }
    }

    /// <summary>Nothing from a unit on counts as in sync any more.</summary>
    public void LowerSynced(long unit)
    {
        // First: whoever moves it on looks at this afterwards, for a range that it walks over may be just ahead of it.
        Interlocked.Increment(ref _lowered);
        long seen = SyncedUnits;
        while (unit < seen)
        {
            long found = Interlocked.CompareExchange(ref _words.SyncedUnits, unit, seen);
            if (found == seen)
            {
                return;
            }

            seen = found;
        }
    }

    /// <summary>
    /// The resync has come from one unit to another. Returns false, with nothing changed, when somebody lowered it meanwhile.
    /// </summary>
    public bool TryAdvanceSynced(long from, long to) => Interlocked.CompareExchange(ref _words.SyncedUnits, to, from) == from;
}
