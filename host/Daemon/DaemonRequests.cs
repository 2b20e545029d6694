using Polyblk.Host.Daemon.HandOver;
using Polyblk.Host.Model;

namespace Polyblk.Host.Daemon;

/// <summary>What may be asked of the daemon, over its control socket.</summary>
public static class DaemonRequests
{
    /// <summary>Does what is asked.</summary>
    /// <param name="daemon">The daemon.</param>
    /// <param name="succession">How it is succeeded; null where it cannot be.</param>
    /// <param name="request">What is asked.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">It is not possible; the message says why.</exception>
    public static async Task<ControlResponse> AnswerAsync(
        VolumeDaemon daemon, Succession? succession, ControlRequest request, CancellationToken cancellation)
    {
        switch (request.Command)
        {
            case "show":
                await daemon.RefreshAsync(cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Daemon = daemon.GetStatus() };
            case "start":
                await daemon.StartVolumeAsync(Named(request.Volume), request.Allow ?? new StartPermissions(), cancellation)
                    .ConfigureAwait(false);
                return new ControlResponse { Ok = true, Daemon = daemon.GetStatus() };
            case "add-export" when request.Export is not null:
                return new ControlResponse
                {
                    Ok = true,
                    Export = await daemon.AddExportAsync(Named(request.Volume), request.Export, cancellation).ConfigureAwait(false),
                };
            case "remove-export" when request.ExportId is not null:
                await daemon.RemoveExportAsync(request.ExportId, request.Force, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true };
            case "restart" when succession is not null:
                IReadOnlyList<string> refusals = await daemon.RestartIsolatedAsync(cancellation).ConfigureAwait(false);
                int successor = await succession.RunAsync(cancellation).ConfigureAwait(false);
                string done = $"Process {successor} has taken over from process {Environment.ProcessId}.";
                return new ControlResponse { Ok = true, Message = string.Join('\n', [done, .. refusals]) };
            default:
                return ControlResponse.Refuse(new Refusal(
                    RefusalKind.Invalid, $"There is no request '{request.Command}', or it lacks something.",
                    "The daemon understands show, start, add-export, remove-export and restart."));
        }
    }

    private static string Named(string? volume) => volume ?? throw RefusalException.Invalid("The request names no volume.");
}
