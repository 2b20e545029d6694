// A volume that goes over to another process, and one that comes: see VolumeDaemon.HandOver.cs.

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

    /// <summary>Stops the exports, closes the volume and releases its lock.</summary>
    /// <returns>What the exports hand over; the caller disposes it.</returns>
    /// <exception cref="RefusalException">It is not served any more, or a change or a drive does not end.</exception>
    public async Task<Luggage> CloseForSuccessorAsync()
    {
        if (!await _changing.WaitAsync(s_patience).ConfigureAwait(false))
        {
            throw RefusalException.Refused("A change of it does not end.");
        }

        var luggage = new Luggage();
        try
        {
            Served served = _served ?? throw RefusalException.Refused("It is not served any more.");
            await served.Server.HandOverAsync(luggage).ConfigureAwait(false);
            await CloseAsync(null).ConfigureAwait(false);
            return IsAbandoned ? throw RefusalException.Refused("A drive of it does not answer.") : luggage;
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
    /// <param name="takeLuggage">Gives that, once the volume is open.</param>
    public async Task OpenForSuccessionAsync(Func<Luggage> takeLuggage)
    {
        await _changing.WaitAsync().ConfigureAwait(false);
        try
        {
            // As it was served until now: nothing is degraded by it that was not.
            await OpenAsync(new StartPermissions(Degraded: true), more: null, CancellationToken.None, takeLuggage).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }
}
