// The vector kernels of stripes with any number of parities: several sums in one pass, and updates of all parities.
//
// Theory of operation: a column is two vectors wide where the sums of both fit into registers, else one. A source is split
// into its nibbles once and added to all sums; the XOR takes no multiplication at all, which is why a code whose first row is
// all ones is dearer by one addition than the code with one parity less. The number of sums is a type argument: the JIT
// unrolls over it.
//
// A sum of a reconstruction that is the XOR of all blocks, but for others that are sums here, is finished in registers
// (Added). Many sources are taken in groups, page by page, as everywhere (VectorParityKernels.cs): the groups after the first
// begin with what the outputs hold.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Polyblk.Raid.Parity;

/// <summary>A number that the JIT knows.</summary>
internal interface INumber
{
    static abstract int Value { get; }
}

internal readonly struct One : INumber
{
    public static int Value => 1;
}

internal readonly struct Two : INumber
{
    public static int Value => 2;
}

internal readonly struct Three : INumber
{
    public static int Value => 3;
}

internal readonly struct Four : INumber
{
    public static int Value => 4;
}

internal readonly struct Five : INumber
{
    public static int Value => 5;
}

internal readonly struct Six : INumber
{
    public static int Value => 6;
}

internal readonly struct Seven : INumber
{
    public static int Value => 7;
}

internal readonly struct Eight : INumber
{
    public static int Value => 8;
}

internal sealed unsafe partial class VectorParityKernels<TField, TVector, TCoefficient>
{
    /// <summary>
    /// Every element of the field as a coefficient; native memory that lives as long as the process. Made for the first stripe
    /// that has more than two parities: a start has no time for it.
    /// </summary>
    private TCoefficient* coefficients;

    internal override int CoefficientBytes => sizeof(TCoefficient);

    internal override void WriteCoefficient(byte c, byte* to)
    {
        if (coefficients == null) coefficients = BuildCoefficients();
        *(TCoefficient*)to = coefficients[c];
    }

    internal override void Combine(in StripeSums sums, nuint length)
    {
        if (sums.Rows == 0)
        {
            if (sums.Copies == null) Xor(sums.Sources, sums.XorCount, sums.Xor, length);
            else CopyXor(sums.Sources, sums.Copies, sums.XorCount, sums.Xor, length);
            return;
        }
        int group = sums.Copies != null ? CopyGroupBlocks : GroupBlocks;
        if (sums.Count <= group)
        {
            CombineGroup(sums, 0, sums.Count, 0, length);
            return;
        }
        for (nuint at = 0; at < length; at += TileBytes)
        {
            nuint end = Math.Min(length, at + TileBytes);
            for (int first = 0; first < sums.Count; first += group)
                CombineGroup(sums, first, Math.Min(group, sums.Count - first), at, end);
        }
    }

    private static void CombineGroup(in StripeSums sums, int first, int count, nuint at, nuint end)
    {
        switch (sums.Rows)
        {
            case 1:
                CombineRows<One>(sums, first, count, at, end);
                break;
            case 2:
                CombineRows<Two>(sums, first, count, at, end);
                break;
            case 3:
                CombineRows<Three>(sums, first, count, at, end);
                break;
            case 4:
                CombineRows<Four>(sums, first, count, at, end);
                break;
            case 5:
                CombineRows<Five>(sums, first, count, at, end);
                break;
            case 6:
                CombineRows<Six>(sums, first, count, at, end);
                break;
            case 7:
                CombineRows<Seven>(sums, first, count, at, end);
                break;
            default:
                CombineRows<Eight>(sums, first, count, at, end);
                break;
        }
    }

    private static void CombineRows<TRows>(in StripeSums sums, int first, int count, nuint at, nuint end)
        where TRows : struct, INumber
    {
        if (sums.Copies != null) CombineCore<TRows, Yes, Yes>(sums, first, count, at, end);
        else if (sums.Xor != null) CombineCore<TRows, Yes, No>(sums, first, count, at, end);
        else CombineCore<TRows, No, No>(sums, first, count, at, end);
    }

