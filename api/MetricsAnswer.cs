using Microsoft.AspNetCore.Http;
using Polyblk.Host.Daemon;

namespace Polyblk.Api;

/// <summary>Answers GET /metrics, on the socket and on the port of its own.</summary>
internal static class MetricsAnswer
{
    /// <summary>Writes what there is to know of a daemon now.</summary>
    public static Task SendAsync(HttpContext context, VolumeDaemon daemon)
    {
        context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
        return context.Response.WriteAsync(MetricsText.Write(daemon.GetStatus(), daemon.GetLive()), context.RequestAborted);
    }
}
