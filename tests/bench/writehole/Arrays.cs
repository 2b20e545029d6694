// The arrays that are compared, what is written to them, and what counts as lost.

using System.Globalization;
using System.Text;

namespace Polyblk.Bench.WriteHole;

/// <summary>An array of the comparison: of Linux md, or of polyblk.</summary>
internal sealed record TestedArray(string Kind, int Level, int Members, string Policy)
{
    /// <summary>All of them, in the order of their slices.</summary>
    public static IReadOnlyList<TestedArray> All { get; } =
    [
        new("md", 5, 4, "resync"), new("md", 5, 4, "bitmap"), new("md", 5, 4, "ppl"),
        new("polyblk", 5, 4, "bitmap"), new("polyblk", 5, 4, "journal"),
        new("md", 6, 5, "resync"), new("md", 6, 5, "bitmap"),
        new("polyblk", 6, 5, "bitmap"), new("polyblk", 6, 5, "journal"),
    ];

    /// <summary>The words of a call of guest.sh.</summary>
    public string Words(int index) => $"{index + 1} {Kind} {Level} {Members} {Policy}";

    public override string ToString() => $"{Kind} raid{Level} {Policy}";
}

/// <summary>What the arrays hold. Chunks are written or left alone in turn: a stripe of three has some of both.</summary>
internal static class Pattern
{
    public const int SpanMib = 24;
    public const int BlockBytes = 4096;
    public const int SectorBytes = 512;
    private const int ChunkBytes = 64 << 10;
    private const int WritesOfLoad = 5000;
    private const int SpanBytes = SpanMib << 20;

    /// <summary>The first content. Every sector names itself, and no two differ by something that a parity could hide.</summary>
    public static byte[] Fill()
    {
        byte[] all = new byte[SpanBytes];
        for (int sector = 0; sector < SpanBytes / SectorBytes; sector++)
        {
            Span<byte> bytes = all.AsSpan(sector * SectorBytes, SectorBytes);
            new Random(sector).NextBytes(bytes);
            Encoding.ASCII.GetBytes($"block {sector / 8:D6} sector {sector % 8} ", bytes);
        }

        return all;
    }

    /// <summary>Writes of 4 KiB to random places in the even chunks, as a log that fio replays.</summary>
    public static string Load(Random random)
    {
        var log = new StringBuilder("fio version 2 iolog\nx add\nx open\n");
        for (int i = 0; i < WritesOfLoad; i++)
        {
            int chunk = 2 * random.Next(SpanBytes / ChunkBytes / 2);
            int offset = (chunk * ChunkBytes) + (random.Next(ChunkBytes / BlockBytes) * BlockBytes);
            log.Append(CultureInfo.InvariantCulture, $"x write {offset} {BlockBytes}\n");
        }

        return log.Append("x close\n").ToString();
    }

    /// <summary>Compares what was read with the first content.</summary>
    public static Damage Compare(byte[] first, ReadOnlySpan<byte> read)
    {
        int lost = 0, zero = 0, arrived = 0;
        for (int offset = 0; offset < SpanBytes; offset += SectorBytes)
        {
            ReadOnlySpan<byte> sector = read.Slice(offset, SectorBytes);
            if (sector.SequenceEqual(first.AsSpan(offset, SectorBytes))) continue;
            if (offset / ChunkBytes % 2 != 0)
            {
                lost++;
                if (!sector.ContainsAnyExcept((byte)0)) zero++;
            }
            else if (offset % BlockBytes == 0)
            {
                arrived++;
            }
        }

        return new Damage(lost, zero, arrived);
    }
}

/// <summary>What one look at an array without members found.</summary>
/// <param name="LostSectors">Sectors that nobody had written since the flush, and that are not what they were.</param>
/// <param name="Unreadable">Those of them that came as errors rather than as something wrong.</param>
/// <param name="Arrived">Blocks that were written and have changed.</param>
internal sealed record Damage(int LostSectors, int Unreadable, int Arrived);
