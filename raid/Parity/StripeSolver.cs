// Makes lost blocks of a stripe with any number of parities, in one pass over as many others as there are data blocks.
//
// Theory of operation. With k data blocks lost, k parities are taken, P first. Their equations, for the lost blocks alone, are
// a square part of the code's matrix, which has an inverse (StripeCode). So every lost data block is a sum of the data blocks
// that are left and of the k parities; and a lost parity, which is a sum of data blocks, is one of the same sources. The
// coefficients are made for what is lost, and kept as long as the same is lost again.
//
// What is an XOR costs no multiplications. Where P is among the sources and all lost data blocks are wanted, the last of them
// is the XOR of P, the data blocks that are left, and the other lost ones; where P is wanted with all lost data, it is the XOR
// of the data.

using System.Numerics;
using System.Runtime.InteropServices;

namespace Polyblk.Raid.Parity;

/// <summary>See the top of the file. One thread's at a time; nothing is allocated after it is made.</summary>
public sealed unsafe class StripeSolver : IDisposable
{
    private const int Most = StripeCode.MaxParities;

    private readonly ParityKernels kernels;
    private readonly int dataCount, parityCount;
    private readonly StripeMatrix matrix;
    private readonly byte** pointers;
    private readonly byte[] square = new byte[2 * Most * Most];
    private readonly byte[] sums = new byte[Most * StripeCode.MaxBlocks];
    private readonly int[] sources = new int[StripeCode.MaxBlocks];
    private readonly int[] outputs = new int[Most];
    private readonly int[] parities = new int[Most];
    private ulong solvedHave, solvedWanted;
    private int rows, xorCount, xorOutput, added;

