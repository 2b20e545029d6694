// The places that members could not write: each is as if the member had failed, there only.
//
// A place is a run of rows of one member. Rows are numbered as the array's parity is made: as many bytes at the same offset of
// every member as fit both a chunk and 64 KiB; of mirrors, as many bytes of the volume. One entry too many costs redundancy at
// its place, one too few costs data: so what cannot be said in fewer entries stays as it is.

using System.Collections.Immutable;
using System.Numerics;

namespace Polyblk.Raid.Superblock;

/// <summary>A run of rows that a member could not write.</summary>
/// <param name="Role">The member's role.</param>
/// <param name="Row">The first row: at most <see cref="BadRanges.MaxRow"/>.</param>
/// <param name="Rows">How many: 1 to <see cref="BadRanges.MaxRows"/>.</param>
public readonly record struct BadRange(int Role, long Row, int Rows)
{
    /// <summary>The row behind the last.</summary>
    public long End => Row + Rows;
}

/// <summary>See the top of the file. Immutable: a change is another list.</summary>
public sealed class BadRanges : IEquatable<BadRanges>
{
    /// <summary>The most entries of an array.</summary>
    public const int MaxEntries = 143;

    /// <summary>The most entries of one member: one that has more is not worth keeping.</summary>
    public const int MaxEntriesOfMember = 64;

    /// <summary>The most rows of an entry.</summary>
    public const int MaxRows = 256;

    /// <summary>The last row that an entry can name.</summary>
    public const long MaxRow = (1L << 48) - 1;

    /// <summary>The empty list, and the only one that is.</summary>
    public static readonly BadRanges None = new([]);

    private BadRanges(ImmutableArray<BadRange> entries)
    {
        Entries = entries;
        foreach (BadRange entry in entries)
        {
            Members |= 1UL << entry.Role;
        }
    }

    /// <summary>The entries by role and row; no two of them overlap.</summary>
    public ImmutableArray<BadRange> Entries { get; }

    /// <summary>Members that have any, one bit each, by role.</summary>
    public ulong Members { get; }

    /// <summary>Makes a list of entries in any order.</summary>
    /// <returns>Null where they are not possible: a role or a row that cannot be, or too many.</returns>
    public static BadRanges? From(IEnumerable<BadRange> entries)
    {
        BadRanges? made = None;
        foreach (BadRange entry in entries)
        {
            bool isPossible = entry.Role is >= 0 and < 64 && entry.Rows is > 0 and <= MaxRows && entry.Row >= 0;
            made = isPossible ? made.With(entry.Row, entry.Rows, 1UL << entry.Role) : null;
            if (made is null)
            {
                return null;
            }
        }

        return made;
    }

    /// <summary>Members that are bad in one of some rows.</summary>
    public ulong In(long row, long rows)
    {
        ulong members = 0;
        foreach (BadRange entry in Entries)
        {
            members |= entry.Row < row + rows && entry.End > row ? 1UL << entry.Role : 0;
        }

        return members;
    }

    /// <summary>How many entries a member has.</summary>
    public int CountOf(int role) => Entries.Count(e => e.Role == role);

    /// <summary>How many of a member's rows are bad.</summary>
    public long RowsOf(int role) => Entries.Where(e => e.Role == role).Sum(e => (long)e.Rows);

    /// <summary>Whether all that another list says is in this one.</summary>
    public bool Includes(BadRanges other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return ReferenceEquals(other, this)
            || other.Entries.All(e => Rows(e.Role, e.Row, e.End).Sum(part => part.End - part.Row) == e.Rows);
    }

    /// <summary>The list with some rows of some members more. Null when it has no room for them.</summary>
    public BadRanges? With(long row, long rows, ulong members)
    {
        if (row + rows - 1 > MaxRow)
        {
            return null;
        }

        var entries = Entries.ToBuilder();
        for (ulong left = members; left != 0; left &= left - 1)
        {
            int role = BitOperations.TrailingZeroCount(left);
            long from = row, to = row + rows;
            foreach (BadRange entry in Entries)
            {
                if (entry.Role == role && entry.Row <= to && entry.End >= from)
                {
                    // They touch: one run of both.
                    entries.Remove(entry);
                    from = Math.Min(from, entry.Row);
                    to = Math.Max(to, entry.End);
                }
            }

            AddRun(entries, role, from, to);
        }

        return MakeOf(entries);
    }

    /// <summary>The list without some rows of some members; this one where it has no room to say so.</summary>
    public BadRanges Without(long row, long rows, ulong members)
    {
        var entries = Entries.ToBuilder();
        foreach (BadRange entry in Entries)
        {
            if (((members >> entry.Role) & 1) != 0 && entry.Row < row + rows && entry.End > row)
            {
                entries.Remove(entry);
                AddRun(entries, entry.Role, entry.Row, Math.Min(entry.End, row));
                AddRun(entries, entry.Role, Math.Max(entry.Row, row + rows), entry.End);
            }
        }

        return MakeOf(entries) ?? this;
    }

    /// <summary>The list without anything of some members.</summary>
    public BadRanges WithoutMembers(ulong members) => Without(0, MaxRow + 1, members);

    /// <inheritdoc/>
    public bool Equals(BadRanges? other) => other is not null && Entries.AsSpan().SequenceEqual(other.Entries.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as BadRanges);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Entries.Length, Members);

    /// <summary>The parts of a member's rows that are in the list.</summary>
    private IEnumerable<(long Row, long End)> Rows(int role, long row, long end) =>
        from entry in Entries
        where entry.Role == role && entry.Row < end && entry.End > row
        select (Math.Max(row, entry.Row), Math.Min(end, entry.End));

    private static void AddRun(ImmutableArray<BadRange>.Builder entries, int role, long from, long to)
    {
        for (; from < to; from += MaxRows)
        {
            entries.Add(new BadRange(role, from, (int)Math.Min(MaxRows, to - from)));
        }
    }

    private static BadRanges? MakeOf(ImmutableArray<BadRange>.Builder entries)
    {
        if (entries.Count == 0)
        {
            return None;
        }

        entries.Sort((a, b) => (a.Role, a.Row).CompareTo((b.Role, b.Row)));
        bool fits = entries.Count <= MaxEntries && entries.GroupBy(e => e.Role).All(g => g.Count() <= MaxEntriesOfMember);
        return fits ? new BadRanges(entries.ToImmutable()) : null;
    }
}
