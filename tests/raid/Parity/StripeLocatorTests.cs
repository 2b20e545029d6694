// Which blocks of a column are wrong, without being told that any is.

using System.Numerics;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Tests.Parity;

public class StripeLocatorTests
{
    private static ulong Find(int dataCount, int parityCount, ulong wrong, Random random)
    {
        Span<byte> syndromes = stackalloc byte[parityCount];
        syndromes.Clear();
        for (ulong left = wrong; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            byte by = (byte)random.Next(1, 256);
            if (block >= dataCount)
            {
                syndromes[block - dataCount] ^= by;
                continue;
            }
            for (int parity = 0; parity < parityCount; parity++)
                syndromes[parity] ^= GaloisField.Multiply(StripeCode.Coefficient(parity, block), by);
        }
        return StripeLocator.Find(syndromes, dataCount);
    }

    [Theory]
    [InlineData(4, 2)]
    [InlineData(1, 3)]
    [InlineData(8, 3)]
    [InlineData(62, 2)]
    [InlineData(61, 3)]
    [InlineData(10, 4)]
    [InlineData(6, 5)]
    public void EverySetOfHalfAsManyBlocksAsParitiesIsFound(int dataCount, int parityCount)
    {
        var random = new Random(41);
        int all = dataCount + parityCount;
        for (int x = 0; x < all; x++)
        {
            for (int y = x; y < (parityCount < 4 ? x + 1 : all); y++)
            {
                ulong wrong = (1UL << x) | (1UL << y);
                for (int round = 0; round < 8; round++) Assert.Equal(wrong, Find(dataCount, parityCount, wrong, random));
            }
        }
    }

    [Theory]
    [InlineData(58, 6)]
    [InlineData(57, 7)]
    [InlineData(56, 8)]
    [InlineData(2, 8)]
    public void SetsOfThreeAndFourAreFound(int dataCount, int parityCount)
    {
        var random = new Random(42);
        for (int round = 0; round < 3000; round++)
        {
            ulong wrong = 0;
            int size = 1 + (round % (parityCount / 2));
            while (BitOperations.PopCount(wrong) < size)
                wrong |= 1UL << (random.Next(3) == 0
                    ? dataCount + random.Next(parityCount) : random.Next(dataCount + parityCount));
            Assert.Equal(wrong, Find(dataCount, parityCount, wrong, random));
        }
    }

    /// <summary>With an odd number of parities one more wrong block than can be told is never taken for fewer.</summary>
    [Theory]
    [InlineData(8, 3, 2)]
    [InlineData(58, 5, 3)]
    public void OneMoreIsNotTakenForFewer(int dataCount, int parityCount, int count)
    {
        var random = new Random(43);
        for (int round = 0; round < 3000; round++)
        {
            ulong wrong = 0;
            while (BitOperations.PopCount(wrong) < count) wrong |= 1UL << random.Next(dataCount + parityCount);
            Assert.Equal(0UL, Find(dataCount, parityCount, wrong, random));
        }
    }
}
