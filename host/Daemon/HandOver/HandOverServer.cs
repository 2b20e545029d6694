// The predecessor's side of a hand-over: a socket of the daemon's user, where one successor at a time asks for the volumes.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>Listens for a successor until it is disposed.</summary>
public sealed class HandOverServer : IAsyncDisposable
{
    private static readonly TimeSpan s_rest = TimeSpan.FromMilliseconds(100);

    private readonly VolumeDaemon _daemon;
    private readonly UnixListener _listener;
    private readonly ILogger _log;
    private readonly TaskCompletionSource<int> _completed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _listening;
    private readonly Lock _lock = new();
    private HandOverChannel? _channel;
    private bool _isEnding;

    private readonly Action<int?>? _onGiving;

    private HandOverServer(VolumeDaemon daemon, UnixListener listener, ILogger log, Action<int?>? onGiving)
    {
        _onGiving = onGiving;
        _daemon = daemon;
        _listener = listener;
        _log = log;
        _listening = Task.Factory.StartNew(Listen, TaskCreationOptions.LongRunning);
    }

    /// <summary>Finishes when a successor has all that was served: its process. The daemon has nothing left to do then.</summary>
    public Task<int> Completed => _completed.Task;

    /// <summary>Starts listening. The caller is the daemon of these directories.</summary>
    /// <param name="daemon">Whose volumes go over.</param>
    /// <param name="directories">Where.</param>
    /// <param name="log">For what goes wrong.</param>
    /// <param name="onGiving">
    /// Told of the process that begins to take over, and with null that it has given up; null for nobody.
    /// </param>
    /// <exception cref="RefusalException">The socket cannot be made.</exception>
    public static HandOverServer Start(
        VolumeDaemon daemon, StateDirectories directories, ILogger log, Action<int?>? onGiving = null) =>
        new(daemon, OwnSocket.Listen(PathOf(directories), "The socket for a successor"), log, onGiving);

    /// <summary>Ends; a hand-over that is under way is broken off, and what the successor has not taken stays here.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            if (_isEnding)
            {
                return;
            }

            _isEnding = true;
            _channel?.Wake();
        }

        _listener.Wake();
        await _listening.ConfigureAwait(false);
        _listener.Dispose();
    }

    internal static string PathOf(StateDirectories directories) =>
        Path.Combine(directories.RuntimeOf(directories.DaemonName), "handover.sock");

    private void Listen()
    {
        while (!_completed.Task.IsCompleted)
        {
            int fd = _listener.Accept();
            if (fd == -Errno.ECANCELED)
            {
                return;
            }

            if (fd < 0)
            {
                Thread.Sleep(s_rest);
                continue;
            }

            Serve(fd);
        }
    }

    private void Serve(int fd)
    {
        HandOverChannel? channel = null;
        try
        {
            channel = new HandOverChannel(new UnixSocket(fd));
            lock (_lock)
            {
                if (_isEnding)
                {
                    return;
                }

                _channel = channel;
            }

            var giving = new Giving(_daemon, channel, _log, pid => _onGiving?.Invoke(pid));
            if (giving.RunAsync().GetAwaiter().GetResult() is int successor)
            {
                _completed.TrySetResult(successor);
            }
        }
#pragma warning disable CA1031 // Whatever a successor does or is, this daemon goes on with what it has.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogError("A successor has not taken over: {Reason}", Refusals.Of(e)?.Message ?? e.Message);
        }
        finally
        {
            lock (_lock)
            {
                _channel = null;
            }

            channel?.Dispose();
        }
    }
}
