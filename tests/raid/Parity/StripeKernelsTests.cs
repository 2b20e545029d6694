// The kernels of stripes with three to eight parities against the definition, and every loss that they make up for.

using System.Numerics;
using System.Runtime.Intrinsics;
using Polyblk.Fakes;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Tests.Parity;

public unsafe class StripeKernelsTests
{
    private static readonly int[] Lengths =
        [1, 15, 16, 31, 32, 63, 64, 65, 127, 128, 129, 255, 512, 1024, 4096, 4097, 8192, 8500];

    public static TheoryData<string> Names()
    {
        var names = new TheoryData<string>();
        foreach (ParityKernels kernels in ParityKernels.Available()) names.Add(kernels.Name);
        names.Add(EmulatedGfniField.Name);
        names.Add(EmulatedGfni256Field.Name);
        return names;
    }

    private static ParityKernels Kernels(string name) =>
        name == EmulatedGfniField.Name ? new VectorParityKernels<EmulatedGfniField, Vector512<byte>, MatrixCoefficient>()
        : name == EmulatedGfni256Field.Name ? new VectorParityKernels<EmulatedGfni256Field, Vector256<byte>, MatrixCoefficient>()
        : ParityKernels.Select(name);

    private static ParityKernels Reference => ParityKernels.Select(ParityKernels.Scalar);

    /// <summary>Parities byte by byte, by the definition alone.</summary>
    private static byte[][] Define(Blocks blocks, int first, int count, int parities)
    {
        var made = new byte[parities][];
        for (int parity = 0; parity < parities; parity++)
        {
            made[parity] = new byte[blocks.Length];
            for (int data = 0; data < count; data++)
            {
                ReadOnlySpan<byte> block = blocks.Span(first + data);
                for (int at = 0; at < block.Length; at++)
                    made[parity][at] ^= GaloisField.Multiply(StripeCode.Coefficient(parity, data), block[at]);
            }
        }
        return made;
    }

