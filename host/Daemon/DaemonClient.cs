using System.Diagnostics;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon;

/// <summary>Asks the daemon.</summary>
public static class DaemonClient
{
    private static readonly TimeSpan s_answerLimit = TimeSpan.FromSeconds(5);

    /// <summary>One that was started just now answers by then.</summary>
    private static readonly TimeSpan s_startLimit = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(50);

    /// <summary>Asks, and waits for the answer.</summary>
    /// <exception cref="RefusalException">It refused, or there is no daemon.</exception>
    public static async Task<ControlResponse> AskAsync(StateDirectories directories, ControlRequest request, CancellationToken cancellation)
    {
        for (long began = Stopwatch.GetTimestamp(); ; await Task.Delay(s_look, cancellation).ConfigureAwait(false))
        {
            if (await ControlClient.AskAsync(directories, StateDirectories.Daemon, request, cancellation).ConfigureAwait(false) is ControlResponse answer)
            {
                return answer;
            }

            if (Stopwatch.GetElapsedTime(began) > s_startLimit)
            {
                throw RefusalException.Refused(
                    $"No daemon works for {directories.State}.",
                    "Start it: polyblk daemon (or: systemctl start polyblk).");
            }
        }
    }

    /// <summary>What the daemon does; null where there is none, or it does not answer.</summary>
    public static async Task<DaemonJson?> ShowAsync(StateDirectories directories, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(s_answerLimit);
        try
        {
            ControlResponse? answer = await ControlClient
                .AskAsync(directories, StateDirectories.Daemon, new ControlRequest { Command = "show" }, limit.Token)
                    .ConfigureAwait(false);
            return answer?.Daemon;
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return null;
        }
        catch (RefusalException)
        {
            return null; // it ended meanwhile
        }
    }
}