    /// <summary>Adds a group of sources, in the bytes [at, end) of all blocks.</summary>
    [MethodImpl(Hot)]
    private static void CombineCore<TRows, TXor, TCopy>(in StripeSums sums, int first, int count, nuint at, nuint end)
        where TRows : struct, INumber
        where TXor : struct, IFlag
        where TCopy : struct, IFlag
    {
        byte** sources = sums.Sources + first;
        byte** copies = TCopy.Value ? sums.Copies + first : null;
        var matrix = (TCoefficient*)sums.Matrix!.Forms + ((nint)first * StripeMatrix.Stride);
        int xored = TXor.Value ? Math.Clamp(sums.XorCount - first, 0, count) : 0;
        int added = first + count == sums.Count ? sums.Added : 0;
        byte** outputs = sums.Outputs;
        byte* xor = sums.Xor;
        nuint width = (nuint)TField.Width;
        if ((2 * TRows.Value) + (TXor.Value ? 2 : 0) <= TField.SumsInRegisters)
        {
            for (; end - at >= 2 * width; at += 2 * width)
            {
                TVector x0 = TField.Zero, x1 = x0;
                TVector a0 = x0, a1 = x0, a2 = x0, a3 = x0, a4 = x0, a5 = x0, a6 = x0, a7 = x0;
                TVector b0 = x0, b1 = x0, b2 = x0, b3 = x0, b4 = x0, b5 = x0, b6 = x0, b7 = x0;
                if (first != 0)
                {
                    LoadSums<TRows>(outputs, at, ref a0, ref a1, ref a2, ref a3, ref a4, ref a5, ref a6, ref a7);
                    LoadSums<TRows>(outputs, at + width, ref b0, ref b1, ref b2, ref b3, ref b4, ref b5, ref b6, ref b7);
                    if (TXor.Value)
                    {
                        x0 = TField.Load(xor + at);
                        x1 = TField.Load(xor + at + width);
                    }
                }
                TCoefficient* c = matrix;
                for (int i = 0; i < count; i++, c += StripeMatrix.Stride)
                {
                    byte* source = sources[i] + at;
                    TVector v0 = TField.Load(source), v1 = TField.Load(source + width);
                    if (TCopy.Value && copies[i] != null)
                    {
                        TField.Store(v0, copies[i] + at);
                        TField.Store(v1, copies[i] + at + width);
                    }
                    if (TXor.Value && i < xored)
                    {
                        x0 = TField.Xor(x0, v0);
                        x1 = TField.Xor(x1, v1);
                    }
                    TVector low0 = TField.LowPart(v0), high0 = TField.HighPart(v0);
                    TVector low1 = TField.LowPart(v1), high1 = TField.HighPart(v1);
                    AddPair<TRows, One>(ref a0, ref b0, low0, high0, low1, high1, c);
                    AddPair<TRows, Two>(ref a1, ref b1, low0, high0, low1, high1, c);
                    AddPair<TRows, Three>(ref a2, ref b2, low0, high0, low1, high1, c);
                    AddPair<TRows, Four>(ref a3, ref b3, low0, high0, low1, high1, c);
                    AddPair<TRows, Five>(ref a4, ref b4, low0, high0, low1, high1, c);
                    AddPair<TRows, Six>(ref a5, ref b5, low0, high0, low1, high1, c);
                    AddPair<TRows, Seven>(ref a6, ref b6, low0, high0, low1, high1, c);
                    AddPair<TRows, Eight>(ref a7, ref b7, low0, high0, low1, high1, c);
                }
                StoreSums<TRows>(outputs, at, a0, a1, a2, a3, a4, a5, a6, a7);
                StoreSums<TRows>(outputs, at + width, b0, b1, b2, b3, b4, b5, b6, b7);
                if (TXor.Value)
                {
                    TField.Store(AddSums<TRows>(x0, added, a0, a1, a2, a3, a4, a5, a6, a7), xor + at);
                    TField.Store(AddSums<TRows>(x1, added, b0, b1, b2, b3, b4, b5, b6, b7), xor + at + width);
                }
            }
        }
        for (; end - at >= width; at += width)
        {
            TVector x = TField.Zero;
            TVector a0 = x, a1 = x, a2 = x, a3 = x, a4 = x, a5 = x, a6 = x, a7 = x;
            if (first != 0)
            {
                LoadSums<TRows>(outputs, at, ref a0, ref a1, ref a2, ref a3, ref a4, ref a5, ref a6, ref a7);
                if (TXor.Value) x = TField.Load(xor + at);
            }
            TCoefficient* c = matrix;
            for (int i = 0; i < count; i++, c += StripeMatrix.Stride)
            {
                TVector value = TField.Load(sources[i] + at);
                if (TCopy.Value && copies[i] != null) TField.Store(value, copies[i] + at);
                if (TXor.Value && i < xored) x = TField.Xor(x, value);
                TVector low = TField.LowPart(value), high = TField.HighPart(value);
                AddOne<TRows, One>(ref a0, low, high, c);
                AddOne<TRows, Two>(ref a1, low, high, c);
                AddOne<TRows, Three>(ref a2, low, high, c);
                AddOne<TRows, Four>(ref a3, low, high, c);
                AddOne<TRows, Five>(ref a4, low, high, c);
                AddOne<TRows, Six>(ref a5, low, high, c);
                AddOne<TRows, Seven>(ref a6, low, high, c);
                AddOne<TRows, Eight>(ref a7, low, high, c);
            }
            StoreSums<TRows>(outputs, at, a0, a1, a2, a3, a4, a5, a6, a7);
            if (TXor.Value) TField.Store(AddSums<TRows>(x, added, a0, a1, a2, a3, a4, a5, a6, a7), xor + at);
        }

        // The ends take all sources at once: with the first group, so that each is read once, and never again.
        if (first + count == sums.Count && at < end) ScalarParityKernels.CombineRange(sums, at, end);
    }

