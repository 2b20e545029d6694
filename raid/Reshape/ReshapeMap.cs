// Two geometries of one array and what of the drives belongs to which, while drives are added or the number of parities is
// changed. Pure arithmetic.
//
// Theory of operation. The data of the new geometry begins further to the front of every drive than that of the old one did, by
// the shift: a number of whole rounds of the old geometry, so that the stripes of both lie on one grid and the old one, counted
// from the new beginning, is a geometry like any other (its parities rotate as before). What the volume has at v, the old
// geometry then has at v + bias. A row of the drives has one number in both, and belongs to one of them.
//
// The frontier is a byte of the volume. Below it the volume lies where the new geometry says, from it on where the old one does:
//
//     drives   |<-- new rows -->|<---- gap: nobody's ---->|<------ old rows ------>|
//              0             NewEnd(f)                OldBegin(f)
//
// The next window of the volume may be written to its new place while the frontier is still before it: as long as its new rows
// end before the first old row that is needed, which is OldBegin(frontier). What is in the gap counts for nothing, so any part of
// a window may be there, and it may be written as often as one likes; once the window is durable the frontier is recorded behind
// it. At least as much data fits a new row as an old one. Where it is more, the gap gets wider, and windows longer; where it is
// as much (as many parities more as drives), the gap stays what it is at the beginning: the shift.
//
// Either geometry has its own number of parities, and lacks what is lost of its own members: the array does without members as
// long as both do (SurvivesWithout), until the old one has nothing that counts.
//
// Behind the end of the old volume there is nothing to be moved: new rows there are zeroed, so that what was in the gap last is
// not shown to anybody.

using System.Numerics;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Reshape;

/// <summary>See the top of the file.</summary>
internal sealed class ReshapeMap
{
    private const int PageBytes = 4096;

    /// <summary>The part of the room before the data that a reshape takes at most, where a round is not more.</summary>
    private const int MostOfRoom = 4;

    private ReshapeMap(RaidGeometry newGeometry, RaidGeometry old, long shiftBytes)
    {
        New = newGeometry;
        Old = old;
        ShiftBytes = shiftBytes;
        Bias = shiftBytes / old.ChunkSize * old.StripeDataSize;
        OldCapacity = old.Capacity - Bias;
    }

    /// <summary>The geometry that the array gets.</summary>
    public RaidGeometry New { get; }

    /// <summary>The one that it had, counted from where the data of the new one begins.</summary>
    public RaidGeometry Old { get; }

    /// <summary>By how many bytes the data begins further to the front of every drive.</summary>
    public long ShiftBytes { get; }

    /// <summary>What has to be added to a byte of the volume for <see cref="Old"/>.</summary>
    public long Bias { get; }

    /// <summary>Bytes of the volume in the old geometry.</summary>
    public long OldCapacity { get; }

    /// <summary>The reshape that a superblock speaks of.</summary>
    public static ReshapeMap Of(ArraySuperblock superblock)
    {
        ReshapeRecord record = superblock.Reshape!;
        int chunk = superblock.ChunkSize;
        long dataOffset = superblock.MemberDataOffset, dataBytes = superblock.MemberDataSize;
        return new ReshapeMap(
            MakeGeometry(superblock.Level, chunk, superblock.MemberCount, dataOffset, dataBytes),
            MakeGeometry(record.OldLevel, chunk, record.OldMemberCount, dataOffset, dataBytes),
            record.ShiftBytes);
    }

    /// <summary>
    /// The reshape of which the old geometry has something that counts, or new rows are still to be zeroed; null where there is
    /// none.
    /// </summary>
    public static ReshapeMap? UnderWay(ArraySuperblock superblock) =>
        superblock.Reshape is { } record && record.Frontier < superblock.ArraySize ? Of(superblock) : null;