    /// <param name="kernels">The kernels to compute with.</param>
    /// <param name="dataCount">The number of data blocks, 1 to 63.</param>
    /// <param name="parityCount">The number of parities, 1 to 8; 64 blocks in all at most.</param>
    public StripeSolver(ParityKernels kernels, int dataCount, int parityCount)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(dataCount is >= 1 and < StripeCode.MaxBlocks, true);
        ArgumentOutOfRangeException.ThrowIfNotEqual(
            parityCount is >= 1 and <= Most && dataCount + parityCount <= StripeCode.MaxBlocks, true);
        this.kernels = kernels;
        this.dataCount = dataCount;
        this.parityCount = parityCount;
        matrix = new StripeMatrix(kernels);
        pointers = (byte**)NativeMemory.AllocZeroed((nuint)(StripeCode.MaxBlocks + Most), (nuint)sizeof(byte*));
    }

    private ulong DataMask => (1UL << dataCount) - 1;

    /// <summary>Makes blocks of a stripe from the others.</summary>
    /// <param name="blocks">The data blocks in data-index order, then the parities; what is neither had nor wanted may be
    /// null.</param>
    /// <param name="have">Blocks that hold what they should, one bit each.</param>
    /// <param name="wanted">Blocks to make, none of those: at most as many as there are parities.</param>
    /// <param name="length">The length of each block in bytes.</param>
    /// <returns>False when there are too few blocks to make any from; nothing has been written then.</returns>
    public bool TryRecover(byte** blocks, ulong have, ulong wanted, nuint length)
    {
        wanted &= ~have;
        ulong lost = DataMask & ~have;
        int k = BitOperations.PopCount(lost);
        ulong all = ulong.MaxValue >> (StripeCode.MaxBlocks - dataCount - parityCount);
        if (k > BitOperations.PopCount(have & ~DataMask & all)) return false;
        if (wanted == 0) return true;
        if (have != solvedHave || wanted != solvedWanted) Solve(have, wanted, lost, k);

        byte** read = pointers, made = pointers + StripeCode.MaxBlocks;
        for (int i = 0; i < dataCount; i++) read[i] = blocks[sources[i]];
        for (int row = 0; row < rows; row++) made[row] = blocks[outputs[row]];
        var work = new StripeSums
        {
            Sources = read,
            Count = rows == 0 ? xorCount : dataCount,
            XorCount = xorCount,
            Matrix = matrix,
            Outputs = made,
            Rows = rows,
            Xor = xorOutput < 0 ? null : blocks[xorOutput],
            Added = added,
        };
        kernels.Combine(work, length);
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        matrix.Dispose();
        NativeMemory.Free(pointers);
    }

    /// <summary>Fills the matrix for what is lost.</summary>
    private void Solve(ulong have, ulong wanted, ulong lost, int k)
    {
        ulong chosen = ChooseParities(have, k);
        ulong p = 1UL << dataCount;
        bool areAllWanted = (lost & ~wanted) == 0;
        bool fromP = k > 0 && areAllWanted && (chosen & p) != 0;
        xorOutput = fromP ? 63 - BitOperations.LeadingZeroCount(lost) : areAllWanted && (wanted & p) != 0 ? dataCount : -1;
        xorCount = xorOutput < 0 ? 0 : dataCount - k + (fromP ? 1 : 0);

        // The data that is left, and the parities: P is the first of them.
        int count = 0;
        for (ulong left = DataMask & have; left != 0; left &= left - 1) sources[count++] = BitOperations.TrailingZeroCount(left);
        for (int a = 0; a < k; a++) sources[count++] = dataCount + parities[a];

        FillSquare(lost, k);
        StripeCode.TryInvert(square, k);
        rows = added = 0;
        int b = 0;
        for (ulong left = lost; left != 0; left &= left - 1, b++)
        {
            int block = BitOperations.TrailingZeroCount(left);
            SumOfLost(b, k);
            if (block == xorOutput || ((wanted >> block) & 1) == 0) continue;
            Keep(block, b);
            added++;
        }
        added = xorOutput < 0 ? 0 : added;
        for (ulong left = wanted & ~DataMask; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            if (block == xorOutput) continue;
            SumOfParity(block - dataCount, lost, k);
            Keep(block, Most - 1);
        }
        (solvedHave, solvedWanted) = (have, wanted);
    }

    private ulong ChooseParities(ulong have, int k)
    {
        ulong chosen = 0;
        int count = 0;
        for (int parity = 0; count < k; parity++)
        {
            if (((have >> (dataCount + parity)) & 1) == 0) continue;
            parities[count++] = parity;
            chosen |= 1UL << (dataCount + parity);
        }
        return chosen;
    }

    /// <summary>The coefficients of the lost blocks in the parities that are taken: a row for each parity.</summary>
    private void FillSquare(ulong lost, int k)
    {
        for (int a = 0; a < k; a++)
        {
            int b = 0;
            for (ulong left = lost; left != 0; left &= left - 1)
                square[(a * k) + b++] = StripeCode.Coefficient(parities[a], BitOperations.TrailingZeroCount(left));
        }
    }

    /// <summary>The coefficients of the sources in lost block number b; the square is inverted.</summary>
    private void SumOfLost(int b, int k)
    {
        int first = b * StripeCode.MaxBlocks;
        for (int i = 0; i < dataCount - k; i++)
        {
            byte c = 0;
            for (int a = 0; a < k; a++)
                c ^= GaloisField.Multiply(square[(b * k) + a], StripeCode.Coefficient(parities[a], sources[i]));
            sums[first + i] = c;
        }
        for (int a = 0; a < k; a++) sums[first + dataCount - k + a] = square[(b * k) + a];
    }

    /// <summary>The coefficients of the sources in a lost parity, where there is room for one more than all lost data.</summary>
    private void SumOfParity(int parity, ulong lost, int k)
    {
        const int Room = (Most - 1) * StripeCode.MaxBlocks;
        for (int i = 0; i < dataCount; i++)
        {
            byte c = i < dataCount - k ? StripeCode.Coefficient(parity, sources[i]) : (byte)0;
            int b = 0;
            for (ulong left = lost; left != 0; left &= left - 1, b++)
            {
                byte ofBlock = StripeCode.Coefficient(parity, BitOperations.TrailingZeroCount(left));
                c ^= GaloisField.Multiply(ofBlock, sums[(b * StripeCode.MaxBlocks) + i]);
            }
            sums[Room + i] = c;
        }
    }

    private void Keep(int block, int sum)
    {
        for (int i = 0; i < dataCount; i++) matrix.Set(i, rows, sums[(sum * StripeCode.MaxBlocks) + i]);
        outputs[rows++] = block;
    }
}
