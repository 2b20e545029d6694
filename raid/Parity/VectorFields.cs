// The instruction sets: AVX-512 with GFNI, AVX2 with and without it, and portable 128-bit vectors (SSSE3, Arm AdvSimd).
//
// Theory of operation: doubling shifts each byte left and folds 0x1D into those whose top bit fell out; there is no byte shift,
// so it adds the vector to itself, and a signed comparison with zero finds the top bits. Multiplying by a constant splits a
// byte into nibbles and looks both up in a table of 16 products with a byte shuffle; GFNI multiplies by a bit matrix instead.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Polyblk.Raid.Parity;

/// <summary>A constant as an 8x8 bit matrix for gf2p8affineqb.</summary>
internal readonly struct MatrixCoefficient(ulong matrix)
{
    public readonly ulong Matrix = matrix;
}

/// <summary>A constant as two tables of 16 products: of the low and of the high nibble.</summary>
internal readonly struct NibbleCoefficient
{
    public readonly Vector128<byte> Low;
    public readonly Vector128<byte> High;

    public NibbleCoefficient(byte c)
    {
        Span<byte> products = stackalloc byte[16];
        GaloisField.NibbleProducts(c, 0, products);
        Low = Vector128.Create<byte>(products);
        GaloisField.NibbleProducts(c, 4, products);
        High = Vector128.Create<byte>(products);
    }
}

