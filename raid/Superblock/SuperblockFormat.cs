// The superblock on disk: 8192 bytes, little-endian, in two slots at the start of each member.
//
// Theory of operation. Slot 0 is at byte 0, slot 1 at 64 KiB. Each write of a superblock takes the next sequence number and goes
// to the slot of its lowest bit, which is never the slot of the last valid one; so a torn write destroys only what was being
// written. A reader takes the valid superblock with the higher sequence number. (Creating an array therefore clears both slots
// first, so that none of an earlier array is left.) A checksum guards the whole block; a superblock
// with a good checksum is checked for sense all the same, for it may come from anywhere. Parsing never throws.
//
// A slot that cannot be read may have held the newer superblock: what the other says is one update behind at most. That a member
// has failed is therefore written to both slots before anything is acknowledged without it.
//
//   0 magic[8]          8 version u32          12 crc32c u32 (of the block with this field 0)
//  16 sequence u64     24 event count u64      32 array UUID[16]        48 member UUID[16]
//  64 compatible u64   72 incompatible u64     80 level u32             84 parity count u32
//  88 chunk size u32   92 member count u32     96 role u32             100 state flags u32
// 104 data offset i64 112 member data size i64 120 array size i64      128 exported size i64
// 136 created i64     144 updated i64          152 dirty since i64 (times: Unix milliseconds; 0: clean)
// 160 resync checkpoint i64 (-1: none)         168 logical block size u32 (512, 4096; 0: made before it was recorded)
// 172 notices u32 (bit 0: may be damaged)      176 rebuild checkpoint i64 (-1: none)
// 184 spare count u32 188 replacing spare u8, its number + 1 (0: none)  189 replaced role u8  190 zero[2]
// 192 name[64], zero-padded UTF-8
// 256 member table: 64 rows of { UUID[16], state u8, reason u8, zero[6], event count u64 }
// 2304 spare table: 16 UUIDs
// 2560 region shift u32 (0: not recorded)      2564 zero[4]             2568 marks complete since event u64
// 2576 consistency u32 (0: not recorded)        2580 trust u32 (bit 0: what is not in sync is trusted,
//                                                   bit 1: but rows that were written as a whole may be torn)
// 2584 journal generation u64                  2592 last scrub { ended i64 (0: none), repair u32, differing u32, repaired u32,
//                                                   made to agree u32, unreadable u32, skipped u32, first offset i64 }
// 2632 reshape { old member count u32 (0: none), old level u32 (0: the same), shift i64, frontier i64 }
// 2656 offset of the checksums i64 (0: none)     2664 groups u32 (0: one)      2668 zero[148]
// 2816 bad range count u32                      2820 zero[4]
// 2824 bad ranges: 143 u64 { bits 0..47 first row, 48..55 rows - 1, 56..63 role }
// 3968 host[32], zero-padded UTF-8: who wrote it (nothing: not recorded)
// 4000 forks complete since event u64 (0: not recorded)
// 4008 forks: 5 rows of { event count u64, run u64 (0: none) }        4088 zero[8]
// 4096 marks of the regions: 512 u64
//
// A spare has role 0xFFFFFFFF, and the member table does not list it. Its superblock is written when it becomes a spare and stays
// as it is: what counts is whether the members' list it.
//
// A spare may be kept for one role: it is being made like that role's drive, which works (188, 189). What it holds so far counts
// for nothing. A program that does not know of that reads a spare like any other, which is just as true, and writes the two bytes
// as 0.
//
// Version 1 had 4096 bytes, and zeroes for the rebuild checkpoint, the reasons, the spares and the regions. It is read, and
// written as version 2. A program that does not know the consistency writes zeroes for it, its trust and the generation, which is
// how it then is: the array was used without its journal.

using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Reshape;

namespace Polyblk.Raid.Superblock;

/// <summary>What became of parsing a superblock.</summary>
public enum SuperblockStatus
{
    /// <summary>A superblock that can be used.</summary>
    Valid,

    /// <summary>There is no superblock here.</summary>
    Absent,

    /// <summary>There is one, but it is damaged or senseless.</summary>
    Damaged,

    /// <summary>It was written by a later version, or uses a feature that this version does not know.</summary>
    Unsupported,
}

/// <summary>A parsed superblock, or why there is none.</summary>
/// <param name="Status">The outcome.</param>
/// <param name="Superblock">The superblock when valid.</param>
/// <param name="Error">What is wrong and what to do, when not valid.</param>
public sealed record SuperblockResult(SuperblockStatus Status, ArraySuperblock? Superblock, string? Error);

/// <summary>Writes and parses superblocks.</summary>
public static class SuperblockFormat
{
    /// <summary>Bytes of a superblock.</summary>
    public const int SizeBytes = 8192;

    /// <summary>Offset of the second slot in bytes.</summary>
    public const long SecondSlotOffset = 64 << 10;

    /// <summary>The least data offset: both slots lie before it.</summary>
    public const long MinDataOffset = SecondSlotOffset + SizeBytes;

    /// <summary>The version of the format that this program writes and the latest that it reads.</summary>
    public const uint Version = 2;

