// The field that RAID 6 computes in: GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11D), generator 2.
//
// Theory of operation: every non-zero element is a power of 2, so a product is a sum of logarithms. The tables are built once;
// vector kernels take from here the nibble tables and the 8x8 bit matrices of a constant, which are only other ways to write
// "multiply by c". The polynomial is that of Linux md and of H. Peter Anvin, "The mathematics of RAID-6"; gf2p8mulb of x86
// computes modulo 0x11B and cannot be used.

namespace Polyblk.Raid.Parity;

/// <summary>Scalar arithmetic in GF(2^8) modulo 0x11D, generator 2.</summary>
public static class GaloisField
{
    /// <summary>The reduction polynomial without its x^8 term.</summary>
    public const byte Polynomial = 0x1D;

    private static readonly byte[] Exponentials = BuildExponentials();
    private static readonly byte[] Logarithms = BuildLogarithms();

    /// <summary>
    /// 2 to the <paramref name="exponent"/>; any exponent, negative ones too (the order of the generator is 255).
    /// </summary>
    public static byte Power(int exponent)
    {
        int reduced = exponent % 255;
        return Exponentials[reduced < 0 ? reduced + 255 : reduced];
    }

    /// <summary>The power of the generator that gives an element: 0 to 254.</summary>
    /// <exception cref="DivideByZeroException">Zero is none.</exception>
    public static int Log(byte a) =>
        a == 0 ? throw new DivideByZeroException("Zero is no power of the generator of GF(2^8).") : Logarithms[a];

    /// <summary>The product of two elements.</summary>
    public static byte Multiply(byte a, byte b) =>
        a == 0 || b == 0 ? (byte)0 : Exponentials[Logarithms[a] + Logarithms[b]];

    /// <summary>The element that gives 1 when multiplied with <paramref name="a"/>.</summary>
    /// <exception cref="DivideByZeroException">Zero has no inverse.</exception>
    public static byte Inverse(byte a) =>
        a == 0 ? throw new DivideByZeroException("Zero has no inverse in GF(2^8).") : Exponentials[255 - Logarithms[a]];

    /// <summary>Twice the element: one step of Horner's rule.</summary>
    public static byte Double(byte a) => (byte)((a << 1) ^ ((a & 0x80) != 0 ? Polynomial : 0));

    /// <summary>
    /// The 8x8 bit matrix by which the affine instruction (gf2p8affineqb, Intel SDM volume 2) multiplies by
    /// <paramref name="c"/>. The instruction takes bit i of its result from the parity of matrix byte 7-i AND the operand.
    /// </summary>
    public static ulong AffineMatrix(byte c)
    {
        ulong matrix = 0;
        for (int resultBit = 0; resultBit < 8; resultBit++)
        {
            byte row = 0;
            for (int operandBit = 0; operandBit < 8; operandBit++)
            {
                byte image = Multiply(c, (byte)(1 << operandBit));
                row |= (byte)(((image >> resultBit) & 1) << operandBit);
            }
            matrix |= (ulong)row << (8 * (7 - resultBit));
        }
        return matrix;
    }

    /// <summary>The products of <paramref name="c"/> with 0..15 (shift 0) or with 0x00, 0x10 .. 0xF0 (shift 4).</summary>
    internal static void NibbleProducts(byte c, int shift, Span<byte> products)
    {
        for (int nibble = 0; nibble < 16; nibble++) products[nibble] = Multiply(c, (byte)(nibble << shift));
    }

    private static byte[] BuildExponentials()
    {
        // Doubled, so that the sum of two logarithms needs no reduction.
        var table = new byte[512];
        byte value = 1;
        for (int i = 0; i < table.Length; i++)
        {
            table[i] = value;
            value = Double(value);
        }
        return table;
    }

    private static byte[] BuildLogarithms()
    {
        var table = new byte[256];
        byte value = 1;
        for (int i = 0; i < 255; i++)
        {
            table[value] = (byte)i;
            value = Double(value);
        }
        return table;
    }
}
