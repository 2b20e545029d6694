// GET /metrics on a port of the loopback address, for a Prometheus that cannot scrape a Unix socket: that request, and nothing
// else of the API. Everybody on the host can make it, so what it says must not be more than everybody on the host may know.

using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Polyblk.Host;
using Polyblk.Host.Daemon;

namespace Polyblk.Api;

/// <summary>Listens until it is disposed.</summary>
public sealed class MetricsPort : IAsyncDisposable
{
    private const int MostConnections = 16;
    private static readonly TimeSpan s_headerTime = TimeSpan.FromSeconds(5);

    /// <summary>A connection without a request: whoever keeps one keeps a place, and Prometheus connects again.</summary>
    private static readonly TimeSpan s_keepTime = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_endTime = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(20);

    private readonly WebApplication _app;
    private bool _isDisposed;

    private MetricsPort(VolumeDaemon daemon, IPEndPoint address)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = MostConnections;
            kestrel.Limits.MaxRequestBodySize = 0;
            kestrel.Limits.RequestHeadersTimeout = s_headerTime;
            kestrel.Limits.KeepAliveTimeout = s_keepTime;
            kestrel.Listen(address);
        });
        _app = builder.Build();
        _app.Run(context => AnswerAsync(context, daemon));
    }

    /// <summary>Reads an address with its port: of this host alone, for nothing is asked of who scrapes.</summary>
    /// <exception cref="FormatException">It is none; the message says why.</exception>
    public static IPEndPoint Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (!IPEndPoint.TryParse(text, out IPEndPoint? address) || address.Port == 0)
        {
            throw new FormatException($"'{text}' is no address with a port: write 127.0.0.1:9777 or [::1]:9777.");
        }

        return IPAddress.IsLoopback(address.Address) ? address : throw new FormatException(
            $"{address.Address} can be reached from other hosts, and metrics are given to everybody who asks: "
                + "use 127.0.0.1 or [::1], and have a proxy before it that knows who may ask.");
    }

    /// <summary>Starts listening.</summary>
    /// <param name="daemon">Whose metrics they are.</param>
    /// <param name="address">Where.</param>
    /// <param name="patience">How long another process may have the port still: a predecessor that is about to end.</param>
    /// <param name="cancellation">Ends waiting.</param>
    /// <exception cref="RefusalException">The port cannot be had.</exception>
    public static async Task<MetricsPort> StartAsync(
        VolumeDaemon daemon, IPEndPoint address, TimeSpan patience, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(address);
        for (long began = Stopwatch.GetTimestamp(); ; await Task.Delay(s_look, cancellation).ConfigureAwait(false))
        {
            var port = new MetricsPort(daemon, address);
            try
            {
                await port._app.StartAsync(cancellation).ConfigureAwait(false);
                return port;
            }
            catch (IOException e) when (e.InnerException is AddressInUseException && Stopwatch.GetElapsedTime(began) < patience)
            {
                await port._app.DisposeAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or SocketException or UnauthorizedAccessException)
            {
                await port._app.DisposeAsync().ConfigureAwait(false);
                throw new RefusalException(RefusalKind.HostLacks, $"Metrics cannot be served at {address}: {e.Message}", e);
            }
        }
    }

    /// <summary>Lets the port go; may be called again.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        using var limit = new CancellationTokenSource(s_endTime);
        await _app.StopAsync(limit.Token).ConfigureAwait(false);
        await _app.DisposeAsync().ConfigureAwait(false);
    }

    private static async Task AnswerAsync(HttpContext context, VolumeDaemon daemon)
    {
        // By a name a page in somebody's browser could ask, whose name leads here (DNS rebinding); Prometheus asks by address, or
        // by localhost.
        string host = context.Request.Host.Host;
        bool isOfThisHost = host == "localhost"
            || (IPAddress.TryParse(host, out IPAddress? named) && IPAddress.IsLoopback(named));
        bool isForMetrics = isOfThisHost && HttpMethods.IsGet(context.Request.Method) && context.Request.Path == "/metrics";
        if (isForMetrics)
        {
            await daemon.RefreshAsync(context.RequestAborted).ConfigureAwait(false);
            await MetricsAnswer.SendAsync(context, daemon).ConfigureAwait(false);
            return;
        }

        context.Response.StatusCode = StatusCodes.Status404NotFound;
        await context.Response.WriteAsync("Only GET /metrics is here.\n", context.RequestAborted).ConfigureAwait(false);
    }
}