    /// <summary>Whose pages of checksums can be counted: 1 PiB.</summary>
    private const long MostDataWithChecksums = 1L << 50;

    private const int FirstVersionBytes = 4096, RegionsAt = 2560, MarksAt = 4096;
    private const int ConsistencyAt = 2576, ScrubAt = 2592, ReshapeAt = 2632, BadAt = 2816, HostAt = 3968, ForksAt = 4000;
    private const int ChecksumsAt = 2656, GroupsAt = 2664;
    private const int CrcAt = 12, NameAt = 192, NameBytes = 64, TableAt = 256, RowBytes = 32, SparesAt = 2304, UuidBytes = 16, ReplacingAt = 188;
    private const ArrayNotices KnownNotices = ArrayNotices.MayBeDamaged;
    private const CompatibleFeatures KnownCompatible = CompatibleFeatures.None;
    private const IncompatibleFeatures KnownIncompatible =
        IncompatibleFeatures.Reshape | IncompatibleFeatures.BadRanges | IncompatibleFeatures.ManyParities
        | IncompatibleFeatures.Checksums | IncompatibleFeatures.ReshapeOfParities | IncompatibleFeatures.Groups;

    /// <summary>The first eight bytes of a superblock.</summary>
    public static ReadOnlySpan<byte> Magic => "POLYBLK\x01"u8;

    /// <summary>What says in the superblocks of a level that older programs do not know that it is one.</summary>
    internal static IncompatibleFeatures FeaturesOf(RaidLevel level) =>
        (level.HasManyParities() ? IncompatibleFeatures.ManyParities : IncompatibleFeatures.None)
        | (level.HasGroups() ? IncompatibleFeatures.Groups : IncompatibleFeatures.None);

    /// <summary>The offset of the slot to which a superblock of this sequence number is written.</summary>
    public static long SlotOffset(ulong sequence) => (sequence & 1) == 0 ? 0 : SecondSlotOffset;

    /// <summary>Writes a superblock.</summary>
    /// <param name="superblock">What to write; must be valid (<see cref="Check"/>).</param>
    /// <param name="block">At least <see cref="SizeBytes"/> bytes.</param>
    /// <exception cref="ArgumentException">The superblock is not valid, or the block is too short.</exception>
    public static void Write(ArraySuperblock superblock, Span<byte> block)
    {
        if (block.Length < SizeBytes) throw new ArgumentException($"A superblock needs {SizeBytes} bytes.", nameof(block));
        if (Check(superblock) is { } error) throw new ArgumentException(error, nameof(superblock));
        block = block[..SizeBytes];
        block.Clear();
        Magic.CopyTo(block);
        BinaryPrimitives.WriteUInt32LittleEndian(block[8..], Version);
        WriteFields(superblock, block);
        Encoding.UTF8.GetBytes(superblock.Name, block[NameAt..]);
        for (int role = 0; role < superblock.MemberCount; role++)
            WriteRow(superblock.Members[role], block.Slice(TableAt + role * RowBytes, RowBytes));
        for (int i = 0; i < superblock.Spares.Length; i++)
            superblock.Spares[i].TryWriteBytes(block[(SparesAt + i * UuidBytes)..], bigEndian: true, out _);
        BinaryPrimitives.WriteUInt32LittleEndian(block[CrcAt..], Crc32C.Compute(block));
    }

    /// <summary>Parses one slot. Any bytes are fine.</summary>
    public static SuperblockResult Parse(ReadOnlySpan<byte> block)
    {
        if (block.Length < SizeBytes || !block[..Magic.Length].SequenceEqual(Magic))
            return new SuperblockResult(SuperblockStatus.Absent, null, "No polyblk superblock: the drive is not part of an array.");
        uint version = BinaryPrimitives.ReadUInt32LittleEndian(block[8..]);
        block = block[..(version == 1 ? FirstVersionBytes : SizeBytes)];
        if (ChecksumOf(block) != BinaryPrimitives.ReadUInt32LittleEndian(block[CrcAt..]))
            return Damaged("its checksum is wrong");
        if (version is 0 or > Version)
            return Unsupported($"format version {version}, this program knows up to {Version}");
        ulong unknown = BinaryPrimitives.ReadUInt64LittleEndian(block[72..]) & ~(ulong)KnownIncompatible;
        if (unknown != 0) return Unsupported($"incompatible features 0x{unknown:x} that this program does not know");
        ArraySuperblock? superblock = ReadFields(block, version);
        string? error = superblock == null ? "its fields make no sense" : Check(superblock);
        return error == null ? new SuperblockResult(SuperblockStatus.Valid, superblock, null) : Damaged(error);
    }

