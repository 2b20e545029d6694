// The geometry of an array: which byte of the volume lies where on which member. Pure arithmetic, immutable, shared by threads.
//
// Theory of operation. The volume is cut into chunks, numbered from 0. A stripe is one row of chunks, at the same offset on
// every member; stripe s begins at member offset DataOffset + s * ChunkSize.
//
//  raid0   n data chunks a stripe; chunk c is data index c % n of stripe c / n, on the member of that number.
//  raid1   every member holds everything: member offset = DataOffset + volume offset.
//  raid10  md's "near 2" layout: the copies of chunk c are cells 2c and 2c+1 of the row-by-row numbering of all cells, so cell k
//          is on member k % n in row k / n. With an odd number of members the two copies may lie in neighbouring rows.
//  parity  (raid5, raid6, raid7.M; M parities) md's left-symmetric layout, drivers/md/raid5.c, raid5_compute_sector(): in
//          stripe s, P is on member n - 1 - s % n, the further parities follow it, and data index i is on the i-th member after the last
//          parity, all modulo n. Data so begins behind the parity and walks over all members before it meets one again.
//  groups  (raid50, raid60) the members are cut into G groups of neighbours. Stripe s lies in group s % G, and there it is stripe
//          s / G of an array of that group alone, in the layout above. All that is counted in stripes, or in rows of them, counts
//          over all groups: neighbouring numbers are in different groups, and a member has every G-th of them.
//
// Everything with M parities is written in terms of M: levels with more of them need a kernel (Parity/StripeCode), not another
// geometry.

using System.Diagnostics;
using System.Numerics;

namespace Polyblk.Raid.Layout;

/// <summary>Where a byte of the volume lies.</summary>
/// <param name="Member">The member's role, 0-based.</param>
/// <param name="Offset">The byte offset on the member, its data offset included.</param>
public readonly record struct MemberPlace(int Member, long Offset);

/// <summary>The mapping between a volume and its members.</summary>
public sealed class RaidGeometry
{
    /// <summary>The most members of an array.</summary>
    public const int MaxMembers = 64;

    /// <summary>The smallest chunk in bytes.</summary>
    public const int MinChunkSize = 4 << 10;

    /// <summary>The largest chunk in bytes.</summary>
    public const int MaxChunkSize = 1 << 20;

    /// <summary>Bytes at the start of each member that belong to the superblock.</summary>
    public const long DefaultDataOffset = 1 << 20;

    /// <summary>The number of copies of each chunk in raid10.</summary>
    public const int NearCopies = 2;

    private readonly int chunkShift;
    private readonly long chunkMask;

    private RaidGeometry(RaidLevel level, int members, int groups, int chunkSize, long dataOffset, long memberDataSize)
    {
        Level = level;
        MemberCount = members;
        GroupCount = groups;
        GroupSize = members / groups;
        ChunkSize = chunkSize;
        DataOffset = dataOffset;
        MemberDataSize = memberDataSize;
        ParityCount = level.ParityCount();
        chunkShift = BitOperations.Log2((uint)chunkSize);
        chunkMask = chunkSize - 1;
        DataCount = level switch
        {
            RaidLevel.Raid1 => 1,
            // A row of an odd raid10 holds half a chunk more than this; only the capacity counts it.
            RaidLevel.Raid10 => Math.Max(1, members / NearCopies),
            _ => GroupSize - ParityCount,
        };
        long rows = memberDataSize >> chunkShift;
        Capacity = level switch
        {
            RaidLevel.Raid1 => memberDataSize,
            RaidLevel.Raid10 => rows * members / NearCopies << chunkShift,
            _ => rows * GroupCount * DataCount << chunkShift,
        };
    }

    /// <summary>The level.</summary>
    public RaidLevel Level { get; }

    /// <summary>The number of members, present or not: 1..64.</summary>
    public int MemberCount { get; }

    /// <summary>The number of groups of members that have stripes of their own: 1 but for raid50 and raid60.</summary>
    public int GroupCount { get; }

    /// <summary>The number of members in a group: all where there is one.</summary>
    public int GroupSize { get; }

    /// <summary>The number of parity blocks in a stripe (M).</summary>
    public int ParityCount { get; }

    /// <summary>The number of data chunks in a stripe.</summary>
    public int DataCount { get; }

