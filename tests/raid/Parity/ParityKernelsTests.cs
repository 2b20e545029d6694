// Every kernel against the scalar one: random lengths, alignments and counts, with guard bytes around each block.

using System.Runtime.Intrinsics;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Tests.Parity;

public unsafe class ParityKernelsTests(ITestOutputHelper output)
{
    private static readonly int[] Lengths = [1, 15, 16, 31, 63, 64, 65, 127, 128, 255, 256, 511, 513, 1024, 2049, 4096, 4097, 8500];

    private static ParityKernels Kernels(string name) =>
        name == EmulatedGfniField.Name ? new VectorParityKernels<EmulatedGfniField, Vector512<byte>, MatrixCoefficient>()
        : name == EmulatedGfni256Field.Name ? new VectorParityKernels<EmulatedGfni256Field, Vector256<byte>, MatrixCoefficient>()
        : ParityKernels.Select(name);

    /// <summary>
    /// The kernels of this processor, and the AVX-512/GFNI algorithm in emulation, which any processor can run.
    /// </summary>
    public static TheoryData<string> Names()
    {
        var names = new TheoryData<string>();
        foreach (ParityKernels kernels in ParityKernels.Available()) names.Add(kernels.Name);
        names.Add(EmulatedGfniField.Name);
        names.Add(EmulatedGfni256Field.Name);
        return names;
    }

    private static ParityKernels Reference => ParityKernels.Select(ParityKernels.Scalar);

    /// <summary>Runs a case over many shapes; the message of a failure names the seed and the shape.</summary>
    private void ForShapes(int maxCount, Action<Random, int, int> check)
    {
        int seed = Environment.TickCount;
        output.WriteLine($"seed {seed}; kernels here: {string.Join(", ", ParityKernels.Available().Select(k => k.Name))}");
        var random = new Random(seed);
        for (int round = 0; round < 50; round++)
        {
            int length = round < Lengths.Length ? Lengths[round] : random.Next(1, 6000);
            int count = round % 3 == 0 ? 1 + round % maxCount : random.Next(1, maxCount + 1);
            try
            {
                check(random, count, length);
            }
            catch (Exception failure) when (failure is not OutOfMemoryException)
            {
                throw new InvalidOperationException($"seed {seed}, round {round}, {count} blocks of {length} bytes", failure);
            }
        }
    }

    /// <summary>
    /// Runs an operation with the reference and with the kernels on equal blocks; all blocks must end up equal.
    /// </summary>
    private static void Compare(ParityKernels kernels, Blocks blocks, Action<ParityKernels> operation)
    {
        byte[][] before = blocks.Snapshot();
        operation(Reference);
        byte[][] expected = blocks.Snapshot();
        blocks.Restore(before);
        operation(kernels);
        byte[][] actual = blocks.Snapshot();
        for (int i = 0; i < blocks.Count; i++)
            Assert.True(expected[i].AsSpan().SequenceEqual(actual[i]), $"block {i} differs");
        blocks.CheckGuards();
    }

    [Fact]
    public void AvailableEndsWithTheScalarKernelsAndBestIsTheFirst()
    {
        IReadOnlyList<ParityKernels> available = ParityKernels.Available();
        Assert.Equal(available[0].Name, ParityKernels.Best.Name);
        Assert.Equal(ParityKernels.Portable, available[^2].Name);
        Assert.Equal(ParityKernels.Scalar, available[^1].Name);
        Assert.Equal(Avx512GfniField.IsSupported, available.Any(kernels => kernels.Name == ParityKernels.Avx512Gfni));
        Assert.Equal(Avx2GfniField.IsSupported, available.Any(kernels => kernels.Name == ParityKernels.Avx2Gfni));
        Assert.Equal(Avx2Field.IsSupported, available.Any(kernels => kernels.Name == ParityKernels.Avx2Name));
    }

