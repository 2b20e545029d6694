namespace Polyblk.Host.Daemon.Isolation;

/// <summary>
/// How long is waited before a process that ended is started again: hardly, for what happens once; longer each time where it
/// ends again and again.
/// </summary>
internal sealed class Restarts
{
    private static readonly TimeSpan s_first = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan s_most = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Who has lived so long has not failed at its start: as of a process that stands by (ADR 24). What kills it again and again
    /// later is somebody else's doing, and no reason to have its machines wait.
    /// </summary>
    private static readonly TimeSpan s_healthy = TimeSpan.FromSeconds(2);

    private readonly Backoff _waits = new(s_first, s_most);

    /// <summary>The wait after a process that lived for a time.</summary>
    public TimeSpan After(TimeSpan lived)
    {
        if (lived >= s_healthy)
        {
            _waits.Reset();
        }

        return _waits.Next();
    }
}
