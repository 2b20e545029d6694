// The code of a stripe: which sums of its data blocks its parities are, for one to eight parities.
//
// Theory of operation. Parity j of a stripe is the sum of a(j, i) * D_i over its data blocks, in GF(2^8) modulo 0x11D:
//
//   a(0, i) = 1                       P, the XOR: what md's RAID 5 has
//   a(j, i) = 1 / (x_i + y_j)         with x_i = 2^-i, y_1 = 0, and y_j = 2^(j - 1) from j = 2 on
//
// So a(1, i) = 2^i: Q as md's RAID 6 has it. A stripe with more parities has the same P and Q, and more rows of the same
// family: a Cauchy matrix with a row of ones, as its row for a y beyond all others would be.
//
// Any k lost data blocks can be made from any k parities: every square part of the matrix has an inverse. Proof. Say it had
// none: then there are factors v_i, not all zero, for the lost blocks with sum v_i * a(j, i) = 0 in all k rows. The function
// f(y) = sum v_i / (x_i + y) is a polynomial N(y) of a degree below k over the product of all (x_i + y). In every row but P
// that is used, f(y_j) = 0, and no y_j is an x_i, so N(y_j) = 0. Without P these are k different zeroes of a polynomial of a
// degree below k: N is zero. With P there is one less; but the sum of all v_i, which P says is zero, is the coefficient of
// y^(k-1) in N, so its degree is below k - 1, and N is zero again. Then f is zero everywhere, and so is each v_i, its residue
// at x_i. What it takes is that the x_i differ, the y_j differ, and no x_i is a y_j: with 63 data blocks the x_i are the
// powers 0, -1 .. -62 of 2, whose order is 255, and the y_j are 0 and the powers 1 .. 6. (A block and a parity that are lost
// together are no other case: a lost parity is made last.)
//
// Read: J. S. Plank and others on Cauchy Reed-Solomon codes; H. P. Anvin, "The mathematics of RAID-6".

namespace Polyblk.Raid.Parity;

/// <summary>The coefficients of the parities of a stripe: see the top of the file.</summary>
public static class StripeCode
{
    /// <summary>The most parities of a stripe.</summary>
    public const int MaxParities = 8;

    /// <summary>The most blocks of a stripe, parities included.</summary>
    public const int MaxBlocks = 64;

    private static readonly byte[] Coefficients = Build();

    /// <summary>By what a data block is multiplied in a parity; never zero.</summary>
    /// <param name="parity">The parity, 0 to 7: P, Q and those after them.</param>
    /// <param name="data">The data index of the block in its stripe, 0 to 62.</param>
    public static byte Coefficient(int parity, int data) => Coefficients[(parity * MaxBlocks) + data];

    /// <summary>x_i at the top of the file: what tells the data blocks apart.</summary>
    /// <param name="data">The data index, 0 to 62.</param>
    public static byte PointOfData(int data) => GaloisField.Power(-data);

    /// <summary>y_j at the top of the file: what tells the parities apart, but P, which has none.</summary>
    /// <param name="parity">The parity, 1 to 7.</param>
    public static byte PointOfParity(int parity) => parity == 1 ? (byte)0 : GaloisField.Power(parity - 1);

    /// <summary>
    /// Inverts a square matrix in place, row after row of <paramref name="size"/> elements. Returns false where it has no
    /// inverse; what it holds then says nothing.
    /// </summary>
    /// <param name="matrix">The matrix, and after it as much room for the computing: 2 * size * size elements.</param>
    /// <param name="size">Its rows, 1 to 8.</param>
    public static bool TryInvert(Span<byte> matrix, int size)
    {
        Span<byte> inverse = matrix.Slice(size * size, size * size);
        inverse.Clear();
        for (int i = 0; i < size; i++) inverse[(i * size) + i] = 1;
        for (int column = 0; column < size; column++)
        {
            int pivot = column;
            while (pivot < size && matrix[(pivot * size) + column] == 0) pivot++;
            if (pivot == size) return false;
            SwapRows(matrix, size, pivot, column);
            SwapRows(inverse, size, pivot, column);
            byte scale = GaloisField.Inverse(matrix[(column * size) + column]);
            for (int i = 0; i < size; i++)
            {
                matrix[(column * size) + i] = GaloisField.Multiply(matrix[(column * size) + i], scale);
                inverse[(column * size) + i] = GaloisField.Multiply(inverse[(column * size) + i], scale);
            }
            for (int row = 0; row < size; row++)
            {
                byte factor = matrix[(row * size) + column];
                if (row == column || factor == 0) continue;
                for (int i = 0; i < size; i++)
                {
                    matrix[(row * size) + i] ^= GaloisField.Multiply(matrix[(column * size) + i], factor);
                    inverse[(row * size) + i] ^= GaloisField.Multiply(inverse[(column * size) + i], factor);
                }
            }
        }
        inverse.CopyTo(matrix);
        return true;
    }

    private static void SwapRows(Span<byte> matrix, int size, int a, int b)
    {
        if (a == b) return;
        for (int i = 0; i < size; i++)
            (matrix[(a * size) + i], matrix[(b * size) + i]) = (matrix[(b * size) + i], matrix[(a * size) + i]);
    }

    private static byte[] Build()
    {
        var table = new byte[MaxParities * MaxBlocks];
        for (int data = 0; data < MaxBlocks - 1; data++)
        {
            table[data] = 1;
            for (int parity = 1; parity < MaxParities; parity++)
                table[(parity * MaxBlocks) + data] = GaloisField.Inverse((byte)(PointOfData(data) ^ PointOfParity(parity)));
        }
        return table;
    }
}
