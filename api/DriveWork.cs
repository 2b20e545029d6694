using Polyblk.Host;

namespace Polyblk.Api;

/// <summary>
/// Work of requests that opens drives, which may hang: on threads of its own, a few at a time, so that none of the daemon's are
/// kept.
/// </summary>
internal sealed class DriveWork
{
    private const int Most = 4;

    private int _underWay;

    /// <summary>Does it.</summary>
    /// <exception cref="RefusalException">As many as may are under way.</exception>
    public async Task<T> DoAsync<T>(Func<Task<T>> work)
    {
        if (Interlocked.Increment(ref _underWay) > Most)
        {
            Interlocked.Decrement(ref _underWay);
            throw RefusalException.Refused(
                $"{Most} volumes are being made or deleted at this moment.",
                "Try again when they are, or look whether a drive hangs.");
        }

        try
        {
            Task<Task<T>> begun = Task.Factory.StartNew(
                work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            return await begun.Unwrap().ConfigureAwait(false);
        }
        finally
        {
            Interlocked.Decrement(ref _underWay);
        }
    }
}
