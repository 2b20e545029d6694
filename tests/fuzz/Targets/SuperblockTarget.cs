// The superblocks of up to four drives, two slots each: made right, then changed field by field, with the checksum made right
// again. What parsing calls valid must be valid, and what assembly accepts must fit together and into its drives.

using System.Buffers.Binary;
using System.Numerics;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;
using static Polyblk.Fuzz.FuzzFailureException;

namespace Polyblk.Fuzz.Targets;

/// <summary>Parsing and assembly of superblocks.</summary>
internal sealed class SuperblockTarget : IFuzzTarget
{
    private const int MaxDrives = 4;
    private const int MaxMembers = 6;
    private const int CrcAt = 12;
    private const long DataOffset = 1 << 20;
    private static readonly RaidLevel[] s_levels =
        [RaidLevel.Raid0, RaidLevel.Raid1, RaidLevel.Raid5, RaidLevel.Raid6, RaidLevel.Raid10];

    private static readonly ulong[] s_values =
        [
            0, 1, 2, 3, 4, 5, 63, 64, 65, 511, 512, 4096, 4097, 65536, 1 << 20, int.MaxValue, uint.MaxValue, 1UL << 40,
            long.MaxValue, 1UL << 63, ulong.MaxValue,
        ];

    /// <inheritdoc/>
    public string Name => "superblocks";

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<byte> input)
    {
        var bytes = new FuzzBytes(input[..Math.Min(input.Length, 8192)].ToArray());
        RaidLevel level = s_levels[bytes.Byte() % s_levels.Length];
        int members = Math.Clamp(bytes.Byte() % (MaxMembers + 1), level.MinimumMembers(), MaxMembers);
        int drives = 1 + (bytes.Byte() % MaxDrives);
        byte[][] slots = [.. Enumerable.Range(0, drives * 2).Select(i => Make(level, members, i / 2 % members, (ulong)(i & 1)))];
        while (!bytes.IsAtEnd)
        {
            Change(slots, bytes);
        }

        var candidates = new List<AssemblyCandidate>();
        for (int i = 0; i < drives; i++)
        {
            foreach (byte[] slot in slots.AsSpan(i * 2, 2))
            {
                CheckParsed(SuperblockFormat.Parse(slot));
            }

            SuperblockResult result = SuperblockFormat.ParseSlots(slots[i * 2], slots[(i * 2) + 1]);
            CheckParsed(result);
            if (result.Superblock is { } superblock)
            {
                long size = superblock.MemberDataOffset + superblock.MemberDataSize + (slots[i * 2][4095] & 1) * -512L;
                candidates.Add(new AssemblyCandidate($"drive{i}", size, superblock));
            }
        }

        CheckAssembled(ArrayAssembly.Assemble(candidates), candidates);
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, byte[] Input)> Seeds()
    {
        for (byte level = 0; level < s_levels.Length; level++)
        {
            yield return ($"{s_levels[level].Name()}-right", [level, 3, 2]);
            yield return ($"{s_levels[level].Name()}-one-behind", [level, 4, 3, 0, 24, 0x81, 4, 2, 24, 0x81, 3]);
            yield return ($"{s_levels[level].Name()}-member-missing", [level, 4, 3, 1, 16, 1, 0x91, 2]);
        }
    }

    private static byte[] Make(RaidLevel level, int members, int role, ulong sequence)
    {
        Span<long> sizes = stackalloc long[members];
        sizes.Fill(DataOffset + (4 << 20));
        int chunk = level == RaidLevel.Raid1 ? RaidGeometry.MinChunkSize : 64 << 10;
        Require(
            RaidGeometry.TryCreate(level, chunk, sizes, out RaidGeometry? geometry, out string? error, DataOffset),
            $"An ordinary array is refused: {error}");
        byte[] block = new byte[SuperblockFormat.SizeBytes];
        SuperblockFormat.Write(
            new ArraySuperblock
            {
                ArrayUuid = Uuid(0xAA),
                MemberUuid = Uuid((byte)(role + 1)),
                Name = "data",
                Level = level,
                ParityCount = level.ParityCount(),
                ChunkSize = chunk,
                MemberCount = members,
                Role = role,
                MemberDataOffset = DataOffset,
                MemberDataSize = geometry!.MemberDataSize,
                ArraySize = geometry.Capacity,
                ExportedSize = geometry.Capacity,
                EventCount = 4,
                Sequence = sequence,
                CreatedAt = DateTimeOffset.UnixEpoch,
                UpdatedAt = DateTimeOffset.UnixEpoch,
                Members =
                [
                    .. Enumerable.Range(0, members).Select(i => new MemberEntry(Uuid((byte)(i + 1)), MemberState.Present)),
                ],
            },
            block);
        return block;
    }

    private static Guid Uuid(byte number) => new([number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// <summary>One change: in which slots, where, what. Bit 7 of the place's second byte leaves the checksum wrong.</summary>
    private static void Change(byte[][] slots, FuzzBytes bytes)
    {
        byte where = bytes.Byte();
        int at = bytes.Byte();
        byte more = bytes.Byte();
        at = (at | ((more & 0xF) << 8)) % (SuperblockFormat.SizeBytes - sizeof(ulong));
        byte what = bytes.Byte();
        ulong value = (what & 0x80) != 0 ? bytes.Byte() : (what & 0x40) != 0 ? bytes.Quad() : s_values[what % s_values.Length];
        int width = (more & 0x30) switch { 0 => 8, 0x10 => 1, 0x20 => 4, _ => 2 };
        for (int i = 0; i < slots.Length; i++)
        {
            bool isOfDrive = i / 2 == (where & 0x7F) / 2 % (slots.Length / 2);
            if ((where & 0x80) != 0 ? isOfDrive : (where & 0x40) != 0 || i == where % slots.Length)
            {
                byte[] number = BitConverter.GetBytes(value);
                number.AsSpan(0, width).CopyTo(slots[i].AsSpan(at));
                if ((more & 0x80) == 0)
                {
                    slots[i].AsSpan(CrcAt, sizeof(uint)).Clear();
                    BinaryPrimitives.WriteUInt32LittleEndian(slots[i].AsSpan(CrcAt), Crc32C.Compute(slots[i]));
                }
            }
        }
    }

    private static void CheckParsed(SuperblockResult result)
    {
        Require(
            (result.Status == SuperblockStatus.Valid) == (result.Superblock is not null),
            "A valid superblock is missing, or there is one all the same.");
        Require((result.Error is null) == (result.Superblock is not null), "What cannot be used must say why.");
        if (result.Superblock is { } superblock)
        {
            Require(SuperblockFormat.Check(superblock) is null, "What parsing accepts, checking must accept.");
            byte[] again = new byte[SuperblockFormat.SizeBytes];
            SuperblockFormat.Write(superblock, again);
            Require(
                superblock.Equals(SuperblockFormat.Parse(again).Superblock),
                "A superblock that was read and written again is another.");
        }
    }

    private static void CheckAssembled(AssemblyResult result, List<AssemblyCandidate> candidates)
    {
        if (result.Outcome == AssemblyOutcome.Refused)
        {
            Require(!string.IsNullOrEmpty(result.Error), "A refusal must say why.");
            return;
        }

        ArraySuperblock newest = result.Newest!;
        RaidGeometry geometry = result.Geometry!;
        Require(
            candidates.All(c => c.Superblock.Role == ArraySuperblock.SpareRole || c.Superblock.EventCount <= newest.EventCount),
            "A newer superblock was passed over.");
        Require(
            result.Members.Length == newest.MemberCount && geometry.MemberCount == newest.MemberCount,
            "The members are not as many as the array has.");
        Require(
            geometry.Capacity == newest.ArraySize && newest.ExportedSize <= geometry.Capacity, "The size is not the geometry's.");
        ulong missing = 0, rebuilding = 0;
        for (int role = 0; role < result.Members.Length; role++)
        {
            if (result.Members[role] is not { } member)
            {
                missing |= 1UL << role;
                continue;
            }

            ArraySuperblock its = member.Superblock;
            MemberEntry entry = newest.Members[role];
            rebuilding |= entry.State == MemberState.Rebuilding ? 1UL << role : 0;
            Require(
                its.Role == role && its.MemberUuid == entry.Uuid && entry.State is MemberState.Present or MemberState.Rebuilding,
                $"The member in role {role} is not the array's.");
            Require(newest.EventCount - its.EventCount <= 1, $"The member in role {role} is stale.");
            Require(
                its.ArrayUuid == newest.ArrayUuid && its.ChunkSize == newest.ChunkSize
                    && (its.Level == newest.Level || its.Level == newest.Reshape?.OldLevel),
                "Two arrays were mixed.");
            bool isOld = its.MemberCount < newest.MemberCount || its.Level != newest.Level;
            Require(
                its.MemberDataOffset == geometry.DataOffset + (isOld ? newest.Reshape!.ShiftBytes : 0)
                    && member.SizeBytes >= geometry.DataOffset + geometry.MemberDataSize,
                $"The member in role {role} is too small for the array, or has its data elsewhere.");
        }

        ulong lacking = missing | rebuilding;
        bool oldSurvives = newest.Reshape is not { } reshape || reshape.Frontier == newest.ArraySize
            || BitOperations.PopCount(lacking & ((1UL << reshape.OldMemberCount) - 1)) <= reshape.OldLevel.ParityCount();
        Require(
            (missing, rebuilding) == (result.MissingRoles, result.RebuildingRoles)
                && geometry.SurvivesWithout(lacking) && oldSurvives,
            "The array starts without members that it needs.");
        Require(
            (result.Outcome == AssemblyOutcome.Complete) == ((missing | rebuilding) == 0), "Complete and degraded were mixed up.");
        Require(
            result.RebuildFrom >= 0 && result.RebuildFrom <= geometry.MemberDataSize, "The rebuild begins outside of the members.");
        Require(
            result.Spares.All(s => s.Superblock.Role == ArraySuperblock.SpareRole && newest.Spares.Contains(s.Superblock.MemberUuid)),
            "A drive counts as a spare that is none.");
        Require(
            result.ResyncFrom >= 0 && result.ResyncFrom <= geometry.MemberDataSize, "The resync begins outside of the members.");
        CheckPlaces(geometry, newest.ExportedSize);
    }

    private static void CheckPlaces(RaidGeometry geometry, long size)
    {
        foreach (long offset in new[] { 0, size / 2 / 512 * 512, size - 512 })
        {
            MemberPlace place = geometry.Map(offset);
            Require(
                place.Member >= 0 && place.Member < geometry.MemberCount && place.Offset >= geometry.DataOffset
                    && place.Offset + 512 <= geometry.DataOffset + geometry.MemberDataSize,
                $"The block at {offset} lies outside of the members.");
        }
    }
}