    /// <summary>The chunk size in bytes, a power of two.</summary>
    public int ChunkSize { get; }

    /// <summary>The bytes before the data on every member.</summary>
    public long DataOffset { get; }

    /// <summary>The bytes used for data (and parity) on every member, a multiple of the chunk.</summary>
    public long MemberDataSize { get; }

    /// <summary>The volume's capacity in bytes.</summary>
    public long Capacity { get; }

    /// <summary>The data bytes of a whole stripe.</summary>
    public long StripeDataSize => (long)DataCount << chunkShift;

    /// <summary>The number of stripes: rows of chunks, of each group.</summary>
    public long StripeCount => (MemberDataSize >> chunkShift) * GroupCount;

    /// <summary>True for the levels with parity.</summary>
    public bool HasParity => ParityCount > 0;

    /// <summary>The number of members that can fail, whichever they are, without loss.</summary>
    public int Redundancy => Level switch
    {
        RaidLevel.Raid1 => MemberCount - 1,
        RaidLevel.Raid10 => NearCopies - 1,
        _ => ParityCount,
    };

    /// <summary>The smallest write in bytes that costs no more than its data: the chunk.</summary>
    public int MinimalIoSize => ChunkSize;

    /// <summary>The preferred write in bytes: a full stripe of data, which is in one group.</summary>
    public long OptimalIoSize => StripeDataSize;

    /// <summary>Makes a geometry, or says what is wrong with the wish and what to do.</summary>
    /// <param name="level">The level.</param>
    /// <param name="chunkSize">The chunk size in bytes: a power of two, 4 KiB..1 MiB.</param>
    /// <param name="memberSizes">The whole size of each drive in bytes; the smallest counts.</param>
    /// <param name="geometry">The geometry, unless there is an error.</param>
    /// <param name="error">What is wrong and what to do, or null.</param>
    /// <param name="dataOffset">The bytes reserved at the start of each drive, a multiple of 4 KiB.</param>
    /// <param name="groups">The groups; 0 makes as many as are usual: two where the level has groups, else one.</param>
    public static bool TryCreate(
        RaidLevel level,
        int chunkSize,
        ReadOnlySpan<long> memberSizes,
        out RaidGeometry? geometry,
        out string? error,
        long dataOffset = DefaultDataOffset,
        int groups = 0)
    {
        geometry = null;
        error = CheckShape(level, chunkSize, memberSizes.Length, dataOffset, groups);
        if (error != null) return false;

        int smallest = 0;
        for (int i = 1; i < memberSizes.Length; i++)
            if (memberSizes[i] < memberSizes[smallest]) smallest = i;
        long usable = (memberSizes[smallest] - dataOffset) & ~(chunkSize - 1L);
        if (memberSizes[smallest] < dataOffset || usable <= 0)
        {
            error = $"Drive number {smallest + 1} has {memberSizes[smallest]} bytes, but every drive needs at least "
                + $"{dataOffset + chunkSize} (superblock area and one chunk): use a larger drive or a smaller chunk.";
            return false;
        }
        if (usable > long.MaxValue / memberSizes.Length)
        {
            error = $"{memberSizes.Length} drives of {usable} bytes make a volume beyond 2^63 bytes: use fewer or smaller drives.";
            return false;
        }
        geometry = new RaidGeometry(level, memberSizes.Length, GroupsOf(level, groups), chunkSize, dataOffset, usable);
        return true;
    }

    /// <summary>Checks all but the sizes of drives; null when it is right.</summary>
    /// <param name="level">The level.</param>
    /// <param name="chunkSize">The chunk size in bytes.</param>
    /// <param name="members">The number of drives.</param>
    /// <param name="dataOffset">The bytes reserved at the start of each drive.</param>
    /// <param name="groups">The groups; 0 as for <see cref="TryCreate"/>.</param>
    public static string? CheckShape(RaidLevel level, int chunkSize, int members, long dataOffset, int groups = 0)
    {
        if (!Enum.IsDefined(level))
            return $"Unknown RAID level {(int)level}: use raid0, raid1, raid5, raid6, raid7.3 to raid7.{RaidLevels.MaxParities}, "
                + "raid10, raid50, or raid60.";
        if (chunkSize < MinChunkSize || chunkSize > MaxChunkSize || !BitOperations.IsPow2(chunkSize))
            return $"A chunk of {chunkSize} bytes is not possible: use a power of two from 4 KiB to 1 MiB (64 KiB is usual).";
        if (members < level.MinimumMembers())
            return $"{level.Name()} needs at least {level.MinimumMembers()} drives, but {members} given: add drives or choose "
                + "another level.";
        if (members > MaxMembers)
            return $"An array has at most {MaxMembers} drives, but {members} given: make several arrays.";
        if (CheckGroups(level, members, groups) is { } groupsError) return groupsError;
        if (dataOffset < 0 || dataOffset % 4096 != 0)
            return $"A data offset of {dataOffset} bytes is not possible: it must be a multiple of 4096.";
        return null;
    }

