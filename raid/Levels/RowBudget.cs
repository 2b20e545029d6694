namespace Polyblk.Raid.Levels;

/// <summary>
/// What the rows of a queue use of memory. A row takes its staging as address space for the largest work that it can be given,
/// and uses the columns that it touches: 4 KiB of each block for most writes, up to 64 KiB of each for a whole row. So there are
/// as many rows as small writes need to keep all drives busy, and large ones are held to the bytes that they use. One reactor's.
/// </summary>
/// <param name="budgetBytes">What rows that are under way may use. The last one that is begun may go beyond it.</param>
/// <param name="minRows">As many rows may be under way whatever they use.</param>
/// <param name="maxRows">The most rows, for the numbers of rows.</param>
internal sealed class RowBudget(long budgetBytes, int minRows, int maxRows)
{
    /// <summary>By the row's number, what it has touched since its memory was given back, at most.</summary>
    private readonly long[] _resident = new long[maxRows];
    private long _inUse;
    private long _residentBytes;
    private int _rows;

    /// <summary>Whether a further row may begin.</summary>
    public bool HasRoom => _inUse < budgetBytes || _rows < minRows;

    /// <summary>A row begins.</summary>
    public void Take(ParityRow row)
    {
        _rows++;
        _inUse += row.BytesInUse;
        long more = row.BytesInUse - _resident[row.Index];
        if (more > 0)
        {
            _resident[row.Index] += more;
            _residentBytes += more;
        }
    }

    /// <summary>
    /// A row is at rest. Its memory stays where it is, for the next one; but rows at rest keep no more than those under way may
    /// use.
    /// </summary>
    public void Return(ParityRow row)
    {
        _rows--;
        _inUse -= row.BytesInUse;
        if (_residentBytes > 2 * budgetBytes && _resident[row.Index] > budgetBytes / maxRows)
        {
            row.ReleaseStaging();
            _residentBytes -= _resident[row.Index];
            _resident[row.Index] = 0;
        }
    }
}
