// A client of the API: HTTP over the daemon's Unix socket, for commands.

using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Api;

/// <summary>Asks the daemon of some folders. One request after the other, on a connection that is kept.</summary>
public sealed class ApiClient : IDisposable
{
    private static readonly Uri s_host = new("http://polyblk");
    private static readonly TimeSpan s_answerLimit = TimeSpan.FromSeconds(30);

    private readonly HttpClient _http;
    private readonly StateDirectories _directories;

    /// <summary>Makes one; nothing is connected yet.</summary>
    public ApiClient(StateDirectories directories)
    {
        ArgumentNullException.ThrowIfNull(directories);
        _directories = directories;
        _http = new HttpClient(new SocketsHttpHandler { ConnectCallback = ConnectAsync })
        {
            BaseAddress = s_host,
            Timeout = s_answerLimit,
        };
    }

    /// <summary>All counters and histograms now.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public Task<StatisticsJson> GetStatisticsAsync(CancellationToken cancellation) =>
        GetAsync("/v1/statistics", ApiJson.Default.StatisticsJson, cancellation);

    /// <summary>Asks for something that is there.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    internal async Task<T> GetAsync<T>(string path, JsonTypeInfo<T> type, CancellationToken cancellation)
    {
        try
        {
            using HttpResponseMessage answer = await _http.GetAsync(new Uri(path, UriKind.Relative), cancellation)
                .ConfigureAwait(false);
            if (!answer.IsSuccessStatusCode)
            {
                throw await RefusalOfAsync(answer, cancellation).ConfigureAwait(false);
            }

            return await answer.Content.ReadFromJsonAsync(type, cancellation).ConfigureAwait(false)
                ?? throw new JsonException("null");
        }
        catch (Exception e) when (e is HttpRequestException or IOException or JsonException
            || (e is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new RefusalException(
                new Refusal(
                    RefusalKind.Refused,
                    $"No daemon answers at {ApiServer.PathOf(_directories)}: {e.Message}",
                    "Start it: polyblk daemon (or: systemctl start polyblk)."),
                e);
        }
    }

    public void Dispose() => _http.Dispose();

    private static async Task<RefusalException> RefusalOfAsync(HttpResponseMessage answer, CancellationToken cancellation)
    {
        ProblemJson? problem = await answer.Content.ReadFromJsonAsync(ApiJson.Default.ProblemJson, cancellation)
            .ConfigureAwait(false);
        return problem is null ? throw new JsonException("null")
            : new RefusalException(new Refusal(problem.Kind, problem.Title, problem.Remedy));
    }

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellation)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            var address = new UnixDomainSocketEndPoint(ApiServer.PathOf(_directories));
            await socket.ConnectAsync(address, cancellation).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