    /// <summary>Checks into how many groups the members of a level are cut; null when that can be.</summary>
    /// <param name="level">The level.</param>
    /// <param name="members">The number of drives: as many as the level takes.</param>
    /// <param name="groups">The groups; 0 as for <see cref="TryCreate"/>.</param>
    public static string? CheckGroups(RaidLevel level, int members, int groups)
    {
        if (!level.HasGroups())
            return groups is 0 or 1 ? null : $"{level.Name()} has no groups: use raid50 or raid60, or leave the groups out.";
        groups = GroupsOf(level, groups);
        string one = level == RaidLevel.Raid50 ? "raid5" : "raid6";
        if (groups < RaidLevels.MinGroups)
            return $"{level.Name()} has at least {RaidLevels.MinGroups} groups, not {groups}: with one it is {one}.";
        if (members % groups != 0)
            return $"{members} drives cannot be cut into {groups} groups of the same size: give a multiple of {groups} drives, "
                + "or another number of groups.";
        return members / groups >= level.MinimumOfGroup() ? null
            : $"{level.Name()} needs at least {level.MinimumOfGroup()} drives in each group, and {members} drives in {groups} "
                + $"groups have {members / groups}: give more drives, or fewer groups.";
    }

    /// <summary>The chunk that holds the volume offset.</summary>
    public long ChunkOf(long offset) => offset >> chunkShift;

    /// <summary>
    /// The stripe that holds the volume offset (for raid0 and parity levels; raid1 counts a chunk as a stripe).
    /// </summary>
    public long StripeOf(long offset) => (offset >> chunkShift) / DataCount;

    /// <summary>
    /// The first place of a byte of the volume: where its data is read when all is well. For raid1 and raid10 this is the first
    /// copy, see <see cref="Copy"/>.
    /// </summary>
    /// <param name="offset">A volume offset, 0..<see cref="Capacity"/> - 1.</param>
    public MemberPlace Map(long offset)
    {
        Debug.Assert(offset >= 0 && offset < Capacity);
        if (Level == RaidLevel.Raid1) return new MemberPlace(0, DataOffset + offset);
        if (Level == RaidLevel.Raid10) return Copy(offset, 0);
        var (stripe, dataIndex) = Math.DivRem(offset >> chunkShift, DataCount);
        long memberOffset = StripeOffset(stripe) + (offset & chunkMask);
        return new MemberPlace(DataMember(stripe, (int)dataIndex), memberOffset);
    }

    /// <summary>The number of places of every byte: copies for raid1 and raid10, one for the others.</summary>
    public int CopyCount => Level switch
    {
        RaidLevel.Raid1 => MemberCount,
        RaidLevel.Raid10 => NearCopies,
        _ => 1,
    };

    /// <summary>One of the places of a byte of a mirrored volume.</summary>
    /// <param name="offset">A volume offset, 0..<see cref="Capacity"/> - 1.</param>
    /// <param name="copy">Which copy: 0..<see cref="CopyCount"/> - 1.</param>
    public MemberPlace Copy(long offset, int copy)
    {
        Debug.Assert(offset >= 0 && offset < Capacity && copy >= 0 && copy < CopyCount);
        if (Level == RaidLevel.Raid1) return new MemberPlace(copy, DataOffset + offset);
        if (Level != RaidLevel.Raid10) return Map(offset);
        var (row, member) = Math.DivRem((offset >> chunkShift) * NearCopies + copy, MemberCount);
        return new MemberPlace((int)member, StripeOffset(row) + (offset & chunkMask));
    }