    private static IEnumerable<(int Count, int Parities, int Length)> Shapes(Random random)
    {
        foreach (int length in Lengths) yield return (random.Next(1, 20), random.Next(1, 9), length);
        for (int parities = 1; parities <= StripeCode.MaxParities; parities++)
        {
            yield return (StripeCode.MaxBlocks - parities, parities, random.Next(1, 700));
            yield return (8, parities, 4096 + random.Next(0, 200));
            yield return (random.Next(1, 40), parities, random.Next(1, 9000));
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void EncodingFollowsTheDefinition(string name)
    {
        var random = new Random(31);
        ParityKernels kernels = Kernels(name);
        foreach (var (count, parities, length) in Shapes(random))
        {
            using var blocks = new Blocks(random, count + parities, length);
            byte[][] before = blocks.Snapshot(), made = Define(blocks, 0, count, parities);
            kernels.Encode(blocks.Pointers, null, count, blocks.Pointers + count, parities, (nuint)length);
            AssertSame([.. before[..count], .. made], blocks, $"{count}+{parities} of {length}");
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void EncodingWithCopiesCopies(string name)
    {
        var random = new Random(32);
        ParityKernels kernels = Kernels(name);
        byte** copies = stackalloc byte*[StripeCode.MaxBlocks];
        foreach (var (count, parities, length) in Shapes(random))
        {
            using var blocks = new Blocks(random, (2 * count) + parities, length);
            byte[][] before = blocks.Snapshot(), made = Define(blocks, 0, count, parities);
            for (int i = 0; i < count; i++) copies[i] = count > 2 && i == 1 ? null : blocks[count + i];
            kernels.Encode(blocks.Pointers, copies, count, blocks.Pointers + (2 * count), parities, (nuint)length);
            byte[][] copied = [.. before[..count]];
            if (count > 2) copied[1] = before[count + 1];
            AssertSame([.. before[..count], .. copied, .. made], blocks, $"{count}+{parities} of {length}");
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void AnUpdateGivesTheParitiesOfTheNewStripe(string name)
    {
        var random = new Random(33);
        ParityKernels kernels = Kernels(name);
        byte** targets = stackalloc byte*[StripeCode.MaxParities];
        foreach (var (count, parities, length) in Shapes(random))
        {
            using var blocks = new Blocks(random, count + parities + 1, length);
            Reference.Encode(blocks.Pointers, null, count, blocks.Pointers + count, parities, (nuint)length);
            int index = random.Next(count), gone = random.Next(parities + 1);
            byte[] kept = gone == parities ? [] : blocks.Span(count + gone).ToArray();
            for (int parity = 0; parity < parities; parity++) targets[parity] = parity == gone ? null : blocks[count + parity];
            byte[] fresh = blocks.Span(count + parities).ToArray();
            kernels.Update(index, blocks[count + parities], blocks[index], targets, parities, (nuint)length);
            byte[][] made = Define(blocks, 0, count, parities);
            Assert.Equal(fresh, blocks.Span(index).ToArray());
            Assert.Equal(fresh, blocks.Span(count + parities).ToArray());
            for (int parity = 0; parity < parities; parity++)
                Assert.Equal(parity == gone ? kept : made[parity], blocks.Span(count + parity).ToArray());
            blocks.CheckGuards();
        }
    }

    /// <summary>Every set of up to M lost blocks, with all of them wanted, and with one of them.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void EveryLossThatTheParitiesMakeUpForIsRecovered(string name)
    {
        var random = new Random(34);
        (int, int)[] shapes = [(1, 1), (3, 1), (2, 2), (5, 2), (1, 3), (4, 3), (5, 3), (4, 4), (3, 5), (2, 8), (3, 8)];
        foreach (var (count, parities) in shapes)
        {
            using var test = new Recovery(Kernels(name), random, count, parities, 64 + random.Next(0, 150));
            for (ulong lost = 0; lost < 1UL << (count + parities); lost++)
            {
                if (BitOperations.PopCount(lost) > parities)
                {
                    test.Refuses(lost);
                    continue;
                }
                test.Recovers(lost, lost);
                for (ulong left = lost; left != 0; left &= left - 1) test.Recovers(lost, left & ~(left - 1));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void LossesOfWideStripesAreRecovered(string name)
    {
        var random = new Random(35);
        foreach (var (count, parities) in new[] { (8, 3), (16, 4), (61, 3), (56, 8), (58, 6) })
        {
            foreach (int length in new[] { random.Next(1, 400), 4096 + random.Next(0, 200) })
            {
                using var test = new Recovery(Kernels(name), random, count, parities, length);
                for (int round = 0; round < 40; round++)
                {
                    ulong lost = 0;
                    for (int i = 0; i < parities; i++) lost |= 1UL << random.Next(count + parities);
                    test.Recovers(lost, lost);
                    test.Recovers(lost, lost & (ulong)random.NextInt64());
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void AChangingSourceNeverBreaksTheStripe(string name)
    {
        // A guest that scribbles over its buffer while it is copied may get any mixture to the drives, but the parities are those
        // of the copies.
        const int count = 9, parities = 3, length = 8192 + 77;
        ParityKernels kernels = Kernels(name);
        using var blocks = new Blocks(new Random(36), (2 * count) + parities, length);
        bool stop = false;
        var guest = new Thread(() =>
        {
            for (byte value = 0; !Volatile.Read(ref stop); value++)
                for (int i = 0; i < count; i++) blocks.Span(i).Fill((byte)(value + (31 * i)));
        });
        guest.Start();
        try
        {
            byte** made = blocks.Pointers + (2 * count);
            for (int round = 0; round < 20; round++)
            {
                kernels.Encode(blocks.Pointers, blocks.Pointers + count, count, made, parities, length);
                AssertParities($"encoding, round {round}");
                kernels.Update(4, blocks[0], blocks[count + 4], made, parities, length);
                AssertParities($"update, round {round}");
            }
        }
        finally
        {
            Volatile.Write(ref stop, true);
            guest.Join();
        }

        void AssertParities(string what)
        {
            byte[][] defined = Define(blocks, count, count, parities);
            for (int parity = 0; parity < parities; parity++)
            {
                bool isThatOfCopies = blocks.Span((2 * count) + parity).SequenceEqual(defined[parity]);
                Assert.True(isThatOfCopies, $"{what}: parity {parity} is not that of the copies");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void NothingIsAllocated(string name)
    {
        ParityKernels kernels = Kernels(name);
        using var blocks = new Blocks(new Random(37), 11, 1000, 64);
        using var solver = new StripeSolver(kernels, 8, 3);
        Assert.Equal(0, SteadyAllocation.Measure(Run));

        void Run()
        {
            byte** all = blocks.Pointers;
            kernels.Encode(all, null, 8, all + 8, 3, 1000);
            kernels.Update(1, all[0], all[1], all + 8, 3, 1000);
            solver.TryRecover(all, 0x7FFUL & ~0b10101UL, 0b10101, 1000);
            solver.TryRecover(all, 0x7FFUL & ~0b1110UL, 0b10, 1000);
        }
    }

    private static void AssertSame(byte[][] expected, Blocks blocks, string shape)
    {
        for (int i = 0; i < expected.Length; i++) Assert.True(blocks.Span(i).SequenceEqual(expected[i]), $"{shape}: block {i}");
        blocks.CheckGuards();
    }

    /// <summary>A stripe, and a solver that is used for one loss after the other.</summary>
    private sealed class Recovery : IDisposable
    {
        private readonly int _count, _parities;
        private readonly Blocks _blocks;
        private readonly StripeSolver _solver;
        private readonly byte[][] _right;
        private readonly Random _random;

        public Recovery(ParityKernels kernels, Random random, int count, int parities, int length)
        {
            _count = count;
            _parities = parities;
            _random = random;
            _blocks = new Blocks(random, count + parities, length);
            Reference.Encode(_blocks.Pointers, null, count, _blocks.Pointers + count, parities, (nuint)length);
            _right = _blocks.Snapshot();
            _solver = new StripeSolver(kernels, count, parities);
        }

        private ulong All => ulong.MaxValue >> (StripeCode.MaxBlocks - _count - _parities);

        public void Recovers(ulong lost, ulong wanted)
        {
            byte** pointers = stackalloc byte*[_count + _parities];
            for (int i = 0; i < _count + _parities; i++)
            {
                bool isWanted = ((wanted >> i) & 1) != 0;
                pointers[i] = ((lost >> i) & 1) != 0 && !isWanted ? null : _blocks[i];
                if (isWanted) _random.NextBytes(_blocks.Span(i));
            }
            Assert.True(_solver.TryRecover(pointers, All & ~lost, wanted, (nuint)_blocks.Length));
            AssertSame(_right, _blocks, $"{_count}+{_parities} of {_blocks.Length}, lost {lost:x}, wanted {wanted:x}");
        }

        public void Refuses(ulong lost)
        {
            ulong data = (1UL << _count) - 1;
            if (BitOperations.PopCount(lost & data) <= BitOperations.PopCount(All & ~lost & ~data)) return;
            Assert.False(_solver.TryRecover(_blocks.Pointers, All & ~lost, lost, (nuint)_blocks.Length));
        }

        public void Dispose()
        {
            _solver.Dispose();
            _blocks.Dispose();
        }
    }
}
