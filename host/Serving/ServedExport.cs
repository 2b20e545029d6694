using Polyblk.Frontends;
using Polyblk.Host.Model;

namespace Polyblk.Host.Serving;

/// <summary>An export with what is needed to show it, and to make it again after a refused stop.</summary>
public sealed class ServedExport(IFrontend frontend, ExportSpec spec, IExport export, SocketAccess? socketAccess = null)
{
    private const string ForLibvirt =
        "libvirt runs QEMU as a user of its own, who may not connect to this socket: give the export "
        + "--socket-group libvirt-qemu (Debian) or --socket-group qemu (Fedora) when it is made.";

    public IFrontend Frontend => frontend;

    public ExportSpec Spec => spec;

    /// <summary>Who may connect besides this user, as it was asked for.</summary>
    public SocketAccess? SocketAccess => socketAccess;

    // What those have counted that were here before this one, and what it had counted when it ended.
    private readonly Lock _counting = new();
    private ExportStatistics _past = new();
    private ExportStatistics _last = new();

    public IExport Export { get; private set; } = export;

    /// <summary>Whether it serves: false once it was stopped or ended by itself.</summary>
    public bool IsServing { get; private set; } = true;

    /// <summary>Why it ended by itself, or null.</summary>
    public string? Failure { get; private set; }

    /// <summary>Whether its end did not come, and is not waited for any more.</summary>
    public bool IsAbandoned { get; set; }

    /// <summary>
    /// What it has counted since the volume is served: goes on where it is made again, and stays when it ends. Any thread.
    /// </summary>
    public ExportStatistics GetCounts()
    {
        lock (_counting)
        {
            return _past.Plus(IsServing ? Export.GetStatistics() : _last);
        }
    }

    public void MarkStopped()
    {
        lock (_counting)
        {
            _last = IsServing ? Export.GetStatistics().AsPast() : _last;
            IsServing = false;
        }
    }

    public void MarkFailed(string reason)
    {
        MarkStopped();
        Failure = reason;
    }

    public void Replace(IExport export)
    {
        lock (_counting)
        {
            if (!ReferenceEquals(export, Export))
            {
                _past = _past.Plus(_last);
                Export = export;
            }

            IsServing = true;
        }
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