    /// <summary>The superblock that counts of the two slots of a member. One that could not be read is given as empty.</summary>
    public static SuperblockResult ParseSlots(ReadOnlySpan<byte> slot0, ReadOnlySpan<byte> slot1)
    {
        SuperblockResult first = Parse(slot0), second = Parse(slot1);
        if (first.Superblock is { } a && second.Superblock is { } b)
        {
            if (a.ArrayUuid == b.ArrayUuid && a.MemberUuid == b.MemberUuid) return a.Sequence > b.Sequence ? first : second;
            // A create over an older member that stopped between its two slots; nobody can tell which array is meant.
            return Damaged($"its two slots belong to different arrays ({a.ArrayUuid} and {b.ArrayUuid})");
        }
        if (first.Status == SuperblockStatus.Unsupported) return first;
        if (second.Status == SuperblockStatus.Unsupported) return second;
        if (first.Status == SuperblockStatus.Valid) return first;
        if (second.Status == SuperblockStatus.Valid) return second;
        return first.Status == SuperblockStatus.Damaged ? first : second;
    }

    /// <summary>What is wrong with the contents of a superblock, or null.</summary>
    public static string? Check(ArraySuperblock superblock)
    {
        if (superblock.ArrayUuid == Guid.Empty || superblock.MemberUuid == Guid.Empty) return "a UUID is empty";
        if (CheckName(superblock.Name) is { } nameError) return nameError;
        if (!superblock.TryGetGeometry(out RaidGeometry? geometry, out string? shapeError)) return shapeError;
        if (superblock.ParityCount != superblock.Level.ParityCount())
            return $"{superblock.Level.Name()} has {superblock.Level.ParityCount()} parities, not {superblock.ParityCount}";
        if (superblock.Level.HasManyParities() != ((superblock.Incompatible & IncompatibleFeatures.ManyParities) != 0))
            return "its level and its features contradict each other";
        if (superblock.Level.HasGroups() != ((superblock.Incompatible & IncompatibleFeatures.Groups) != 0))
            return "its groups and its features contradict each other";
        if (superblock.MemberDataOffset < MinDataOffset) return "the data overlaps the superblock";
        if (superblock.MemberDataSize != geometry!.MemberDataSize) return "the member data size is not a multiple of the chunk";
        if (superblock.ArraySize != geometry.Capacity)
            return $"the array size {superblock.ArraySize} does not fit its geometry, which gives {geometry.Capacity}";
        if (superblock.LogicalBlockSize is not (0 or 512 or 4096))
            return $"the logical block size {superblock.LogicalBlockSize} is neither 512 nor 4096";
        int block = Math.Max(512, superblock.LogicalBlockSize);
        if (superblock.ExportedSize <= 0 || superblock.ExportedSize > superblock.ArraySize
            || superblock.ExportedSize % block != 0)
            return $"the exported size {superblock.ExportedSize} is not a multiple of {block} up to {superblock.ArraySize}";
        if (superblock.ResyncCheckpoint < ArraySuperblock.NoResync || superblock.ResyncCheckpoint > superblock.MemberDataSize)
            return $"the resync checkpoint {superblock.ResyncCheckpoint} is outside of the members";
        if (superblock.RebuildCheckpoint < ArraySuperblock.NoRebuild || superblock.RebuildCheckpoint > superblock.MemberDataSize)
            return $"the rebuild checkpoint {superblock.RebuildCheckpoint} is outside of the members";
        if ((superblock.State & ~(ArrayStateFlags.Dirty | ArrayStateFlags.RebuildsMarked)) != 0) return $"unknown state flags 0x{(uint)superblock.State:x}";
        if (((superblock.State & ArrayStateFlags.Dirty) != 0) != superblock.DirtySince.HasValue)
            return "the dirty flag and the dirty time contradict each other";
        if (superblock.Consistency > ArrayConsistency.Journal) return $"unknown consistency {(uint)superblock.Consistency}";
        if (superblock.TrustsUnsynced && superblock.Consistency != ArrayConsistency.Journal) return "it trusts a journal that it does not have";
        if (superblock.Forks?.Check(superblock.EventCount) is { } forksError) return forksError;
        if (superblock.Regions?.Check(superblock.ArraySize) is { } regionsError) return regionsError;
        bool rebuildsMarked = (superblock.State & ArrayStateFlags.RebuildsMarked) != 0;
        if (rebuildsMarked && (superblock.Regions is null || superblock.RebuildCheckpoint == ArraySuperblock.NoRebuild))
            return "it rebuilds marked regions, and has none or no rebuild";
        if (CheckChecksums(superblock) is { } checksumsError) return checksumsError;
        return CheckReshape(superblock, geometry!) ?? CheckBadRanges(superblock, geometry!) ?? CheckMembers(superblock);
    }

    private static string? CheckChecksums(ArraySuperblock superblock)
    {
        bool isFlagged = (superblock.Incompatible & IncompatibleFeatures.Checksums) != 0;
        if (isFlagged != (superblock.ChecksumOffset != 0)) return "its checksums and its features contradict each other";
        if (!isFlagged) return null;
        long dataEnd = superblock.MemberDataOffset + superblock.MemberDataSize;
        bool isPossible = superblock.ChecksumOffset >= dataEnd && superblock.ChecksumOffset % ChecksumLayout.BlockBytes == 0
            && superblock.MemberDataOffset % ChecksumLayout.BlockBytes == 0
            && superblock.MemberDataSize % ChecksumLayout.BlockBytes == 0
            && superblock.MemberDataSize <= MostDataWithChecksums
            && superblock.ChecksumOffset <= long.MaxValue - ChecksumLayout.AreaBytes(superblock.MemberDataSize);
        if (!isPossible) return $"its checksums cannot lie at {superblock.ChecksumOffset}";
        return superblock.Reshape is not null ? "it has checksums and is being reshaped" : null;
    }