internal readonly unsafe struct Avx512GfniField : IVectorField<Vector512<byte>, MatrixCoefficient>
{
    /// <summary>The matrix of 2, written out so that the JIT sees a constant; a test compares it with the field's.</summary>
    internal const ulong DoubleMatrix = 0x8001828488102040;

    public static int Width => 64;
    public static string Name => ParityKernels.Avx512Gfni;
    public static bool MultiplyIsCheap => true;

    public static Vector512<byte> Zero => Vector512<byte>.Zero;

    public static bool IsSupported => Avx512BW.IsSupported && Gfni.V512.IsSupported;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load(byte* source) => Vector512.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<byte> value, byte* destination) => value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNonTemporal(Vector512<byte> value, byte* destination) => value.StoreAlignedNonTemporal(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Xor(Vector512<byte> a, Vector512<byte> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Double(Vector512<byte> a) =>
        Gfni.V512.GaloisFieldAffineTransform(a, Vector512.Create(DoubleMatrix).AsByte(), 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Multiply(Vector512<byte> a, in MatrixCoefficient coefficient) =>
        Gfni.V512.GaloisFieldAffineTransform(a, Vector512.Create(coefficient.Matrix).AsByte(), 0);

    public static MatrixCoefficient Coefficient(byte c) => new(GaloisField.AffineMatrix(c));

    public static int SumsInRegisters => 18;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> LowPart(Vector512<byte> a) => a;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> HighPart(Vector512<byte> a) => a;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> AddProduct(
        Vector512<byte> sum, Vector512<byte> low, Vector512<byte> high, MatrixCoefficient* coefficient) =>
        sum ^ Gfni.V512.GaloisFieldAffineTransform(low, Vector512.Create(coefficient->Matrix).AsByte(), 0);
}

/// <summary>256-bit vectors with the affine instruction, for processors that have it without AVX-512.</summary>
internal readonly unsafe struct Avx2GfniField : IVectorField<Vector256<byte>, MatrixCoefficient>
{
    public static int Width => 32;
    public static string Name => ParityKernels.Avx2Gfni;
    public static bool MultiplyIsCheap => true;

    public static Vector256<byte> Zero => Vector256<byte>.Zero;

    public static bool IsSupported => Avx2.IsSupported && Gfni.V256.IsSupported;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load(byte* source) => Vector256.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<byte> value, byte* destination) => value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNonTemporal(Vector256<byte> value, byte* destination) => value.StoreAlignedNonTemporal(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Xor(Vector256<byte> a, Vector256<byte> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Double(Vector256<byte> a) =>
        Gfni.V256.GaloisFieldAffineTransform(a, Vector256.Create(Avx512GfniField.DoubleMatrix).AsByte(), 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Multiply(Vector256<byte> a, in MatrixCoefficient coefficient) =>
        Gfni.V256.GaloisFieldAffineTransform(a, Vector256.Create(coefficient.Matrix).AsByte(), 0);

    public static MatrixCoefficient Coefficient(byte c) => new(GaloisField.AffineMatrix(c));

    public static int SumsInRegisters => 10;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LowPart(Vector256<byte> a) => a;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> HighPart(Vector256<byte> a) => a;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> AddProduct(
        Vector256<byte> sum, Vector256<byte> low, Vector256<byte> high, MatrixCoefficient* coefficient) =>
        sum ^ Gfni.V256.GaloisFieldAffineTransform(low, Vector256.Create(coefficient->Matrix).AsByte(), 0);
}

internal readonly unsafe struct Avx2Field : IVectorField<Vector256<byte>, NibbleCoefficient>
{
    public static int Width => 32;
    public static string Name => ParityKernels.Avx2Name;
    public static bool MultiplyIsCheap => false;

    public static Vector256<byte> Zero => Vector256<byte>.Zero;

    public static bool IsSupported => Avx2.IsSupported;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load(byte* source) => Vector256.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<byte> value, byte* destination) => value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNonTemporal(Vector256<byte> value, byte* destination) => value.StoreAlignedNonTemporal(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Xor(Vector256<byte> a, Vector256<byte> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Double(Vector256<byte> a)
    {
        Vector256<byte> overflowed = Avx2.CompareGreaterThan(Vector256<sbyte>.Zero, a.AsSByte()).AsByte();
        return (a + a) ^ (overflowed & Vector256.Create(GaloisField.Polynomial));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Multiply(Vector256<byte> a, in NibbleCoefficient coefficient)
    {
        Vector256<byte> mask = Vector256.Create((byte)0x0F);
        Vector256<byte> low = Avx2.Shuffle(Vector256.Create(coefficient.Low, coefficient.Low), a & mask);
        Vector256<byte> highNibbles = (a.AsUInt16() >>> 4).AsByte() & mask;
        return low ^ Avx2.Shuffle(Vector256.Create(coefficient.High, coefficient.High), highNibbles);
    }

    public static NibbleCoefficient Coefficient(byte c) => new(c);

    public static int SumsInRegisters => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LowPart(Vector256<byte> a) => a & Vector256.Create((byte)0x0F);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> HighPart(Vector256<byte> a) => (a.AsUInt16() >>> 4).AsByte() & Vector256.Create((byte)0x0F);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> AddProduct(
        Vector256<byte> sum, Vector256<byte> low, Vector256<byte> high, NibbleCoefficient* coefficient) =>
        sum ^ Avx2.Shuffle(Avx2.BroadcastVector128ToVector256((byte*)coefficient), low)
            ^ Avx2.Shuffle(Avx2.BroadcastVector128ToVector256((byte*)coefficient + Vector128<byte>.Count), high);
}

internal readonly unsafe struct PortableField : IVectorField<Vector128<byte>, NibbleCoefficient>
{
    public static int Width => 16;
    public static string Name => ParityKernels.Portable;
    public static bool MultiplyIsCheap => false;

    public static Vector128<byte> Zero => Vector128<byte>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Load(byte* source) => Vector128.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<byte> value, byte* destination) => value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNonTemporal(Vector128<byte> value, byte* destination) => value.StoreAlignedNonTemporal(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Xor(Vector128<byte> a, Vector128<byte> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Double(Vector128<byte> a)
    {
        Vector128<byte> overflowed = Vector128.LessThan(a.AsSByte(), Vector128<sbyte>.Zero).AsByte();
        return (a + a) ^ (overflowed & Vector128.Create(GaloisField.Polynomial));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Multiply(Vector128<byte> a, in NibbleCoefficient coefficient)
    {
        // Indices are below 16, where the native shuffle means the same on every platform.
        Vector128<byte> mask = Vector128.Create((byte)0x0F);
        Vector128<byte> low = Vector128.ShuffleNative(coefficient.Low, a & mask);
        Vector128<byte> highNibbles = (a.AsUInt16() >>> 4).AsByte() & mask;
        return low ^ Vector128.ShuffleNative(coefficient.High, highNibbles);
    }

    public static NibbleCoefficient Coefficient(byte c) => new(c);

    public static int SumsInRegisters => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> LowPart(Vector128<byte> a) => a & Vector128.Create((byte)0x0F);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> HighPart(Vector128<byte> a) => (a.AsUInt16() >>> 4).AsByte() & Vector128.Create((byte)0x0F);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> AddProduct(
        Vector128<byte> sum, Vector128<byte> low, Vector128<byte> high, NibbleCoefficient* coefficient) =>
        sum ^ Vector128.ShuffleNative(coefficient->Low, low) ^ Vector128.ShuffleNative(coefficient->High, high);
}
