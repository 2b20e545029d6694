namespace Polyblk.Host.Daemon;

/// <summary>Waits that double from one to the next.</summary>
/// <param name="first">The shortest.</param>
/// <param name="most">The longest.</param>
internal sealed class Backoff(TimeSpan first, TimeSpan most)
{
    private TimeSpan? _last;

    /// <summary>The next wait.</summary>
    public TimeSpan Next()
    {
        TimeSpan wait = _last is TimeSpan last ? TimeSpan.FromTicks(Math.Min(last.Ticks * 2, most.Ticks)) : first;
        _last = wait;
        return wait;
    }

    /// <summary>The next wait is the shortest again.</summary>
    public void Reset() => _last = null;
}
