// The AVX-512/GFNI field with its instructions played in software, so that its algorithm is proven on any processor.

using System.Numerics;
using System.Runtime.Intrinsics;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Tests.Parity;

/// <summary>
/// 64-byte vectors (in software where the processor has none) whose affine instruction is emulated from its definition.
/// </summary>
internal readonly unsafe struct EmulatedGfniField : IVectorField<Vector512<byte>, MatrixCoefficient>
{
    public static int Width => Avx512GfniField.Width;
    public static string Name => "avx512-gfni (emulated)";
    public static bool MultiplyIsCheap => Avx512GfniField.MultiplyIsCheap;
    public static Vector512<byte> Zero => Vector512<byte>.Zero;

    public static Vector512<byte> Load(byte* source) => Vector512.Load(source);

    public static void Store(Vector512<byte> value, byte* destination) => value.Store(destination);

    public static void StoreNonTemporal(Vector512<byte> value, byte* destination) => value.StoreAlignedNonTemporal(destination);

    public static Vector512<byte> Xor(Vector512<byte> a, Vector512<byte> b) => a ^ b;

    public static Vector512<byte> Double(Vector512<byte> a) => Affine(a, Avx512GfniField.DoubleMatrix);

    public static Vector512<byte> Multiply(Vector512<byte> a, in MatrixCoefficient coefficient) => Affine(a, coefficient.Matrix);

    public static MatrixCoefficient Coefficient(byte c) => Avx512GfniField.Coefficient(c);

    public static int SumsInRegisters => Avx512GfniField.SumsInRegisters;

    public static Vector512<byte> LowPart(Vector512<byte> a) => a;

    public static Vector512<byte> HighPart(Vector512<byte> a) => a;

    public static Vector512<byte> AddProduct(
        Vector512<byte> sum, Vector512<byte> low, Vector512<byte> high, MatrixCoefficient* coefficient) =>
        sum ^ Affine(low, coefficient->Matrix);

    /// <summary>gf2p8affineqb with immediate 0 on one byte: Intel SDM volume 2, "GF2P8AFFINEQB", affine_byte.</summary>
    public static byte AffineByte(ulong matrix, byte operand)
    {
        int result = 0;
        for (int bit = 0; bit < 8; bit++)
        {
            var row = (byte)(matrix >> (8 * (7 - bit)));
            result |= (BitOperations.PopCount((uint)(row & operand)) & 1) << bit;
        }
        return (byte)result;
    }

    private static Vector512<byte> Affine(Vector512<byte> a, ulong matrix)
    {
        byte* bytes = stackalloc byte[64];
        a.Store(bytes);
        for (int i = 0; i < 64; i++) bytes[i] = AffineByte(matrix, bytes[i]);
        return Vector512.Load(bytes);
    }
}

/// <summary>The same for 32-byte vectors.</summary>
internal readonly unsafe struct EmulatedGfni256Field : IVectorField<Vector256<byte>, MatrixCoefficient>
{
    public static int Width => Avx2GfniField.Width;
    public static string Name => "avx2-gfni (emulated)";
    public static bool MultiplyIsCheap => Avx2GfniField.MultiplyIsCheap;
    public static Vector256<byte> Zero => Vector256<byte>.Zero;
    public static int SumsInRegisters => Avx2GfniField.SumsInRegisters;

    public static Vector256<byte> Load(byte* source) => Vector256.Load(source);

    public static void Store(Vector256<byte> value, byte* destination) => value.Store(destination);

    public static void StoreNonTemporal(Vector256<byte> value, byte* destination) => value.StoreAlignedNonTemporal(destination);

    public static Vector256<byte> Xor(Vector256<byte> a, Vector256<byte> b) => a ^ b;

    public static Vector256<byte> Double(Vector256<byte> a) => Affine(a, Avx512GfniField.DoubleMatrix);

    public static Vector256<byte> Multiply(Vector256<byte> a, in MatrixCoefficient coefficient) => Affine(a, coefficient.Matrix);

    public static MatrixCoefficient Coefficient(byte c) => Avx2GfniField.Coefficient(c);

    public static Vector256<byte> LowPart(Vector256<byte> a) => a;

    public static Vector256<byte> HighPart(Vector256<byte> a) => a;

    public static Vector256<byte> AddProduct(
        Vector256<byte> sum, Vector256<byte> low, Vector256<byte> high, MatrixCoefficient* coefficient) =>
        sum ^ Affine(low, coefficient->Matrix);

    private static Vector256<byte> Affine(Vector256<byte> a, ulong matrix)
    {
        byte* bytes = stackalloc byte[Vector256<byte>.Count];
        a.Store(bytes);
        for (int i = 0; i < Vector256<byte>.Count; i++) bytes[i] = EmulatedGfniField.AffineByte(matrix, bytes[i]);
        return Vector256.Load(bytes);
    }
}
