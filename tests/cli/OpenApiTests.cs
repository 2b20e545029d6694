// docs/openapi.json is what the API is: made from its routes and types, read by another program's library, and true of what a
// daemon answers.

using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.OpenApi;
using Microsoft.OpenApi.Reader;
using NJsonSchema;
using Polyblk.Api;

namespace Polyblk.Cli.Tests;

public sealed class OpenApiTests : DaemonTestBase
{
    private static string FilePath => Path.Combine(RepositoryFolder.Path, "docs", "openapi.json");

    [Fact]
    public async Task TheDocumentIsThatOfTheRoutesAndTypes()
    {
        if (Environment.GetEnvironmentVariable("POLYBLK_WRITE_SCHEMA") == "1")
        {
            await File.WriteAllTextAsync(FilePath, OpenApiDocument.Write());
        }

        Assert.True(
            await File.ReadAllTextAsync(FilePath) == OpenApiDocument.Write(),
            "docs/openapi.json is not what the API is. Run this test with POLYBLK_WRITE_SCHEMA=1, and look at the difference.");
    }

    [Fact]
    public async Task TheDocumentIsOpenApiAndHasEveryRoute()
    {
        ReadResult read = Microsoft.OpenApi.OpenApiDocument.Parse(await File.ReadAllTextAsync(FilePath), "json");
        Assert.Empty(read.Diagnostic!.Errors.Select(e => e.ToString()));
        Assert.Empty(read.Diagnostic.Warnings.Select(e => e.ToString()));
        Assert.Equal(
            ApiRoutes.All.Select(r => $"{r.Method} {r.Path}").Order(StringComparer.Ordinal),
            read.Document!.Paths.SelectMany(p => p.Value.Operations!.Keys.Select(m => $"{m.Method} {p.Key}")).Order(
                StringComparer.Ordinal));
        Assert.Equal(ApiRoutes.All.Count, ApiRoutes.All.Select(r => r.Id).Distinct().Count());
    }

