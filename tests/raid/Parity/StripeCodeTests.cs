// The code of a stripe: that whatever is lost can be made again.

using System.Numerics;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Tests.Parity;

public class StripeCodeTests
{
    private const int Data = StripeCode.MaxBlocks - 1;

    [Fact]
    public void TheFirstTwoParitiesAreThoseOfRaid6()
    {
        for (int data = 0; data < Data; data++)
        {
            Assert.Equal(1, StripeCode.Coefficient(0, data));
            Assert.Equal(GaloisField.Power(data), StripeCode.Coefficient(1, data));
        }
    }

    [Fact]
    public void ThePremisesOfTheProofHold()
    {
        byte[] data = [.. Enumerable.Range(0, Data).Select(StripeCode.PointOfData)];
        byte[] parities = [.. Enumerable.Range(1, StripeCode.MaxParities - 1).Select(StripeCode.PointOfParity)];
        Assert.Equal(Data + StripeCode.MaxParities - 1, data.Concat(parities).Distinct().Count());
        for (int i = 0; i < Data; i++)
        {
            for (int j = 1; j < StripeCode.MaxParities; j++)
            {
                // By the definition: the coefficient and the sum of the points give 1.
                byte sum = (byte)(data[i] ^ parities[j - 1]);
                Assert.Equal(1, GaloisField.Multiply(StripeCode.Coefficient(j, i), sum));
            }
        }
    }

    /// <summary>All square parts of one to three rows, of all that a stripe of any shape can have: 2.2 million.</summary>
    [Fact]
    public void EverySquarePartOfUpToThreeRowsHasAnInverse()
    {
        for (int size = 1; size <= 3; size++)
            foreach (int[] rows in Choices(StripeCode.MaxParities, size))
                foreach (int[] columns in Choices(Data, size))
                    Assert.True(IsInvertible(rows, columns), $"{string.Join(',', rows)} of {string.Join(',', columns)}");
    }

    /// <summary>All of every size for 12 data blocks, and random ones for 63.</summary>
    [Fact]
    public void LargerSquarePartsHaveAnInverse()
    {
        for (int size = 4; size <= StripeCode.MaxParities; size++)
            foreach (int[] rows in Choices(StripeCode.MaxParities, size))
                foreach (int[] columns in Choices(12, size))
                    Assert.True(IsInvertible(rows, columns), $"{string.Join(',', rows)} of {string.Join(',', columns)}");
        var random = new Random(20);
        for (int round = 0; round < 200_000; round++)
        {
            int size = random.Next(4, StripeCode.MaxParities + 1);
            int[] rows = [.. Enumerable.Range(0, StripeCode.MaxParities).OrderBy(_ => random.Next()).Take(size)];
            int[] columns = [.. Enumerable.Range(0, Data).OrderBy(_ => random.Next()).Take(size)];
            Assert.True(IsInvertible(rows, columns), $"{string.Join(',', rows)} of {string.Join(',', columns)}");
        }
    }

    [Fact]
    public void AnInverseTimesItsMatrixIsOneAndASingularMatrixHasNone()
    {
        var random = new Random(21);
        for (int size = 1; size <= StripeCode.MaxParities; size++)
        {
            byte[] matrix = new byte[2 * size * size];
            for (int i = 0; i < size * size; i++) matrix[i] = StripeCode.Coefficient(i / size, 5 + (7 * (i % size)));
            byte[] before = [.. matrix];
            Assert.True(StripeCode.TryInvert(matrix, size));
            for (int row = 0; row < size; row++)
            {
                for (int column = 0; column < size; column++)
                {
                    byte sum = 0;
                    for (int i = 0; i < size; i++)
                        sum ^= GaloisField.Multiply(before[(row * size) + i], matrix[(i * size) + column]);
                    Assert.Equal(row == column ? 1 : 0, sum);
                }
            }
            if (size == 1) continue;
            before.AsSpan(0, size).CopyTo(before.AsSpan(size));
            Assert.False(StripeCode.TryInvert(before, size));
        }
    }

    private static bool IsInvertible(int[] rows, int[] columns)
    {
        int size = rows.Length;
        Span<byte> matrix = stackalloc byte[2 * size * size];
        for (int row = 0; row < size; row++)
            for (int column = 0; column < size; column++)
                matrix[(row * size) + column] = StripeCode.Coefficient(rows[row], columns[column]);
        return StripeCode.TryInvert(matrix, size);
    }

    private static IEnumerable<int[]> Choices(int of, int size)
    {
        int[] choice = [.. Enumerable.Range(0, size)];
        while (true)
        {
            yield return choice;
            int at = size - 1;
            while (at >= 0 && choice[at] == of - size + at) at--;
            if (at < 0) yield break;
            choice[at]++;
            for (int next = at + 1; next < size; next++) choice[next] = choice[next - 1] + 1;
        }
    }
}
