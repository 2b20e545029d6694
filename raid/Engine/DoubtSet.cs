// Where redundancy does not match the data: copies that differ, parity that does not fit, after a write that some members took
// and others refused.
//
// Theory of operation. An entry is a range that the resync does as one (the row of a parity array; up to 64 KiB of a mirror),
// named by its first unit, with the columns of it that are in doubt, one bit for each 512 bytes. What reads through redundancy
// asks here first: a mirror reads its first copy only, and a parity array answers an error instead of making a lost block from
// parity that does not fit. A write that makes the parity of columns from all their data takes them out again, and so does a
// resync.
//
// An entry is changed only while its range is locked (RangeLocks), so one entry has one writer at a time; different entries are
// added and taken out by all reactors at once, which the interlocked claim of a place makes safe. A mirror's ranges may be locked
// in parts: such an entry may be there twice, which Remove knows. The set is small and nearly always empty: Count is the only
// thing that a healthy array looks at.

namespace Polyblk.Raid.Engine;

/// <summary>See the top of the file.</summary>
internal sealed class DoubtSet
{
    /// <summary>
    /// The most entries. Beyond it, everything from the first range that found no place on is in doubt (ArrayState.PutInDoubt).
    /// </summary>
    public const int Capacity = 1024;

    private const int ColumnShift = 9;
    private const long Free = -1;
    private const long Claimed = -2;

    private readonly long[] _units = new long[Capacity];
    private readonly UInt128[] _columns = new UInt128[Capacity];
    private int _count;

    public DoubtSet() => Array.Fill(_units, Free);

    /// <summary>How many ranges are in doubt.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>The least unit that is in doubt; <see cref="long.MaxValue"/> when none is.</summary>
    public long First
    {
        get
        {
            long first = long.MaxValue;
            for (int i = 0; i < Capacity && Count != 0; i++)
            {
                long unit = Volatile.Read(ref _units[i]);
                first = unit >= 0 ? Math.Min(first, unit) : first;
            }

            return first;
        }
    }

    /// <summary>Whether columns [from, to), in bytes, of the range at a unit are in doubt.</summary>
    public bool Touches(long unit, int from, int to)
    {
        if (Count == 0)
        {
            return false;
        }

        UInt128 wanted = Mask(from, to);
        for (int i = IndexOf(unit, 0); i >= 0; i = IndexOf(unit, i + 1))
        {
            if ((_columns[i] & wanted) != UInt128.Zero)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Puts columns [from, to), in bytes, of the range at a unit in doubt. Returns false when there is no place left.
    /// </summary>
    public bool Add(long unit, int from, int to)
    {
        int found = IndexOf(unit, 0);
        if (found >= 0)
        {
            _columns[found] |= Mask(from, to);
            return true;
        }

        for (int i = 0; i < Capacity; i++)
        {
            if (Volatile.Read(ref _units[i]) == Free && Interlocked.CompareExchange(ref _units[i], Claimed, Free) == Free)
            {
                _columns[i] = Mask(from, to);
                Interlocked.Increment(ref _count);
                Volatile.Write(ref _units[i], unit);
                return true;
            }
        }

        return false;
    }

    /// <summary>Columns [from, to), in bytes, of the range at a unit are right again.</summary>
    public void Remove(long unit, int from, int to)
    {
        for (int i = Count == 0 ? -1 : IndexOf(unit, 0); i >= 0; i = IndexOf(unit, i + 1))
        {
            _columns[i] &= ~Mask(from, to);
            if (_columns[i] == UInt128.Zero)
            {
                Volatile.Write(ref _units[i], Free);
                Interlocked.Decrement(ref _count);
            }
        }
    }

    /// <summary>Copies the units that are in doubt; returns how many.</summary>
    public int CopyTo(Span<long> units)
    {
        int count = 0;
        for (int i = 0; i < Capacity && count < units.Length; i++)
        {
            long unit = Volatile.Read(ref _units[i]);
            if (unit >= 0)
            {
                units[count++] = unit;
            }
        }

        return count;
    }

    private int IndexOf(long unit, int start)
    {
        int found = _units.AsSpan(start).IndexOf(unit);
        return found < 0 ? -1 : start + found;
    }

    /// <summary>The bits of the columns that a range of bytes touches.</summary>
    private static UInt128 Mask(int from, int to)
    {
        int first = from >> ColumnShift;
        int count = ((to + (1 << ColumnShift) - 1) >> ColumnShift) - first;
        return (count >= 128 ? UInt128.MaxValue : (UInt128.One << count) - 1) << first;
    }
}
