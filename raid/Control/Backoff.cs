namespace Polyblk.Raid.Control;

/// <summary>The wait before something is tried again: each time twice as long as before, an hour at most.</summary>
/// <param name="first">The first wait.</param>
internal sealed class Backoff(TimeSpan first)
{
    private static readonly TimeSpan s_longest = TimeSpan.FromHours(1);

    private TimeSpan _last;

    /// <summary>Whether nothing has been tried again since the last <see cref="Reset"/>.</summary>
    public bool IsFresh => _last == default;

    /// <summary>The next wait in milliseconds.</summary>
    public long NextMs()
    {
        _last = IsFresh ? first
            : _last * 2 < s_longest ? _last * 2
            : s_longest;
        return (long)_last.TotalMilliseconds;
    }

    /// <summary>It has succeeded, or is another matter: the next wait is the first again.</summary>
    public void Reset() => _last = default;
}
