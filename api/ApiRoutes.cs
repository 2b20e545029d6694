// All that the API answers. The dispatch goes by this table, and docs/openapi.json is made from it (tests/cli, OpenApiTests).

using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;
using Polyblk.Host.Model;

namespace Polyblk.Api;

/// <summary>The table.</summary>
internal static class ApiRoutes
{
    private const string Json = "application/json";

    /// <summary>The first one that matches is taken.</summary>
    public static IReadOnlyList<ApiRoute> All { get; } =
    [
        Get("/v1/daemon", "getDaemon", "What the daemon does.", ApiJson.Default.DaemonJson, (api, context, _) =>
            api.DaemonAsync(context)),
        Get("/v1/volumes", "listVolumes", "Its volumes.", ApiJson.Default.IReadOnlyListDaemonVolumeJson, (api, context, _) =>
            api.VolumesAsync(context)),
        Get("/v1/volumes/{name}", "getVolume", "One of them.", ApiJson.Default.DaemonVolumeJson, (api, context, path) =>
            api.VolumeAsync(context, path[0])),
        Get(
            "/v1/volumes/{name}/live", "getLiveVolume",
            "What is served: the array, its members, the exports, with their statistics.", ApiJson.Default.LiveJson,
            (api, context, path) => api.LiveAsync(context, path[0])),
        new("POST", "/v1/volumes/{name}/start", "startVolume",
            "Start one that was stopped, could not start, or waits; the body says what is allowed, {} nothing.",
            (api, context, path) => api.StartAsync(context, path[0]))
        {
            Body = ApiBodyJson.Default.StartPermissions, Answers = One(ApiJson.Default.DaemonVolumeJson),
        },
        new("POST", "/v1/volumes/{name}/stop", "stopVolume", "Serve it no more, until it is started; what it holds stays.",
            (api, context, path) => api.StopAsync(context, path[0]))
        {
            Answers = One(ApiJson.Default.VolumeJson),
            Query = [new("force", "boolean", "Also while somebody uses it, who loses the disk.")],
        },
        new("PATCH", "/v1/volumes/{name}/settings", "changeSettings",
            "Change how it behaves, now and at every start; what the body leaves out stays.",
            (api, context, path) => api.ChangeSettingsAsync(context, path[0]))
        {
            Body = ApiBodyJson.Default.SettingsChange, Answers = One(ApiJson.Default.SettingsChange),
        },
        .. VolumeActions.Routes,
        new("POST", "/v1/volumes/{name}/exports", "addExport", "One more export, now and at every start. Its number is chosen.",
            (api, context, path) => api.AddExportAsync(context, path[0]))
        {
            Body = ApiBodyJson.Default.ExportRecord,
            Status = StatusCodes.Status201Created,
            Answers = One(ApiJson.Default.ExportJson),
        },
        Get("/v1/records", "listRecords", "All volumes that the host has a record of, as polyblk volume list --json prints them.",
            ApiJson.Default.HostVolumesJson, (api, context, _) => api.RecordsAsync(context)),
        Get("/v1/records/{name}", "getRecord", "One of them, as polyblk volume show --json prints it.",
            ApiJson.Default.VolumeJson, (api, context, path) => api.RecordAsync(context, path[0])),
        new("POST", "/v1/records", "createVolume", "Make a volume of drives; nobody serves it yet.",
            (api, context, _) => api.CreateAsync(context))
        {
            Body = ApiBodyJson.Default.CreateBody,
            Status = StatusCodes.Status201Created,
            Answers = One(ApiJson.Default.CreatedJson),
        },
        new("DELETE", "/v1/records/{name}", "deleteVolume", "Forget a volume that nobody serves; its drives are as they were.",
            (api, context, path) => api.DeleteAsync(context, path[0]))
        {
            Answers = One(ApiJson.Default.VolumeJson),
            Query = [new("wipe", "boolean", "Erase its superblocks: what it holds cannot be reached any more.")],
        },
        Get("/v1/exports", "listExports", "All exports.", ApiJson.Default.IReadOnlyListDaemonExportJson, (api, context, _) =>
            api.ExportsAsync(context)),
        new("DELETE", "/v1/exports/{volume}/{frontend}/{index}", "removeExport", "End an export, now and for every start.",
            (api, context, path) => api.RemoveExportAsync(context, string.Join('/', path)))
        {
            Status = StatusCodes.Status204NoContent,
            Query = [new("force", "boolean", "Also while somebody uses it, who loses the disk.")],
        },
        Get(
            "/v1/statistics", "getStatistics", "All counters and histograms, for who compares two answers.",
            ApiJson.Default.StatisticsJson,
            (api, context, _) => api.StatisticsAsync(context)),
        new("GET", "/v1/events", "getEvents",
            "What has happened; with Accept: text/event-stream also what happens, one message each.",
            (api, context, _) => api.EventsAsync(context))
        {
            Answers = new Dictionary<string, JsonTypeInfo?>
            {
                [Json] = EventLineJson.Default.IReadOnlyListEventJson, ["text/event-stream"] = null,
            },
            Query =
            [
                new("volume", "string", "Only events of this volume."), new("since", "integer", "Only events after this number."),
                new("limit", "integer", "The last so many; not for a stream."),
            ],
        },
        new("GET", "/metrics", "getMetrics", "For Prometheus.", (api, context, _) => api.MetricsAsync(context))
        {
            Answers = new Dictionary<string, JsonTypeInfo?> { ["text/plain"] = null },
        },
    ];

    private static ApiRoute Get(
        string path, string id, string summary, JsonTypeInfo answer, Func<ApiServer, HttpContext, string[], Task> answerAsync) =>
        new("GET", path, id, summary, answerAsync) { Answers = One(answer) };

    /// <summary>An answer in JSON.</summary>
    internal static Dictionary<string, JsonTypeInfo?> One(JsonTypeInfo answer) => new() { [Json] = answer };
}