    /// <summary>The offset of a stripe on every member of its group.</summary>
    public long StripeOffset(long stripe) => DataOffset + ((GroupCount == 1 ? stripe : stripe / GroupCount) << chunkShift);

    /// <summary>The stripe of a group that has a place of the data area (raid0 and parity levels).</summary>
    /// <param name="member">One of the group's members.</param>
    /// <param name="memberOffset">The byte offset on it, from <see cref="DataOffset"/> on.</param>
    public long StripeAt(int member, long memberOffset) =>
        ((memberOffset - DataOffset) >> chunkShift) * GroupCount + GroupOf(member);

    /// <summary>The group of a member.</summary>
    public int GroupOf(int member) => GroupCount == 1 ? 0 : member / GroupSize;

    /// <summary>The members of a group, one bit each, by role.</summary>
    public ulong MembersOf(int group) => ulong.MaxValue >> (MaxMembers - GroupSize) << (group * GroupSize);

    /// <summary>The member that holds data index <paramref name="dataIndex"/> of a stripe (raid0 and parity levels).</summary>
    public int DataMember(long stripe, int dataIndex)
    {
        Debug.Assert(dataIndex >= 0 && dataIndex < DataCount);
        if (ParityCount == 0) return dataIndex;
        int first = FirstMember(ref stripe);
        return first + Wrap(PlaceOfP(stripe) + ParityCount + dataIndex);
    }

    /// <summary>The member that holds a parity of a stripe: 0 is P, 1 is Q.</summary>
    public int ParityMember(long stripe, int parity)
    {
        Debug.Assert(parity >= 0 && parity < ParityCount);
        int first = FirstMember(ref stripe);
        return first + Wrap(PlaceOfP(stripe) + parity);
    }

    /// <summary>
    /// What a member holds in a stripe: its data index 0..<see cref="DataCount"/> - 1, or <see cref="DataCount"/> + j for parity
    /// j: the index of its block in the order of the parity kernels (raid0 and parity levels).
    /// </summary>
    /// <param name="stripe">The stripe.</param>
    /// <param name="member">A member of its group.</param>
    public int BlockIndex(long stripe, int member)
    {
        Debug.Assert(member >= 0 && member < MemberCount);
        if (ParityCount == 0) return member;
        int first = FirstMember(ref stripe);
        Debug.Assert(member >= first && member < first + GroupSize);
        return BlockAt(member - first, PlaceOfP(stripe));
    }

    /// <summary>What members hold in a stripe, as bits by <see cref="BlockIndex"/>.</summary>
    /// <param name="stripe">The stripe.</param>
    /// <param name="members">One bit each, by role. Those of no member are ignored, and so are those of other groups.</param>
    public ulong BlocksOf(long stripe, ulong members)
    {
        if (members == 0) return 0;
        if (ParityCount == 0) return members & MembersOf(0);
        ulong blocks = 0;
        int first = FirstMember(ref stripe), p = PlaceOfP(stripe);
        for (ulong left = (members >> first) & MembersOf(0); left != 0; left &= left - 1)
            blocks |= 1UL << BlockAt(BitOperations.TrailingZeroCount(left), p);
        return blocks;
    }

    /// <summary>The member of a block given by its index in the order of the parity kernels: data, then P, then Q.</summary>
    public int BlockMember(long stripe, int blockIndex) => blockIndex < DataCount
        ? DataMember(stripe, blockIndex)
        : ParityMember(stripe, blockIndex - DataCount);

    /// <summary>
    /// The volume offset of a byte of a member, or -1 where the member holds parity, nothing of the volume, or no data area.
    /// </summary>
    public long Unmap(int member, long memberOffset)
    {
        long inData = memberOffset - DataOffset;
        if (inData < 0 || inData >= MemberDataSize) return -1;
        if (Level == RaidLevel.Raid1) return inData;
        long row = inData >> chunkShift, inChunk = inData & chunkMask;
        long chunk;
        if (Level == RaidLevel.Raid10)
        {
            chunk = (row * MemberCount + member) / NearCopies;
        }
        else
        {
            long stripe = row * GroupCount + GroupOf(member);
            int block = BlockIndex(stripe, member);
            if (block >= DataCount) return -1;
            chunk = stripe * DataCount + block;
        }
        long offset = (chunk << chunkShift) + inChunk;
        return offset < Capacity ? offset : -1;
    }

