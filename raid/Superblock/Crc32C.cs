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

    /// <summary>Folds more bytes into a running, not yet inverted checksum.</summary>
    internal static uint Continue(uint state, ReadOnlySpan<byte> bytes)
    {
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
            state = BitOperations.Crc32C(state, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        foreach (byte value in bytes) state = BitOperations.Crc32C(state, value);
        return state;
    }
}