    private static string? CheckBadRanges(ArraySuperblock superblock, RaidGeometry geometry)
    {
        bool isFlagged = (superblock.Incompatible & IncompatibleFeatures.BadRanges) != 0;
        if (isFlagged != (superblock.BadRanges.Members != 0)) return "its bad ranges and its features contradict each other";
        if (superblock.BadRanges.Members != 0 && geometry.Redundancy == 0) return "it has bad ranges, and nothing that could serve them";
        long rowBytes = RaidUnits.RowBytes(geometry);
        long rows = ((geometry.HasParity ? geometry.MemberDataSize : geometry.Capacity) + rowBytes - 1) / rowBytes;
        foreach (BadRange range in superblock.BadRanges.Entries)
        {
            if (range.Role >= superblock.MemberCount || range.End > rows)
                return $"rows {range.Row} to {range.End - 1} of member {range.Role}, which are called bad, do not exist";
        }
        return null;
    }

    private static string? CheckReshape(ArraySuperblock superblock, RaidGeometry geometry)
    {
        IncompatibleFeatures flagged =
            superblock.Incompatible & (IncompatibleFeatures.Reshape | IncompatibleFeatures.ReshapeOfParities);
        if (superblock.Reshape is not { } reshape) return flagged != 0 ? "it is being reshaped, and does not say how" : null;
        if (flagged != reshape.FeaturesOf(superblock.Level)) return "it is being reshaped, and its features do not say so";
        if (ReshapeMap.WhyNot(reshape.OldLevel, reshape.OldMemberCount, superblock.Level, superblock.MemberCount) is not null
            || reshape.OldMemberCount < reshape.OldLevel.MinimumMembers())
            return "it is being reshaped from members that are not possible";
        long round = (long)reshape.OldMemberCount * superblock.ChunkSize;
        if (reshape.ShiftBytes <= 0 || reshape.ShiftBytes % round != 0 || reshape.ShiftBytes >= superblock.MemberDataSize)
            return $"it is being reshaped with a shift of {reshape.ShiftBytes} bytes, which is not possible";
        if (reshape.Frontier < 0 || reshape.Frontier > geometry.Capacity || reshape.Frontier % geometry.StripeDataSize != 0)
            return $"it is being reshaped up to {reshape.Frontier}, which is not possible";
        long stripes = (superblock.MemberDataSize - reshape.ShiftBytes) / superblock.ChunkSize;
        long capacity = stripes * superblock.ChunkSize * (reshape.OldMemberCount - reshape.OldLevel.ParityCount());
        return reshape.Frontier < geometry.Capacity && superblock.ExportedSize > capacity
            ? $"the exported size {superblock.ExportedSize} is more than it has before its reshape is over" : null;
    }

    /// <summary>What is wrong with a name for an array, or null.</summary>
    public static string? CheckName(string name)
    {
        if (name.Length == 0) return "the name is empty: give the volume a name";
        if (Encoding.UTF8.GetByteCount(name) > ArraySuperblock.MaxNameBytes)
            return $"the name is longer than {ArraySuperblock.MaxNameBytes} bytes: choose a shorter one";
        // Half a surrogate pair is enumerated as the replacement character.
        foreach (Rune rune in name.EnumerateRunes())
            if (Rune.IsControl(rune) || rune == Rune.ReplacementChar) return "the name holds control or invalid characters: use letters and digits";
        return null;
    }

    private static string? CheckMembers(ArraySuperblock superblock)
    {
        bool isSpare = superblock.Role == ArraySuperblock.SpareRole;
        if (!isSpare && (superblock.Role < 0 || superblock.Role >= superblock.MemberCount))
            return $"role {superblock.Role} of {superblock.MemberCount} members does not exist";
        if (superblock.Members.IsDefault || superblock.Members.Length != superblock.MemberCount)
            return "the member table does not have one row for each member";
        var seen = new HashSet<Guid>();
        foreach (MemberEntry member in superblock.Members)
        {
            if (member.State > MemberState.Rebuilding) return $"unknown member state {(byte)member.State}";
            if (member.Uuid == Guid.Empty && member.State != MemberState.Missing) return "a member in use has no UUID";
            if (member.Uuid != Guid.Empty && !seen.Add(member.Uuid)) return $"member {member.Uuid} is listed twice";
        }
        bool isRebuilt = superblock.Members.Any(member => member.State == MemberState.Rebuilding);
        if (isRebuilt != (superblock.RebuildCheckpoint != ArraySuperblock.NoRebuild))
            return "the member table and the rebuild checkpoint contradict each other";
        if (superblock.Spares.IsDefault || superblock.Spares.Length > ArraySuperblock.MaxSpares) return "there are too many spares";
        foreach (Guid spare in superblock.Spares)
            if (spare == Guid.Empty || !seen.Add(spare)) return $"spare {spare} is listed twice, or is a member";
        if (superblock.Replacing is { } replacing
            && (replacing.Role < 0 || replacing.Role >= superblock.MemberCount || !superblock.Spares.Contains(replacing.Spare)))
            return "a spare is kept for a role, and one of them does not exist";
        if (isSpare) return superblock.Spares.Contains(superblock.MemberUuid) ? null : "the spare table does not list this spare";
        return superblock.Members[superblock.Role].Uuid == superblock.MemberUuid
            ? null
            : "the member table lists another member in this member's role";
    }

