// A volume that goes over to another process, and one that comes: see VolumeDaemon.HandOver.cs.

using Microsoft.Extensions.Logging;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;

namespace Polyblk.Host.Daemon;

internal sealed partial class DaemonVolume
{
    /// <summary>Whether nothing is started any more, because the daemon ends or is succeeded.</summary>
    public bool IsOver
    {
        get => _isOver;
        set => _isOver = value;
    }

    /// <summary>Why it cannot be handed over as it is; null where it can.</summary>
    public string? WhyNotMovable()
    {
        return State == DaemonState.Starting ? $"volume '{name}' is being started: try again in a moment"
            : Server is not VolumeServer server ? null
            : IsAbandoned || server.IsHanging ? $"a drive of volume '{name}' does not answer"
            : server.PausedUntil is not null ? $"volume '{name}' is paused: end that with 'polyblk volume resume {name}'"
            : server.IsVolatile ? $"the content of volume '{name}' is in the memory of this process, and would be gone"
            : null;
    }

    /// <summary>Stops the exports, closes the volume and releases its lock.</summary>
    /// <returns>What the exports hand over, which the caller disposes; and what the next start needs to be allowed.</returns>
    /// <exception cref="RefusalException">It is not served any more, or a change or a drive does not end.</exception>
    public async Task<(Luggage Luggage, StartPermissions Allowed)> CloseForSuccessorAsync()
    {
        if (!await _changing.WaitAsync(s_patience).ConfigureAwait(false))
        {
            throw RefusalException.Refused("A change of it does not end.");
        }

        var luggage = new Luggage();
        try
        {
            Served served = _served ?? throw RefusalException.Refused("It is not served any more.");

            if (served.Server.HeldByProcess is string export)
            {
                throw RefusalException.Refused($"The driver lets go of {export} only when this process has ended.");
            }

            // A member that is out already need not be recorded as such, where nothing was written since. Any other one has to be
            // there.
            StartPermissions allowed = served.Allowed with
            {
                Degraded = served.Server.IsDegraded,
                MayLack = served.Server.GetFailedExports() is { Count: > 0 } failed ? failed : null,
            };
            await served.Server.HandOverAsync(luggage).ConfigureAwait(false);
            await CloseAsync(null, isMoving: true).ConfigureAwait(false);
            _log.LogInformation("{Volume} goes over to the daemon that succeeds", name);
            return IsAbandoned ? throw RefusalException.Refused("A drive of it does not answer.") : (luggage, allowed);
        }
        catch
        {
            luggage.Dispose();
            throw;
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Opens it, and makes its exports from what those of another process, or of this one, handed over.</summary>
    /// <param name="allowed">What the start may do.</param>
    /// <param name="takeLuggage">Gives that, once the volume is open.</param>
    public async Task OpenForSuccessionAsync(StartPermissions allowed, Func<Luggage> takeLuggage)
    {
        await _changing.WaitAsync().ConfigureAwait(false);
        try
        {
            await OpenAsync(allowed, more: null, CancellationToken.None, takeLuggage).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }
}
