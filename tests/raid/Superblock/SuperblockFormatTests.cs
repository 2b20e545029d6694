using System.Buffers.Binary;
using System.Collections.Immutable;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Tests.Superblock;

public class SuperblockFormatTests
{
    private static byte[] Bytes(ArraySuperblock superblock)
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        SuperblockFormat.Write(superblock, block);
        return block;
    }

    /// <summary>Changes a field and makes the checksum right again.</summary>
    private static byte[] Patched(ArraySuperblock superblock, Action<byte[]> patch)
    {
        byte[] block = Bytes(superblock);
        patch(block);
        BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(12), 0);
        BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(12), Crc32C.Compute(block));
        return block;
    }

    [Fact]
    public void RoundTripsKeepEverything()
    {
        foreach (RaidLevel level in Enum.GetValues<RaidLevel>())
        {
            int more = level.HasGroups() ? 4 : 3;
            foreach (int members in new[] { level.MinimumMembers() + more, 10 + more, 64 })
            {
                ArraySuperblock superblock = Samples.Member(level, members, members - 1) with
                {
                    State = ArrayStateFlags.Dirty,
                    DirtySince = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_222_789),
                    ResyncCheckpoint = 1 << 20,
                    Sequence = ulong.MaxValue,
                    LogicalBlockSize = 512,
                    Notices = ArrayNotices.MayBeDamaged,
                };
                superblock = superblock.WithState(0, MemberState.Failed, 9).WithState(1, MemberState.Missing);
                SuperblockResult result = SuperblockFormat.Parse(Bytes(superblock));
                Assert.Null(result.Error);
                Assert.Equal(superblock, result.Superblock);
            }
        }
    }

    [Fact]
    public void TheFormatOnDiskStaysTheSame()
    {
        // The fields at their documented offsets: a change here breaks every array in use.
        byte[] block = Bytes(Samples.Member(role: 2) with { LogicalBlockSize = 512, Notices = ArrayNotices.MayBeDamaged });
        Assert.Equal(512u, BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(168)));
        Assert.Equal(1u, BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(172)));
        Assert.Equal("POLYBLK\x01"u8, block.AsSpan(0, 8));
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(8)));
        Assert.Equal(110ul, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(16)));
        Assert.Equal(10ul, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(24)));
        Assert.Equal(Samples.Uuid(1000), new Guid(block.AsSpan(32, 16), bigEndian: true));
        Assert.Equal(5u, BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(80)));
        Assert.Equal(65536u, BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(88)));
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(96)));
        Assert.Equal(1L << 20, BinaryPrimitives.ReadInt64LittleEndian(block.AsSpan(104)));
        Assert.Equal("vol-ä\0"u8, block.AsSpan(192, 7));
        Assert.Equal(Samples.Uuid(3), new Guid(block.AsSpan(256 + 3 * 32, 16), bigEndian: true));
        Assert.Equal((byte)MemberState.Present, block[256 + 3 * 32 + 16]);
    }

    [Fact]
    public void WhatTheSecondFormatAddsIsWhereItIsDocumented()
    {
        ArraySuperblock superblock = Samples.Member(role: 2).WithState(1, MemberState.Failed, 9, OutReason.Absent).WithState(3, MemberState.Rebuilding)
            with { Forks = new ForkHistory(3, [new ArrayFork(4, 99), new ArrayFork(7, ulong.MaxValue)]), Host = "störage-1", LastScrub = new LastScrub(DateTimeOffset.UnixEpoch.AddDays(20_000), true, 1, 2, 3, 4, 5, 6), RebuildCheckpoint = 131072, Spares = [Samples.Uuid(50), Samples.Uuid(51)], Regions = new DirtyRegions(20, 7, Marks(64 + 1, 64 + 3)) };
        byte[] block = Bytes(superblock);
        Assert.Equal(131072, BinaryPrimitives.ReadInt64LittleEndian(block.AsSpan(176)));
        Assert.Equal(2, BinaryPrimitives.ReadInt32LittleEndian(block.AsSpan(184)));
        Assert.Equal((2, 1), (block[256 + 32 + 16], block[256 + 32 + 17]));
        Assert.Equal(3, block[256 + (3 * 32) + 16]);
        Assert.Equal(Samples.Uuid(51), new Guid(block.AsSpan(2304 + 16, 16), bigEndian: true));
        Assert.Equal(20, BinaryPrimitives.ReadInt32LittleEndian(block.AsSpan(2560)));
        Assert.Equal(7ul, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(2568)));
        Assert.Equal(0b1010ul, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(4096 + 8)));
        Assert.Equal(superblock, SuperblockFormat.Parse(block).Superblock);

        ArraySuperblock spare = superblock with { Role = ArraySuperblock.SpareRole, MemberUuid = Samples.Uuid(50) };
        Assert.Equal(uint.MaxValue, BinaryPrimitives.ReadUInt32LittleEndian(Bytes(spare).AsSpan(96)));
        Assert.Equal(spare, SuperblockFormat.Parse(Bytes(spare)).Superblock);
    }

    [Fact]
    public void ASpareThatIsKeptForARoleIsTwoBytesThatMayBeIgnored()
    {
        ArraySuperblock superblock = Samples.Member(role: 2) with
        {
            Spares = [Samples.Uuid(50), Samples.Uuid(51)], Replacing = new SpareForRole(Samples.Uuid(51), 3),
        };
        byte[] block = Bytes(superblock);
        Assert.Equal((2, 3, 0, 0), (block[188], block[189], block[190], block[191]));
        Assert.Equal(superblock, SuperblockFormat.Parse(block).Superblock);
        Assert.NotEqual(superblock, superblock with { Replacing = null });

        // A program that does not know of it writes zeroes.
        byte[] older = Patched(superblock, bytes => bytes[188] = bytes[189] = 0);
        Assert.Equal(superblock with { Replacing = null }, SuperblockFormat.Parse(older).Superblock);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(superblock, bytes => bytes[188] = 3)).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(superblock, bytes => bytes[189] = 4)).Status);
        Assert.Null(superblock.WithoutSpare(Samples.Uuid(51)).Replacing);
        Assert.NotNull(superblock.WithoutSpare(Samples.Uuid(50)).Replacing);
    }

    [Fact]
    public void MoreThanTwoParitiesAreAFeatureThatOlderProgramsDoNotKnow()
    {
        ArraySuperblock superblock = Samples.Member(RaidLevel.Raid73, 6);
        byte[] block = Bytes(superblock);
        Assert.Equal((73, 3, 4), (block[80], block[84], block[72]));
        Assert.Equal(superblock, SuperblockFormat.Parse(block).Superblock);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(superblock, bytes => bytes[72] = 0)).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(Samples.Member(), bytes => bytes[72] = 4)).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(superblock, bytes => bytes[84] = 4)).Status);
        Assert.Equal(SuperblockStatus.Unsupported, SuperblockFormat.Parse(Patched(superblock, bytes => bytes[72] = 4 + 64)).Status);
    }

    [Fact]
    public void GroupsAreAFeatureThatOlderProgramsDoNotKnow()
    {
        ArraySuperblock superblock = Samples.Member(RaidLevel.Raid60, 8, 5);
        byte[] block = Bytes(superblock);
        Assert.Equal((60, 2, 32), (block[80], block[84], block[72]));
        Assert.Equal((2, 0, 0, 0), (block[2664], block[2665], block[2666], block[2667]));
        Assert.Equal(superblock, SuperblockFormat.Parse(block).Superblock);
        Assert.NotEqual(superblock, superblock with { GroupCount = 1 });
        Assert.Equal(0, BinaryPrimitives.ReadInt32LittleEndian(Bytes(Samples.Member()).AsSpan(2664)));
        Assert.Equal(1, SuperblockFormat.Parse(Bytes(Samples.Member())).Superblock!.GroupCount);

        // As many groups as the level can have, and no others: they say where everything lies.
        ArraySuperblock three = Samples.Member(RaidLevel.Raid50, 12, groups: 3);
        Assert.Equal(three, SuperblockFormat.Parse(Bytes(three)).Superblock);
        foreach (byte groups in new byte[] { 0, 1, 5, 6, 12, 255 })
            Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(three, bytes => bytes[2664] = groups)).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(three, bytes => bytes[2667] = 0x80)).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(three, bytes => bytes[72] = 0)).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(Samples.Member(), bytes => bytes[72] = 32)).Status);
        block = Patched(Samples.Member(), bytes => bytes[2664] = 2);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(block).Status);
        Assert.Throws<ArgumentException>(() => Bytes(three with { GroupCount = 0 }));
        Assert.Equal(SuperblockStatus.Unsupported, SuperblockFormat.Parse(Patched(three, bytes => bytes[72] = 32 + 64)).Status);
    }

    [Fact]
    public void ChecksumsAreAFeatureThatOlderProgramsDoNotKnow()
    {
        ArraySuperblock plain = Samples.Member();
        long end = plain.MemberDataOffset + plain.MemberDataSize;
        ArraySuperblock superblock = plain with { Incompatible = IncompatibleFeatures.Checksums, ChecksumOffset = end + 4096 };
        byte[] block = Bytes(superblock);
        Assert.Equal((8, end + 4096), (block[72], BitConverter.ToInt64(block, 2656)));
        Assert.Equal(superblock, SuperblockFormat.Parse(block).Superblock);
        Assert.True(superblock.MemberBytes > end + 4096 && plain.MemberBytes == end);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(superblock, bytes => bytes[72] = 0)).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.Parse(Patched(plain, bytes => bytes[72] = 8)).Status);
        Assert.NotNull(SuperblockFormat.Check(superblock with { ChecksumOffset = end - 4096 }));
        Assert.NotNull(SuperblockFormat.Check(superblock with { ChecksumOffset = end + 512 }));
    }

    private static ImmutableArray<ulong> Marks(params int[] regions)
    {
        var words = new ulong[DirtyRegions.WordCount];
        foreach (int region in regions)
        {
            words[region >> 6] |= 1UL << region;
        }

        return [.. words];
    }

    [Fact]
    public void TheFirstFormatIsRead()
    {
        ArraySuperblock superblock = Samples.Member(role: 2).WithState(1, MemberState.Failed, 9);
        byte[] block = Bytes(superblock);
        block[8] = 1;
        block.AsSpan(176, 16).Clear();
        block.AsSpan(12, 4).Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(12), Crc32C.Compute(block.AsSpan(0, 4096)));
        block.AsSpan(4096).Fill(0xA5); // not a part of it
        ArraySuperblock read = SuperblockFormat.Parse(block).Superblock!;
        Assert.Equal(superblock, read);
        Assert.Equal((1u, ArraySuperblock.NoRebuild), (read.FormatVersion, read.RebuildCheckpoint));
    }

    [Fact]
    public void EveryBitFlipIsCaught()
    {
        byte[] block = Bytes(Samples.Member());
        for (int bit = 0; bit < block.Length * 8; bit++)
        {
            block[bit / 8] ^= (byte)(1 << (bit % 8));
            SuperblockResult result = SuperblockFormat.Parse(block);
            Assert.Equal(bit < 64 ? SuperblockStatus.Absent : SuperblockStatus.Damaged, result.Status);
            Assert.NotNull(result.Error);
            block[bit / 8] ^= (byte)(1 << (bit % 8));
        }
        Assert.Equal(SuperblockStatus.Valid, SuperblockFormat.Parse(block).Status);
    }

    [Fact]
    public void RandomFieldsWithAGoodChecksumNeverThrowAndAreValidOnlyWhenSensible()
    {
        // A smoke run; POLYBLK_FUZZ_ROUNDS and POLYBLK_FUZZ_SEED make it longer, or repeat one.
        int seed = Number("POLYBLK_FUZZ_SEED", Environment.TickCount);
        var random = new Random(seed);
        for (int round = 0; round < Number("POLYBLK_FUZZ_ROUNDS", 20_000); round++)
        {
            byte[] block = Patched(Samples.Member(), bytes =>
            {
                int changes = random.Next(1, 4);
                for (int i = 0; i < changes; i++) Mutate(random, bytes);
            });
            SuperblockResult result = SuperblockFormat.Parse(block);
            Assert.True((result.Superblock != null) == (result.Error == null), $"seed {seed}, round {round}");
            if (result.Superblock == null) continue;
            Assert.True(SuperblockFormat.Check(result.Superblock) == null, $"seed {seed}, round {round}");
            Assert.Equal(result.Superblock, SuperblockFormat.Parse(Bytes(result.Superblock)).Superblock);
        }
    }

    private static int Number(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), out int value) ? value : otherwise;

    private static void Mutate(Random random, byte[] bytes)
    {
        long[] extremes = [0, -1, 1, long.MaxValue, long.MinValue, int.MaxValue, 1L << 62, random.NextInt64()];
        int at = random.Next(2) == 0 ? 16 + 4 * random.Next(44) : 192 + random.Next(200);
        if (random.Next(2) == 0) bytes[at] = (byte)random.Next();
        else BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(at), extremes[random.Next(extremes.Length)]);
    }

    [Fact]
    public void RandomAndShortBytesAreNoSuperblock()
    {
        var random = new Random(31);
        for (int length = 0; length < 5000; length += 37)
        {
            var bytes = new byte[length];
            random.NextBytes(bytes);
            Assert.Equal(SuperblockStatus.Absent, SuperblockFormat.Parse(bytes).Status);
            SuperblockFormat.Magic[..Math.Min(8, length)].CopyTo(bytes);
            Assert.NotEqual(SuperblockStatus.Valid, SuperblockFormat.Parse(bytes).Status);
        }
    }

    [Fact]
    public void LaterVersionsAndUnknownIncompatibleFeaturesAreRefusedCompatibleOnesAreNot()
    {
        SuperblockResult later = SuperblockFormat.Parse(Patched(Samples.Member(), bytes => bytes[8] = 3));
        Assert.Equal(SuperblockStatus.Unsupported, later.Status);
        Assert.Contains("version 3", later.Error, StringComparison.Ordinal);
        SuperblockResult feature = SuperblockFormat.Parse(Patched(Samples.Member(), bytes => bytes[72] = 64));
        Assert.Equal(SuperblockStatus.Unsupported, feature.Status);
        Assert.Contains("0x40", feature.Error, StringComparison.Ordinal);
        Assert.Equal(SuperblockStatus.Valid, SuperblockFormat.Parse(Patched(Samples.Member(), bytes => bytes[64] = 4)).Status);
    }

    [Fact]
    public void ATornWriteLeavesTheVersionBeforeIt()
    {
        // Slot 1 holds an older version; slot 0 the last one; the write of the next goes to slot 1 and is torn anywhere.
        ArraySuperblock last = Samples.Member() with { Sequence = 6, EventCount = 6 };
        byte[] slot0 = Bytes(last), slot1 = Bytes(last with { Sequence = 5, EventCount = 5 });
        byte[] next = Bytes(last with { Sequence = 7, EventCount = 7 });
        Assert.Equal(SuperblockFormat.SecondSlotOffset, SuperblockFormat.SlotOffset(7));
        Assert.Equal(0, SuperblockFormat.SlotOffset(6));
        for (int torn = 0; torn <= next.Length; torn += 8)
        {
            byte[] mixed = [.. next[..torn], .. slot1[torn..]];
            ArraySuperblock? found = SuperblockFormat.ParseSlots(slot0, mixed).Superblock;
            bool isWhole = mixed.AsSpan().SequenceEqual(next);
            Assert.Equal(isWhole ? 7ul : 6ul, found!.Sequence);
        }
    }

    [Fact]
    public void SlotsThatCannotBothBeRightAreJudged()
    {
        byte[] valid = Bytes(Samples.Member()), absent = new byte[4096];
        byte[] damaged = Bytes(Samples.Member());
        damaged[100] ^= 1;
        byte[] later = Patched(Samples.Member(), bytes => bytes[8] = 3);
        byte[] other = Bytes(Samples.Member() with { ArrayUuid = Samples.Uuid(2000) });
        Assert.Equal(SuperblockStatus.Valid, SuperblockFormat.ParseSlots(absent, valid).Status);
        Assert.Equal(SuperblockStatus.Valid, SuperblockFormat.ParseSlots(valid, damaged).Status);
        Assert.Equal(SuperblockStatus.Absent, SuperblockFormat.ParseSlots(absent, absent).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.ParseSlots(absent, damaged).Status);
        Assert.Equal(SuperblockStatus.Unsupported, SuperblockFormat.ParseSlots(valid, later).Status);
        Assert.Equal(SuperblockStatus.Damaged, SuperblockFormat.ParseSlots(valid, other).Status);
    }

    [Fact]
    public void SenselessSuperblocksAreNotWritten()
    {
        ArraySuperblock good = Samples.Member();
        foreach (ArraySuperblock bad in new[]
        {
            good with { ArrayUuid = Guid.Empty },
            good with { MemberUuid = Samples.Uuid(1) },
            good with { Name = "" },
            good with { Name = new string('n', 64) },
            good with { Name = "a\nb" },
            good with { Name = "half \ud83d pair" },
            good with { ParityCount = 2 },
            good with { Role = 4 },
            good with { ChunkSize = 12345 },
            good with { MemberDataOffset = 4096 },
            good with { MemberDataSize = good.MemberDataSize - 1 },
            good with { ArraySize = good.ArraySize + 512 },
            good with { ExportedSize = good.ArraySize + 512 },
            good with { ExportedSize = 100 },
            good with { LogicalBlockSize = 4096 },
            good with { LogicalBlockSize = 1024 },
            good with { ResyncCheckpoint = -2 },
            good with { RebuildCheckpoint = 0 },
            good with { Spares = [good.MemberUuid] },
            good with { Spares = [Samples.Uuid(50), Samples.Uuid(50)] },
            good with { Role = ArraySuperblock.SpareRole },
            good with { Replacing = new SpareForRole(Samples.Uuid(50), 1) },
            good with { Spares = [Samples.Uuid(50)], Replacing = new SpareForRole(Samples.Uuid(50), 4) },
            good with { Regions = new DirtyRegions(11, 0, Marks()) },
            good with { Regions = new DirtyRegions(49, 0, Marks()) },
            good with { Regions = new DirtyRegions(20, 0, [1]) },
            good with { Regions = new DirtyRegions(20, 0, Marks(192)) },
            good with { State = ArrayStateFlags.RebuildsMarked },
            good.WithState(3, MemberState.Rebuilding),
            good with { State = ArrayStateFlags.Dirty },
            good with { Members = good.Members.RemoveAt(3) },
            good with { Members = good.Members.SetItem(3, good.Members[2]) },
            good with { Members = good.Members.SetItem(3, default(MemberEntry) with { State = MemberState.Present }) },
        })
        {
            Assert.Throws<ArgumentException>(() => Bytes(bad));
        }
        Assert.Throws<ArgumentException>(() => SuperblockFormat.Write(good, new byte[4095]));
    }
}