    /// <summary>
    /// Why an array cannot be reshaped into another, whatever its drives are, and what to do; null where it can.
    /// </summary>
    /// <param name="oldLevel">Its level.</param>
    /// <param name="oldMembers">How many members it has.</param>
    /// <param name="level">The level that it is to get.</param>
    /// <param name="members">How many members it is to get; the old ones stay.</param>
    public static string? WhyNot(RaidLevel oldLevel, int oldMembers, RaidLevel level, int members)
    {
        if (members > RaidGeometry.MaxMembers)
        {
            return $"An array has at most {RaidGeometry.MaxMembers} drives, and this would have {members}.";
        }

        if (oldLevel.HasGroups() || level.HasGroups())
        {
            return oldLevel.HasGroups()
                ? $"{oldLevel.Name()} cannot be reshaped: make a new volume of the shape that is wanted, and copy what this one "
                    + "holds. (It grows when all its drives are replaced by larger ones.)"
                : $"A volume cannot be reshaped to {level.Name()}: make a new one, and copy what this one holds.";
        }

        bool isPossible = (oldLevel.ParityCount() > 0 && level.ParityCount() > 0)
            || (oldLevel, level) == (RaidLevel.Raid0, RaidLevel.Raid0);
        if (!isPossible)
        {
            return oldLevel == level
                ? $"Drives can be added to raid0 and to levels with parity, not to {level.Name()}: make a new volume with more "
                    + "drives, and copy what this one holds."
                : $"The level can be changed from one with parity to another with parity, not from {oldLevel.Name()} to "
                    + $"{level.Name()}: make a new volume, and copy what this one holds.";
        }

        int lacking = oldMembers - oldLevel.ParityCount() - (members - level.ParityCount());
        int needed = members - oldMembers + lacking;
        return members < oldMembers ? $"Drives cannot be taken away from {oldMembers} members."
            : (oldLevel, oldMembers) == (level, members) ? "A reshape needs drives to add, or another level."
            : lacking > 0
                ? $"A stripe of {level.Name()} over {members} drives holds less than one of {oldLevel.Name()} over {oldMembers}: "
                    + $"add {needed} {(needed == 1 ? "drive" : "drives")} or more."
            : null;
    }

    /// <summary>Plans the addition of drives, another number of parities, or both.</summary>
    /// <param name="now">The geometry.</param>
    /// <param name="level">The level that it is to get; its own to keep it.</param>
    /// <param name="added">How many drives come in.</param>
    /// <param name="windowBytes">What is to be moved at a time, if there is room for it.</param>
    /// <param name="hasJournal">Whether there must be room for the journals of both geometries before the data.</param>
    /// <exception cref="ArrayException">It cannot be; the message says why.</exception>
    public static ReshapeMap Plan(RaidGeometry now, RaidLevel level, int added, long windowBytes, bool hasJournal)
    {
        int members = now.MemberCount + added;
        if (WhyNot(now.Level, now.MemberCount, level, members) is { } why)
        {
            throw new ArrayException(why);
        }

        long round = (long)now.MemberCount * now.ChunkSize;
        long room = now.DataOffset - JournalLayout.AreaOffset;
        long wanted = windowBytes / (members - level.ParityCount());

        // As much as is wanted where that leaves room for the journals, and for further reshapes; windows are shorter elsewhere.
        long best = Math.Max(round, Math.Min(wanted, room / MostOfRoom) / round * round);
        for (long shift = best; shift >= round && shift <= room; shift -= round)
        {
            long dataOffset = now.DataOffset - shift, dataBytes = now.MemberDataSize + shift;
            var map = new ReshapeMap(
                MakeGeometry(level, now.ChunkSize, members, dataOffset, dataBytes),
                MakeGeometry(now.Level, now.ChunkSize, now.MemberCount, dataOffset, dataBytes),
                shift);
            if (!hasJournal || (map.NewJournal is not null && map.OldJournal is not null))
            {
                return map;
            }
        }

        throw new ArrayException(
            $"There is no room before the data of the drives, which begins at {now.DataOffset}, for what a reshape needs: {round} bytes to begin "
            + $"with{(hasJournal ? ", and the journals of both shapes" : string.Empty)}. Make the volume anew, with smaller chunks, and copy what it holds.");
    }

