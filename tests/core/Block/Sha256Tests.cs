using System.Security.Cryptography;
using System.Text;
using Polyblk.Core.Block;

namespace Polyblk.Core.Tests.Block;

public sealed class Sha256Tests
{
    [Fact]
    public void IsTheStandardsOwnExample() => Assert.Equal(
        "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
        Convert.ToHexString(Sha256.Hash(Encoding.ASCII.GetBytes("abc"))));

    [Fact]
    public void AgreesWithTheFrameworkAtEveryLengthAroundABlock()
    {
        var random = new Random(7);
        for (int length = 0; length <= 200; length++)
        {
            var data = new byte[length];
            random.NextBytes(data);
            Assert.Equal(SHA256.HashData(data), Sha256.Hash(data));
        }
    }
}
