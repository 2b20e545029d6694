// Which blocks of a stripe are wrong, of what its parities say, where nobody knows of any that it is: as many as half of its
// parities.
//
// Theory of operation. In one column, let S_j be what is read of parity j plus what the data that is read makes of it. If data
// blocks are wrong by v_i, S_j is sum v_i * a(j, i) where parity j is right; that is, S_j = f(y_j) for the function f(y) = sum
// v_i / (x_i + y) of StripeCode, and S_0 is the sum of the v_i. With t wrong data blocks f is N(y) / D(y), where D is the
// product of all (y + x_i), of degree t with leading coefficient 1, and N of a degree below t with leading coefficient S_0. So
// each right parity gives a linear equation, S_j * D(y_j) = N(y_j), of the 2t coefficients that are unknown, and the wrong
// blocks are the x_i at which the D of the solution is zero. Parities may be wrong themselves: some are left out, the fewest
// blocks first, until the others agree.
//
// M parities make codewords differ in M + 1 blocks at least; so no two sets of up to M / 2 wrong blocks look alike, and the
// first one that explains a column is the only one.

using System.Numerics;

namespace Polyblk.Raid.Parity;

/// <summary>See the top of the file. Allocates nothing.</summary>
public static class StripeLocator
{
    private const int Most = StripeCode.MaxParities;

    /// <summary>Finds the wrong blocks of a column.</summary>
    /// <param name="syndromes">For each parity, what was read of it plus what the data makes of it; not all zero.</param>
    /// <param name="dataCount">The number of data blocks, 1 to 63.</param>
    /// <returns>
    /// The blocks, one bit each: data blocks in data-index order, then parities. 0 when more must be wrong than can be told.
    /// </returns>
    public static ulong Find(ReadOnlySpan<byte> syndromes, int dataCount)
    {
        for (int wrong = 1; wrong <= syndromes.Length / 2; wrong++)
        {
            for (uint parities = 0; parities < 1u << syndromes.Length; parities++)
            {
                int data = wrong - BitOperations.PopCount(parities);
                if (data < 0) continue;
                ulong found = data == 0 ? 0 : FindData(syndromes, parities, data, dataCount);
                bool explains = data == 0 ? AreZero(syndromes, parities) : found != 0;
                if (explains) return found | (ulong)parities << dataCount;
            }
        }
        return 0;
    }

    private static bool AreZero(ReadOnlySpan<byte> syndromes, uint butFor)
    {
        for (int parity = 0; parity < syndromes.Length; parity++)
            if (((butFor >> parity) & 1) == 0 && syndromes[parity] != 0) return false;
        return true;
    }

    /// <summary>So many data blocks that explain all parities but some; 0 where there are none.</summary>
    private static ulong FindData(ReadOnlySpan<byte> syndromes, uint butFor, int count, int dataCount)
    {
        // A row for each parity: the coefficients of D below its first, those of N, and what they make.
        int unknown = 2 * count, width = unknown + 1, rows = 0;
        Span<byte> system = stackalloc byte[Most * (Most + 1)];
        for (int parity = 0; parity < syndromes.Length; parity++)
        {
            if (((butFor >> parity) & 1) == 0)
                FillEquation(system.Slice(rows++ * width, width), syndromes[parity], parity, count);
        }
        if (!TrySolve(system, rows, unknown)) return 0;

        ulong found = 0;
        for (int data = 0; data < dataCount; data++)
        {
            byte x = StripeCode.PointOfData(data), value = 1;
            for (int power = count - 1; power >= 0; power--)
                value = (byte)(GaloisField.Multiply(value, x) ^ system[(power * width) + unknown]);
            if (value == 0) found |= 1UL << data;
        }
        return BitOperations.PopCount(found) == count ? found : 0;
    }

    private static void FillEquation(Span<byte> row, byte syndrome, int parity, int count)
    {
        row.Clear();
        if (parity == 0)
        {
            row[(2 * count) - 1] = 1;
            row[2 * count] = syndrome;
            return;
        }
        byte y = StripeCode.PointOfParity(parity), power = 1;
        for (int i = 0; i < count; i++)
        {
            row[i] = GaloisField.Multiply(syndrome, power);
            row[count + i] = power;
            power = GaloisField.Multiply(power, y);
        }
        row[2 * count] = GaloisField.Multiply(syndrome, power);
    }

    /// <summary>
    /// Solves a system of at least as many equations as unknowns; row i then ends with unknown i. False where there is no
    /// solution or more than one.
    /// </summary>
    private static bool TrySolve(Span<byte> system, int rows, int unknown)
    {
        int width = unknown + 1;
        for (int column = 0; column < unknown; column++)
        {
            int pivot = column;
            while (pivot < rows && system[(pivot * width) + column] == 0) pivot++;
            if (pivot >= rows) return false;
            byte scale = GaloisField.Inverse(system[(pivot * width) + column]);
            for (int i = 0; i < width; i++)
            {
                byte scaled = GaloisField.Multiply(system[(pivot * width) + i], scale);
                system[(pivot * width) + i] = system[(column * width) + i];
                system[(column * width) + i] = scaled;
            }
            for (int row = 0; row < rows; row++)
            {
                byte factor = system[(row * width) + column];
                if (row == column || factor == 0) continue;
                for (int i = 0; i < width; i++)
                    system[(row * width) + i] ^= GaloisField.Multiply(system[(column * width) + i], factor);
            }
        }
        for (int row = unknown; row < rows; row++)
            if (system[(row * width) + unknown] != 0) return false;
        return true;
    }
}
