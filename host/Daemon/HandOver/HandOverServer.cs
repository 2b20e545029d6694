// The predecessor's side of a hand-over: a socket of the daemon's user, where one successor at a time asks for the volumes.

using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>Listens for a successor until it is disposed.</summary>
public sealed class HandOverServer : IAsyncDisposable
{
    private const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly TimeSpan s_rest = TimeSpan.FromMilliseconds(100);

    private readonly VolumeDaemon _daemon;
    private readonly UnixListener _listener;
    private readonly ILogger _log;
    private readonly TaskCompletionSource<int> _completed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _listening;

    private HandOverServer(VolumeDaemon daemon, UnixListener listener, ILogger log)
    {
        _daemon = daemon;
        _listener = listener;
        _log = log;
        _listening = Task.Factory.StartNew(Listen, TaskCreationOptions.LongRunning);
    }

    /// <summary>Finishes when a successor has all that was served: its process. The daemon has nothing left to do then.</summary>
    public Task<int> Completed => _completed.Task;

    /// <summary>Starts listening. The caller is the daemon of these directories.</summary>
    /// <exception cref="RefusalException">The socket cannot be made.</exception>
    public static HandOverServer Start(VolumeDaemon daemon, StateDirectories directories, ILogger log)
    {
        string path = PathOf(directories);
        try
        {
            File.Delete(path);
            return new HandOverServer(daemon, UnixListener.Listen(path, Mode), log);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(
                new Refusal(RefusalKind.HostLacks, $"The socket for a successor cannot be made: {e.Message}", "--state DIR moves it."), e);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _listener.Wake();
        await _listening.ConfigureAwait(false);
        _listener.Dispose();
    }

    internal static string PathOf(StateDirectories directories) =>
        Path.Combine(directories.RuntimeOf(StateDirectories.Daemon), "handover.sock");

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
        try
        {
            using var channel = new HandOverChannel(new UnixSocket(fd));
            var giving = new Giving(_daemon, channel, _log);
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
    }
}

/// <summary>One hand-over, from the predecessor's side.</summary>
internal sealed class Giving(VolumeDaemon daemon, HandOverChannel channel, ILogger log)
{
    private bool _hasGiven;

    /// <summary>Answers the successor until it has all, or gives up.</summary>
    /// <returns>The successor's process; null where it gave up, and this daemon goes on with what is left.</returns>
    public async Task<int?> RunAsync()
    {
        HandOverMessage wish = Receive();
        if (wish.Kind != HandOverMessage.TakeOver || wish.Version != HandOverMessage.CurrentVersion)
        {
            channel.Send(Refuse($"it understands version {HandOverMessage.CurrentVersion}, not {wish.Version}: end it, and start the new one"));
            return null;
        }

        if (daemon.BeginHandOver() is string obstacle)
        {
            channel.Send(Refuse(obstacle));
            return null;
        }

        log.LogInformation("Process {Pid} takes over", wish.Pid);
        bool isDone = false;
        try
        {
            channel.Send(new HandOverMessage
            {
                Kind = HandOverMessage.Volumes, Served = daemon.VolumesThatAre(served: true), Stopped = daemon.VolumesThatAre(served: false),
            });
            isDone = await GiveAsync().ConfigureAwait(false);
        }
        finally
        {
            if (!isDone)
            {
                daemon.EndHandOver();
            }
        }

        return isDone ? wish.Pid : null;
    }

    /// <returns>Whether the successor has all.</returns>
    private async Task<bool> GiveAsync()
    {
        while (true)
        {
            HandOverMessage wish;
            try
            {
                wish = Receive();
            }
            catch (IOException e) when (_hasGiven)
            {
                // What it took it has, or it has ended with that: nothing here may serve it, but for what is still here.
                log.LogError("The successor is gone before it had everything: {Reason}", e.Message);
                return false;
            }

            switch (wish.Kind)
            {
                case HandOverMessage.Give when wish.Volume is not null:
                    if (!await GiveAsync(wish.Volume).ConfigureAwait(false))
                    {
                        return false;
                    }

                    break;
                case HandOverMessage.Done:
                    return true;
                default:
                    throw new IOException($"'{wish.Kind}' was not expected.");
            }
        }
    }

    /// <summary>Gives one volume.</summary>
    /// <returns>False where it was the first, and the successor cannot open it: the hand-over has failed, and nothing has changed.</returns>
    private async Task<bool> GiveAsync(string volume)
    {
        Luggage luggage;
        try
        {
            luggage = await daemon.CloseForSuccessorAsync(volume).ConfigureAwait(false);
        }
        catch (RefusalException e)
        {
            channel.Send(new HandOverMessage { Kind = HandOverMessage.Kept, Volume = volume, Reason = e.Message });
            return true;
        }

        using (luggage)
        {
            HandOverMessage answer;
            try
            {
                channel.Send(new HandOverMessage { Kind = HandOverMessage.Given, Volume = volume });
                answer = Receive();
            }
            catch (IOException)
            {
                // It died before it had the sessions: they are still where they were.
                await daemon.TakeBackAsync(volume, luggage).ConfigureAwait(false);
                throw;
            }

            if (answer.Kind == HandOverMessage.Opened)
            {
                _hasGiven = true;
                (IReadOnlyList<HandedOverExportJson> exports, IReadOnlyList<SafeFileHandle> descriptors) = LuggageMessage.Write(luggage);
                channel.Send(new HandOverMessage { Kind = HandOverMessage.Exports, Volume = volume, Luggage = exports }, descriptors);
                return true;
            }

            log.LogError("The successor cannot open {Volume}: {Reason}", volume, answer.Reason);
            if (_hasGiven)
            {
                channel.Send(new HandOverMessage { Kind = HandOverMessage.Dropped, Volume = volume });
                return true;
            }

            await daemon.TakeBackAsync(volume, luggage).ConfigureAwait(false);
            channel.Send(new HandOverMessage { Kind = HandOverMessage.TakenBack, Volume = volume });
            return false;
        }
    }

    private static HandOverMessage Refuse(string reason) => new() { Kind = HandOverMessage.Refused, Reason = reason };

    private HandOverMessage Receive()
    {
        HandOverMessage message = channel.Receive(out Queue<SafeFileHandle> descriptors);
        foreach (SafeFileHandle descriptor in descriptors)
        {
            descriptor.Dispose();
        }

        return message;
    }
}
