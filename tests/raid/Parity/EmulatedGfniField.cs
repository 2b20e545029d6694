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