    private static SuperblockResult Damaged(string what) => new(SuperblockStatus.Damaged, null,
        $"The polyblk superblock is damaged ({what}): leave the drive out to start the array without it, or restore it.");

    private static SuperblockResult Unsupported(string what) => new(SuperblockStatus.Unsupported, null,
        $"The polyblk superblock has {what}: use the newer polyblk that wrote it.");

    private static uint ChecksumOf(ReadOnlySpan<byte> block)
    {
        uint state = Crc32C.Continue(uint.MaxValue, block[..CrcAt]);
        state = Crc32C.Continue(state, stackalloc byte[sizeof(uint)]);
        return ~Crc32C.Continue(state, block[(CrcAt + sizeof(uint))..]);
    }

    private static void WriteFields(ArraySuperblock superblock, Span<byte> block)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(block[16..], superblock.Sequence);
        BinaryPrimitives.WriteUInt64LittleEndian(block[24..], superblock.EventCount);
        superblock.ArrayUuid.TryWriteBytes(block[32..], bigEndian: true, out _);
        superblock.MemberUuid.TryWriteBytes(block[48..], bigEndian: true, out _);
        BinaryPrimitives.WriteUInt64LittleEndian(block[64..], (ulong)superblock.Compatible);
        BinaryPrimitives.WriteUInt64LittleEndian(block[72..], (ulong)superblock.Incompatible);
        BinaryPrimitives.WriteUInt32LittleEndian(block[80..], (uint)superblock.Level);
        BinaryPrimitives.WriteInt32LittleEndian(block[84..], superblock.ParityCount);
        BinaryPrimitives.WriteInt32LittleEndian(block[88..], superblock.ChunkSize);
        BinaryPrimitives.WriteInt32LittleEndian(block[92..], superblock.MemberCount);
        BinaryPrimitives.WriteInt32LittleEndian(block[96..], superblock.Role);
        BinaryPrimitives.WriteUInt32LittleEndian(block[100..], (uint)superblock.State);
        BinaryPrimitives.WriteInt64LittleEndian(block[104..], superblock.MemberDataOffset);
        BinaryPrimitives.WriteInt64LittleEndian(block[112..], superblock.MemberDataSize);
        BinaryPrimitives.WriteInt64LittleEndian(block[120..], superblock.ArraySize);
        BinaryPrimitives.WriteInt64LittleEndian(block[128..], superblock.ExportedSize);
        BinaryPrimitives.WriteInt64LittleEndian(block[136..], superblock.CreatedAt.ToUnixTimeMilliseconds());
        BinaryPrimitives.WriteInt64LittleEndian(block[144..], superblock.UpdatedAt.ToUnixTimeMilliseconds());
        BinaryPrimitives.WriteInt64LittleEndian(block[152..], superblock.DirtySince?.ToUnixTimeMilliseconds() ?? 0);
        BinaryPrimitives.WriteInt64LittleEndian(block[160..], superblock.ResyncCheckpoint);
        BinaryPrimitives.WriteInt32LittleEndian(block[168..], superblock.LogicalBlockSize);
        BinaryPrimitives.WriteUInt32LittleEndian(block[172..], (uint)superblock.Notices);
        BinaryPrimitives.WriteInt64LittleEndian(block[176..], superblock.RebuildCheckpoint);
        BinaryPrimitives.WriteInt32LittleEndian(block[184..], superblock.Spares.Length);
        if (superblock.Replacing is { } replacing)
        {
            block[ReplacingAt] = (byte)(superblock.Spares.IndexOf(replacing.Spare) + 1);
            block[ReplacingAt + 1] = (byte)replacing.Role;
        }
        BinaryPrimitives.WriteUInt32LittleEndian(block[ConsistencyAt..], (uint)superblock.Consistency);
        BinaryPrimitives.WriteUInt32LittleEndian(block[(ConsistencyAt + 4)..], (superblock.TrustsUnsynced ? 1u : 0) | (superblock.MayHaveTornRows ? 2u : 0));
        BinaryPrimitives.WriteUInt64LittleEndian(block[(ConsistencyAt + 8)..], superblock.JournalGeneration);
        if (superblock.LastScrub is { } scrub) WriteScrub(scrub, block[ScrubAt..]);
        if (superblock.Reshape is { } reshape)
        {
            BinaryPrimitives.WriteInt32LittleEndian(block[ReshapeAt..], reshape.OldMemberCount);
            uint oldLevel = reshape.OldLevel == superblock.Level ? 0 : (uint)reshape.OldLevel;
            BinaryPrimitives.WriteUInt32LittleEndian(block[(ReshapeAt + 4)..], oldLevel);
            BinaryPrimitives.WriteInt64LittleEndian(block[(ReshapeAt + 8)..], reshape.ShiftBytes);
            BinaryPrimitives.WriteInt64LittleEndian(block[(ReshapeAt + 16)..], reshape.Frontier);
        }
        BinaryPrimitives.WriteInt64LittleEndian(block[ChecksumsAt..], superblock.ChecksumOffset);
        BinaryPrimitives.WriteInt32LittleEndian(block[GroupsAt..], superblock.GroupCount == 1 ? 0 : superblock.GroupCount);
        WriteBadRanges(superblock.BadRanges, block[BadAt..]);
        WriteHost(superblock.Host, block.Slice(HostAt, ArraySuperblock.MaxHostBytes));
        if (superblock.Forks is { } forks) WriteForks(forks, block[ForksAt..]);
        if (superblock.Regions is not { } regions) return;
        BinaryPrimitives.WriteInt32LittleEndian(block[RegionsAt..], regions.Shift);
        BinaryPrimitives.WriteUInt64LittleEndian(block[(RegionsAt + 8)..], regions.SinceEvent);
        for (int i = 0; i < DirtyRegions.WordCount; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(block[(MarksAt + i * sizeof(ulong))..], regions.Words[i]);
    }

