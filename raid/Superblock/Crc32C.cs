using System.Buffers.Binary;
using System.Numerics;

namespace Polyblk.Raid.Superblock;

/// <summary>
/// CRC-32C (Castagnoli): polynomial 0x1EDC6F41 reflected, initial and final XOR 0xFFFFFFFF (RFC 3720, appendix B.4).
/// </summary>
public static class Crc32C
{
    /// <summary>The checksum of the bytes; the runtime uses the processor's CRC instruction where there is one.</summary>
    public static uint Compute(ReadOnlySpan<byte> bytes) => ~Continue(uint.MaxValue, bytes);

    /// <summary>
    /// Another checksum of the same strength, for much data: of every 32 bytes, the words go to four checksums in turn, and the
    /// result is the checksum of those and of what is left over. The processor makes the four side by side, where one would wait for
    /// itself.
    /// </summary>
    public static uint ComputeInterleaved(ReadOnlySpan<byte> bytes)
    {
        uint a = uint.MaxValue, b = uint.MaxValue, c = uint.MaxValue, d = uint.MaxValue;
        for (; bytes.Length >= 4 * sizeof(ulong); bytes = bytes[(4 * sizeof(ulong))..])
        {
            a = BitOperations.Crc32C(a, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            b = BitOperations.Crc32C(b, BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]));
            c = BitOperations.Crc32C(c, BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]));
            d = BitOperations.Crc32C(d, BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));
        }

        uint all = BitOperations.Crc32C(BitOperations.Crc32C(uint.MaxValue, ((ulong)a << 32) | b), ((ulong)c << 32) | d);
        return ~Continue(all, bytes);
    }

    /// <summary>Folds more bytes into a running, not yet inverted checksum.</summary>
    internal static uint Continue(uint state, ReadOnlySpan<byte> bytes)
    {
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
            state = BitOperations.Crc32C(state, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        foreach (byte value in bytes) state = BitOperations.Crc32C(state, value);
        return state;
    }
}
