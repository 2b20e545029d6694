using System.Buffers.Binary;
using System.Numerics;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Superblock;

/// <summary>What superblocks say of a reshape, and who speaks for an array of which only some say it.</summary>
public sealed class ReshapeSuperblockTests
{
    private const long Shift = 3 * 65536;

    [Fact]
    public void It_survives_being_written()
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        foreach (long frontier in (long[])[0, 5 * 3 * 65536, Reshaped(0, 0).ArraySize])
        {
            ArraySuperblock superblock = Reshaped(0, frontier);
            SuperblockFormat.Write(superblock, block);
            SuperblockResult parsed = SuperblockFormat.Parse(block);
            Assert.Equal(SuperblockStatus.Valid, parsed.Status);
            Assert.Equal(superblock, parsed.Superblock);
            Assert.NotEqual(superblock with { Reshape = superblock.Reshape! with { Frontier = 3 * 65536 } }, parsed.Superblock);
        }
    }

    [Fact]
    public void What_makes_no_sense_is_refused()
    {
        ArraySuperblock sound = Reshaped(0, 0);
        ReshapeRecord record = sound.Reshape!;
        ArraySuperblock[] wrong =
        [
            sound with { Incompatible = IncompatibleFeatures.None },
            sound with { Reshape = null },
            sound with { Reshape = record with { OldMemberCount = 2 } },
            sound with { Reshape = record with { OldMemberCount = 4 } },
            sound with { Reshape = record with { ShiftBytes = 65536 } },
            sound with { Reshape = record with { ShiftBytes = 0 } },
            sound with { Reshape = record with { Frontier = 65536 } },
            sound with { Reshape = record with { Frontier = sound.ArraySize + (3 * 65536) } },
            sound with { ExportedSize = sound.ArraySize },
        ];
        Assert.Null(SuperblockFormat.Check(sound));
        Assert.All(wrong, w => Assert.NotNull(SuperblockFormat.Check(w)));
    }

    /// <summary>The new drives are told first: until an older member knows, nothing has begun.</summary>
    [Fact]
    public void New_drives_alone_begin_nothing()
    {
        List<AssemblyCandidate> candidates = [.. Old(3), Reshaped(3, 0).Candidate()];
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal((AssemblyOutcome.Complete, 3), (result.Outcome, result.Newest!.MemberCount));
        Assert.Contains("did not begin", Assert.Single(result.LeftOut).Reason, StringComparison.Ordinal);
    }

    /// <summary>From the first older member on that says so, it has; the others have only missed it.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void One_older_member_that_knows_speaks_for_all(int told)
    {
        List<AssemblyCandidate> candidates =
            [.. Enumerable.Range(0, 3).Select(role => role < told ? Reshaped(role, 0).Candidate() : Old(3)[role]), Reshaped(3, 0).Candidate()];
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal((AssemblyOutcome.Complete, 4), (result.Outcome, result.Newest!.MemberCount));
        Assert.Empty(result.LeftOut);
    }

    /// <summary>A first attempt came no further than its new drive; a second one, with another drive, has begun since.</summary>
    [Fact]
    public void The_new_drive_of_an_attempt_before_contradicts_nobody()
    {
        ArraySuperblock other = Reshaped(3, 0);
        other = other with { MemberUuid = Guid.NewGuid() };
        other = other with { Members = other.Members.SetItem(3, other.Members[3] with { Uuid = other.MemberUuid }) };
        List<AssemblyCandidate> candidates =
            [other.Candidate(), .. Enumerable.Range(0, 4).Select(role => Reshaped(role, 0).Candidate())];
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal((AssemblyOutcome.Complete, 4), (result.Outcome, result.Newest!.MemberCount));
        Assert.Equal(other.MemberUuid, Assert.Single(result.LeftOut).Candidate.Superblock.MemberUuid);
    }

    /// <summary>
    /// A new drive that missed the update by which the others forgot a reshape that was over is a member like any other.
    /// </summary>
    [Fact]
    public void A_reshape_that_is_over_has_begun()
    {
        ArraySuperblock over = Reshaped(3, Reshaped(3, 0).ArraySize);
        List<AssemblyCandidate> candidates =
        [
            .. Enumerable.Range(0, 3).Select(role => (Reshaped(role, 0) with { EventCount = 12, Reshape = null, Incompatible = IncompatibleFeatures.None }).Candidate()),
            over.Candidate(),
        ];
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal((AssemblyOutcome.Complete, 0), (result.Outcome, result.LeftOut.Length));
    }

    private static AssemblyCandidate[] Old(int members) =>
        [.. Enumerable.Range(0, members).Select(role => Samples.Member(RaidLevel.Raid5, members, role).Candidate())];

    private static ArraySuperblock Reshaped(int role, long frontier)
    {
        ArraySuperblock old = Samples.Member(RaidLevel.Raid5, 3), made = Samples.Member(RaidLevel.Raid5, 4, role, events: 11);
        long data = old.MemberDataSize + Shift;
        return made with
        {
            MemberDataOffset = old.MemberDataOffset - Shift,
            MemberDataSize = data,
            ArraySize = data * 3,
            ExportedSize = old.ExportedSize,
            Incompatible = IncompatibleFeatures.Reshape,
            Reshape = new ReshapeRecord(RaidLevel.Raid5, 3, Shift, frontier),
        };
    }

    /// <summary>
    /// The bytes of a reshape that adds drives are those that older programs read; one of the level has a feature that they
    /// refuse.
    /// </summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid5, 4, 1, 0)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid6, 6, 1, 0)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 4, 17, 5)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 4, 17, 6)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid73, 5, 21, 5)]
    [InlineData(RaidLevel.Raid73, 5, RaidLevel.Raid6, 5, 17, 73)]
    [InlineData(RaidLevel.Raid73, 5, RaidLevel.Raid73, 6, 21, 0)]
    public void A_reshape_of_the_level_is_refused_by_older_programs(
        RaidLevel oldLevel, int oldMembers, RaidLevel level, int members, ulong features, uint stored)
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        ArraySuperblock superblock = Releveled(oldLevel, oldMembers, level, members, role: 1, frontier: 0);
        SuperblockFormat.Write(superblock, block);
        Assert.Equal(superblock, SuperblockFormat.Parse(block).Superblock);
        Assert.Equal(features, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(72)));
        Assert.Equal(stored, BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(2636)));
        IncompatibleFeatures other = superblock.Incompatible ^ IncompatibleFeatures.ReshapeOfParities;
        Assert.NotNull(SuperblockFormat.Check(superblock with { Incompatible = other }));
        Assert.NotEqual(superblock, superblock with { Reshape = superblock.Reshape! with { OldLevel = RaidLevel.Raid78 } });
    }

    [Fact]
    public void A_reshape_from_a_level_that_cannot_be_is_refused()
    {
        ArraySuperblock sound = Releveled(RaidLevel.Raid6, 4, RaidLevel.Raid5, 4, role: 0, frontier: 0);
        ReshapeRecord record = sound.Reshape!;
        ArraySuperblock[] wrong =
        [
            sound with { Reshape = record with { OldLevel = RaidLevel.Raid0 } },
            sound with { Reshape = record with { OldLevel = RaidLevel.Raid1 } },
            sound with { Reshape = record with { OldLevel = (RaidLevel)7 } },
            sound with { Reshape = record with { OldLevel = RaidLevel.Raid5 } },
            sound with { Reshape = record with { OldMemberCount = 3 } },
            sound with { Reshape = record with { OldMemberCount = 5 } },
            sound with { Reshape = record with { OldMemberCount = -4 } },
            sound with { Incompatible = IncompatibleFeatures.Reshape },
            sound with { Incompatible = IncompatibleFeatures.ReshapeOfParities },
            sound with { Reshape = null },
            sound with { Reshape = null, Incompatible = IncompatibleFeatures.ReshapeOfParities },

            // What the old shape has is what it may show.
            sound with { ExportedSize = sound.ExportedSize + 4096 },
        ];
        Assert.Null(SuperblockFormat.Check(sound));
        Assert.All(wrong, w => Assert.NotNull(SuperblockFormat.Check(w)));
        sound = Releveled(RaidLevel.Raid5, 3, RaidLevel.Raid6, 4, 0, 0);
        Assert.NotNull(SuperblockFormat.Check(sound with { Level = RaidLevel.Raid73, ParityCount = 3 }));
    }

    /// <summary>No drive comes in: the first member that knows has begun it, and the others have only missed it.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 4)]
    [InlineData(RaidLevel.Raid73, 6, RaidLevel.Raid5, 6)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 4)]
    public void One_older_member_that_knows_of_the_level_speaks_for_all(
        RaidLevel oldLevel, int oldMembers, RaidLevel level, int members)
    {
        AssemblyCandidate Told(int role) => Releveled(oldLevel, oldMembers, level, members, role, 0).Candidate();

        for (int told = 0; told <= oldMembers; told++)
        {
            int most = told;
            List<AssemblyCandidate> candidates =
            [
                .. Enumerable.Range(0, oldMembers).Select(
                    role => role < most ? Told(role) : Samples.Member(oldLevel, oldMembers, role).Candidate()),
                .. Enumerable.Range(oldMembers, members - oldMembers).Select(Told),
            ];
            AssemblyResult result = ArrayAssembly.Assemble(candidates);
            Assert.Equal(
                (AssemblyOutcome.Complete, told == 0 ? oldLevel : level, told == 0 ? members - oldMembers : 0),
                (result.Outcome, result.Newest!.Level, result.LeftOut.Length));
        }
    }

    /// <summary>One that was away since the level was another is stale like any other, and no drive of another array.</summary>
    [Fact]
    public void One_that_was_away_since_the_level_was_another_is_stale()
    {
        ArraySuperblock Newer(int role) => Releveled(RaidLevel.Raid6, 4, RaidLevel.Raid5, 4, role, 0) with { EventCount = 20 };
        List<AssemblyCandidate> candidates =
        [
            .. Enumerable.Range(0, 3).Select(role => Newer(role).Candidate()),
            Samples.Member(RaidLevel.Raid6, 4, role: 3, events: 10).Candidate(),
        ];
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal((AssemblyOutcome.Degraded, 0b1000UL), (result.Outcome, result.MissingRoles));
        Assert.Contains("is stale", Assert.Single(result.LeftOut).Reason, StringComparison.Ordinal);
    }

    /// <summary>A superblock that is an event older and of another level has missed the reshape, or belongs to nothing.</summary>
    [Fact]
    public void One_of_another_level_that_no_reshape_explains_is_refused()
    {
        List<AssemblyCandidate> candidates =
        [
            .. Enumerable.Range(0, 3).Select(role => Releveled(RaidLevel.Raid6, 4, RaidLevel.Raid5, 4, role, 0).Candidate()),
            Samples.Member(RaidLevel.Raid5, 4, role: 3).Candidate(),
        ];
        Assert.Contains("different geometry", ArrayAssembly.Assemble(candidates).Error, StringComparison.Ordinal);
    }

    /// <summary>Until the end both geometries have something of the volume: less may be missing than one survives.</summary>
    [Theory]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 4, 0b0011, false)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 4, 0b0010, true)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 4, 0b1000, true)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 4, 0b1001, true)]
    [InlineData(RaidLevel.Raid5, 3, RaidLevel.Raid6, 5, 0b11000, true)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 4, 0b0011, false)]
    [InlineData(RaidLevel.Raid6, 4, RaidLevel.Raid5, 4, 0b0001, true)]
    public void It_starts_without_as_many_as_both_shapes_survive(
        RaidLevel oldLevel, int oldMembers, RaidLevel level, int members, int missing, bool starts)
    {
        long end = Releveled(oldLevel, oldMembers, level, members, 0, 0).ArraySize;
        long stripe = (members - level.ParityCount()) * 65536L;
        foreach (long frontier in (long[])[0, stripe, end - stripe, end])
        {
            IEnumerable<int> there = Enumerable.Range(0, members).Where(role => ((missing >> role) & 1) == 0);
            AssemblyResult result = ArrayAssembly.Assemble(
                [.. there.Select(role => Releveled(oldLevel, oldMembers, level, members, role, frontier).Candidate())]);
            bool isExpected = frontier < end ? starts : BitOperations.PopCount((uint)missing) <= level.ParityCount();
            AssemblyOutcome outcome = isExpected ? AssemblyOutcome.Degraded : AssemblyOutcome.Refused;
            Assert.Equal((outcome, !isExpected), (result.Outcome, result.IsTooFew));
            Assert.True(isExpected || result.Error!.Contains("can lose 1:", StringComparison.Ordinal), result.Error);
        }
    }

    private static ArraySuperblock Releveled(
        RaidLevel oldLevel, int oldMembers, RaidLevel level, int members, int role, long frontier)
    {
        ArraySuperblock old = Samples.Member(oldLevel, oldMembers), made = Samples.Member(level, members, role, events: 11);
        long shift = oldMembers * 65536L, data = old.MemberDataSize + shift;
        var reshape = new ReshapeRecord(oldLevel, oldMembers, shift, frontier);
        return made with
        {
            MemberDataOffset = old.MemberDataOffset - shift,
            MemberDataSize = data,
            ArraySize = data * (members - level.ParityCount()),
            ExportedSize = old.ArraySize,
            Incompatible = made.Incompatible | reshape.FeaturesOf(level),
            Reshape = reshape,
        };
    }
}
