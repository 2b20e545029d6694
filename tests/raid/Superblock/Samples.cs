using System.Collections.Immutable;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Superblock;

/// <summary>Valid superblocks and candidates to vary.</summary>
internal static class Samples
{
    public const long DriveSize = (1L << 20) + (64L << 20) + 12345;

    public static Guid Uuid(int number) => new(number + 1, 7, 7, 1, 2, 3, 4, 5, 6, 7, 8);

    public static ArraySuperblock Member(
        RaidLevel level = RaidLevel.Raid5, int members = 4, int role = 0, ulong events = 10, int groups = 0)
    {
        var sizes = new long[members];
        Array.Fill(sizes, DriveSize);
        bool isPossible =
            RaidGeometry.TryCreate(level, 65536, sizes, out RaidGeometry? geometry, out string? error, groups: groups);
        Assert.True(isPossible, error);
        return new ArraySuperblock
        {
            ArrayUuid = Uuid(1000),
            MemberUuid = Uuid(role),
            Name = "vol-ä",
            Level = level,
            ParityCount = level.ParityCount(),
            GroupCount = geometry!.GroupCount,
            Incompatible = level.HasManyParities() ? IncompatibleFeatures.ManyParities
                : level.HasGroups() ? IncompatibleFeatures.Groups
                : IncompatibleFeatures.None,
            ChunkSize = 65536,
            MemberCount = members,
            Role = role,
            MemberDataOffset = geometry!.DataOffset,
            MemberDataSize = geometry.MemberDataSize,
            ArraySize = geometry.Capacity,
            ExportedSize = geometry.Capacity - 512,
            EventCount = events,
            Sequence = events + 100,
            CreatedAt = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_123),
            UpdatedAt = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_111_456),
            Members = [.. Enumerable.Range(0, members).Select(i => new MemberEntry(Uuid(i), MemberState.Present))],
        };
    }

    public static ArraySuperblock WithState(
        this ArraySuperblock superblock, int role, MemberState state, ulong events = 0, OutReason reason = OutReason.Unknown) =>
        superblock with
        {
            Members = superblock.Members.SetItem(
                role, superblock.Members[role] with { State = state, EventCount = events, Reason = reason }),
        };

    public static AssemblyCandidate Candidate(this ArraySuperblock superblock, long size = DriveSize) =>
        new($"/drive{superblock.Role}", size, superblock);

    public static List<AssemblyCandidate> Array4(RaidLevel level = RaidLevel.Raid5, int members = 4) =>
        [.. Enumerable.Range(0, members).Select(role => Member(level, members, role).Candidate())];
}
