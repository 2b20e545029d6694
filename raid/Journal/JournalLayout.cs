// Where the journal of a parity array lies: on every member between the superblocks and the data.
//
// Theory of operation. The area is cut into slots of a page and a row each: a record is a page that says what it is of, and behind
// it the partial parity (JournalRecord). A row has one slot, given by its number, on each member that holds a parity of it; so a
// row never has two records, and a record goes away when the next one of its slot is written. Records of P and of Q lie in halves
// of their own, because a member holds P of some rows and Q of others.

using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Journal;

/// <summary>See the top of the file. Offsets are bytes of a member.</summary>
internal sealed class JournalLayout
{
    /// <summary>Where the area begins: behind the second superblock.</summary>
    public const long AreaOffset = 128 << 10;

    /// <summary>Bytes of a record before its partial parity: a page, so that the parity stays aligned.</summary>
    public const int HeaderBytes = 4096;

    private const long MostDataOffset = 8 << 20;
    private const ulong Spread = 0x9E37_79B9_7F4A_7C15; // 2^64 / golden ratio: neighbouring rows get different slots

    private readonly long _begin;
    private readonly int _slotBytes;
    private readonly int _parityCount;

    private JournalLayout(long begin, int slotBytes, int parityCount, int slotCount)
    {
        _begin = begin;
        _slotBytes = slotBytes;
        _parityCount = parityCount;
        SlotCount = slotCount;
    }

    /// <summary>Bytes of the area that are used.</summary>
    public long AreaBytes => (long)_parityCount * SlotCount * _slotBytes;

    /// <summary>Slots of each parity on every member; at least 1.</summary>
    public int SlotCount { get; }

    /// <summary>The layout for a geometry; null where it has no parity, or no room before its data.</summary>
    public static JournalLayout? Of(RaidGeometry geometry) => Of(geometry, AreaOffset, geometry.DataOffset);

    /// <summary>The layout for a geometry in a part of the area.</summary>
    /// <param name="geometry">The geometry.</param>
    /// <param name="begin">Where the part begins, a multiple of 4096.</param>
    /// <param name="end">Where it ends.</param>
    public static JournalLayout? Of(RaidGeometry geometry, long begin, long end)
    {
        if (!geometry.HasParity)
        {
            return null;
        }

        int slotBytes = HeaderBytes + RaidUnits.RowBytes(geometry);
        long count = (end - begin) / ((long)slotBytes * geometry.ParityCount);
        return count < 1 ? null : new JournalLayout(begin, slotBytes, geometry.ParityCount, (int)count);
    }

    /// <summary>
    /// Where the data of a new array with a journal begins: at a thirty-second of its smallest drive, from 1 to 8 MiB. The more slots
    /// there are, the more rarely rows that are written at the same time share one, and wait for each other.
    /// </summary>
    /// <param name="driveBytes">Bytes of the smallest drive.</param>
    public static long DataOffsetFor(long driveBytes) =>
        Math.Clamp(driveBytes / 32 / RaidGeometry.DefaultDataOffset * RaidGeometry.DefaultDataOffset, RaidGeometry.DefaultDataOffset, MostDataOffset);

    /// <summary>The slot of a row, 0 to <see cref="SlotCount"/> - 1.</summary>
    public int SlotOf(long row) => (int)((((ulong)row * Spread) >> 32) % (ulong)SlotCount);

    /// <summary>Where the record of a slot lies on the member that holds that parity.</summary>
    /// <param name="parity">0 is P, 1 is Q.</param>
    /// <param name="slot">The slot.</param>
    public long OffsetOf(int parity, int slot) => _begin + (((long)parity * SlotCount) + slot) * _slotBytes;
}