    /// <summary>Adds the products of two vectors of a source to the sum of that number, where there is one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPair<TRows, TNumber>(
        ref TVector a, ref TVector b, TVector low0, TVector high0, TVector low1, TVector high1, TCoefficient* c)
        where TRows : struct, INumber
        where TNumber : struct, INumber
    {
        if (TRows.Value < TNumber.Value) return;
        a = TField.AddProduct(a, low0, high0, c + TNumber.Value - 1);
        b = TField.AddProduct(b, low1, high1, c + TNumber.Value - 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddOne<TRows, TNumber>(ref TVector a, TVector low, TVector high, TCoefficient* c)
        where TRows : struct, INumber
        where TNumber : struct, INumber
    {
        if (TRows.Value >= TNumber.Value) a = TField.AddProduct(a, low, high, c + TNumber.Value - 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadSums<TRows>(
        byte** outputs, nuint at, ref TVector a0, ref TVector a1, ref TVector a2, ref TVector a3,
        ref TVector a4, ref TVector a5, ref TVector a6, ref TVector a7)
        where TRows : struct, INumber
    {
        a0 = TField.Load(outputs[0] + at);
        if (TRows.Value > 1) a1 = TField.Load(outputs[1] + at);
        if (TRows.Value > 2) a2 = TField.Load(outputs[2] + at);
        if (TRows.Value > 3) a3 = TField.Load(outputs[3] + at);
        if (TRows.Value > 4) a4 = TField.Load(outputs[4] + at);
        if (TRows.Value > 5) a5 = TField.Load(outputs[5] + at);
        if (TRows.Value > 6) a6 = TField.Load(outputs[6] + at);
        if (TRows.Value > 7) a7 = TField.Load(outputs[7] + at);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreSums<TRows>(
        byte** outputs, nuint at, TVector a0, TVector a1, TVector a2, TVector a3, TVector a4, TVector a5, TVector a6, TVector a7)
        where TRows : struct, INumber
    {
        TField.Store(a0, outputs[0] + at);
        if (TRows.Value > 1) TField.Store(a1, outputs[1] + at);
        if (TRows.Value > 2) TField.Store(a2, outputs[2] + at);
        if (TRows.Value > 3) TField.Store(a3, outputs[3] + at);
        if (TRows.Value > 4) TField.Store(a4, outputs[4] + at);
        if (TRows.Value > 5) TField.Store(a5, outputs[5] + at);
        if (TRows.Value > 6) TField.Store(a6, outputs[6] + at);
        if (TRows.Value > 7) TField.Store(a7, outputs[7] + at);
    }

    /// <summary>The XOR with the sums that are added to it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector AddSums<TRows>(
        TVector x, int added, TVector a0, TVector a1, TVector a2, TVector a3, TVector a4, TVector a5, TVector a6, TVector a7)
        where TRows : struct, INumber
    {
        if (added > 0) x = TField.Xor(x, a0);
        if (TRows.Value > 1 && added > 1) x = TField.Xor(x, a1);
        if (TRows.Value > 2 && added > 2) x = TField.Xor(x, a2);
        if (TRows.Value > 3 && added > 3) x = TField.Xor(x, a3);
        if (TRows.Value > 4 && added > 4) x = TField.Xor(x, a4);
        if (TRows.Value > 5 && added > 5) x = TField.Xor(x, a5);
        if (TRows.Value > 6 && added > 6) x = TField.Xor(x, a6);
        if (TRows.Value > 7 && added > 7) x = TField.Xor(x, a7);
        return x;
    }

    [MethodImpl(Hot)]
    private protected override void UpdateAll(
        StripeMatrix matrix, int index, byte* source, byte* block, byte** parities, int parityCount, nuint length)
    {
        TCoefficient* c = (TCoefficient*)matrix.Forms + ((nint)index * StripeMatrix.Stride);
        nuint width = (nuint)TField.Width, at = 0;
        for (; length - at >= width; at += width)
        {
            TVector value = TField.Load(source + at);
            TVector delta = TField.Xor(value, TField.Load(block + at));
            TField.Store(value, block + at);
            if (parities[0] != null) TField.Store(TField.Xor(TField.Load(parities[0] + at), delta), parities[0] + at);
            TVector low = TField.LowPart(delta), high = TField.HighPart(delta);
            for (int parity = 1; parity < parityCount; parity++)
            {
                byte* sum = parities[parity] + at;
                if (parities[parity] != null) TField.Store(TField.AddProduct(TField.Load(sum), low, high, c + parity - 1), sum);
            }
        }
        ScalarParityKernels.UpdateAllRange(matrix, index, source, block, parities, parityCount, at, length);
    }

    private static TCoefficient* BuildCoefficients()
    {
        const int Elements = 256;
        var table = (TCoefficient*)NativeMemory.AlignedAlloc((nuint)(Elements * sizeof(TCoefficient)), 64);
        for (int c = 0; c < Elements; c++) table[c] = TField.Coefficient((byte)c);
        return table;
    }
}
