// The vector kernels of read-modify-write and of reconstruction.
//
// Theory of operation: an update folds the difference of old and new data into the parities in place. A reconstruction makes the
// syndromes of the surviving blocks in registers and turns them into the lost blocks before the next column: no scratch memory,
// one pass. Two vectors a column, because the nibble tables of the two coefficients take registers too.

using System.Runtime.CompilerServices;

namespace Polyblk.Raid.Parity;

internal sealed unsafe partial class VectorParityKernels<TField, TVector, TCoefficient>
{
    [MethodImpl(Hot)]
    private void UpdateCore<TP, TQ>(int index, byte* source, byte* block, byte* p, byte* q, nuint length)
        where TP : struct, IFlag
        where TQ : struct, IFlag
    {
        TCoefficient coefficient = powers[index];
        nuint width = (nuint)TField.Width, at = 0;
        for (; length - at >= 2 * width; at += 2 * width)
        {
            UpdateVector<TP, TQ>(coefficient, source, block, p, q, at);
            UpdateVector<TP, TQ>(coefficient, source, block, p, q, at + width);
        }
        for (; length - at >= width; at += width) UpdateVector<TP, TQ>(coefficient, source, block, p, q, at);
        ScalarParityKernels.UpdateRange(index, source, block, p, q, at, length);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void UpdateVector<TP, TQ>(
        in TCoefficient coefficient, byte* source, byte* block, byte* p, byte* q, nuint at)
        where TP : struct, IFlag
        where TQ : struct, IFlag
    {
        TVector value = TField.Load(source + at);
        TVector delta = TField.Xor(value, TField.Load(block + at));
        TField.Store(value, block + at);
        if (TP.Value) TField.Store(TField.Xor(TField.Load(p + at), delta), p + at);
        if (TQ.Value) TField.Store(TField.Xor(TField.Load(q + at), TField.Multiply(delta, coefficient)), q + at);
    }

    [MethodImpl(Hot)]
    private void RecoverTwoCore(byte** data, int count, int x, int y, byte* p, byte* q, nuint length)
    {
        var (c, d) = RecoveryCoefficients.TwoData(x, y);
        TCoefficient fromP = TField.Coefficient(c), fromQ = TField.Coefficient(d);
        byte* first = data[x], second = data[y];
        nuint width = (nuint)TField.Width, at = 0;
        for (; length - at >= 2 * width; at += 2 * width)
        {
            TVector p0 = TField.Load(p + at), p1 = TField.Load(p + at + width), q0 = TField.Zero, q1 = q0;
            AddSurvivors(data, count, x, y, at, ref p0, ref p1, ref q0, ref q1);
            q0 = TField.Xor(q0, TField.Load(q + at));
            q1 = TField.Xor(q1, TField.Load(q + at + width));
            StoreTwoData(fromP, fromQ, p0, q0, first + at, second == null ? null : second + at);
            StoreTwoData(fromP, fromQ, p1, q1, first + at + width, second == null ? null : second + at + width);
        }
        ScalarParityKernels.RecoverTwoRange(data, count, x, y, p, q, at, length);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreTwoData(
        in TCoefficient fromP, in TCoefficient fromQ, TVector sumP, TVector sumQ, byte* first, byte* second)
    {
        TVector value = TField.Xor(TField.Multiply(sumP, fromP), TField.Multiply(sumQ, fromQ));
        TField.Store(value, first);
        if (second != null) TField.Store(TField.Xor(sumP, value), second);
    }

    [MethodImpl(Hot)]
    private void RecoverFromQCore(byte** data, int count, int x, byte* p, byte* q, nuint length)
    {
        TCoefficient fromQ = TField.Coefficient(RecoveryCoefficients.DataFromQ(x));
        byte* block = data[x];
        nuint width = (nuint)TField.Width, at = 0;
        for (; length - at >= 2 * width; at += 2 * width)
        {
            TVector p0 = TField.Zero, p1 = p0, q0 = p0, q1 = p0;
            AddSurvivors(data, count, x, x, at, ref p0, ref p1, ref q0, ref q1);
            TVector v0 = TField.Multiply(TField.Xor(q0, TField.Load(q + at)), fromQ);
            TVector v1 = TField.Multiply(TField.Xor(q1, TField.Load(q + at + width)), fromQ);
            TField.Store(v0, block + at);
            TField.Store(v1, block + at + width);
            if (p == null) continue;
            TField.Store(TField.Xor(p0, v0), p + at);
            TField.Store(TField.Xor(p1, v1), p + at + width);
        }
        ScalarParityKernels.RecoverFromQRange(data, count, x, p, q, at, length);
    }

    /// <summary>Adds the P and Q of all blocks but x and y; Q begins at zero, for Horner's rule doubles what it finds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void AddSurvivors(
        byte** data, int count, int x, int y, nuint at, ref TVector p0, ref TVector p1, ref TVector q0, ref TVector q1)
    {
        nuint width = (nuint)TField.Width;
        for (int i = count - 1; i >= 0; i--)
        {
            TVector v0 = TField.Zero, v1 = v0;
            if (i != x && i != y)
            {
                v0 = TField.Load(data[i] + at);
                v1 = TField.Load(data[i] + at + width);
            }
            p0 = TField.Xor(p0, v0);
            p1 = TField.Xor(p1, v1);
            q0 = FoldQ(q0, v0, i);
            q1 = FoldQ(q1, v1, i);
        }
    }
}
