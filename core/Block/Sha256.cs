// SHA-256 without a library of the system.
//
// The framework's own asks OpenSSL, and ends the process where there is none that it knows: a server must not depend on that for
// the name of a file or the check of a sample. For some MiB at a time; not for secrets, and not for speed.

using System.Buffers.Binary;
using System.Numerics;

namespace Polyblk.Core.Block;

/// <summary>SHA-256 (FIPS 180-4).</summary>
public static class Sha256
{
    private const int BlockBytes = 64, Rounds = 64;

    // The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
    private static readonly uint[] s_constants = MakeConstants();

    /// <summary>The 32 bytes of the hash.</summary>
    public static byte[] Hash(ReadOnlySpan<byte> data)
    {
        Span<uint> state = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19];
        int at = 0;
        for (; at <= data.Length - BlockBytes; at += BlockBytes)
        {
            Mix(state, data.Slice(at, BlockBytes));
        }

        // The rest with its padding: a one bit, zeroes, and the length in bits as the last eight bytes of a block.
        ReadOnlySpan<byte> rest = data[at..];
        Span<byte> last = stackalloc byte[rest.Length + 1 + 8 <= BlockBytes ? BlockBytes : 2 * BlockBytes];
        last.Clear();
        rest.CopyTo(last);
        last[rest.Length] = 0x80;
        BinaryPrimitives.WriteUInt64BigEndian(last[^8..], (ulong)data.Length * 8);
        for (int i = 0; i < last.Length; i += BlockBytes)
        {
            Mix(state, last.Slice(i, BlockBytes));
        }

        var hash = new byte[32];
        for (int i = 0; i < state.Length; i++)
        {
            BinaryPrimitives.WriteUInt32BigEndian(hash.AsSpan(i * 4), state[i]);
        }

        return hash;
    }

    private static void Mix(Span<uint> state, ReadOnlySpan<byte> block)
    {
        Span<uint> w = stackalloc uint[Rounds];
        for (int i = 0; i < Rounds; i++)
        {
            w[i] = i < 16
                ? BinaryPrimitives.ReadUInt32BigEndian(block[(i * 4)..])
                : Small(w[i - 2], 17, 19, 10) + w[i - 7] + Small(w[i - 15], 7, 18, 3) + w[i - 16];
        }

        (uint a, uint b, uint c, uint d) = (state[0], state[1], state[2], state[3]);
        (uint e, uint f, uint g, uint h) = (state[4], state[5], state[6], state[7]);
        for (int i = 0; i < Rounds; i++)
        {
            uint first = h + Big(e, 6, 11, 25) + ((e & f) ^ (~e & g)) + s_constants[i] + w[i];
            uint second = Big(a, 2, 13, 22) + ((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d + first, c, b, a, first + second);
        }

        Span<uint> sums = [a, b, c, d, e, f, g, h];
        for (int i = 0; i < sums.Length; i++)
        {
            state[i] += sums[i];
        }
    }

    private static uint Big(uint x, int p, int q, int r) =>
        BitOperations.RotateRight(x, p) ^ BitOperations.RotateRight(x, q) ^ BitOperations.RotateRight(x, r);

    private static uint Small(uint x, int p, int q, int shift) =>
        BitOperations.RotateRight(x, p) ^ BitOperations.RotateRight(x, q) ^ (x >> shift);

    private static uint[] MakeConstants()
    {
        var constants = new uint[Rounds];
        for (int i = 0, candidate = 2; i < Rounds; candidate++)
        {
            if (Enumerable.Range(2, candidate - 2).All(d => candidate % d != 0))
            {
                constants[i++] = FractionOfCubeRoot(candidate);
            }
        }

        return constants;
    }

    /// <summary>
    /// The largest root with root^3 at most n * 2^96 is the cube root of n in units of 2^-32; its low half is the fraction.
    /// </summary>
    private static uint FractionOfCubeRoot(int n)
    {
        BigInteger target = new BigInteger(n) << 96;
        BigInteger root = 0;
        for (int bit = 35; bit >= 0; bit--)
        {
            BigInteger next = root | (BigInteger.One << bit);
            if (BigInteger.Pow(next, 3) <= target)
            {
                root = next;
            }
        }

        return (uint)(root & uint.MaxValue);
    }
}
