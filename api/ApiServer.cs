// The API of the daemon: HTTP/1.1 and JSON on a Unix socket.
//
// Kestrel without what is usually built on it: no routing by reflection, no configuration, no logging of its own. It is started
// after the exports are up, and a client cannot disturb them: the number of connections, the size of a request and the time for
// its header are bounded. The socket lies in a folder of the daemon's user, and is for that user only, or for a group too. Who
// changed something is in the log, by the kernel's word.
//
// What it answers is in ApiRoutes, and in docs/openapi.json, which is made from that.
//
// What is refused is answered as RFC 9457 says (application/problem+json).

using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;
using Polyblk.Host;
using Polyblk.Host.Daemon;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Api;

/// <summary>Listens until it is disposed.</summary>
public sealed class ApiServer : IAsyncDisposable
{
    private const int MostConnections = 64;
    private const int MostRequestBytes = 64 << 10;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly TimeSpan s_headerTime = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_endTime = TimeSpan.FromSeconds(2);

    private readonly VolumeDaemon _daemon;
    private readonly ILogger _log;
    private readonly WebApplication _app;
    private readonly CancellationTokenSource _ending = new();
    private readonly EventsAnswer _events;
    private readonly StateDirectories _directories;
    private readonly RecordLooks _looks;
    private readonly DriveWork _drives = new();
    private readonly ChangeGate _changes;

