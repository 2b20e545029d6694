// What must stay as it is: a sample of it, by which each method's reads are checked without a write.
//
// The sample is at most 64 regions of 1 MiB: all of what is small, otherwise the beginning, the end and places between them that
// the seed chooses. It is taken once, by the shortest way (the array in this process; plain reads of a drive). A method is right
// when it reads the same.

using Polyblk.Core.Block;

namespace Polyblk.Compare.Load;

/// <summary>Reads into a buffer at an offset.</summary>
public delegate Task ReadAt(long offsetBytes, Memory<byte> buffer);

/// <summary>A sample of a content that nothing may change.</summary>
public sealed class KeptContent
{
    /// <summary>Bytes of a region; the last one may be shorter.</summary>
    public const int RegionBytes = 1 << 20;

    private const int MostRegions = 64;
    private const int Granule = 4096;

    private readonly (long Offset, int Length, byte[] Digest)[] _regions;

    private KeptContent((long Offset, int Length, byte[] Digest)[] regions, string whyNoWrites)
    {
        _regions = regions;
        WhyNoWrites = whyNoWrites;
    }

    /// <summary>The regions, in their order.</summary>
    public IEnumerable<(long Offset, int Length)> Regions => _regions.Select(r => (r.Offset, r.Length));

    /// <summary>Why nothing writes, and what would change that.</summary>
    public string WhyNoWrites { get; }

    /// <summary>What a check does, for the report.</summary>
    public string Description => $"{_regions.Length} regions ({_regions.Sum(r => (long)r.Length) >> 20} MiB) read and compared by SHA-256 with what is on the drives; nothing was written";

    /// <summary>Takes the sample.</summary>
    /// <param name="sizeBytes">How much there is.</param>
    /// <param name="whyNoWrites">See <see cref="WhyNoWrites"/>.</param>
    /// <param name="read">Reads it by the shortest way.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static async Task<KeptContent> TakeAsync(long sizeBytes, string whyNoWrites, ReadAt read, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(read);
        var regions = new List<(long, int, byte[])>();
        byte[] buffer = new byte[RegionBytes];
        foreach (long offset in Offsets(sizeBytes))
        {
            cancellation.ThrowIfCancellationRequested();
            int length = (int)Math.Min(RegionBytes, (sizeBytes - offset) / Granule * Granule);
            await read(offset, buffer.AsMemory(0, length)).ConfigureAwait(false);
            regions.Add((offset, length, Sha256.Hash(buffer.AsSpan(0, length))));
        }

        return new KeptContent([.. regions], whyNoWrites);
    }

    /// <summary>Reads the same regions another way.</summary>
    /// <returns>Null when all are the same, or which is not.</returns>
    public async Task<string?> CompareAsync(ReadAt read, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(read);
        byte[] buffer = new byte[RegionBytes];
        foreach ((long offset, int length, byte[] digest) in _regions)
        {
            cancellation.ThrowIfCancellationRequested();
            await read(offset, buffer.AsMemory(0, length)).ConfigureAwait(false);
            if (!Sha256.Hash(buffer.AsSpan(0, length)).AsSpan().SequenceEqual(digest))
            {
                return Differs(offset, length);
            }
        }

        return null;
    }

    /// <summary>
    /// Compares sums that were made elsewhere: in a virtual machine, from where the content itself would take long.
    /// </summary>
    /// <param name="sums">Makes SHA-256 of ranges, in their order, in hexadecimal.</param>
    /// <returns>Null when all are the same, or which is not.</returns>
    public async Task<string?> CompareSumsAsync(Func<IReadOnlyList<(long Offset, int Length)>, Task<IReadOnlyList<string>>> sums)
    {
        ArgumentNullException.ThrowIfNull(sums);
        IReadOnlyList<string> made = await sums([.. _regions.Select(r => (r.Offset, r.Length))]).ConfigureAwait(false);
        if (made.Count != _regions.Length)
        {
            return $"{made.Count} sums of {_regions.Length} regions came back";
        }

        int wrong = Enumerable.Range(0, made.Count).FirstOrDefault(i => !Convert.ToHexString(_regions[i].Digest).Equals(made[i], StringComparison.OrdinalIgnoreCase), -1);
        return wrong < 0 ? null : Differs(_regions[wrong].Offset, _regions[wrong].Length);
    }

    private static string Differs(long offset, int length) => $"the {length} bytes at {offset} are not what the drives hold";

    private static IEnumerable<long> Offsets(long sizeBytes)
    {
        long regions = (sizeBytes - Granule + RegionBytes) / RegionBytes;
        if (regions <= MostRegions)
        {
            return Enumerable.Range(0, (int)regions).Select(i => (long)i * RegionBytes);
        }

        var chosen = new SortedSet<long> { 0, regions - 1 };
        var random = new Random(1);
        while (chosen.Count < MostRegions)
        {
            chosen.Add(random.NextInt64(regions));
        }

        return chosen.Select(i => i * RegionBytes);
    }
}
