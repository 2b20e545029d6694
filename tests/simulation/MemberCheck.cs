// Whether what lies on the members agrees: parities with the data, copies with each other. Computed here from the definition of
// the levels, not with the kernels of the product.

using Polyblk.Raid.Layout;
using Polyblk.Raid.Parity;

namespace Polyblk.Simulation.Tests;

/// <summary>See the top of the file.</summary>
internal static class MemberCheck
{
    /// <summary>Returns what does not agree, or null.</summary>
    /// <param name="geometry">Where what lies.</param>
    /// <param name="members">
    /// The data areas by role; empty for one that is not looked at: its copies, or all stripes of its group.
    /// </param>
    public static string? Find(RaidGeometry geometry, byte[][] members) =>
        geometry.HasParity ? FindParity(geometry, members) : geometry.CopyCount > 1 ? FindCopies(geometry, members) : null;

    /// <summary>
    /// By what a data block is multiplied in a parity, written once more: P, Q, and a row of a Cauchy matrix for each further
    /// one.
    /// </summary>
    public static byte Coefficient(int parity, int data) => parity switch
    {
        0 => 1,
        1 => GaloisField.Power(data),
        _ => GaloisField.Inverse((byte)(GaloisField.Power(-data) ^ GaloisField.Power(parity - 1))),
    };

    private static string? FindParity(RaidGeometry geometry, byte[][] members)
    {
        byte[][] made = [.. Enumerable.Range(0, geometry.ParityCount).Select(_ => new byte[geometry.ChunkSize])];
        for (long stripe = 0; stripe < geometry.StripeCount; stripe++)
        {
            ulong missing = geometry.MembersOf((int)(stripe % geometry.GroupCount)) & MaskOf(members, m => m.Length == 0);
            if (missing != 0)
            {
                continue;
            }

            Array.ForEach(made, parity => Array.Clear(parity));
            int at = (int)(geometry.StripeOffset(stripe) - geometry.DataOffset);
            for (int i = geometry.DataCount - 1; i >= 0; i--)
            {
                ReadOnlySpan<byte> block = members[geometry.DataMember(stripe, i)].AsSpan(at, geometry.ChunkSize);
                for (int parity = 0; parity < made.Length && block.ContainsAnyExcept((byte)0); parity++)
                {
                    AddProduct(Coefficient(parity, i), block, made[parity]);
                }
            }

            for (int parity = 0; parity < geometry.ParityCount; parity++)
            {
                byte[] member = members[geometry.ParityMember(stripe, parity)];
                if (!made[parity].AsSpan().SequenceEqual(member.AsSpan(at, geometry.ChunkSize)))
                {
                    int column = made[parity].AsSpan().CommonPrefixLength(member.AsSpan(at, geometry.ChunkSize));
                    return $"parity {parity} of stripe {stripe} does not match its data from byte {column} on: it is "
                        + $"{member[at + column]:x2}, not {made[parity][column]:x2}";
                }
            }
        }

        return null;
    }

    private static ulong MaskOf(byte[][] members, Func<byte[], bool> which)
    {
        ulong mask = 0;
        for (int role = 0; role < members.Length; role++)
        {
            mask |= which(members[role]) ? 1UL << role : 0;
        }

        return mask;
    }

    /// <summary>Adds a block, multiplied, to a parity: byte by byte, from a table of the products.</summary>
    private static void AddProduct(byte coefficient, ReadOnlySpan<byte> block, Span<byte> parity)
    {
        Span<byte> products = stackalloc byte[256];
        for (int value = 0; value < products.Length; value++)
        {
            products[value] = GaloisField.Multiply(coefficient, (byte)value);
        }

        for (int b = 0; b < block.Length; b++)
        {
            parity[b] ^= products[block[b]];
        }
    }

    private static string? FindCopies(RaidGeometry geometry, byte[][] members)
    {
        for (long offset = 0; offset < geometry.Capacity; offset += 4096)
        {
            ReadOnlySpan<byte> first = default;
            for (int copy = 0; copy < geometry.CopyCount; copy++)
            {
                MemberPlace place = geometry.Copy(offset, copy);
                if (members[place.Member].Length == 0)
                {
                    continue;
                }

                ReadOnlySpan<byte> block = members[place.Member].AsSpan((int)(place.Offset - geometry.DataOffset), 4096);
                if (!first.IsEmpty && !first.SequenceEqual(block))
                {
                    return $"the copies of the volume's bytes from {offset} on differ";
                }

                first = block;
            }
        }

        return null;
    }
}
