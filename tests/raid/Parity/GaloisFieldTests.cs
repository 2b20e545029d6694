using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Tests.Parity;

public class GaloisFieldTests
{
    /// <summary>Schoolbook multiplication: shift, add, reduce by 0x11D.</summary>
    private static byte SlowMultiply(int a, int b)
    {
        int product = 0;
        for (int bit = 0; bit < 8; bit++)
            if ((b >> bit & 1) != 0) product ^= a << bit;
        for (int bit = 15; bit >= 8; bit--)
            if ((product >> bit & 1) != 0) product ^= 0x11D << (bit - 8);
        return (byte)product;
    }

    [Fact]
    public void MultiplicationIsThatOfTheRaid6Field()
    {
        for (int a = 0; a < 256; a++)
            for (int b = 0; b < 256; b++)
                Assert.Equal(SlowMultiply(a, b), GaloisField.Multiply((byte)a, (byte)b));
    }

    [Fact]
    public void DoublingAndInversesAgreeWithMultiplication()
    {
        for (int a = 0; a < 256; a++)
        {
            Assert.Equal(SlowMultiply(a, 2), GaloisField.Double((byte)a));
            if (a != 0) Assert.Equal(1, GaloisField.Multiply((byte)a, GaloisField.Inverse((byte)a)));
        }
        Assert.Throws<DivideByZeroException>(() => GaloisField.Inverse(0));
    }

    [Fact]
    public void PowersOfTwoHaveTheFullPeriod()
    {
        Assert.Equal(1, GaloisField.Power(0));
        Assert.Equal(0x1D, GaloisField.Power(8));
        Assert.Equal(1, GaloisField.Power(255));
        Assert.Equal(GaloisField.Power(254), GaloisField.Power(-1));
        Assert.Equal(GaloisField.Power(5), GaloisField.Power(5 - 510));
        Assert.Equal(255, Enumerable.Range(0, 255).Select(GaloisField.Power).Distinct().Count());
    }

    [Fact]
    public void AffineMatricesMultiplyWhenTheInstructionIsEmulated()
    {
        for (int c = 0; c < 256; c++)
        {
            ulong matrix = GaloisField.AffineMatrix((byte)c);
            for (int value = 0; value < 256; value++)
                Assert.Equal(SlowMultiply(c, value), EmulatedGfniField.AffineByte(matrix, (byte)value));
        }
    }

    [Fact]
    public void TheMatrixOfTwoIsTheOneWrittenOut() =>
        Assert.Equal(Avx512GfniField.DoubleMatrix, GaloisField.AffineMatrix(2));

    [Fact]
    public void TheEmulatedInstructionKnowsTheIdentityAndTheDocumentedBitOrder()
    {
        // 0x0102040810204080 is the identity of gf2p8affineqb; 0x8040201008040201 reverses the bits of a byte.
        for (int value = 0; value < 256; value++)
        {
            Assert.Equal(value, EmulatedGfniField.AffineByte(0x0102040810204080, (byte)value));
            int reversed = 0;
            for (int bit = 0; bit < 8; bit++) reversed |= (value >> bit & 1) << (7 - bit);
            Assert.Equal(reversed, EmulatedGfniField.AffineByte(0x8040201008040201, (byte)value));
        }
    }
}