    private static void WriteBadRanges(BadRanges ranges, Span<byte> field)
    {
        BinaryPrimitives.WriteInt32LittleEndian(field, ranges.Entries.Length);
        foreach (BadRange range in ranges.Entries)
        {
            field = field[sizeof(ulong)..];
            ulong packed = (ulong)range.Row | (ulong)(range.Rows - 1) << 48 | (ulong)range.Role << 56;
            BinaryPrimitives.WriteUInt64LittleEndian(field, packed);
        }
    }

    /// <summary>Null where it is none that could have been written.</summary>
    private static BadRanges? ReadBadRanges(ReadOnlySpan<byte> field)
    {
        int count = BinaryPrimitives.ReadInt32LittleEndian(field);
        if (count is < 0 or > BadRanges.MaxEntries) return null;
        var ranges = new BadRange[count];
        for (int i = 0; i < count; i++)
        {
            ulong range = BinaryPrimitives.ReadUInt64LittleEndian(field[((i + 1) * sizeof(ulong))..]);
            ranges[i] = new BadRange((int)(range >> 56), (long)(range & (ulong)BadRanges.MaxRow), (int)(byte)(range >> 48) + 1);
        }
        return BadRanges.From(ranges);
    }

    /// <summary>Nothing is written for one.</summary>
    private static int ReadGroups(ReadOnlySpan<byte> field) =>
        BinaryPrimitives.ReadInt32LittleEndian(field) is var groups && groups == 0 ? 1 : groups;

    private static void WriteScrub(LastScrub scrub, Span<byte> field)
    {
        BinaryPrimitives.WriteInt64LittleEndian(field, scrub.EndedAt.ToUnixTimeMilliseconds());
        uint[] words = [scrub.IsRepair ? 1u : 0, scrub.Differing, scrub.Repaired, scrub.MadeToAgree, scrub.Unreadable, scrub.Skipped];
        for (int i = 0; i < words.Length; i++) BinaryPrimitives.WriteUInt32LittleEndian(field[(8 + i * sizeof(uint))..], words[i]);
        BinaryPrimitives.WriteInt64LittleEndian(field[32..], scrub.FirstOffset);
    }

    /// <summary>Null where there was none; any bytes are fine: nothing relies on it.</summary>
    private static LastScrub? ReadScrub(ReadOnlySpan<byte> field)
    {
        if (BinaryPrimitives.ReadInt64LittleEndian(field) == 0 || !TryReadTime(field, out DateTimeOffset ended)) return null;
        Span<uint> words = stackalloc uint[6];
        for (int i = 0; i < words.Length; i++) words[i] = BinaryPrimitives.ReadUInt32LittleEndian(field[(8 + i * sizeof(uint))..]);
        return new LastScrub(
            ended, words[0] == 1, words[1], words[2], words[3], words[4], words[5], Math.Max(-1, BinaryPrimitives.ReadInt64LittleEndian(field[32..])));
    }

    /// <summary>As much of it as there is room for, in whole characters.</summary>
    private static void WriteHost(string host, Span<byte> field)
    {
        foreach (Rune rune in host.EnumerateRunes())
        {
            if (!rune.TryEncodeToUtf8(field, out int written)) return;
            field = field[written..];
        }
    }