    [Fact]
    public async Task WhatADaemonAnswersIsWhatTheDocumentSays()
    {
        await CreateAsync("data", "raid5", 3);
        await CreateAsync("other", "raid1", 2);
        await StartAsync();
        await using ApiServer api = await ApiServer.StartAsync(Daemon!, Directories, NullLogger.Instance);
        using var client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(ApiServer.PathOf(Directories)), cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            },
        })
        {
            BaseAddress = new Uri("http://polyblk"), Timeout = TooLong,
        };
        JsonNode document = JsonNode.Parse(await File.ReadAllTextAsync(FilePath))!;

        // In an order in which each finds something.
        (string Id, string Path, string? Body)[] calls =
        [
            ("addExport", "/v1/volumes/data/exports", """{"frontend":"nbd"}"""), ("addExport", "/v1/volumes/data/exports", """{"frontend":"vhost-user","queues":2}"""),
            ("startVolume", "/v1/volumes/data/start", "{}"), ("getDaemon", "/v1/daemon", null),
            ("listVolumes", "/v1/volumes", null),
            ("getVolume", "/v1/volumes/data", null), ("getLiveVolume", "/v1/volumes/data/live", null),
            ("listRecords", "/v1/records", null), ("getRecord", "/v1/records/data", null),
            ("listExports", "/v1/exports", null), ("getStatistics", "/v1/statistics", null),
            ("getEvents", "/v1/events?volume=data&limit=5", null),
            ("pauseVolume", "/v1/volumes/data/pause", """{"seconds":30}"""), ("resumeVolume", "/v1/volumes/data/resume", null),
            ("checkVolume", "/v1/volumes/data/check", null), ("stopCheckOfVolume", "/v1/volumes/data/stop-check", null),
            ("repairVolume", "/v1/volumes/data/repair", null), ("acknowledgeDamage", "/v1/volumes/data/acknowledge", null),
            ("resizeVolume", "/v1/volumes/data/resize", "{}"), ("growVolume", "/v1/volumes/data/grow", null),
            ("reshapeVolume", "/v1/volumes/data/reshape", """{"drives":[]}"""),
            ("failMember", "/v1/volumes/data/fail", """{"drive":"1"}"""),
            ("removeDrive", "/v1/volumes/data/remove", """{"drive":"1"}"""),
            ("addSpare", "/v1/volumes/data/add-spare", $$"""{"drive":"file:{{PathOf("spare")}},size=4MiB"}"""),
            ("replaceMember", "/v1/volumes/data/replace", $$"""{"drive":"0","newDrive":"file:{{PathOf("new")}},size=4MiB"}"""),
            ("changeSettings", "/v1/volumes/data/settings", """{"checkEverySeconds":86400,"autostart":true}"""),
            ("changeSettings", "/v1/volumes/data/settings", """{"checkEvery":86400}"""),
            ("stopVolume", "/v1/volumes/data/stop?force=true", null), ("checkVolume", "/v1/volumes/data/check", null),
            ("createVolume", "/v1/records", $$"""{"name":"new","level":"none","drives":["file:{{PathOf("n0")}},size=4MiB"]}"""),
            ("createVolume", "/v1/records", """{"name":null,"level":"none","drives":[]}"""),
            ("createVolume", "/v1/records", """{"name":"new","level":"none","drives":[null]}"""),
            ("deleteVolume", "/v1/records/new?whipe=true", null), ("deleteVolume", "/v1/records/new?wipe=true", null), ("deleteVolume", "/v1/records/new", null),
            ("removeExport", "/v1/exports/data/nbd/0?force=true", null),
            ("getMetrics", "/metrics", null),
            ("getVolume", "/v1/volumes/none", null), ("startVolume", "/v1/volumes/other/start", "{}"),
        ];
        Assert.Equal(ApiRoutes.All.Select(r => r.Id).Order(StringComparer.Ordinal),
            calls.Select(c => c.Id).Distinct().Order(StringComparer.Ordinal));
        foreach ((string id, string path, string? body) in calls)
        {
            ApiRoute route = ApiRoutes.All.Single(r => r.Id == id);
            using var request = new HttpRequestMessage(new HttpMethod(route.Method), path)
            {
                Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json"),
            };
            using HttpResponseMessage response = await client.SendAsync(request);
            JsonNode responses = document["paths"]![route.Path]![route.Method.ToLowerInvariant()]!["responses"]!;
            JsonNode? content = (responses[$"{(int)response.StatusCode}"]
                ?? (response.IsSuccessStatusCode ? null : responses["default"]))?["content"];
            string text = await response.Content.ReadAsStringAsync();
            string? type = response.Content.Headers.ContentType?.MediaType;
            Assert.True(
                type is null ? content is null : content?[type] is not null, $"{id}: {response.StatusCode}, {type}: {text}");
            if (type?.EndsWith("json", StringComparison.Ordinal) == true)
            {
                JsonSchema schema = await SchemaAsync(document, content![type]!["schema"]!);
                Assert.Empty(schema.Validate(text).Select(e => $"{id}: {e}"));
            }
        }
    }

    /// <summary>A schema of the document that stands alone. It knows every property, so it takes no other.</summary>
    private static Task<JsonSchema> SchemaAsync(JsonNode document, JsonNode schema)
    {
        JsonNode definitions = document["components"]!["schemas"]!.DeepClone();
        foreach ((_, JsonNode? definition) in definitions.AsObject())
        {
            definition!["additionalProperties"] = false;
        }

        var alone = new JsonObject { ["allOf"] = new JsonArray(schema.DeepClone()), ["definitions"] = definitions };
        return JsonSchema.FromJsonAsync(
            alone.ToJsonString().Replace("#/components/schemas/", "#/definitions/", StringComparison.Ordinal));
    }
}
