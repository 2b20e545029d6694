// One hand-over, from the predecessor's side.

using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>One hand-over, from the predecessor's side.</summary>
/// <param name="daemon">Whose volumes go over.</param>
/// <param name="channel">To the successor.</param>
/// <param name="log">For what goes wrong.</param>
/// <param name="onGiving">Told of the successor's process when it begins, and with null that it has given up.</param>
internal sealed class Giving(VolumeDaemon daemon, HandOverChannel channel, ILogger log, Action<int?> onGiving)
{
    private bool _hasGiven;

    /// <summary>Answers the successor until it has all, or gives up.</summary>
    /// <returns>The successor's process; null where it gave up, and this daemon goes on with what is left.</returns>
    public async Task<int?> RunAsync()
    {
        HandOverMessage wish = channel.Receive();
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
            onGiving(wish.Pid);
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
                onGiving(null);
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
                wish = channel.Receive();
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
                    channel.Send(new HandOverMessage { Kind = HandOverMessage.Done });
                    return true;
                default:
                    throw new IOException($"'{wish.Kind}' was not expected.");
            }
        }
    }

    /// <summary>Gives one volume.</summary>
    /// <returns>False where it was the first, and the successor cannot open it: the hand-over has failed, and nothing has
    /// changed.</returns>
    private async Task<bool> GiveAsync(string volume)
    {
        Luggage luggage;
        StartPermissions allowed;
        try
        {
            (luggage, allowed) = await daemon.CloseForSuccessorAsync(volume).ConfigureAwait(false);
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
                channel.Send(new HandOverMessage { Kind = HandOverMessage.Given, Volume = volume, Allowed = allowed });
                answer = channel.Receive();
            }
            catch (IOException)
            {
                // It died before it had the sessions: they are still where they were.
                await daemon.TakeBackAsync(volume, luggage, allowed).ConfigureAwait(false);
                throw;
            }

            if (answer.Kind == HandOverMessage.Opened && answer.Volume == volume)
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

            await daemon.TakeBackAsync(volume, luggage, allowed).ConfigureAwait(false);
            channel.Send(new HandOverMessage { Kind = HandOverMessage.TakenBack, Volume = volume });
            return false;
        }
    }

    private static HandOverMessage Refuse(string reason) => new() { Kind = HandOverMessage.Refused, Reason = reason };
}
