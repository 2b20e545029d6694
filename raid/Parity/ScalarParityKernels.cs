// The parity kernels byte by byte: the reference for the vector kernels, and their way to finish the ends of blocks.
//
// Theory of operation: straight from the definitions. Each operation works on the byte range [from, to) of its blocks, so that a
// vector kernel can hand over where its last full vector ended.

namespace Polyblk.Raid.Parity;

internal sealed unsafe class ScalarParityKernels : ParityKernels
{
    public override string Name => Scalar;

    public override void Xor(byte** sources, int count, byte* destination, nuint length) =>
        XorRange(sources, null, count, destination, 0, length, false);

    public override void GeneratePq(byte** data, int count, byte* p, byte* q, nuint length) =>
        PqRange(data, null, 0, count, p, q, 0, length, false);

    public override void CopyXor(byte** sources, byte** staging, int count, byte* p, nuint length, bool nonTemporal = false) =>
        XorRange(sources, staging, count, p, 0, length, false);

    public override void CopyPq(
        byte** sources, byte** staging, int count, byte* p, byte* q, nuint length, bool nonTemporal = false) =>
        PqRange(sources, staging, 0, count, p, q, 0, length, false);

    public override void UpdateP(byte* source, byte* block, byte* p, nuint length) =>
        UpdateRange(0, source, block, p, null, 0, length);

    public override void UpdatePq(int index, byte* source, byte* block, byte* p, byte* q, nuint length) =>
        UpdateRange(index, source, block, p, q, 0, length);

    public override void RecoverTwoData(byte** data, int count, int x, int y, byte* p, byte* q, nuint length) =>
        RecoverTwoRange(data, count, x, y, p, q, 0, length);

    public override void RecoverDataFromQ(byte** data, int count, int x, byte* p, byte* q, nuint length) =>
        RecoverFromQRange(data, count, x, p, q, 0, length);

    public override void MultiplyAccumulate(byte c, byte* source, byte* destination, nuint length) =>
        MultiplyRange(c, source, destination, 0, length);

    internal override int CoefficientBytes => 1;

    internal override void WriteCoefficient(byte c, byte* to) => *to = c;

    internal override void Combine(in StripeSums sums, nuint length) => CombineRange(sums, 0, length);

    private protected override void UpdateAll(
        StripeMatrix matrix, int index, byte* source, byte* block, byte** parities, int parityCount, nuint length) =>
        UpdateAllRange(matrix, index, source, block, parities, parityCount, 0, length);

    internal static void CombineRange(in StripeSums sums, nuint from, nuint to)
    {
        byte* made = stackalloc byte[StripeMatrix.Stride];
        for (nuint at = from; at < to; at++)
        {
            byte xor = 0;
            for (int row = 0; row < sums.Rows; row++) made[row] = 0;
            for (int i = 0; i < sums.Count; i++)
            {
                byte value = sums.Sources[i][at];
                if (sums.Copies != null && sums.Copies[i] != null) sums.Copies[i][at] = value;
                if (i < sums.XorCount) xor ^= value;
                for (int row = 0; row < sums.Rows; row++)
                    made[row] ^= GaloisField.Multiply(sums.Matrix!.Bytes[(i * StripeMatrix.Stride) + row], value);
            }
            for (int row = 0; row < sums.Rows; row++)
            {
                sums.Outputs[row][at] = made[row];
                if (row < sums.Added) xor ^= made[row];
            }
            if (sums.Xor != null) sums.Xor[at] = xor;
        }
    }

    internal static void UpdateAllRange(
        StripeMatrix matrix, int index, byte* source, byte* block, byte** parities, int parityCount, nuint from, nuint to)
    {
        byte* coefficients = matrix.Bytes + (index * StripeMatrix.Stride);
        for (nuint at = from; at < to; at++)
        {
            byte value = source[at];
            byte delta = (byte)(value ^ block[at]);
            block[at] = value;
            for (int parity = 0; parity < parityCount; parity++)
            {
                if (parities[parity] == null) continue;
                parities[parity][at] ^= parity == 0 ? delta : GaloisField.Multiply(coefficients[parity - 1], delta);
            }
        }
    }