    /// <summary>The pieces of a range that lie in one chunk each, in order of the volume.</summary>
    /// <param name="offset">The volume offset.</param>
    /// <param name="length">The length in bytes; offset + length is at most <see cref="Capacity"/>.</param>
    public ChunkEnumerator Chunks(long offset, long length) => new(this, offset, length);

    /// <summary>The pieces of a range that lie in one stripe each (raid0 and parity levels).</summary>
    /// <param name="offset">The volume offset.</param>
    /// <param name="length">The length in bytes; offset + length is at most <see cref="Capacity"/>.</param>
    public StripeEnumerator Stripes(long offset, long length) => new(this, offset, length);

    /// <summary>
    /// True when the array still has all its data with the given members missing. For raid10, raid50 and raid60 it depends on
    /// which ones they are.
    /// </summary>
    /// <param name="missing">One bit for each missing member.</param>
    public bool SurvivesWithout(ulong missing)
    {
        if (GroupCount > 1) return MostLackingOfGroup(missing) <= ParityCount;
        if (Level != RaidLevel.Raid10) return BitOperations.PopCount(missing) <= Redundancy;
        // The copies of a chunk are neighbours; the pattern repeats after n chunks.
        long chunks = Math.Min(MemberCount, Capacity >> chunkShift);
        for (long chunk = 0; chunk < chunks; chunk++)
        {
            ulong copies = 0;
            for (int copy = 0; copy < NearCopies; copy++) copies |= 1UL << (int)((chunk * NearCopies + copy) % MemberCount);
            if ((copies & ~missing) == 0) return false;
        }
        return true;
    }

    /// <summary>
    /// Whether some redundancy is not used up by members that are lost: of levels with groups, that of a group (not raid10).
    /// </summary>
    /// <param name="lost">One bit for each of them.</param>
    public bool HasRedundancyLeft(ulong lost)
    {
        int least = int.MaxValue;
        for (int group = 0; group < GroupCount; group++) least = Math.Min(least, BitOperations.PopCount(lost & MembersOf(group)));
        return least < Redundancy;
    }

    /// <summary>The same, of every group.</summary>
    /// <param name="lost">One bit for each member that is lost.</param>
    public bool HasRedundancyLeftEverywhere(ulong lost) => MostLackingOfGroup(lost) < Redundancy;

    /// <summary>A group as messages name it: "roles 0 to 3".</summary>
    public string NameOf(int group) => $"roles {group * GroupSize} to {((group + 1) * GroupSize) - 1}";

    /// <summary>The groups that have some members, one bit each.</summary>
    /// <param name="members">One bit each, by role.</param>
    public ulong GroupsWith(ulong members)
    {
        ulong groups = 0;
        for (int group = 0; group < GroupCount; group++) groups |= (members & MembersOf(group)) != 0 ? 1UL << group : 0;
        return groups;
    }

    private int MostLackingOfGroup(ulong missing)
    {
        int most = 0;
        for (int group = 0; group < GroupCount; group++)
            most = Math.Max(most, BitOperations.PopCount(missing & MembersOf(group)));
        return most;
    }

    private static int GroupsOf(RaidLevel level, int groups) =>
        groups != 0 ? groups : level.HasGroups() ? RaidLevels.UsualGroups : 1;

    /// <summary>The first member of a stripe's group. The stripe becomes what its number is within the group.</summary>
    private int FirstMember(ref long stripe)
    {
        if (GroupCount == 1) return 0;
        (stripe, long group) = Math.DivRem(stripe, GroupCount);
        return (int)group * GroupSize;
    }

    /// <summary>Where in its group P of a stripe of the group is.</summary>
    private int PlaceOfP(long stripe) => GroupSize - 1 - (int)(stripe % GroupSize);

    /// <summary>The index of the block that is at a place of a group.</summary>
    private int BlockAt(int place, int placeOfP)
    {
        int distance = place - placeOfP;
        if (distance < 0) distance += GroupSize;
        return distance < ParityCount ? DataCount + distance : distance - ParityCount;
    }

    private int Wrap(int place) => place >= GroupSize ? place - GroupSize : place;
}