    /// <summary>
    /// Whether nothing is lost without members, wherever the frontier is: of the old geometry those count that it has.
    /// </summary>
    /// <param name="missing">One bit for each missing member, by role.</param>
    public bool SurvivesWithout(ulong missing) => New.SurvivesWithout(missing) && OldSurvivesWithout(missing);

    /// <summary>Whether the old geometry alone lacks nothing without members.</summary>
    /// <param name="missing">One bit for each missing member, by role.</param>
    public bool OldSurvivesWithout(ulong missing) => Old.SurvivesWithout(missing & OldMembers);

    /// <summary>Whether parities of both geometries are left that members which are lost have not used up.</summary>
    /// <param name="lost">One bit for each of them, by role.</param>
    public bool HasRedundancyLeft(ulong lost) =>
        BitOperations.PopCount(lost) < New.Redundancy && BitOperations.PopCount(lost & OldMembers) < Old.Redundancy;

    private ulong OldMembers => ulong.MaxValue >> (RaidGeometry.MaxMembers - Old.MemberCount);

    /// <summary>Where the records of rows of the old geometry lie; null where there is no room for them.</summary>
    public JournalLayout? OldJournal => JournalLayout.Of(Old, JournalLayout.AreaOffset, MiddleOfArea);

    /// <summary>The same for the new one. The records of one never lie in a place of the other's.</summary>
    public JournalLayout? NewJournal => JournalLayout.Of(New, MiddleOfArea, New.DataOffset);

    /// <summary>Bytes from the beginning of the data, of every drive, that the new geometry uses below a frontier.</summary>
    public long NewEnd(long frontier) => (frontier + New.StripeDataSize - 1) / New.StripeDataSize * New.ChunkSize;

    /// <summary>
    /// Bytes from the beginning of the data, of every drive, behind which the old geometry has what lies from a frontier on.
    /// </summary>
    public long OldBegin(long frontier) =>
        frontier >= OldCapacity ? Old.MemberDataSize : ShiftBytes + (frontier / Old.StripeDataSize * Old.ChunkSize);

    /// <summary>Where the window ends that can be moved next: a multiple of the new stripe, beyond the frontier.</summary>
    /// <param name="frontier">The frontier that is recorded.</param>
    /// <param name="mostBytes">The longest window; at least a stripe is moved.</param>
    public long NextFrontier(long frontier, long mostBytes)
    {
        long stripes = Math.Max(1, mostBytes / New.StripeDataSize);
        long free = (OldBegin(frontier) - NewEnd(frontier)) / New.ChunkSize;
        return frontier + (Math.Min(stripes, free) * New.StripeDataSize);
    }

    /// <summary>The first row behind those of the new geometry.</summary>
    public long NewEndRow(long frontier) => NewEnd(frontier) / RaidUnits.RowBytes(New);

    /// <summary>The first row of the old geometry.</summary>
    public long OldBeginRow(long frontier) => OldBegin(frontier) / RaidUnits.RowBytes(New);

    /// <summary>The rows whose records count at a frontier.</summary>
    public IEnumerable<JournalPart> JournalParts(long frontier) =>
    [
        new(New, NewJournal, 0, NewEndRow(frontier)),
        new(Old, OldJournal, OldBeginRow(frontier), RaidUnits.Count(Old)),
    ];

    private long MiddleOfArea =>
        JournalLayout.AreaOffset + (Math.Max(0, New.DataOffset - JournalLayout.AreaOffset) / 2 / PageBytes * PageBytes);

    private static RaidGeometry MakeGeometry(RaidLevel level, int chunk, int members, long dataOffset, long dataBytes)
    {
        long[] sizes = new long[members];
        Array.Fill(sizes, dataOffset + dataBytes);
        return RaidGeometry.TryCreate(level, chunk, sizes, out RaidGeometry? geometry, out string? error, dataOffset)
            ? geometry! : throw new ArrayException(error!);
    }
}
