// The parity kernels on vectors: one text for every instruction set.
//
// Theory of operation: a kernel walks its blocks in columns of a few vectors. Within a column it visits each source once, with
// the sums in registers: every source byte is loaded once and every destination byte stored once, and the vectors of a column
// are independent chains that hide the latency of one another. Q is made by Horner's rule, from the last block to the first
// (Q = 2Q ^ D), or, where multiplication is as cheap as doubling, as a sum of independent products. Single vectors and then
// single bytes finish what is left.
//
// The hardware prefetchers follow only so many streams, and blocks at like offsets of their chunks share the sets of the first
// cache. More than eight sources are therefore taken in groups of eight, page by page: the sums of a page stay in the first
// cache between the groups, and each source is still read once. Where every source is copied as well there are twice as many
// streams, so those go in groups of four.
//
// Flags of an algorithm are type arguments, so that the JIT makes a loop of its own for each combination; the methods go
// straight to full optimisation, for a first call at tier 0 would take a thousand times as long as the later ones.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Polyblk.Raid.Parity;

internal static class VectorKernels
{
    public static ParityKernels Avx512Gfni() => new VectorParityKernels<Avx512GfniField, Vector512<byte>, MatrixCoefficient>();

    public static ParityKernels Avx2Gfni() => new VectorParityKernels<Avx2GfniField, Vector256<byte>, MatrixCoefficient>();

    public static ParityKernels Avx2() => new VectorParityKernels<Avx2Field, Vector256<byte>, NibbleCoefficient>();

    public static ParityKernels Portable() => new VectorParityKernels<PortableField, Vector128<byte>, NibbleCoefficient>();
}

/// <summary>A boolean that the JIT knows.</summary>
internal interface IFlag
{
    static abstract bool Value { get; }
}

internal readonly struct Yes : IFlag
{
    public static bool Value => true;
}

internal readonly struct No : IFlag
{
    public static bool Value => false;
}

