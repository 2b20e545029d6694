using Polyblk.Frontends;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Serving;

/// <summary>What may be asked of a volume that is served, over its control socket.</summary>
public static class VolumeRequests
{
    /// <summary>Does what is asked.</summary>
    /// <exception cref="RefusalException">It is not possible; the message says why.</exception>
    public static async Task<ControlResponse> AnswerAsync(VolumeServer server, ControlRequest request, CancellationToken cancellation)
    {
        if (MemberChange.Parse(request.Command, request.Drive, request.NewDrive, request.Force) is MemberChange change)
        {
            change = change with { FailFirst = request.FailFirst, MoreDrives = request.MoreDrives, Level = request.Level };
            MemberChangeResult done = await server.ChangeMembersAsync(change, cancellation).ConfigureAwait(false);
            return new ControlResponse { Ok = true, Message = done.Message, Role = done.Role, Live = server.GetLive() };
        }

        switch (request.Command)
        {
            case "show" when request.Histograms:
                LiveJson picture = server.GetLive();
                return new ControlResponse { Ok = true, Live = picture, Statistics = VolumeStatisticsJson.Of(picture) };
            case "show":
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "stop":
                await server.StopAsync(request.Force ? StopMode.Force : StopMode.IfIdle, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Unfinished = server.Unfinished };
            case "resize":
                await server.ResizeAsync(request.SizeBytes, request.Force, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "acknowledge":
                await server.AcknowledgeDamageAsync(cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "check" or "repair":
                await server.StartCheckAsync(repair: request.Command == "repair", cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "stop-check":
                await server.StopCheckAsync(cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "pause":
                await server.PauseAsync(TimeSpan.FromSeconds(request.Seconds ?? 0), cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "resume":
                await server.ResumeAsync(cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "set" when request.MaxRebuildBytesPerSecond is long most:
                await server.LimitRebuildAsync(most, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "set" when request.CheckEverySeconds is long seconds:
                await server.CheckEveryAsync(seconds, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "set" when new Patience(request.SlowReadSeconds, request.DriveTimeoutSeconds) is { SaysSomething: true } patience:
                await server.BePatientAsync(patience, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "set" when ConsistencyWord.TryParse(request.Consistency, out ArrayConsistency consistency):
                await server.SetConsistencyAsync(consistency, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            default:
                return ControlResponse.Refuse(new Refusal(
                    RefusalKind.Invalid,
                    $"There is no request '{request.Command}'.",
                    "Understood are show, stop, resize, acknowledge, fail, replace, add-spare, remove, reshape, grow, check, repair, stop-check, pause, resume and set."));
        }
    }
}