    private static void WriteForks(ForkHistory forks, Span<byte> field)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(field, forks.SinceEvent);
        foreach (ArrayFork fork in forks.Entries)
        {
            field = field[sizeof(ulong)..];
            BinaryPrimitives.WriteUInt64LittleEndian(field, fork.EventCount);
            field = field[sizeof(ulong)..];
            BinaryPrimitives.WriteUInt64LittleEndian(field, fork.Run);
        }
    }

    private static ForkHistory? ReadForks(ReadOnlySpan<byte> field)
    {
        ulong since = BinaryPrimitives.ReadUInt64LittleEndian(field);
        if (since == 0) return null;
        var entries = ImmutableArray.CreateBuilder<ArrayFork>();
        for (int i = 0; i < ForkHistory.MaxEntries; i++)
        {
            ReadOnlySpan<byte> row = field.Slice(sizeof(ulong) + i * 2 * sizeof(ulong), 2 * sizeof(ulong));
            ulong run = BinaryPrimitives.ReadUInt64LittleEndian(row[sizeof(ulong)..]);
            if (run == 0) break;
            entries.Add(new ArrayFork(BinaryPrimitives.ReadUInt64LittleEndian(row), run));
        }
        return new ForkHistory(since, entries.ToImmutable());
    }

    /// <summary>Null where there is none, or none that could be.</summary>
    private static ReshapeRecord? ReadReshape(ReadOnlySpan<byte> field, RaidLevel level)
    {
        int members = BinaryPrimitives.ReadInt32LittleEndian(field);
        uint oldLevel = BinaryPrimitives.ReadUInt32LittleEndian(field[4..]);
        return members == 0 || oldLevel > byte.MaxValue ? null
            : new ReshapeRecord(
                oldLevel == 0 ? level : (RaidLevel)oldLevel, members,
                BinaryPrimitives.ReadInt64LittleEndian(field[8..]), BinaryPrimitives.ReadInt64LittleEndian(field[16..]));
    }

    private static void WriteRow(MemberEntry member, Span<byte> row)
    {
        member.Uuid.TryWriteBytes(row, bigEndian: true, out _);
        row[16] = (byte)member.State;
        row[17] = (byte)member.Reason;
        BinaryPrimitives.WriteUInt64LittleEndian(row[24..], member.EventCount);
    }

    /// <summary>Null when a field cannot even be represented.</summary>
    private static ArraySuperblock? ReadFields(ReadOnlySpan<byte> block, uint version)
    {
        bool isFirst = version == 1;
        uint level = BinaryPrimitives.ReadUInt32LittleEndian(block[80..]);
        int memberCount = BinaryPrimitives.ReadInt32LittleEndian(block[92..]);
        var state = (ArrayStateFlags)BinaryPrimitives.ReadUInt32LittleEndian(block[100..]);
        int spareCount = isFirst ? 0 : BinaryPrimitives.ReadInt32LittleEndian(block[184..]);
        if (level > byte.MaxValue || memberCount is < 1 or > RaidGeometry.MaxMembers) return null;
        if (spareCount is < 0 or > ArraySuperblock.MaxSpares) return null;
        if (!TryReadTime(block[136..], out DateTimeOffset created) || !TryReadTime(block[144..], out DateTimeOffset updated)
            || !TryReadTime(block[152..], out DateTimeOffset dirtySince)) return null;
        if ((isFirst ? BadRanges.None : ReadBadRanges(block[BadAt..])) is not { } badRanges) return null;
        return new ArraySuperblock
        {
            Sequence = BinaryPrimitives.ReadUInt64LittleEndian(block[16..]),
            EventCount = BinaryPrimitives.ReadUInt64LittleEndian(block[24..]),
            ArrayUuid = new Guid(block.Slice(32, 16), bigEndian: true),
            MemberUuid = new Guid(block.Slice(48, 16), bigEndian: true),
            Compatible = (CompatibleFeatures)BinaryPrimitives.ReadUInt64LittleEndian(block[64..]) & KnownCompatible,
            Level = (RaidLevel)level,
            ParityCount = BinaryPrimitives.ReadInt32LittleEndian(block[84..]),
            ChunkSize = BinaryPrimitives.ReadInt32LittleEndian(block[88..]),
            MemberCount = memberCount,
            GroupCount = isFirst ? 1 : ReadGroups(block[GroupsAt..]),
            Role = BinaryPrimitives.ReadInt32LittleEndian(block[96..]),
            State = state,
            MemberDataOffset = BinaryPrimitives.ReadInt64LittleEndian(block[104..]),
            MemberDataSize = BinaryPrimitives.ReadInt64LittleEndian(block[112..]),
            ArraySize = BinaryPrimitives.ReadInt64LittleEndian(block[120..]),
            ExportedSize = BinaryPrimitives.ReadInt64LittleEndian(block[128..]),
            CreatedAt = created,
            UpdatedAt = updated,
            DirtySince = (state & ArrayStateFlags.Dirty) != 0 ? dirtySince : null,
            ResyncCheckpoint = BinaryPrimitives.ReadInt64LittleEndian(block[160..]),
            LogicalBlockSize = BinaryPrimitives.ReadInt32LittleEndian(block[168..]),
            Notices = (ArrayNotices)BinaryPrimitives.ReadUInt32LittleEndian(block[172..]) & KnownNotices,
            RebuildCheckpoint = isFirst ? ArraySuperblock.NoRebuild : BinaryPrimitives.ReadInt64LittleEndian(block[176..]),
            FormatVersion = version,
            Regions = isFirst ? null : ReadRegions(block),
            Consistency = isFirst ? ArrayConsistency.Unrecorded : (ArrayConsistency)BinaryPrimitives.ReadUInt32LittleEndian(block[ConsistencyAt..]),
            TrustsUnsynced = !isFirst && (BinaryPrimitives.ReadUInt32LittleEndian(block[(ConsistencyAt + 4)..]) & 1) != 0,
            MayHaveTornRows = !isFirst && (BinaryPrimitives.ReadUInt32LittleEndian(block[(ConsistencyAt + 4)..]) & 2) != 0,
            JournalGeneration = isFirst ? 0 : BinaryPrimitives.ReadUInt64LittleEndian(block[(ConsistencyAt + 8)..]),
            LastScrub = isFirst ? null : ReadScrub(block[ScrubAt..]),
            Incompatible = (IncompatibleFeatures)BinaryPrimitives.ReadUInt64LittleEndian(block[72..]),
            Reshape = isFirst ? null : ReadReshape(block[ReshapeAt..], (RaidLevel)level),
            ChecksumOffset = isFirst ? 0 : BinaryPrimitives.ReadInt64LittleEndian(block[ChecksumsAt..]),
            BadRanges = badRanges,
            Forks = isFirst ? null : ReadForks(block[ForksAt..]),
            Host = isFirst ? "" : ReadHost(block.Slice(HostAt, ArraySuperblock.MaxHostBytes)),
            Name = ReadName(block.Slice(NameAt, NameBytes)),
            Members = ReadMembers(block, memberCount, isFirst),
            Spares = ReadSpares(block, spareCount),
            Replacing = isFirst ? null : ReadReplacing(block, spareCount),
        };
    }

    /// <summary>Bytes that are no UTF-8 become U+FFFD, which <see cref="CheckName"/> refuses.</summary>
    private static string ReadName(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
    }

    /// <summary>What is no name is none: nothing relies on it, and it is shown to people.</summary>
    private static string ReadHost(ReadOnlySpan<byte> bytes)
    {
        string host = ReadName(bytes);
        return CheckName(host) is null ? host : "";
    }

    private static DirtyRegions? ReadRegions(ReadOnlySpan<byte> block)
    {
        int shift = BinaryPrimitives.ReadInt32LittleEndian(block[RegionsAt..]);
        if (shift == 0) return null;
        var words = ImmutableArray.CreateBuilder<ulong>(DirtyRegions.WordCount);
        for (int i = 0; i < DirtyRegions.WordCount; i++)
            words.Add(BinaryPrimitives.ReadUInt64LittleEndian(block[(MarksAt + i * sizeof(ulong))..]));
        return new DirtyRegions(shift, BinaryPrimitives.ReadUInt64LittleEndian(block[(RegionsAt + 8)..]), words.MoveToImmutable());
    }

    private static ImmutableArray<Guid> ReadSpares(ReadOnlySpan<byte> block, int count)
    {
        var spares = ImmutableArray.CreateBuilder<Guid>(count);
        for (int i = 0; i < count; i++) spares.Add(new Guid(block.Slice(SparesAt + i * UuidBytes, UuidBytes), bigEndian: true));
        return spares.MoveToImmutable();
    }

    /// <summary>A number of no spare names an empty UUID, which <see cref="Check"/> refuses.</summary>
    private static SpareForRole? ReadReplacing(ReadOnlySpan<byte> block, int spareCount)
    {
        int spare = block[ReplacingAt] - 1;
        if (spare < 0) return null;
        Guid uuid = spare < spareCount ? new Guid(block.Slice(SparesAt + spare * UuidBytes, UuidBytes), bigEndian: true) : Guid.Empty;
        return new SpareForRole(uuid, block[ReplacingAt + 1]);
    }

    private static ImmutableArray<MemberEntry> ReadMembers(ReadOnlySpan<byte> block, int count, bool isFirstVersion)
    {
        var members = ImmutableArray.CreateBuilder<MemberEntry>(count);
        for (int role = 0; role < count; role++)
        {
            ReadOnlySpan<byte> row = block.Slice(TableAt + role * RowBytes, RowBytes);
            members.Add(new MemberEntry(
                new Guid(row[..16], bigEndian: true),
                (MemberState)row[16],
                BinaryPrimitives.ReadUInt64LittleEndian(row[24..]),
                isFirstVersion || row[17] > (byte)OutReason.TimedOut ? OutReason.Unknown : (OutReason)row[17]));
        }
        return members.MoveToImmutable();
    }

    private static bool TryReadTime(ReadOnlySpan<byte> field, out DateTimeOffset time)
    {
        long milliseconds = BinaryPrimitives.ReadInt64LittleEndian(field);
        bool representable = milliseconds >= DateTimeOffset.MinValue.ToUnixTimeMilliseconds()
            && milliseconds <= DateTimeOffset.MaxValue.ToUnixTimeMilliseconds();
        time = representable ? DateTimeOffset.FromUnixTimeMilliseconds(milliseconds) : default;
        return representable;
    }
}
