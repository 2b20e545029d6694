using Polyblk.Frontends;
using Polyblk.Host.Model;

namespace Polyblk.Host.Serving;

/// <summary>An export with what is needed to show it, and to make it again after a refused stop.</summary>
public sealed class ServedExport(IFrontend frontend, ExportSpec spec, IExport export, SocketAccess? socketAccess = null)
{
    private const string ForLibvirt =
        "libvirt runs QEMU as a user of its own, who may not connect to this socket: serve it with --socket-group libvirt-qemu (Debian) or --socket-group qemu (Fedora).";

    public IFrontend Frontend => frontend;

    public ExportSpec Spec => spec;

    /// <summary>Who may connect besides this user, as it was asked for.</summary>
    public SocketAccess? SocketAccess => socketAccess;

    public IExport Export { get; private set; } = export;

    /// <summary>Whether it serves: false once it was stopped or ended by itself.</summary>
    public bool IsServing { get; private set; } = true;

    /// <summary>Why it ended by itself, or null.</summary>
    public string? Failure { get; private set; }

    /// <summary>Whether its end did not come, and is not waited for any more.</summary>
    public bool IsAbandoned { get; set; }

    public void MarkStopped() => IsServing = false;

    public void MarkFailed(string reason)
    {
        IsServing = false;
        Failure = reason;
    }

    public void Replace(IExport export)
    {
        Export = export;
        IsServing = true;
    }

    public ExportJson ToJson() => ToJson(IsServing ? Export.GetStatistics() : null);

    private ExportJson ToJson(ExportStatistics? statistics) => new()
    {
        Id = Export.Id,
        Frontend = Export.Frontend,
        EndpointKind = Export.Endpoint.Kind switch
        {
            EndpointKind.UnixSocket => "unix-socket",
            EndpointKind.BlockDevice => "block-device",
            _ => "character-device",
        },
        Endpoint = Export.Endpoint.Path,
        ReadOnly = spec.ReadOnly,
        State = Failure is not null ? ExportJson.FailedState : IsServing ? "serving" : ExportJson.EndedState,
        Reason = Failure,
        Attach = Export.AttachCommands,
        Notes = [.. Export.Notes, .. AccessNotes()],
        Statistics = statistics,
        Latency = statistics is null ? null : LatenciesJson.Of(statistics.Latencies),
    };

    private IEnumerable<string> AccessNotes()
    {
        if (Export.Endpoint.Kind != EndpointKind.UnixSocket)
        {
            yield break;
        }

        if (socketAccess is not { Opens: true } && Export.AttachCommands.Any(c => c.Consumer == "libvirt"))
        {
            yield return ForLibvirt;
        }

        if (socketAccess is { Opens: true } && SocketAccess.Obstacle(Export.Endpoint.Path) is string obstacle)
        {
            yield return obstacle;
        }
    }
}
