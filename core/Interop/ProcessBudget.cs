// A share of something of which a process has a limited number: map entries, descriptors.
//
// Where such a thing is used up, nothing in the process works any more, whoever used it up. So what others make the process take
// is counted, and stays below a limit that leaves the rest to the process itself. One who asks for very many must not keep others
// out: beyond half of the limit only those are served who have few.

namespace Polyblk.Core.Interop;

/// <summary>Counts what is taken of something. Any thread.</summary>
/// <param name="what">What it is, as a plural, for messages.</param>
/// <param name="limit">Most that are taken.</param>
/// <param name="remedy">What to do when there are no more.</param>
public sealed class ProcessBudget(string what, int limit, string remedy)
{
    private readonly Lock _lock = new();
    private int _taken;

    /// <summary>Most that are taken.</summary>
    public int Limit => limit;

    /// <summary>How many are taken now.</summary>
    public int Taken => Volatile.Read(ref _taken);

    /// <summary>Takes one.</summary>
    /// <param name="isOneOfMany">Whether the one who asks has many already: such a one is refused while others still get
    /// some.</param>
    /// <exception cref="IOException">There is none; the message says what to do.</exception>
    public void Take(bool isOneOfMany) => _ = TakeUpTo(1, 1, isOneOfMany);

    /// <summary>Takes as many as there are, within bounds.</summary>
    /// <param name="wanted">Most, at least <paramref name="least"/>.</param>
    /// <param name="least">Fewest that are of use, at least 1.</param>
    /// <param name="isOneOfMany">Whether the one who asks has many already: such a one is refused while others still get
    /// some.</param>
    /// <returns>How many were taken: to be given back.</returns>
    /// <exception cref="IOException">There are not so many; the message says what to do.</exception>
    public int TakeUpTo(int wanted, int least, bool isOneOfMany)
    {
        lock (_lock)
        {
            // Beyond half everybody gets the fewest only, so that it lasts for many.
            int end = isOneOfMany ? limit / 2 : limit;
            int count = Math.Max(least, Math.Min(wanted, (limit / 2) - _taken));
            if (_taken + count > end)
            {
                string whose = isOneOfMany ? " from those who gave many" : string.Empty;
                throw new IOException($"This process holds {_taken} {what} and takes no more{whose}: {remedy}.");
            }

            _taken += count;
            return count;
        }
    }

    /// <summary>Gives some back.</summary>
    public void Return(int count = 1)
    {
        lock (_lock)
        {
            _taken -= count;
        }
    }
}
