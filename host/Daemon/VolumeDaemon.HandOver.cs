// A daemon that takes over from the one that works, and one that is succeeded (HandOver/HandOverMessages.cs).
//
// Volumes go over one after the other, each by itself: stopped, closed and its lock released here, opened and its exports made
// there. So each is away for as long as it takes alone, however many there are.

using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Polyblk.Host.Daemon.HandOver;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon;

public sealed partial class VolumeDaemon
{
    /// <summary>After this time it is said that a predecessor which has nothing left does not end.</summary>
    private static readonly TimeSpan s_endLimit = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan s_again = TimeSpan.FromSeconds(1);

    private List<string> _given = [];

    /// <summary>
    /// Takes over from the daemon that works in these directories, so that who uses its exports does not notice; where none works
    /// it is <see cref="Start"/>.
    /// </summary>
    /// <param name="options">How volumes are served.</param>
    /// <param name="directories">Where.</param>
    /// <param name="logging">For control paths.</param>
    /// <param name="cancellation">Gives up waiting for the end of a predecessor that has nothing left.</param>
    /// <exception cref="RefusalException">The one that works does not let itself be succeeded, and goes on.</exception>
    public static async Task<VolumeDaemon> TakeOverAsync(
        DaemonOptions options, StateDirectories directories, ILoggerFactory logging, CancellationToken cancellation)
    {
        using Predecessor? predecessor = Predecessor.Find(directories);
        if (predecessor is null)
        {
            return Start(options, directories, logging);
        }

        VolumeDaemon daemon = Make(options, directories, logging);
        try
        {
            var taken = new List<string>();
            foreach (string volume in predecessor.Served)
            {
                if (await daemon.TakeVolumeAsync(volume, predecessor).ConfigureAwait(false))
                {
                    taken.Add(volume);
                }
            }

            if (!predecessor.Finish())
            {
                daemon._log.LogError("The daemon that was succeeded broke off before its end");
            }

            daemon._held = await daemon.TakePlaceAsync(cancellation).ConfigureAwait(false);
            daemon.TellOfDaemon(EventKinds.DaemonStarted);
            daemon.StartAll(except: [.. taken, .. predecessor.Stopped]);
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Begins to be succeeded: nothing is started, added or removed from now on.</summary>
    /// <returns>Why that is not possible now; null where it is.</returns>
    internal string? BeginHandOver()
    {
        lock (_lock)
        {
            if (_isEnding)
            {
                return "it is ending";
            }

            if (_sharing.IsMoving)
            {
                return "a spare goes from one volume to another: try again in a moment";
            }

            if (_volumes.Values.Select(v => v.WhyNotMovable()).FirstOrDefault(why => why is not null) is string obstacle)
            {
                return obstacle;
            }

            _isEnding = true;
            _given = [];
            foreach (DaemonVolume volume in _volumes.Values)
            {
                volume.IsOver = true;
            }

            return null;
        }
    }

    /// <summary>Goes on with what is left, as the successor gave up. What it had taken is served again as after a kill.</summary>
    internal void EndHandOver()
    {
        List<string> given;
        lock (_lock)
        {
            if (_ending.IsCancellationRequested)
            {
                return;
            }

            _isEnding = false;
            given = _given;
            foreach (DaemonVolume volume in _volumes.Values)
            {
                volume.IsOver = false;
            }
        }

        foreach (string volume in given)
        {
            _ = Task.Run(() => StartAgainAsync(Known(volume)));
        }
    }

    /// <summary>The volumes that are served, or those that would be and that somebody stopped.</summary>
    internal IReadOnlyList<string> VolumesThatAre(bool served)
    {
        lock (_lock)
        {
            return
            [
                .. _volumes.Values.Where(v => v.State == (served ? DaemonState.Served : DaemonState.Stopped)
                    && !_isolated.ContainsKey(v.Name)).Select(v => v.Name)
                    .Order(StringComparer.Ordinal),
            ];
        }
    }

    /// <summary>Stops a volume's exports and closes it.</summary>
    /// <returns>What the exports hand over, and what the next start needs to be allowed.</returns>
    /// <exception cref="RefusalException">It is not served, or does not end.</exception>
    internal async Task<(Luggage Luggage, StartPermissions Allowed)> CloseForSuccessorAsync(string volume)
    {
        (Luggage, StartPermissions) closed = await Known(volume).CloseForSuccessorAsync().ConfigureAwait(false);
        lock (_lock)
        {
            _given.Add(volume);
        }

        return closed;
    }

    /// <summary>Serves a volume again that a successor could not open, with the sessions that it had.</summary>
    internal async Task TakeBackAsync(string volume, Luggage luggage, StartPermissions allowed)
    {
        DaemonVolume its = Known(volume);
        lock (_lock)
        {
            if (_ending.IsCancellationRequested)
            {
                return; // It is closed, in order.
            }

            its.IsOver = false;
        }

        try
        {
            // Here, where its guests wait, a member that does not answer just now is done without.
            await its.OpenForSuccessionAsync(allowed with { Degraded = true }, () => luggage).ConfigureAwait(false);
            lock (_lock)
            {
                _given.Remove(volume);
            }
        }
#pragma warning disable CA1031 // It is tried again with those that the successor had taken, and shown as failed until then.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogError("{Volume} cannot be served again: {Reason}", volume, Refusals.Of(e)?.Message ?? e.Message);
        }
    }

    /// <returns>Whether the volume is this daemon's now, served or not.</returns>
    private async Task<bool> TakeVolumeAsync(string volume, Predecessor predecessor)
    {
        long began = Stopwatch.GetTimestamp();
        StartPermissions allowed;
        try
        {
            allowed = predecessor.Ask(volume);
        }
        catch (RefusalException e)
        {
            // It ends there as by a signal, and starts here when that is done.
            _log.LogWarning("{Reason} It is started here then", e.Message);
            return false;
        }

        double closed = Stopwatch.GetElapsedTime(began).TotalMilliseconds;
        bool isOpen = false;
        try
        {
            await Known(volume).OpenForSuccessionAsync(allowed, () =>
            {
                isOpen = true;
                return predecessor.TakeLuggage(volume);
            }).ConfigureAwait(false);
            _log.LogInformation(
                "{Volume} is taken over: closed there in {Closed:0.0} ms, served here after {Served:0.0} ms",
                volume, closed, Stopwatch.GetElapsedTime(began).TotalMilliseconds);
        }
#pragma warning disable CA1031 // One volume that cannot be opened is shown as failed, unless it is the first.
        catch (Exception e)
#pragma warning restore CA1031
        {
            string reason = Refusals.Of(e)?.Message ?? e.Message;
            if (!isOpen && predecessor.Return(volume, reason))
            {
                throw RefusalException.Refused($"Volume '{volume}' cannot be taken over, and the daemon that works goes on: {reason}");
            }

            _log.LogError("{Volume} is not served: {Reason}", volume, reason);
        }

        return true;
    }

    /// <summary>Starts a volume that a successor has, or had: as soon as it has let go of it.</summary>
    private async Task StartAgainAsync(DaemonVolume volume)
    {
        while (!_ending.IsCancellationRequested)
        {
            await StartAtBootAsync(volume).ConfigureAwait(false);
            if (volume.State != DaemonState.Failed || VolumeLock.Holder(_context.Directories, volume.Name) is null)
            {
                return;
            }

            await Task.WhenAny(Task.Delay(s_again, _ending.Token)).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Waits for the place of a daemon that has nothing left. One that does not end keeps its control socket, and no volume from
    /// being served here.
    /// </summary>
    private async Task<VolumeLock> TakePlaceAsync(CancellationToken cancellation)
    {
        long began = Stopwatch.GetTimestamp();
        for (bool isTold = false; ; await Task.Delay(s_look, cancellation).ConfigureAwait(false))
        {
            int holder = 0;
            try
            {
                if (VolumeLock.TryTakeDaemons(_context.Directories, out holder) is VolumeLock taken)
                {
                    return taken;
                }
            }
            catch (RefusalException e)
            {
                // Short of descriptors, say: it serves already, and has to have the place at some time.
                _log.LogDebug("The daemon's place cannot be looked at: {Reason}", e.Message);
            }

            if (!isTold && Stopwatch.GetElapsedTime(began) > s_endLimit)
            {
                isTold = true;
                _log.LogError("The daemon that was succeeded (process {Pid}) does not end: kill it", holder);
            }
        }
    }
}
