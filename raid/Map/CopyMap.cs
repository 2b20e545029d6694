// Where a new drive does not hold what the old one holds: one bit for each region of a member.
//
// At first every bit is set. The copying (Jobs/CopyJob.cs) clears a bit when it takes the region, before it locks and reads it; who
// leaves the two drives different sets it, before he lets go of his lock. So a region whose bit is clear, and which nobody copies, is
// the same on both drives, whatever happened in which order.
//
// Regions begin behind the slots of the superblock, not with the data: what an array keeps between them is copied, too.

using System.Numerics;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Map;

/// <summary>See the top of the file. Any thread.</summary>
internal sealed class CopyMap
{
    /// <summary>Bytes of a region, which begins at a multiple of that on the drive.</summary>
    public const int RegionBytes = 256 << 10;

    private readonly ulong[] _words;
    private readonly long _end;
    private readonly long _count;
    private long _left;

    public CopyMap(RaidGeometry geometry)
    {
        _end = geometry.DataOffset + geometry.MemberDataSize;
        _count = (_end + RegionBytes - 1) / RegionBytes;
        _words = new ulong[(_count + 63) / 64];
        for (long i = 0; i < _count; i++)
        {
            _words[i >> 6] |= 1UL << (int)i;
        }

        _left = _count;
    }

    /// <summary>How many regions are left.</summary>
    public long Left => Volatile.Read(ref _left);

    /// <summary>All regions.</summary>
    public long Count => _count;

    /// <summary>The first byte of a region on the drives.</summary>
    public static long Begin(long region) => Math.Max(region * RegionBytes, SuperblockFormat.MinDataOffset);

    /// <summary>The first byte behind a region.</summary>
    public long End(long region) => Math.Min((region + 1) * RegionBytes, _end);

    /// <summary>The next region that is left, in cyclic order, which is not left any more; -1 when there is none.</summary>
    public long Take(long from)
    {
        long words = _words.Length;
        long first = Math.Min(from >> 6, words - 1);
        for (long i = 0; i <= words; i++)
        {
            long word = (first + i) % words;
            ulong bits = Volatile.Read(ref _words[word]);
            bits = i == 0 && from < _count ? bits & (ulong.MaxValue << (int)from) : bits;
            if (bits != 0)
            {
                int bit = BitOperations.TrailingZeroCount(bits);
                Interlocked.And(ref _words[word], ~(1UL << bit));
                Interlocked.Decrement(ref _left);
                return (word << 6) + bit;
            }
        }

        return -1;
    }

    /// <summary>The drives may differ in a range.</summary>
    /// <param name="offset">Its first byte on the drives.</param>
    /// <param name="length">Bytes, at least 1.</param>
    public void Mark(long offset, long length)
    {
        long last = Math.Min((offset + length - 1) / RegionBytes, _count - 1);
        for (long region = offset / RegionBytes; region <= last; region++)
        {
            ulong bit = 1UL << (int)region;
            if ((Interlocked.Or(ref _words[region >> 6], bit) & bit) == 0)
            {
                Interlocked.Increment(ref _left);
            }
        }
    }
}
