using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Superblock;

public class ArrayAssemblyTests
{
    [Fact]
    public void AllMembersInStepAreComplete()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates.Reverse();
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Complete, result.Outcome);
        Assert.Null(result.Error);
        Assert.Equal(["/drive0", "/drive1", "/drive2", "/drive3"], result.Members.Select(member => member!.Path));
        Assert.Empty(result.LeftOut);
        Assert.False(result.NeedsResync);
        Assert.Equal(candidates[0].Superblock.ArraySize, result.Geometry!.Capacity);
    }

    [Theory]
    [InlineData(RaidLevel.Raid0, 0b0001, AssemblyOutcome.Refused)]
    [InlineData(RaidLevel.Raid1, 0b0111, AssemblyOutcome.Degraded)]
    [InlineData(RaidLevel.Raid5, 0b0100, AssemblyOutcome.Degraded)]
    [InlineData(RaidLevel.Raid5, 0b0101, AssemblyOutcome.Refused)]
    [InlineData(RaidLevel.Raid6, 0b0101, AssemblyOutcome.Degraded)]
    [InlineData(RaidLevel.Raid6, 0b0111, AssemblyOutcome.Refused)]
    [InlineData(RaidLevel.Raid10, 0b0101, AssemblyOutcome.Degraded)]
    [InlineData(RaidLevel.Raid10, 0b0011, AssemblyOutcome.Refused)]
    [InlineData(RaidLevel.Raid50, 0b100_010, AssemblyOutcome.Degraded, 6)]
    [InlineData(RaidLevel.Raid50, 0b000_011, AssemblyOutcome.Refused, 6)]
    [InlineData(RaidLevel.Raid60, 0b0110_1001, AssemblyOutcome.Degraded, 8)]
    [InlineData(RaidLevel.Raid60, 0b0111_0000, AssemblyOutcome.Refused, 8)]
    public void MissingMembersDegradeUpToTheRedundancy(RaidLevel level, int missing, AssemblyOutcome expected, int members = 4)
    {
        var candidates =
            Samples.Array4(level, members).Where(candidate => (missing >> candidate.Superblock.Role & 1) == 0).ToList();
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(expected, result.Outcome);
        Assert.Equal((ulong)missing, result.MissingRoles);
        Assert.Equal(expected == AssemblyOutcome.Refused, result.Error != null);
        if (result.Error != null) Assert.Contains("connect the missing drives", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void MembersThatAreCutIntoOtherGroupsAreOfAnotherGeometry()
    {
        List<AssemblyCandidate> candidates = Samples.Array4(RaidLevel.Raid50, 12);
        candidates[3] = Samples.Member(RaidLevel.Raid50, 12, 3, groups: 3).Candidate();
        Assert.Contains("different geometry", ArrayAssembly.Assemble(candidates).Error, StringComparison.Ordinal);

        // Also a stale one: no array ever gets other groups.
        candidates[3] = Samples.Member(RaidLevel.Raid50, 12, 3, events: 3, groups: 3).Candidate();
        Assert.Contains("different geometry", ArrayAssembly.Assemble(candidates).Error, StringComparison.Ordinal);
    }

    [Fact]
    public void AStaleMemberIsLeftOutAndNamed()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates[2] = Samples.Member(role: 2, events: 8).Candidate();
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Degraded, result.Outcome);
        Assert.Null(result.Members[2]);
        LeftOutMember left = Assert.Single(result.LeftOut);
        Assert.Equal("/drive2", left.Candidate.Path);
        Assert.Contains("event 8", left.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void AMemberThatTheNewestCallsFailedIsStaleEvenOneEventBehind()
    {
        List<AssemblyCandidate> candidates = [.. Samples.Array4().Select(candidate => candidate with
        {
            Superblock = candidate.Superblock.Role == 1
                ? candidate.Superblock
                : (candidate.Superblock with { EventCount = 11 }).WithState(1, MemberState.Failed, 11),
        })];
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Degraded, result.Outcome);
        Assert.Equal(0b0010ul, result.MissingRoles);
        Assert.Contains("failed", Assert.Single(result.LeftOut).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void AnUpdateCutShortByACrashLeavesAllMembersInStep()
    {
        // Half of the members have the next event, whichever half it is.
        for (int newer = 1; newer < 15; newer++)
        {
            List<AssemblyCandidate> candidates = [.. Samples.Array4().Select(candidate => candidate with
            {
                Superblock = candidate.Superblock with { EventCount = 10 + (ulong)(newer >> candidate.Superblock.Role & 1) },
            })];
            AssemblyResult result = ArrayAssembly.Assemble(candidates);
            Assert.Equal(AssemblyOutcome.Complete, result.Outcome);
            Assert.Equal(11ul, result.Newest!.EventCount);
        }
    }

    [Fact]
    public void StaleMembersBeyondTheRedundancyRefuseAndSayWhy()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates[0] = Samples.Member(role: 0, events: 3).Candidate();
        candidates[1] = Samples.Member(role: 1, events: 3).Candidate();
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Refused, result.Outcome);
        Assert.True(result.IsTooFew);
        Assert.Contains("/drive0", result.Error, StringComparison.Ordinal);
        Assert.Contains("event 3", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void HalvesOfAMirrorThatWereUsedApartAreRefused()
    {
        AssemblyCandidate left = Samples.Member(RaidLevel.Raid1, 2, 0, 20).WithState(1, MemberState.Failed, 15).Candidate();
        AssemblyCandidate right = Samples.Member(RaidLevel.Raid1, 2, 1, 20).WithState(0, MemberState.Failed, 15).Candidate();
        AssemblyResult result = ArrayAssembly.Assemble([left, right]);
        Assert.Equal(AssemblyOutcome.Refused, result.Outcome);
        Assert.Contains("Decide whose data to keep", result.Error, StringComparison.Ordinal);
        AssemblyCandidate later = right with { Superblock = right.Superblock with { EventCount = 23 } };
        AssemblyResult unequal = ArrayAssembly.Assemble([left, later]);
        Assert.Equal(AssemblyOutcome.Refused, unequal.Outcome);
        Assert.Contains("/drive0 was used apart from /drive1 after event 15", unequal.Error, StringComparison.Ordinal);
        Assert.Equal(AssemblyOutcome.Degraded, ArrayAssembly.Assemble([left]).Outcome);
        Assert.Equal(AssemblyOutcome.Degraded, ArrayAssembly.Assemble([right]).Outcome);
    }

    /// <summary>A crash left one of them an event ahead; then each went on without the other.</summary>
    [Theory]
    [InlineData(12ul, 11ul)]
    [InlineData(11ul, 12ul)]
    public void HalvesThatPartedAtDifferentEventsAreRefused(ulong leftAt, ulong rightAt)
    {
        ArraySuperblock Half(int role, ulong outAt, ulong events) =>
            (Samples.Member(RaidLevel.Raid1, 2, role, events) with
            {
                Forks = ForkHistory.From(1).With(new ArrayFork(outAt, (ulong)role + 1)),
                Host = $"host{role}",
                UpdatedAt = DateTimeOffset.UnixEpoch,
            }).WithState(1 - role, MemberState.Failed, outAt, OutReason.Absent);
        AssemblyCandidate left = Half(0, leftAt, leftAt).Candidate(), right = Half(1, rightAt, rightAt).Candidate();
        AssemblyResult result = ArrayAssembly.Assemble([left, right]);
        Assert.Equal(AssemblyOutcome.Refused, result.Outcome);
        Assert.Contains("was used apart", result.Error, StringComparison.Ordinal);
        Assert.Contains("last by host host", result.Error, StringComparison.Ordinal);

        // A program that knows no history has written the newer one since: nothing can be told.
        AssemblyCandidate newer = leftAt > rightAt ? left : right, older = leftAt > rightAt ? right : left;
        AssemblyCandidate forgetful = newer with { Superblock = newer.Superblock with { Forks = null } };
        Assert.Equal(AssemblyOutcome.Degraded, ArrayAssembly.Assemble([forgetful, older]).Outcome);
    }

    [Fact]
    public void ADriveThatWasAwayDidNotPart()
    {
        ForkHistory common = ForkHistory.From(1).With(new ArrayFork(5, 50)).With(new ArrayFork(8, 80));
        AssemblyCandidate away = (Samples.Member(RaidLevel.Raid1, 3, 1, 11) with { Forks = common })
            .WithState(2, MemberState.Failed, 8, OutReason.Absent).Candidate();
        ForkHistory later = common.With(new ArrayFork(12, 120));
        for (ulong at = 20; at < 30; at++)
        {
            // Also when what they have in common has been forgotten.
            AssemblyCandidate newest = (Samples.Member(RaidLevel.Raid1, 3, 0, at) with { Forks = later })
                .WithState(1, MemberState.Failed, 12, OutReason.Absent).Candidate();
            AssemblyResult result = ArrayAssembly.Assemble([away, newest]);
            Assert.Equal(AssemblyOutcome.Degraded, result.Outcome);
            Assert.Equal(away, Assert.Single(result.Returning));
            later = later.With(new ArrayFork(at, at));
            Assert.InRange(later.Entries.Length, 1, ForkHistory.MaxEntries);
        }
    }

    [Fact]
    public void MixedArraysAreRefused()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates[3] = candidates[3] with
        {
            Superblock = candidates[3].Superblock with { ArrayUuid = Samples.Uuid(2000), Name = "other" },
        };
        string error = ArrayAssembly.Assemble(candidates).Error!;
        Assert.Contains("'other'", error, StringComparison.Ordinal);
        Assert.Contains("one array at a time", error, StringComparison.Ordinal);
    }

    [Fact]
    public void ACopiedMemberIsRefused()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates.Add(candidates[1] with { Path = "/copy" });
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Refused, result.Outcome);
        Assert.Contains("/drive1 and /copy are the same member", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void AReplacedMemberIsLeftOut()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        ArraySuperblock replaced = Samples.Member(role: 1, events: 9);
        replaced = replaced with
        {
            MemberUuid = Samples.Uuid(77),
            Members = replaced.Members.SetItem(1, new MemberEntry(Samples.Uuid(77), MemberState.Present)),
        };
        candidates.Add(new AssemblyCandidate("/old", Samples.DriveSize, replaced));
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Complete, result.Outcome);
        Assert.Equal("/drive1", result.Members[1]!.Path);
        Assert.Contains("replaced", Assert.Single(result.LeftOut).Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void AShrunkDriveIsRefusedUnlessItIsLeftOut()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates[2] = candidates[2] with { SizeBytes = (1L << 20) + candidates[2].Superblock.MemberDataSize - 1 };
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Refused, result.Outcome);
        Assert.Contains("Restore its size, or leave it out", result.Error, StringComparison.Ordinal);
        candidates.RemoveAt(2);
        Assert.Equal(AssemblyOutcome.Degraded, ArrayAssembly.Assemble(candidates).Outcome);
    }

    [Fact]
    public void DifferentGeometryUnderOneUuidIsRefused()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates[1] = Samples.Member(RaidLevel.Raid6, 4, 1, events: 9).Candidate();
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Refused, result.Outcome);
        Assert.Contains("different geometry", result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(RaidLevel.Raid5, true)]
    [InlineData(RaidLevel.Raid1, true)]
    [InlineData(RaidLevel.Raid0, false)]
    public void ADirtyArrayResyncsFromItsCheckpointWhereThereIsRedundancy(RaidLevel level, bool expected)
    {
        List<AssemblyCandidate> Dirty(long checkpoint) => [.. Samples.Array4(level).Select(candidate => candidate with
        {
            Superblock = candidate.Superblock with
            {
                State = ArrayStateFlags.Dirty,
                DirtySince = DateTimeOffset.UnixEpoch,
                ResyncCheckpoint = checkpoint,
            },
        })];
        AssemblyResult anew = ArrayAssembly.Assemble(Dirty(ArraySuperblock.NoResync));
        Assert.Equal((expected, 0L), (anew.NeedsResync, anew.ResyncFrom));
        AssemblyResult onward = ArrayAssembly.Assemble(Dirty(1 << 20));
        Assert.Equal((expected, expected ? 1L << 20 : 0), (onward.NeedsResync, onward.ResyncFrom));
    }

    [Fact]
    public void NoCandidatesIsAnError() =>
        Assert.Contains("check the paths", ArrayAssembly.Assemble([]).Error, StringComparison.Ordinal);

    [Fact]
    public void AnyMixtureOfCandidatesGivesASoundDecision()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        for (int round = 0; round < 3000; round++)
        {
            RaidLevel level = Enum.GetValues<RaidLevel>()[random.Next(5)];
            var candidates = Samples.Array4(level, 6).Where(_ => random.Next(6) != 0).Select(candidate => candidate with
            {
                Superblock = candidate.Superblock with { EventCount = 10 - (ulong)(random.Next(5) == 0 ? random.Next(4) : 0) },
            }).ToList();
            AssemblyResult result = ArrayAssembly.Assemble(candidates);
            string context = $"seed {seed}, round {round}: {result.Error}";
            Assert.True((result.Outcome == AssemblyOutcome.Refused) == (result.Error != null), context);
            if (result.Outcome == AssemblyOutcome.Refused) continue;
            Assert.True(result.Geometry!.SurvivesWithout(result.MissingRoles), context);
            ulong newest = candidates.Max(candidate => candidate.Superblock.EventCount);
            foreach (AssemblyCandidate? member in result.Members)
                Assert.True(member == null || member.Superblock.EventCount + 1 >= newest, context);
            Assert.Equal(candidates.Count, result.LeftOut.Length + result.Members.Count(member => member != null));
        }
    }

    [Fact]
    public void MarksOfOneEventCountTogether()
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        candidates[0] = (candidates[0].Superblock with { Regions = Marked(1) }).Candidate();
        candidates[1] = (candidates[1].Superblock with { Regions = Marked(1 << 5) }).Candidate();
        candidates[2] = (candidates[2].Superblock with { EventCount = 9, Regions = Marked(1 << 9) }).Candidate();
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(AssemblyOutcome.Complete, result.Outcome);
        Assert.Equal((ulong)(1 | (1 << 5)), result.Newest!.Regions!.Words[0]);
    }

    [Fact]
    public void AMemberThatIsBeingRebuiltIsUsedAndCountsAsLost()
    {
        List<AssemblyCandidate> candidates = [.. Samples.Array4(RaidLevel.Raid5).Select(c =>
            (c.Superblock.WithState(2, MemberState.Rebuilding) with { RebuildCheckpoint = 1 << 20 }).Candidate())];
        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal((AssemblyOutcome.Degraded, 0ul, 0b100ul, 1L << 20), (result.Outcome, result.MissingRoles, result.RebuildingRoles, result.RebuildFrom));
        Assert.NotNull(result.Members[2]);
        candidates.RemoveAt(0);
        result = ArrayAssembly.Assemble(candidates);
        Assert.True(result is { Outcome: AssemblyOutcome.Refused, IsTooFew: true });
        Assert.Contains("1 more were being rebuilt", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void SparesCountWhenAMemberListsThemAndNeverSpeak()
    {
        List<AssemblyCandidate> candidates = [.. Samples.Array4().Select(c => (c.Superblock with { Spares = [Samples.Uuid(50)] }).Candidate())];
        ArraySuperblock spare = candidates[0].Superblock with
        {
            Role = ArraySuperblock.SpareRole, MemberUuid = Samples.Uuid(50), EventCount = 99,
        };
        AssemblyCandidate used = new("/spare", Samples.DriveSize, spare);
        AssemblyCandidate old = new("/old", Samples.DriveSize, spare with { MemberUuid = Samples.Uuid(51), Spares = [Samples.Uuid(51)] });
        AssemblyResult result = ArrayAssembly.Assemble([.. candidates, used, old]);
        Assert.Equal((AssemblyOutcome.Complete, 10ul), (result.Outcome, result.Newest!.EventCount));
        Assert.Same(used, Assert.Single(result.Spares));
        Assert.Contains("none any more", Assert.Single(result.LeftOut).Reason, StringComparison.Ordinal);
        Assert.Contains("Only spares", ArrayAssembly.Assemble([used, old]).Error, StringComparison.Ordinal);
    }

    /// <summary>Who was away comes back by itself; who failed, or was replaced, does not.</summary>
    [Theory]
    [InlineData(OutReason.Absent, true)]
    [InlineData(OutReason.Errors, false)]
    [InlineData(OutReason.Asked, false)]
    [InlineData(OutReason.Unknown, false)]
    public void WhyAMemberIsOutSaysWhetherItComesBack(OutReason reason, bool returns)
    {
        List<AssemblyCandidate> candidates = Samples.Array4();
        for (int i = 0; i < 4; i++)
        {
            candidates[i] = i == 1 ? candidates[i] : (candidates[i].Superblock with { EventCount = 14 }).WithState(1, MemberState.Failed, 11, reason).Candidate();
        }

        AssemblyResult result = ArrayAssembly.Assemble(candidates);
        Assert.Equal(0b10ul, result.MissingRoles);
        Assert.Equal(returns ? 1 : 0, result.Returning.Length);
    }

    /// <summary>The array is at event 20, the member is out since 11, and marks are complete since 8.</summary>
    [Theory]
    [InlineData(10, MemberState.Present, true)]
    [InlineData(9, MemberState.Present, false)] // it was late already, and had missed an update
    [InlineData(10, MemberState.Rebuilding, false)]
    [InlineData(10, MemberState.Failed, false)]
    public void AMemberThatWasInStepUntilItWasOutHasMissedOnlyWhatIsMarked(ulong its, MemberState own, bool expected)
    {
        ArraySuperblock newest = (Samples.Member(role: 0) with { EventCount = 20, Regions = Marked(1, since: 8) })
            .WithState(1, MemberState.Failed, 11, OutReason.Absent);
        ArraySuperblock back = (Samples.Member(role: 1) with { EventCount = its }).WithState(1, own);
        Assert.Equal(expected, ArrayAssembly.MissedOnlyMarked(back, newest));
        Assert.False(ArrayAssembly.MissedOnlyMarked(back, newest with { Regions = Marked(1, since: 11) }));
        Assert.False(ArrayAssembly.MissedOnlyMarked(back, newest with { Regions = null }));
        Assert.False(ArrayAssembly.MissedOnlyMarked(back, newest.WithState(1, MemberState.Rebuilding) with { RebuildCheckpoint = 0 }));
        Assert.False(ArrayAssembly.MissedOnlyMarked(back with { MemberUuid = Samples.Uuid(70) }, newest));
    }

    private static DirtyRegions Marked(ulong word, ulong since = 0)
    {
        var words = new ulong[DirtyRegions.WordCount];
        words[0] = word;
        return new DirtyRegions(20, since, [.. words]);
    }
}
