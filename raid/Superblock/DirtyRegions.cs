using System.Collections.Immutable;
using System.Numerics;

namespace Polyblk.Raid.Superblock;

/// <summary>
/// The write-intent bitmap as a superblock records it: which regions of the volume may have been written since members were last
/// known to agree. A region is a power of two of bytes of the volume; after a crash, members can disagree in marked ones only.
/// </summary>
/// <param name="Shift">Log2 of the bytes of a region, <see cref="MinShift"/> to <see cref="MaxShift"/>.</param>
/// <param name="SinceEvent">The event count of the update that last took all marks away; 0 when they were never.</param>
/// <param name="Words">One bit for each region, from the lowest of the first word on: <see cref="WordCount"/> words.</param>
public sealed record DirtyRegions(int Shift, ulong SinceEvent, ImmutableArray<ulong> Words)
{
    /// <summary>Words of a bitmap.</summary>
    public const int WordCount = 512;

    /// <summary>The most regions.</summary>
    public const int MaxRegions = WordCount * 64;

    /// <summary>The least <see cref="Shift"/>: 4 KiB.</summary>
    public const int MinShift = 12;

    /// <summary>The greatest <see cref="Shift"/>: what a volume of 2^62 bytes needs.</summary>
    public const int MaxShift = 48;

    private const int UsualRegions = 64;
    private const int UsualShift = 24;

    /// <summary>
    /// The shift for a volume. Small regions cost many updates of superblocks until all that is in use is marked, large ones a long
    /// resync: 16 MiB, less for small volumes, as much as is needed for large ones.
    /// </summary>
    public static int ShiftFor(long capacityBytes)
    {
        int usual = Math.Clamp(BitOperations.Log2((ulong)Math.Max(1, capacityBytes / UsualRegions)), MinShift, UsualShift);
        return Math.Max(usual, LeastShift(capacityBytes));
    }

    /// <summary>How many regions a volume has.</summary>
    public static int CountFor(long capacityBytes, int shift) => (int)((capacityBytes - 1) >> shift) + 1;

    /// <summary>What is wrong with it for a volume of that capacity, or null.</summary>
    public string? Check(long capacityBytes)
    {
        if (Shift is < MinShift or > MaxShift || Shift < LeastShift(capacityBytes) || Words.IsDefault || Words.Length != WordCount)
        {
            return $"regions of 2^{Shift} bytes are not possible";
        }

        int count = CountFor(capacityBytes, Shift);
        for (int word = 0; word < WordCount; word++)
        {
            int used = Math.Clamp(count - (word * 64), 0, 64);
            if (used < 64 && Words[word] >> used != 0)
            {
                return "regions beyond the volume's end are marked";
            }
        }

        return null;
    }

    /// <inheritdoc/>
    public bool Equals(DirtyRegions? other) =>
        other is not null && Shift == other.Shift && SinceEvent == other.SinceEvent && Words.AsSpan().SequenceEqual(other.Words.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Shift, SinceEvent, Words.IsDefaultOrEmpty ? 0 : Words[0]);

    private static int LeastShift(long capacityBytes)
    {
        int shift = MinShift;
        while (CountsMore(capacityBytes, shift))
        {
            shift++;
        }

        return shift;
    }

    private static bool CountsMore(long capacityBytes, int shift) => (capacityBytes - 1) >> shift >= MaxRegions;
}
