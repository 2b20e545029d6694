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
            Reshape = new ReshapeRecord(3, Shift, frontier),
        };
    }
}