    /// <summary>With <paramref name="add"/>, the sum begins with what the destination holds.</summary>
    internal static void XorRange(
        byte** sources, byte** staging, int count, byte* destination, nuint from, nuint to, bool add)
    {
        for (nuint at = from; at < to; at++)
        {
            byte sum = add ? destination[at] : (byte)0;
            for (int i = 0; i < count; i++)
            {
                byte value = sources[i][at];
                if (staging != null && staging[i] != null) staging[i][at] = value;
                sum ^= value;
            }
            destination[at] = sum;
        }
    }

    /// <summary>
    /// The blocks first .. first + count - 1; with <paramref name="add"/>, P and Q hold the sums of those after them.
    /// </summary>
    internal static void PqRange(
        byte** sources, byte** staging, int first, int count, byte* p, byte* q, nuint from, nuint to, bool add)
    {
        for (nuint at = from; at < to; at++)
        {
            byte sumP = add && p != null ? p[at] : (byte)0, sumQ = add ? q[at] : (byte)0;
            for (int i = first + count - 1; i >= first; i--)
            {
                byte value = sources[i][at];
                if (staging != null && staging[i] != null) staging[i][at] = value;
                sumP ^= value;
                sumQ = (byte)(GaloisField.Double(sumQ) ^ value);
            }
            if (p != null) p[at] = sumP;
            q[at] = sumQ;
        }
    }

    internal static void UpdateRange(int index, byte* source, byte* block, byte* p, byte* q, nuint from, nuint to)
    {
        byte coefficient = GaloisField.Power(index);
        for (nuint at = from; at < to; at++)
        {
            byte value = source[at];
            byte delta = (byte)(value ^ block[at]);
            block[at] = value;
            if (p != null) p[at] ^= delta;
            if (q != null) q[at] ^= GaloisField.Multiply(coefficient, delta);
        }
    }

    internal static void RecoverTwoRange(
        byte** data, int count, int x, int y, byte* p, byte* q, nuint from, nuint to)
    {
        var (fromP, fromQ) = RecoveryCoefficients.TwoData(x, y);
        for (nuint at = from; at < to; at++)
        {
            var (sumP, sumQ) = Syndromes(data, count, x, y, at);
            sumP ^= p[at];
            sumQ ^= q[at];
            byte first = (byte)(GaloisField.Multiply(fromP, sumP) ^ GaloisField.Multiply(fromQ, sumQ));
            data[x][at] = first;
            if (data[y] != null) data[y][at] = (byte)(sumP ^ first);
        }
    }

    internal static void RecoverFromQRange(byte** data, int count, int x, byte* p, byte* q, nuint from, nuint to)
    {
        byte fromQ = RecoveryCoefficients.DataFromQ(x);
        for (nuint at = from; at < to; at++)
        {
            var (sumP, sumQ) = Syndromes(data, count, x, x, at);
            byte value = GaloisField.Multiply(fromQ, (byte)(sumQ ^ q[at]));
            data[x][at] = value;
            if (p != null) p[at] = (byte)(sumP ^ value);
        }
    }

    internal static void MultiplyRange(byte c, byte* source, byte* destination, nuint from, nuint to)
    {
        for (nuint at = from; at < to; at++) destination[at] ^= GaloisField.Multiply(c, source[at]);
    }

    private static (byte P, byte Q) Syndromes(byte** data, int count, int x, int y, nuint at)
    {
        byte sumP = 0, sumQ = 0;
        for (int i = count - 1; i >= 0; i--)
        {
            byte value = i == x || i == y ? (byte)0 : data[i][at];
            sumP ^= value;
            sumQ = (byte)(GaloisField.Double(sumQ) ^ value);
        }
        return (sumP, sumQ);
    }
}

/// <summary>The constants of reconstruction, from H. Peter Anvin, "The mathematics of RAID-6", section 4.</summary>
internal static class RecoveryCoefficients
{
    /// <summary>
    /// With the data blocks x and y lost: D_x = fromP * (P ^ P_survivors) ^ fromQ * (Q ^ Q_survivors), and
    /// D_y = (P ^ P_survivors) ^ D_x.
    /// </summary>
    public static (byte FromP, byte FromQ) TwoData(int x, int y)
    {
        byte ratio = GaloisField.Power(y - x);
        byte inverse = GaloisField.Inverse((byte)(ratio ^ 1));
        return (GaloisField.Multiply(ratio, inverse), GaloisField.Multiply(GaloisField.Power(-x), inverse));
    }

    /// <summary>With the data block x lost and P unusable: D_x = fromQ * (Q ^ Q_survivors).</summary>
    public static byte DataFromQ(int x) => GaloisField.Power(-x);
}