    private ApiServer(VolumeDaemon daemon, StateDirectories directories, string path, ILogger log, FollowerLimits followers)
    {
        _daemon = daemon;
        _directories = directories;
        _changes = new ChangeGate(daemon);
        _looks = new RecordLooks(directories);
        _events = new EventsAnswer(daemon.Events, followers, _ending.Token);
        _log = log;
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = MostConnections;
            kestrel.Limits.MaxRequestBodySize = MostRequestBytes;
            kestrel.Limits.RequestHeadersTimeout = s_headerTime;
            kestrel.ListenUnixSocket(path);
        });
        _app = builder.Build();
        _app.Run(AnswerAsync);
    }

    /// <summary>Where it listens.</summary>
    public static string PathOf(StateDirectories directories)
    {
        ArgumentNullException.ThrowIfNull(directories);
        return Path.Combine(directories.RuntimeOf(StateDirectories.Daemon), "api.sock");
    }

    /// <summary>
    /// Starts listening. The caller is the daemon of these folders, so a socket that is there is a dead process's.
    /// </summary>
    /// <exception cref="RefusalException">The socket cannot be made.</exception>
    /// <param name="daemon">The daemon.</param>
    /// <param name="directories">Whose daemon it is.</param>
    /// <param name="log">Told who changes what.</param>
    /// <param name="group">Name or number of a group that may connect, too; null for none.</param>
    public static Task<ApiServer> StartAsync(
        VolumeDaemon daemon, StateDirectories directories, ILogger log, string? group = null) =>
        StartAsync(daemon, directories, log, new FollowerLimits(), group);

    /// <summary>The same, with limits of a test.</summary>
    internal static async Task<ApiServer> StartAsync(
        VolumeDaemon daemon, StateDirectories directories, ILogger log, FollowerLimits followers, string? group = null)
    {
        string path = PathOf(directories);
        string folder = Path.GetDirectoryName(path)!;

        // Under its name it is seen when it may be used by whoever may: a predecessor's is there until then. The name that it is
        // made by is its own, since it is removed with it.
        string made = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"api.{Environment.ProcessId}"));
        try
        {
            File.Delete(made);
            if (group is null)
            {
                SocketAccess.CloseFolder(folder);
            }

            var server = new ApiServer(daemon, directories, made, log, followers);
            await server._app.StartAsync().ConfigureAwait(false);
            File.SetUnixFileMode(made, OwnerOnly);
            if (group is not null)
            {
                await server.OpenForAsync(made, group).ConfigureAwait(false);
            }

            File.Move(made, path, overwrite: true);
            return server;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(new Refusal(RefusalKind.HostLacks, $"The socket of the API cannot be made: {e.Message}", "--state DIR moves it."), e);
        }
    }

    /// <summary>Lets a group in; where that is not possible nobody is.</summary>
    private async Task OpenForAsync(string path, string group)
    {
        try
        {
            SocketAccess.OpenFor(path, group, "--api-group");
        }
        catch
        {
            await DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Refuses all changes from now on, and waits for those that are under way: they would be cut off.</summary>
    /// <param name="atMost">For how long.</param>
    public Task EndChangesAsync(TimeSpan atMost) => _changes.EndAsync(atMost);

    public async ValueTask DisposeAsync()
    {
        // Those who follow events would stay.
        await _ending.CancelAsync().ConfigureAwait(false);
        using var limit = new CancellationTokenSource(s_endTime);
        await _app.StopAsync(limit.Token).ConfigureAwait(false);
        await _app.DisposeAsync().ConfigureAwait(false);
        _ending.Dispose();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        try
        {
            await _daemon.RefreshAsync(context.RequestAborted).ConfigureAwait(false);
            await RouteAsync(context).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client has left.
        }
        catch (BadHttpRequestException e)
        {
            await RefuseAsync(context, new Refusal(RefusalKind.Invalid, e.Message), e.StatusCode).ConfigureAwait(false);
        }
        catch (JsonException e)
        {
            await RefuseAsync(context, new Refusal(RefusalKind.Invalid, $"The body is not what is expected: {e.Message}"))
                .ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Whatever went wrong is the client's answer and in the log; the volumes are served on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            if (Refusals.Of(e) is not Refusal refusal)
            {
                _log.LogError(e, "{Method} {Path} failed", context.Request.Method, context.Request.Path.Value);
                refusal = new Refusal(RefusalKind.Failed, e.Message);
            }

            await RefuseAsync(context, refusal).ConfigureAwait(false);
        }
    }

    private Task RouteAsync(HttpContext context)
    {
        string[] path = (context.Request.Path.Value ?? string.Empty).Split('/', StringSplitOptions.RemoveEmptyEntries);
        foreach (ApiRoute route in ApiRoutes.All.Where(r => r.Method == context.Request.Method))
        {
            if (route.Match(path) is string[] values)
            {
                return route.IsChange ? ChangeAsync(context, () => route.AnswerAsync(this, context, values))
                    : route.AnswerAsync(this, context, values);
            }
        }

        throw RefusalException.NotFound(
            $"There is no {context.Request.Method} {context.Request.Path.Value}.", "docs/openapi.json says what there is.");
    }

    /// <summary>Answers a request that changes something, and takes down who asked for it.</summary>
    private async Task ChangeAsync(HttpContext context, Func<Task> answer)
    {
        // Before it is done: who has gone by then cannot be asked for.
        Socket? socket = context.Features.Get<IConnectionSocketFeature>()?.Socket;
        PeerCredentials peer = socket is null ? default : PeerCredentials.Of((int)socket.Handle);
        string outcome = "done";
        try
        {
            using IDisposable change = _changes.Begin();
            await answer().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            outcome = Refusals.Of(e)?.Problem ?? e.Message;
            throw;
        }
        finally
        {
            _looks.Forget();
            _log.LogInformation(
                "{Method} {Path}, asked for by user {User}, process {Process}: {Outcome}",
                context.Request.Method, context.Request.Path.Value, peer.UserId, peer.ProcessId, outcome);
        }
    }

    internal Task DaemonAsync(HttpContext context) => SendAsync(context, _daemon.GetStatus(), ApiJson.Default.DaemonJson);

    internal Task VolumesAsync(HttpContext context) =>
        SendAsync(context, _daemon.GetStatus().Volumes, ApiJson.Default.IReadOnlyListDaemonVolumeJson);

    internal Task VolumeAsync(HttpContext context, string name) =>
        SendAsync(context, Volume(name), ApiJson.Default.DaemonVolumeJson);

    internal Task LiveAsync(HttpContext context, string name) => SendAsync(context, Live(name), ApiJson.Default.LiveJson);

    internal Task ExportsAsync(HttpContext context) =>
        SendAsync(
            context, [.. _daemon.GetStatus().Volumes.SelectMany(v => v.Exports)], ApiJson.Default.IReadOnlyListDaemonExportJson);

    internal async Task RecordsAsync(HttpContext context)
    {
        HostVolumesJson all = await _looks.AtAllAsync(context.RequestAborted).ConfigureAwait(false);
        await SendAsync(context, all, ApiJson.Default.HostVolumesJson).ConfigureAwait(false);
    }

    internal async Task RecordAsync(HttpContext context, string name)
    {
        VolumeJson volume = await _looks.AtOneAsync(name, context.RequestAborted).ConfigureAwait(false);
        await SendAsync(context, volume, ApiJson.Default.VolumeJson).ConfigureAwait(false);
    }

    internal Task EventsAsync(HttpContext context) => _events.AnswerAsync(context);

    private DaemonVolumeJson Volume(string name) => _daemon.GetStatus().Volumes.FirstOrDefault(v => v.Name == name)
        ?? throw RefusalException.NotFound(
            $"The daemon has no volume '{name}'.",
            $"Export it: polyblk export add {name} --frontend FRONTEND");

    private LiveJson Live(string name) => _daemon.GetLive().FirstOrDefault(v => v.Volume == name)
        ?? throw RefusalException.NotFound($"Volume '{name}' is not served by the daemon.");

    internal async Task StartAsync(HttpContext context, string name)
    {
        StartPermissions allowed = await ReadAsync(context, ApiBodyJson.Default.StartPermissions).ConfigureAwait(false);
        await _daemon.StartVolumeAsync(name, allowed, context.RequestAborted).ConfigureAwait(false);
        await SendAsync(context, Volume(name), ApiJson.Default.DaemonVolumeJson).ConfigureAwait(false);
    }

    internal async Task CreateAsync(HttpContext context)
    {
        CreateBody body = await ReadAsync(context, ApiBodyJson.Default.CreateBody).ConfigureAwait(false);
        VolumeWish wish = body.ToWish();
        List<string> notes = [], warnings = [];
        VolumeJson made = await _drives.DoAsync(() =>
            VolumeCreation.CreateAsync(_directories, wish, notes.Add, warnings.Add, Tell, CancellationToken.None))
            .ConfigureAwait(false);
        context.Response.Headers.Location = $"/v1/records/{made.Name}";
        var created = new CreatedJson(made, notes, warnings);
        await SendAsync(context, created, ApiJson.Default.CreatedJson, StatusCodes.Status201Created).ConfigureAwait(false);
    }

    internal async Task DeleteAsync(HttpContext context, string name)
    {
        bool wipe = IsAsked(context, "wipe");

        // Who asks for it by the API means it.
        VolumeJson deleted = await _drives.DoAsync(() =>
            VolumeDeletion.DeleteAsync(_directories, Named(name), wipe, (_, _) => { }, Tell, CancellationToken.None))
            .ConfigureAwait(false);
        await _daemon.RefreshAsync(CancellationToken.None).ConfigureAwait(false);
        await SendAsync(context, deleted, ApiJson.Default.VolumeJson).ConfigureAwait(false);
    }

    internal async Task StopAsync(HttpContext context, string name)
    {
        bool force = IsAsked(context, "force");
        VolumeJson volume = await ServedVolume.StopAsync(_directories, Named(name), force, CancellationToken.None)
            .ConfigureAwait(false);
        await SendAsync(context, volume, ApiJson.Default.VolumeJson).ConfigureAwait(false);
    }

    internal async Task ChangeSettingsAsync(HttpContext context, string name)
    {
        SettingsChange change = await ReadAsync(context, ApiBodyJson.Default.SettingsChange).ConfigureAwait(false);
        SettingsChange now = await new VolumeSettings(_directories, Named(name), Tell).ChangeAsync(change, CancellationToken.None)
            .ConfigureAwait(false);
        await SendAsync(context, now, ApiJson.Default.SettingsChange).ConfigureAwait(false);
    }

    /// <summary>What was asked for is waited for, whoever has left meanwhile: whether it was done is in the log.</summary>
    internal async Task AskVolumeAsync(HttpContext context, string name, ControlRequest request)
    {
        ControlResponse done =
            await ServedVolume.AskAsync(_directories, Named(name), request, CancellationToken.None).ConfigureAwait(false)
            ?? throw RefusalException.Refused($"Volume '{name}' is not being served.", $"Start it: polyblk volume start {name}");
        var changed = new VolumeChangedJson { Message = done.Message, Role = done.Role, Live = done.Live };
        await SendAsync(context, changed, ApiJson.Default.VolumeChangedJson).ConfigureAwait(false);
    }

    private static string Named(string name)
    {
        VolumeName.Check(name);
        return name;
    }

    /// <summary>What stands after the question mark: true or false, and nothing that the route does not know.</summary>
    private static bool IsAsked(HttpContext context, string name)
    {
        string? value = context.Request.Query[name];
        return context.Request.Query.Keys.Any(key => key != name) || value is not (null or "true" or "false")
            ? throw RefusalException.Invalid($"After the question mark there may be {name}=true or {name}=false alone.")
            : value == "true";
    }

    /// <summary>Tells what a request has done, as the daemon tells what it does itself.</summary>
    private void Tell(EventJson e) => new EventTeller(e.Volume, _daemon.Events, _log).Tell(e);

    internal async Task AddExportAsync(HttpContext context, string name)
    {
        ExportRecord export = await ReadAsync(context, ApiBodyJson.Default.ExportRecord).ConfigureAwait(false);
        ExportJson added = await _daemon.AddExportAsync(name, export, CancellationToken.None).ConfigureAwait(false);
        context.Response.Headers.Location = $"/v1/exports/{added.Id}";
        await SendAsync(context, added, ApiJson.Default.ExportJson, StatusCodes.Status201Created).ConfigureAwait(false);
    }

    internal async Task RemoveExportAsync(HttpContext context, string id)
    {
        await _daemon.RemoveExportAsync(id, IsAsked(context, "force"), CancellationToken.None).ConfigureAwait(false);
        context.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    internal Task MetricsAsync(HttpContext context) => MetricsAnswer.SendAsync(context, _daemon);

    internal Task StatisticsAsync(HttpContext context) =>
        SendAsync(context, StatisticsJson.Of(_daemon.GetStatus(), _daemon.GetLive()), ApiJson.Default.StatisticsJson);

    internal static async Task<T> ReadAsync<T>(HttpContext context, JsonTypeInfo<T> type) =>
        await JsonSerializer.DeserializeAsync(context.Request.Body, type, context.RequestAborted).ConfigureAwait(false)
            ?? throw RefusalException.Invalid("The body is null.");

    private static Task SendAsync<T>(HttpContext context, T value, JsonTypeInfo<T> type, int status = StatusCodes.Status200OK)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        return JsonSerializer.SerializeAsync(context.Response.Body, value, type, context.RequestAborted);
    }

    private static Task RefuseAsync(HttpContext context, Refusal refusal, int? ownStatus = null)
    {
        if (context.Response.HasStarted)
        {
            context.Abort();
            return Task.CompletedTask;
        }

        int status = ownStatus ?? StatusOf(refusal.Kind);
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/problem+json";
        var problem = new ProblemJson(status, refusal.Problem) { Kind = refusal.Kind, Remedy = refusal.Remedy };
        return JsonSerializer.SerializeAsync(context.Response.Body, problem, ApiJson.Default.ProblemJson, context.RequestAborted);
    }

    private static int StatusOf(RefusalKind kind) => kind switch
    {
        RefusalKind.Invalid => StatusCodes.Status400BadRequest,
        RefusalKind.NotFound => StatusCodes.Status404NotFound,
        RefusalKind.Refused => StatusCodes.Status409Conflict,
        RefusalKind.HostLacks => StatusCodes.Status503ServiceUnavailable,
        _ => StatusCodes.Status500InternalServerError,
    };
}
