// A daemon that takes over from the one that works, and one that is succeeded (HandOver/HandOverMessages.cs).
//
// Volumes go over one after the other, each by itself: stopped, closed and its lock released here, opened and its exports made
// there. So each is away for as long as it takes alone, however many there are.

using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Polyblk.Host.Daemon.HandOver;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon;

public sealed partial class VolumeDaemon
{
    /// <summary>How long the predecessor may take to end, once it has nothing left.</summary>
    private static readonly TimeSpan s_endLimit = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(5);

    private List<string> _given = [];

    /// <summary>
    /// Takes over from the daemon that works in these directories, so that who uses its exports does not notice; where none works it
    /// is <see cref="Start"/>.
    /// </summary>
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
            foreach (string volume in predecessor.Served)
            {
                await daemon.TakeVolumeAsync(volume, predecessor).ConfigureAwait(false);
            }

            predecessor.Finish();
            daemon._held = await TakePlaceAsync(directories, cancellation).ConfigureAwait(false);
            daemon.StartAll(except: [.. predecessor.Served, .. predecessor.Stopped]);
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Begins to be succeeded: nothing is changed from now on.</summary>
    /// <returns>Why that is not possible now; null where it is.</returns>
    internal string? BeginHandOver()
    {
        lock (_lock)
        {
            if (_isEnding)
            {
                return "it is ending";
            }

            if (_volumes.Values.FirstOrDefault(v => v.State == DaemonState.Starting) is DaemonVolume starting)
            {
                return $"volume '{starting.Name}' is being started: try again in a moment";
            }

            if (_volumes.Values.FirstOrDefault(v => v.IsAbandoned || v.Server?.IsHanging == true) is DaemonVolume hanging)
            {
                return $"a drive of volume '{hanging.Name}' does not answer";
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
            _isEnding = false;
            given = _given;
            foreach (DaemonVolume volume in _volumes.Values)
            {
                volume.IsOver = false;
            }
        }

        foreach (string volume in given)
        {
            _ = Task.Run(() => StartAtBootAsync(Known(volume)));
        }
    }

    /// <summary>The volumes that are served, or those that would be and that somebody stopped.</summary>
    internal IReadOnlyList<string> VolumesThatAre(bool served)
    {
        lock (_lock)
        {
            return
            [
                .. _volumes.Values.Where(v => v.State == (served ? DaemonState.Served : DaemonState.Stopped)).Select(v => v.Name)
                    .Order(StringComparer.Ordinal),
            ];
        }
    }

    /// <summary>Stops a volume's exports and closes it.</summary>
    /// <returns>What the exports hand over.</returns>
    /// <exception cref="RefusalException">It is not served, or does not end.</exception>
    internal async Task<Luggage> CloseForSuccessorAsync(string volume)
    {
        Luggage luggage = await Known(volume).CloseForSuccessorAsync().ConfigureAwait(false);
        _given.Add(volume);
        return luggage;
    }

    /// <summary>Serves a volume again that a successor could not open, with the sessions that it had.</summary>
    internal async Task TakeBackAsync(string volume, Luggage luggage)
    {
        _given.Remove(volume);
        DaemonVolume its = Known(volume);
        its.IsOver = false;
        try
        {
            await its.OpenForSuccessionAsync(() => luggage).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // It is shown as failed, with its reason.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogError("{Volume} cannot be served again: {Reason}", volume, Refusals.Of(e)?.Message ?? e.Message);
        }
    }

    private async Task TakeVolumeAsync(string volume, Predecessor predecessor)
    {
        try
        {
            predecessor.Ask(volume);
        }
        catch (RefusalException e)
        {
            // It ends there as by a signal, and starts here when that is done.
            _log.LogError("{Reason}", e.Message);
            return;
        }

        long began = Stopwatch.GetTimestamp();
        bool isTaken = false;
        try
        {
            await Known(volume).OpenForSuccessionAsync(() =>
            {
                isTaken = true;
                return predecessor.TakeLuggage(volume);
            }).ConfigureAwait(false);
            _log.LogInformation("{Volume} is taken over: opened in {Milliseconds:0.0} ms", volume, Stopwatch.GetElapsedTime(began).TotalMilliseconds);
        }
#pragma warning disable CA1031 // One volume that cannot be opened is shown as failed, unless it is the first.
        catch (Exception e)
#pragma warning restore CA1031
        {
            string reason = Refusals.Of(e)?.Message ?? e.Message;
            if (!isTaken && predecessor.Return(volume, reason))
            {
                throw RefusalException.Refused($"Volume '{volume}' cannot be taken over, and the daemon that works goes on: {reason}");
            }

            _log.LogError("{Volume} is not served: {Reason}", volume, reason);
        }
    }

    /// <summary>Waits for the place of a daemon that has nothing left.</summary>
    private static async Task<VolumeLock> TakePlaceAsync(StateDirectories directories, CancellationToken cancellation)
    {
        for (long began = Stopwatch.GetTimestamp(); ; await Task.Delay(s_look, cancellation).ConfigureAwait(false))
        {
            try
            {
                return VolumeLock.TakeDaemons(directories);
            }
            catch (RefusalException) when (Stopwatch.GetElapsedTime(began) < s_endLimit)
            {
                // It is ending.
            }
        }
    }
}
