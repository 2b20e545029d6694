// A client of the API: HTTP over the daemon's Unix socket, for commands.

using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Api;

/// <summary>Asks the daemon of some folders. One request after the other, on a connection that is kept.</summary>
public sealed class ApiClient : IDisposable
{
    private const string Forced = "?force=true";

    private static readonly Uri s_host = new("http://polyblk");

    /// <summary>What is only looked at is there by then; what is changed takes its time.</summary>
    private static readonly TimeSpan s_answerLimit = TimeSpan.FromSeconds(30);

    /// <summary>A daemon that is being succeeded, or has started just now, has its API again by then.</summary>
    private static readonly TimeSpan s_startLimit = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(50);

    private readonly HttpClient _http;
    private readonly StateDirectories _directories;
    private readonly bool _waitsForStart;

    /// <summary>Makes one; nothing is connected yet.</summary>
    /// <param name="directories">Whose daemon is asked.</param>
    /// <param name="waitsForStart">Whether an API that is not there is waited for, a moment.</param>
    public ApiClient(StateDirectories directories, bool waitsForStart = false)
    {
        ArgumentNullException.ThrowIfNull(directories);
        (_directories, _waitsForStart) = (directories, waitsForStart);
        _http = new HttpClient(new SocketsHttpHandler { ConnectCallback = ConnectAsync })
        {
            BaseAddress = s_host, Timeout = Timeout.InfiniteTimeSpan,
        };
    }

    /// <summary>All counters and histograms now.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public Task<StatisticsJson> GetStatisticsAsync(CancellationToken cancellation) =>
        GetAsync("/v1/statistics", ApiJson.Default.StatisticsJson, cancellation);

    /// <summary>All volumes that the host has a record of.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public Task<HostVolumesJson> GetRecordsAsync(CancellationToken cancellation) =>
        GetAsync("/v1/records", ApiJson.Default.HostVolumesJson, cancellation);

    /// <summary>One of them, with what has happened to it lately.</summary>
    /// <exception cref="RefusalException">There is none, no daemon answers, or it refuses.</exception>
    public Task<VolumeJson> GetRecordAsync(string name, CancellationToken cancellation) =>
        GetAsync($"/v1/records/{Uri.EscapeDataString(name)}", ApiJson.Default.VolumeJson, cancellation);

    /// <summary>All exports.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public Task<IReadOnlyList<DaemonExportJson>> GetExportsAsync(CancellationToken cancellation) =>
        GetAsync("/v1/exports", ApiJson.Default.IReadOnlyListDaemonExportJson, cancellation);

