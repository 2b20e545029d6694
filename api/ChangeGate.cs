using Polyblk.Host;
using Polyblk.Host.Daemon;

namespace Polyblk.Api;

/// <summary>
/// Lets requests in that change something, until the daemon ends or is succeeded: what was kept then would not be what a
/// successor has taken over, and what was under way would be cut off.
/// </summary>
internal sealed class ChangeGate(VolumeDaemon daemon)
{
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _underWay;
    private bool _isEnding;

    /// <summary>A request begins; disposing ends it.</summary>
    /// <exception cref="RefusalException">It is too late.</exception>
    public IDisposable Begin()
    {
        daemon.RefuseWhileEnding();
        lock (_lock)
        {
            if (_isEnding)
            {
                throw RefusalException.Refused("The daemon is ending.", "Try again in a moment.");
            }

            _underWay++;
        }

        return new Change(this);
    }

    /// <summary>Lets nobody in any more, and waits for those that are in.</summary>
    /// <param name="atMost">For how long.</param>
    public async Task EndAsync(TimeSpan atMost)
    {
        lock (_lock)
        {
            _isEnding = true;
            if (_underWay == 0)
            {
                return;
            }
        }

        _ = await Task.WhenAny(_over.Task, Task.Delay(atMost)).ConfigureAwait(false);
    }

    private void End()
    {
        lock (_lock)
        {
            if (--_underWay == 0 && _isEnding)
            {
                _over.TrySetResult();
            }
        }
    }

    private sealed class Change(ChangeGate gate) : IDisposable
    {
        public void Dispose() => gate.End();
    }
}
