// Reconstruction of whatever a stripe has lost: chooses the kernel for each combination of lost blocks.

using System.Numerics;

namespace Polyblk.Raid.Parity;

/// <summary>Rebuilds lost blocks of a stripe with one or two parities.</summary>
public static unsafe class StripeRecovery
{
    /// <summary>The most data blocks of a stripe here: their kernels' pointer list lives on the stack.</summary>
    public const int MaxDataBlocks = 63;

    /// <summary>
    /// Makes the lost blocks of a stripe from the others. Every block that is not lost must hold its data; every lost block is a
    /// buffer to fill. With two lost data blocks, or with a lost data block and a lost P, the second may be null if not wanted.
    /// </summary>
    /// <param name="kernels">The kernels to compute with.</param>
    /// <param name="blocks">The data blocks in data-index order, then P, then (with two parities) Q.</param>
    /// <param name="dataCount">The number of data blocks, 1..63.</param>
    /// <param name="parityCount">The number of parities: 1 or 2.</param>
    /// <param name="lost">One bit for each lost block, by its index in <paramref name="blocks"/>; a stripe has at most 64 blocks
    /// in all.</param>
    /// <param name="length">The length of each block in bytes.</param>
    /// <returns>False when more is lost than the parities make up for; nothing has been written then.</returns>
    public static bool TryRecover(
        ParityKernels kernels, byte** blocks, int dataCount, int parityCount, ulong lost, nuint length)
    {
        int lostCount = BitOperations.PopCount(lost);
        if (lostCount > parityCount) return false;
        if (lostCount == 0) return true;

        byte* p = blocks[dataCount];
        byte* q = parityCount > 1 ? blocks[dataCount + 1] : null;
        int x = BitOperations.TrailingZeroCount(lost);
        int y = lostCount == 1 ? -1 : BitOperations.TrailingZeroCount(lost & (lost - 1));
        if (y < 0 && x <= dataCount) XorOthers(kernels, blocks, dataCount, x, length);
        else if (y < 0) kernels.GeneratePq(blocks, dataCount, null, q, length);
        else if (y < dataCount) kernels.RecoverTwoData(blocks, dataCount, x, y, p, q, length);
        else if (x == dataCount) kernels.GeneratePq(blocks, dataCount, p, q, length);
        else if (y == dataCount) kernels.RecoverDataFromQ(blocks, dataCount, x, p, q, length);
        else RecoverDataAndQ(kernels, blocks, dataCount, x, q, length);
        return true;
    }

    private static void RecoverDataAndQ(ParityKernels kernels, byte** blocks, int dataCount, int x, byte* q, nuint length)
    {
        XorOthers(kernels, blocks, dataCount, x, length);
        if (q != null) kernels.GeneratePq(blocks, dataCount, null, q, length);
    }

    /// <summary>Block x (data or P) is the XOR of the other data blocks and P.</summary>
    private static void XorOthers(ParityKernels kernels, byte** blocks, int dataCount, int x, nuint length)
    {
        byte** others = stackalloc byte*[MaxDataBlocks + 1];
        int count = 0;
        for (int i = 0; i <= dataCount; i++)
            if (i != x) others[count++] = blocks[i];
        kernels.Xor(others, count, blocks[x], length);
    }
}