    /// <summary>All events with a higher number.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public Task<IReadOnlyList<EventJson>> GetEventsAsync(long since, CancellationToken cancellation) => GetAsync(
        string.Create(CultureInfo.InvariantCulture, $"/v1/events?since={since}&limit={int.MaxValue}"),
        EventLineJson.Default.IReadOnlyListEventJson,
        cancellation);

    /// <summary>Lets the daemon serve a volume that it does not.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public Task StartVolumeAsync(string name, StartPermissions allowed, CancellationToken cancellation) => AskAsync(
        HttpMethod.Post, $"/v1/volumes/{Uri.EscapeDataString(name)}/start",
        JsonContent.Create(allowed, ApiBodyJson.Default.StartPermissions), ApiJson.Default.DaemonVolumeJson, cancellation);

    /// <summary>Makes a volume.</summary>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public async Task<CreatedJson> CreateVolumeAsync(VolumeWish wish, CancellationToken cancellation) => (await AskAsync(
        HttpMethod.Post, "/v1/records", JsonContent.Create(CreateBody.Of(wish), ApiBodyJson.Default.CreateBody),
        ApiJson.Default.CreatedJson, cancellation).ConfigureAwait(false))!;

    /// <summary>Deletes a volume that nobody serves.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="wipe">Erase its superblocks.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What it was; its message says what became of it.</returns>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public async Task<VolumeJson> DeleteVolumeAsync(string name, bool wipe, CancellationToken cancellation) => (await AskAsync(
        HttpMethod.Delete, $"/v1/records/{Uri.EscapeDataString(name)}{(wipe ? "?wipe=true" : string.Empty)}", null,
        ApiJson.Default.VolumeJson, cancellation).ConfigureAwait(false))!;

    /// <summary>Has it serve a volume no more.</summary>
    /// <returns>The volume; its message says what became of it.</returns>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public async Task<VolumeJson> StopVolumeAsync(string name, bool force, CancellationToken cancellation) => (await AskAsync(
        HttpMethod.Post, $"/v1/volumes/{Uri.EscapeDataString(name)}/stop{(force ? Forced : string.Empty)}", null,
        ApiJson.Default.VolumeJson, cancellation).ConfigureAwait(false))!;

    /// <summary>Changes how a volume behaves.</summary>
    /// <returns>All settings that are on record, as they are now.</returns>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public async Task<SettingsChange> ChangeSettingsAsync(string name, SettingsChange change, CancellationToken cancellation) =>
        (await AskAsync(
            HttpMethod.Patch, $"/v1/volumes/{Uri.EscapeDataString(name)}/settings",
            JsonContent.Create(change, ApiBodyJson.Default.SettingsChange), ApiJson.Default.SettingsChange, cancellation)
            .ConfigureAwait(false))!;

    /// <summary>Asks something about a volume that is served, as its control socket would be asked.</summary>
    /// <returns>The answer that it was done.</returns>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public async Task<ControlResponse> AskVolumeAsync(string name, ControlRequest request, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        if (!request.IsChange)
        {
            // Whoever serves it: it need not be the daemon.
            VolumeJson volume = await GetRecordAsync(name, cancellation).ConfigureAwait(false);
            return new ControlResponse
            {
                Ok = true,
                Live = volume.Live ?? throw RefusalException.Refused($"Volume '{name}' is not being served."),
            };
        }

        VolumeChangedJson done = (await AskAsync(
            HttpMethod.Post,
            VolumeActions.PathOf(name, request),
            VolumeActions.BodyOf(request),
            ApiJson.Default.VolumeChangedJson,
            cancellation).ConfigureAwait(false))!;
        return new ControlResponse { Ok = true, Message = done.Message, Role = done.Role, Live = done.Live };
    }

    /// <summary>Lets it serve a volume through one more export.</summary>
    /// <returns>The export.</returns>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public async Task<ExportJson> AddExportAsync(string volume, ExportRecord export, CancellationToken cancellation) =>
        (await AskAsync(
            HttpMethod.Post, $"/v1/volumes/{Uri.EscapeDataString(volume)}/exports",
            JsonContent.Create(export, ApiBodyJson.Default.ExportRecord), ApiJson.Default.ExportJson, cancellation)
            .ConfigureAwait(false))!;

    /// <summary>Ends an export.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="force">Also while somebody uses it.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">No daemon answers, or it refuses.</exception>
    public Task RemoveExportAsync(string id, bool force, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(id);
        string path = string.Join('/', id.Split('/').Select(Uri.EscapeDataString));
        return AskAsync<object>(
            HttpMethod.Delete, $"/v1/exports/{path}{(force ? Forced : string.Empty)}", null, null, cancellation);
    }

    private async Task<T> GetAsync<T>(string path, JsonTypeInfo<T> type, CancellationToken cancellation)
        where T : class
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(s_answerLimit);
        try
        {
            return (await AskAsync(HttpMethod.Get, path, null, type, limit.Token).ConfigureAwait(false))!;
        }
        catch (OperationCanceledException e) when (!cancellation.IsCancellationRequested)
        {
            throw NoAnswer(e);
        }
    }

    /// <summary>Asks for something; a type that is null expects no content.</summary>
    private async Task<T?> AskAsync<T>(
        HttpMethod method, string path, HttpContent? body, JsonTypeInfo<T>? type, CancellationToken cancellation)
        where T : class
    {
        try
        {
            using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative)) { Content = body };
            using HttpResponseMessage answer = await _http.SendAsync(request, cancellation).ConfigureAwait(false);
            if (!answer.IsSuccessStatusCode)
            {
                throw await RefusalOfAsync(answer, cancellation).ConfigureAwait(false);
            }

            return type is null ? null
                : await answer.Content.ReadFromJsonAsync(type, cancellation).ConfigureAwait(false)
                    ?? throw new JsonException("null");
        }
        catch (HttpRequestException e)
            when (e.GetBaseException() is SocketException { SocketErrorCode: SocketError.AccessDenied })
        {
            throw new RefusalException(
                new Refusal(
                    RefusalKind.HostLacks,
                    $"This user may not use {ApiServer.PathOf(_directories)}, nor read {_directories.State}.",
                    "Run as root, or let a group of this user's in: polyblk daemon --api-group GROUP."),
                e);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or JsonException)
        {
            throw NoAnswer(e);
        }
    }

    private RefusalException NoAnswer(Exception e) => new(
        new Refusal(
            RefusalKind.Refused,
            File.Exists(ApiServer.PathOf(_directories)) ? $"No daemon answers at {ApiServer.PathOf(_directories)}: {e.Message}"
                : $"No daemon is there: {ApiServer.PathOf(_directories)} does not exist.",
            "Start it: polyblk daemon (or: systemctl start polyblk)."),
        e);

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
        var address = new UnixDomainSocketEndPoint(ApiServer.PathOf(_directories));
        for (long began = Stopwatch.GetTimestamp(); ; await Task.Delay(s_look, cancellation).ConfigureAwait(false))
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(address, cancellation).ConfigureAwait(false);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException e) when (e.SocketErrorCode != SocketError.AccessDenied
                && _waitsForStart && Stopwatch.GetElapsedTime(began) < s_startLimit)
            {
                socket.Dispose();
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
    }
}