internal sealed unsafe partial class VectorParityKernels<TField, TVector, TCoefficient> : ParityKernels
    where TField : struct, IVectorField<TVector, TCoefficient>
    where TVector : struct
    where TCoefficient : unmanaged
{
    private const MethodImplOptions Hot = MethodImplOptions.AggressiveOptimization;
    private const int GroupBlocks = 8;
    private const int CopyGroupBlocks = 4;
    private const nuint TileBytes = 4096;

    /// <summary>The coefficient of 2^i at index i; native memory that lives as long as the process.</summary>
    private readonly TCoefficient* powers = BuildPowers();

    public override string Name => TField.Name;

    public override void Xor(byte** sources, int count, byte* destination, nuint length) =>
        XorTiled<No>(sources, null, count, destination, length);

    public override void GeneratePq(byte** data, int count, byte* p, byte* q, nuint length)
    {
        if (p == null) PqTiled<No, No>(data, null, count, null, q, length);
        else PqTiled<Yes, No>(data, null, count, p, q, length);
    }

    public override void CopyXor(byte** sources, byte** staging, int count, byte* p, nuint length, bool nonTemporal = false)
    {
        if (nonTemporal && IsAligned(staging, count, p, p))
        {
            XorCore<Yes, Yes, No>(sources, staging, count, p, 0, length);
            Fence();
        }
        else
        {
            XorTiled<Yes>(sources, staging, count, p, length);
        }
    }

    public override void CopyPq(
        byte** sources, byte** staging, int count, byte* p, byte* q, nuint length, bool nonTemporal = false)
    {
        if (nonTemporal && IsAligned(staging, count, p, q))
        {
            PqCore<Yes, Yes, Yes, No>(sources, staging, 0, count, p, q, 0, length);
            Fence();
        }
        else
        {
            PqTiled<Yes, Yes>(sources, staging, count, p, q, length);
        }
    }

    public override void UpdateP(byte* source, byte* block, byte* p, nuint length) =>
        UpdateCore<Yes, No>(0, source, block, p, null, length);

    public override void UpdatePq(int index, byte* source, byte* block, byte* p, byte* q, nuint length)
    {
        if (p == null) UpdateCore<No, Yes>(index, source, block, null, q, length);
        else UpdateCore<Yes, Yes>(index, source, block, p, q, length);
    }

    public override void RecoverTwoData(byte** data, int count, int x, int y, byte* p, byte* q, nuint length) =>
        RecoverTwoCore(data, count, x, y, p, q, length);

    public override void RecoverDataFromQ(byte** data, int count, int x, byte* p, byte* q, nuint length) =>
        RecoverFromQCore(data, count, x, p, q, length);

    public override void MultiplyAccumulate(byte c, byte* source, byte* destination, nuint length)
    {
        TCoefficient coefficient = TField.Coefficient(c);
        nuint width = (nuint)TField.Width, at = 0;
        for (; length - at >= width; at += width)
        {
            TVector product = TField.Multiply(TField.Load(source + at), coefficient);
            TField.Store(TField.Xor(TField.Load(destination + at), product), destination + at);
        }
        ScalarParityKernels.MultiplyRange(c, source, destination, at, length);
    }


    /// <summary>Many sources are taken in groups, tile by tile: see the theory of operation.</summary>
    private static void XorTiled<TCopy>(byte** sources, byte** staging, int count, byte* destination, nuint length)
        where TCopy : struct, IFlag
    {
        int group = TCopy.Value ? CopyGroupBlocks : GroupBlocks;
        if (count <= group || IsAmong(sources, count, destination))
        {
            XorCore<TCopy, No, No>(sources, staging, count, destination, 0, length);
            return;
        }
        for (nuint at = 0; at < length; at += TileBytes)
        {
            nuint end = Math.Min(length, at + TileBytes);
            XorCore<TCopy, No, No>(sources, staging, group, destination, at, end);
            for (int first = group; first < count; first += group)
            {
                byte** copies = TCopy.Value ? staging + first : null;
                XorCore<TCopy, No, Yes>(sources + first, copies, Math.Min(group, count - first), destination, at, end);
            }
        }
    }

    /// <summary>As <see cref="XorTiled"/>; the last group comes first, for Horner's rule.</summary>
    private void PqTiled<TP, TCopy>(byte** sources, byte** staging, int count, byte* p, byte* q, nuint length)
        where TP : struct, IFlag
        where TCopy : struct, IFlag
    {
        int group = TCopy.Value ? CopyGroupBlocks : GroupBlocks;
        if (count <= group)
        {
            PqCore<TP, TCopy, No, No>(sources, staging, 0, count, p, q, 0, length);
            return;
        }
        int last = count - group;
        for (nuint at = 0; at < length; at += TileBytes)
        {
            nuint end = Math.Min(length, at + TileBytes);
            PqCore<TP, TCopy, No, No>(sources, staging, last, group, p, q, at, end);
            for (int next = last; next > 0; next -= group)
            {
                int first = Math.Max(0, next - group);
                PqCore<TP, TCopy, No, Yes>(sources, staging, first, next - first, p, q, at, end);
            }
        }
    }

    [MethodImpl(Hot)]
    private static void XorCore<TCopy, TStream, TAdd>(
        byte** sources, byte** staging, int count, byte* destination, nuint at, nuint end)
        where TCopy : struct, IFlag
        where TStream : struct, IFlag
        where TAdd : struct, IFlag
    {
        nuint width = (nuint)TField.Width, column = 8 * width;
        for (; end - at >= column; at += column)
        {
            TVector a0 = TField.Zero, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
            if (TAdd.Value)
            {
                XorFour<No, No>(destination + at, null, ref a0, ref a1, ref a2, ref a3);
                XorFour<No, No>(destination + at + 4 * width, null, ref a4, ref a5, ref a6, ref a7);
            }
            for (int i = 0; i < count; i++)
            {
                byte* source = sources[i] + at;
                byte* copy = TCopy.Value && staging[i] != null ? staging[i] + at : null;
                XorFour<TCopy, TStream>(source, copy, ref a0, ref a1, ref a2, ref a3);
                XorFour<TCopy, TStream>(source + 4 * width, copy == null ? null : copy + 4 * width, ref a4, ref a5, ref a6, ref a7);
            }
            StoreFour<TStream>(destination + at, a0, a1, a2, a3);
            StoreFour<TStream>(destination + at + 4 * width, a4, a5, a6, a7);
        }
        for (; end - at >= width; at += width)
        {
            TVector sum = TAdd.Value ? TField.Load(destination + at) : TField.Zero;
            for (int i = 0; i < count; i++)
            {
                TVector value = TField.Load(sources[i] + at);
                if (TCopy.Value && staging[i] != null) Put<TStream>(value, staging[i] + at);
                sum = TField.Xor(sum, value);
            }
            Put<TStream>(sum, destination + at);
        }
        ScalarParityKernels.XorRange(sources, staging, count, destination, at, end, TAdd.Value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void XorFour<TCopy, TStream>(
        byte* source, byte* copy, ref TVector a0, ref TVector a1, ref TVector a2, ref TVector a3)
        where TCopy : struct, IFlag
        where TStream : struct, IFlag
    {
        int width = TField.Width;
        TVector v0 = TField.Load(source), v1 = TField.Load(source + width);
        TVector v2 = TField.Load(source + 2 * width), v3 = TField.Load(source + 3 * width);
        if (TCopy.Value && copy != null) StoreFour<TStream>(copy, v0, v1, v2, v3);
        a0 = TField.Xor(a0, v0);
        a1 = TField.Xor(a1, v1);
        a2 = TField.Xor(a2, v2);
        a3 = TField.Xor(a3, v3);
    }

    [MethodImpl(Hot)]
    private void PqCore<TP, TCopy, TStream, TAdd>(
        byte** sources, byte** staging, int first, int count, byte* p, byte* q, nuint at, nuint end)
        where TP : struct, IFlag
        where TCopy : struct, IFlag
        where TStream : struct, IFlag
        where TAdd : struct, IFlag
    {
        nuint width = (nuint)TField.Width, column = 4 * width;
        for (; end - at >= column; at += column)
        {
            TVector p0 = TField.Zero, p1 = p0, p2 = p0, p3 = p0, q0 = p0, q1 = p0, q2 = p0, q3 = p0;
            if (TAdd.Value)
            {
                if (TP.Value) XorFour<No, No>(p + at, null, ref p0, ref p1, ref p2, ref p3);
                XorFour<No, No>(q + at, null, ref q0, ref q1, ref q2, ref q3);
            }
            for (int i = first + count - 1; i >= first; i--)
            {
                byte* source = sources[i] + at;
                TVector v0 = TField.Load(source), v1 = TField.Load(source + width);
                TVector v2 = TField.Load(source + 2 * width), v3 = TField.Load(source + 3 * width);
                if (TCopy.Value && staging[i] != null) StoreFour<TStream>(staging[i] + at, v0, v1, v2, v3);
                if (TP.Value)
                {
                    p0 = TField.Xor(p0, v0);
                    p1 = TField.Xor(p1, v1);
                    p2 = TField.Xor(p2, v2);
                    p3 = TField.Xor(p3, v3);
                }
                q0 = FoldQ(q0, v0, i);
                q1 = FoldQ(q1, v1, i);
                q2 = FoldQ(q2, v2, i);
                q3 = FoldQ(q3, v3, i);
            }
            if (TP.Value) StoreFour<TStream>(p + at, p0, p1, p2, p3);
            StoreFour<TStream>(q + at, q0, q1, q2, q3);
        }
        for (; end - at >= width; at += width)
        {
            TVector sumP = TP.Value && TAdd.Value ? TField.Load(p + at) : TField.Zero;
            TVector sumQ = TAdd.Value ? TField.Load(q + at) : TField.Zero;
            for (int i = first + count - 1; i >= first; i--)
            {
                TVector value = TField.Load(sources[i] + at);
                if (TCopy.Value && staging[i] != null) Put<TStream>(value, staging[i] + at);
                if (TP.Value) sumP = TField.Xor(sumP, value);
                sumQ = FoldQ(sumQ, value, i);
            }
            if (TP.Value) Put<TStream>(sumP, p + at);
            Put<TStream>(sumQ, q + at);
        }
        ScalarParityKernels.PqRange(sources, staging, first, count, p, q, at, end, TAdd.Value);
    }

    /// <summary>
    /// Folds block i into Q: by Horner's rule (blocks come from the last to the first), or as a product of its own.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private TVector FoldQ(TVector sum, TVector value, int i) =>
        TField.MultiplyIsCheap
            ? TField.Xor(sum, TField.Multiply(value, powers[i]))
            : TField.Xor(TField.Double(sum), value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreFour<TStream>(byte* destination, TVector v0, TVector v1, TVector v2, TVector v3)
        where TStream : struct, IFlag
    {
        int width = TField.Width;
        Put<TStream>(v0, destination);
        Put<TStream>(v1, destination + width);
        Put<TStream>(v2, destination + 2 * width);
        Put<TStream>(v3, destination + 3 * width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put<TStream>(TVector value, byte* destination)
        where TStream : struct, IFlag
    {
        if (TStream.Value) TField.StoreNonTemporal(value, destination);
        else TField.Store(value, destination);
    }

    private static bool IsAmong(byte** sources, int count, byte* destination)
    {
        for (int i = 0; i < count; i++)
            if (sources[i] == destination) return true;
        return false;
    }

    private static bool IsAligned(byte** staging, int count, byte* p, byte* q)
    {
        nuint bits = (nuint)p | (nuint)q;
        for (int i = 0; i < count; i++) bits |= (nuint)staging[i];
        return (bits & 63) == 0;
    }

    /// <summary>
    /// Non-temporal stores are not ordered with later ones: nobody may learn that the blocks are ready before they are. Partner:
    /// whatever publishes the request (the submission queue's tail, a mailbox).
    /// </summary>
    private static void Fence()
    {
        if (Sse.IsSupported) Sse.StoreFence();
        else Interlocked.MemoryBarrier();
    }

    private static TCoefficient* BuildPowers()
    {
        nuint size = (nuint)(MaxDataBlocks * sizeof(TCoefficient));
        var table = (TCoefficient*)NativeMemory.AlignedAlloc(size, 64);
        for (int i = 0; i < MaxDataBlocks; i++) table[i] = TField.Coefficient(GaloisField.Power(i));
        return table;
    }
}