    [Fact]
    public void SelectingUnknownKernelsNamesTheKnownOnes()
    {
        var failure = Assert.Throws<ArgumentException>(() => ParityKernels.Select("mmx"));
        Assert.Contains("mmx", failure.Message, StringComparison.Ordinal);
        Assert.Contains(ParityKernels.Portable, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ScalarKernelsFollowTheDefinition()
    {
        using var blocks = new Blocks(new Random(7), 7, 300);
        Reference.GeneratePq(blocks.Pointers, 5, blocks[5], blocks[6], 300);
        for (int at = 0; at < 300; at++)
        {
            byte p = 0, q = 0;
            for (int i = 0; i < 5; i++)
            {
                p ^= blocks[i][at];
                q ^= GaloisField.Multiply(GaloisField.Power(i), blocks[i][at]);
            }
            Assert.Equal(p, blocks[5][at]);
            Assert.Equal(q, blocks[6][at]);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void XorEqualsScalar(string name) => ForShapes(40, (random, count, length) =>
    {
        using var blocks = new Blocks(random, count + 1, length);
        Compare(Kernels(name), blocks, kernels => kernels.Xor(blocks.Pointers, count, blocks[count], (nuint)length));
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void XorIntoOneOfItsSourcesEqualsScalar(string name) => ForShapes(9, (random, count, length) =>
    {
        using var blocks = new Blocks(random, count, length);
        Compare(Kernels(name), blocks, kernels => kernels.Xor(blocks.Pointers, count, blocks[count / 2], (nuint)length));
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void GeneratePqEqualsScalar(string name) => ForShapes(62, (random, count, length) =>
    {
        using var blocks = new Blocks(random, count + 2, length);
        Compare(Kernels(name), blocks, kernels =>
            kernels.GeneratePq(blocks.Pointers, count, blocks[count], blocks[count + 1], (nuint)length));
        Compare(Kernels(name), blocks, kernels =>
            kernels.GeneratePq(blocks.Pointers, count, null, blocks[count + 1], (nuint)length));
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void CopyXorCopiesAndFolds(string name) => ForShapes(12, (random, count, length) =>
    {
        // Half of the shapes are aligned, so that the stores past the cache are reached too; one block needs no copy.
        using var blocks = new Blocks(random, 2 * count + 1, length, length % 2 == 0 ? 64 : 1);
        byte** staging = stackalloc byte*[count];
        for (int i = 0; i < count; i++) staging[i] = count > 2 && i == 1 ? null : blocks[count + i];
        byte* p = blocks[2 * count];
        foreach (bool nonTemporal in new[] { false, true })
        {
            nint list = (nint)staging, target = (nint)p;
            Compare(Kernels(name), blocks, kernels =>
                kernels.CopyXor(blocks.Pointers, (byte**)list, count, (byte*)target, (nuint)length, nonTemporal));
        }
        for (int i = 0; i < count; i++)
            Assert.Equal(staging[i] != null, blocks.Span(i).SequenceEqual(blocks.Span(count + i)));
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void CopyPqCopiesAndFolds(string name) => ForShapes(12, (random, count, length) =>
    {
        using var blocks = new Blocks(random, 2 * count + 2, length, length % 2 == 0 ? 64 : 1);
        byte** staging = stackalloc byte*[count];
        for (int i = 0; i < count; i++) staging[i] = count > 2 && i == 1 ? null : blocks[count + i];
        nint list = (nint)staging;
        foreach (bool nonTemporal in new[] { false, true })
            Compare(Kernels(name), blocks, kernels => kernels.CopyPq(
                blocks.Pointers, (byte**)list, count, blocks[2 * count], blocks[2 * count + 1], (nuint)length, nonTemporal));
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void UpdatesEqualScalar(string name) => ForShapes(62, (random, count, length) =>
    {
        using var blocks = new Blocks(random, 4, length);
        Compare(Kernels(name), blocks, kernels => kernels.UpdateP(blocks[0], blocks[1], blocks[2], (nuint)length));
        Compare(Kernels(name), blocks, kernels =>
            kernels.UpdatePq(count, blocks[0], blocks[1], blocks[2], blocks[3], (nuint)length));
        Compare(Kernels(name), blocks, kernels =>
            kernels.UpdatePq(count, blocks[0], blocks[1], null, blocks[3], (nuint)length));
        Compare(Kernels(name), blocks, kernels =>
            kernels.MultiplyAccumulate((byte)(count * 4 + 1), blocks[0], blocks[3], (nuint)length));
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void AnUpdateGivesTheParityOfTheNewStripe(string name) => ForShapes(20, (random, count, length) =>
    {
        ParityKernels kernels = Kernels(name);
        using var blocks = new Blocks(random, count + 3, length);
        byte* p = blocks[count], q = blocks[count + 1], source = blocks[count + 2];
        kernels.GeneratePq(blocks.Pointers, count, p, q, (nuint)length);
        int index = random.Next(count);
        kernels.UpdatePq(index, source, blocks[index], p, q, (nuint)length);
        byte[][] updated = blocks.Snapshot();
        Assert.Equal(updated[count + 2], updated[index]);
        kernels.GeneratePq(blocks.Pointers, count, p, q, (nuint)length);
        Assert.Equal(blocks.Snapshot()[count], updated[count]);
        Assert.Equal(blocks.Snapshot()[count + 1], updated[count + 1]);
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void EveryLossOfAtMostTwoBlocksIsRecovered(string name)
    {
        var random = new Random(11);
        foreach (var (count, length) in new[] { (1, 64), (2, 130), (5, 257), (8, 64), (8, 333) })
        {
            for (int x = 0; x < count + 2; x++)
                for (int y = x; y < count + 2; y++)
                    RecoverBoth(Kernels(name), random, count, length, x, y);
        }
        RecoverBoth(Kernels(name), random, 62, 193, 0, 61);
        RecoverBoth(Kernels(name), random, 62, 193, 61, 62);
    }

    private static void RecoverBoth(ParityKernels kernels, Random random, int count, int length, int x, int y)
    {
        using var blocks = new Blocks(random, count + 2, length);
        Reference.GeneratePq(blocks.Pointers, count, blocks[count], blocks[count + 1], (nuint)length);
        byte[][] expected = blocks.Snapshot();
        random.NextBytes(blocks.Span(x));
        random.NextBytes(blocks.Span(y));
        ulong lost = 1UL << x | 1UL << y;
        Assert.True(StripeRecovery.TryRecover(kernels, blocks.Pointers, count, 2, lost, (nuint)length));
        byte[][] actual = blocks.Snapshot();
        for (int i = 0; i < expected.Length; i++)
            Assert.True(expected[i].AsSpan().SequenceEqual(actual[i]), $"{count}+2 of {length}, lost {x} and {y}: block {i}");
        blocks.CheckGuards();
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void OneParityRecoversAnyOneBlockAndNoMore(string name)
    {
        ParityKernels kernels = Kernels(name);
        using var blocks = new Blocks(new Random(3), 6, 200);
        kernels.Xor(blocks.Pointers, 5, blocks[5], 200);
        byte[][] expected = blocks.Snapshot();
        for (int lost = 0; lost < 6; lost++)
        {
            blocks.Span(lost).Clear();
            Assert.True(StripeRecovery.TryRecover(kernels, blocks.Pointers, 5, 1, 1UL << lost, 200));
            Assert.Equal(expected, blocks.Snapshot());
        }
        Assert.False(StripeRecovery.TryRecover(kernels, blocks.Pointers, 5, 1, 0b11, 200));
        Assert.True(StripeRecovery.TryRecover(kernels, blocks.Pointers, 5, 1, 0, 200));
        Assert.Equal(expected, blocks.Snapshot());
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void OnlyTheWantedOneOfTwoLostBlocksNeedsABuffer(string name)
    {
        ParityKernels kernels = Kernels(name);
        foreach (int other in new[] { 4, 5 })
        {
            using var blocks = new Blocks(new Random(8), 7, 333);
            Reference.GeneratePq(blocks.Pointers, 5, blocks[5], blocks[6], 333);
            byte[] expected = blocks.Span(1).ToArray();
            blocks.Span(1).Clear();
            byte* without = blocks.Pointers[other];
            blocks.Pointers[other] = null;
            Assert.True(StripeRecovery.TryRecover(kernels, blocks.Pointers, 5, 2, 0b10UL | 1UL << other, 333));
            Assert.True(blocks.Span(1).SequenceEqual(expected), $"lost 1 and {other}");
            blocks.Pointers[other] = without;
            blocks.CheckGuards();
        }
    }

    [Fact]
    public void ThreeLostBlocksAreRefusedAndNothingIsWritten()
    {
        using var blocks = new Blocks(new Random(4), 7, 100);
        byte[][] before = blocks.Snapshot();
        Assert.False(StripeRecovery.TryRecover(Reference, blocks.Pointers, 5, 2, 0b10101, 100));
        Assert.Equal(before, blocks.Snapshot());
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void AChangingSourceNeverBreaksTheStripe(string name)
    {
        // A guest that scribbles over its buffer while it is copied may get any mixture to the drives, but P and Q are those of
        // the copies.
        const int count = 4, length = 8192 + 77;
        ParityKernels kernels = Kernels(name);
        using var blocks = new Blocks(new Random(5), 2 * count + 4, length);
        byte* p = blocks[2 * count], q = blocks[2 * count + 1];
        bool stop = false;
        var guest = new Thread(() =>
        {
            for (byte value = 0; !Volatile.Read(ref stop); value++)
                for (int i = 0; i < count; i++) blocks.Span(i).Fill((byte)(value + 31 * i));
        });
        guest.Start();
        try
        {
            for (int round = 0; round < 40; round++)
            {
                kernels.CopyPq(blocks.Pointers, blocks.Pointers + count, count, p, q, length);
                Reference.GeneratePq(blocks.Pointers + count, count, blocks[2 * count + 2], blocks[2 * count + 3], length);
                Assert.True(blocks.Span(2 * count).SequenceEqual(blocks.Span(2 * count + 2)), "P is not that of the copies");
                Assert.True(blocks.Span(2 * count + 1).SequenceEqual(blocks.Span(2 * count + 3)), "Q is not that of the copies");
                kernels.UpdatePq(2, blocks[0], blocks[count + 2], p, q, length);
                Reference.GeneratePq(blocks.Pointers + count, count, blocks[2 * count + 2], blocks[2 * count + 3], length);
                Assert.True(blocks.Span(2 * count).SequenceEqual(blocks.Span(2 * count + 2)), "P is not that of the update");
                Assert.True(blocks.Span(2 * count + 1).SequenceEqual(blocks.Span(2 * count + 3)), "Q is not that of the update");
            }
        }
        finally
        {
            Volatile.Write(ref stop, true);
            guest.Join();
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void KernelsAllocateNothing(string name)
    {
        ParityKernels kernels = Kernels(name);
        using var blocks = new Blocks(new Random(6), 8, 1000, 64);
        Run();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Run()
        {
            byte** pointers = blocks.Pointers;
            kernels.Xor(pointers, 3, pointers[6], 1000);
            kernels.CopyPq(pointers, pointers + 3, 3, pointers[6], pointers[7], 1000, true);
            kernels.UpdatePq(1, pointers[0], pointers[1], pointers[6], pointers[7], 1000);
            StripeRecovery.TryRecover(kernels, pointers, 6, 2, 0b11, 1000);
        }
    }
}
