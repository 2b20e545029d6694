// The API over its socket: what is served, changed and refused by it, and what Prometheus reads.

using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Api;
using Polyblk.Cli.CommandLine;
using Polyblk.Compare.Clients.Nbd;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Raid;

namespace Polyblk.Cli.Tests;

public sealed partial class ApiTests : IAsyncLifetime
{
    private const string Oldest = "polyblk_member_oldest_request_seconds";

    private static readonly TimeSpan s_tooLong = TimeSpan.FromSeconds(120);

    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;
    private readonly ServiceProvider _services = Composition.Build();
    private VolumeDaemon _daemon = null!;
    private ApiServer _api = null!;
    private HttpClient _client = null!;

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    public async ValueTask InitializeAsync()
    {
        var options = new DaemonOptions(ReactorPlan.Make(null, CpuSet.Allowed(), 1), IdlePolicy.Frugal, [.. _services.GetServices<IFrontend>()])
        {
            WaitForDrives = TimeSpan.Zero,
        };
        _daemon = VolumeDaemon.Start(options, Directories, NullLoggerFactory.Instance);
        _api = await ApiServer.StartAsync(_daemon, Directories, NullLogger.Instance);
        _client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(ApiServer.PathOf(Directories)), cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            },
        })
        {
            BaseAddress = new Uri("http://polyblk"), Timeout = s_tooLong,
        };
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _api.DisposeAsync();
        await _daemon.DisposeAsync();
        await _services.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Two at once are those of a predecessor and its successor: who asks finds one of them at any time.</summary>
    [Fact]
    public async Task ASuccessorTakesThePlaceAndKeepsIt()
    {
        using var client = new ApiClient(Directories);
        using var end = new CancellationTokenSource();
        Task<bool> isAlwaysThere = Task.Run(() =>
        {
            bool isThere = true;
            while (!end.IsCancellationRequested)
            {
                isThere &= File.Exists(ApiServer.PathOf(Directories));
            }

            return isThere;
        });
        await using (ApiServer successor = await ApiServer.StartAsync(_daemon, Directories, NullLogger.Instance))
        {
            await end.CancelAsync();
            Assert.True(await isAlwaysThere);
            await _api.DisposeAsync();
            _ = await client.GetExportsAsync(CancellationToken.None);
        }

        _api = await ApiServer.StartAsync(_daemon, Directories, NullLogger.Instance);
        _ = await client.GetExportsAsync(CancellationToken.None);
    }

    [Fact]
    public async Task AnExportIsMadeShownAndRemoved()
    {
        await CreateAsync("data");
        using HttpResponseMessage made = await PostAsync("/v1/volumes/data/exports", """{"frontend":"nbd","readOnly":true}""");
        Assert.Equal(HttpStatusCode.Created, made.StatusCode);
        Assert.Equal("/v1/exports/data/nbd/0", made.Headers.Location!.OriginalString);
        JsonElement exports = await GetAsync("/v1/exports");
        Assert.Equal(("data/nbd/0", "serving", true), (Text(exports[0], "id"), Text(exports[0], "state"), exports[0].GetProperty("readOnly").GetBoolean()));
        Assert.Equal("served", Text(await GetAsync("/v1/volumes/data"), "state"));
        Assert.Equal("optimal", Text((await GetAsync("/v1/volumes/data/live")).GetProperty("array"), "health"));
        Assert.Equal(1, (await GetAsync("/v1/daemon")).GetProperty("volumes").GetArrayLength());
        using HttpResponseMessage gone = await _client.DeleteAsync("/v1/exports/data/nbd/0");
        Assert.Equal(HttpStatusCode.NoContent, gone.StatusCode);
        Assert.Equal(0, (await GetAsync("/v1/exports")).GetArrayLength());
        using HttpResponseMessage none = await PostAsync("/v1/volumes/data/start", "{}");
        await AssertProblemAsync(none, HttpStatusCode.Conflict, "refused");
    }

    [Theory]
    [InlineData("POST", "/v1/volumes/data/exports", """{"frontend":"telnet"}""", HttpStatusCode.BadRequest, "invalid")]
    [InlineData("POST", "/v1/volumes/data/exports", """{"frontend":""", HttpStatusCode.BadRequest, "invalid")]
    [InlineData("POST", "/v1/volumes/data/exports", "null", HttpStatusCode.BadRequest, "invalid")]
    [InlineData("POST", "/v1/volumes/none/exports", """{"frontend":"nbd"}""", HttpStatusCode.NotFound, "not-found")]
    [InlineData("POST", "/v1/volumes/..%2Fdata/exports", """{"frontend":"nbd"}""", HttpStatusCode.BadRequest, "invalid")]
    [InlineData("DELETE", "/v1/exports/data/nbd/7", null, HttpStatusCode.NotFound, "not-found")]
    [InlineData("GET", "/v1/volumes/none", null, HttpStatusCode.NotFound, "not-found")]
    [InlineData("PUT", "/v1/exports", "{}", HttpStatusCode.NotFound, "not-found")]
    [InlineData("GET", "/", null, HttpStatusCode.NotFound, "not-found")]
    public async Task WhatIsRefusedIsAProblem(string method, string path, string? body, HttpStatusCode status, string kind)
    {
        await CreateAsync("data");
        using var request = new HttpRequestMessage(new HttpMethod(method), path)
        {
            Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json"),
        };
        using HttpResponseMessage response = await _client.SendAsync(request);
        await AssertProblemAsync(response, status, kind);
        Assert.Null(new VolumeStore(Directories).Get("data").Exports);
    }

    [Fact]
    public async Task PrometheusReadsWhatIsServed()
    {
        await CreateAsync("data");
        using HttpResponseMessage made = await PostAsync("/v1/volumes/data/exports", """{"frontend":"nbd"}""");
        using HttpResponseMessage response = await _client.GetAsync("/metrics");
        Assert.Equal("text/plain; version=0.0.4; charset=utf-8", response.Content.Headers.ContentType!.ToString());
        string text = await response.Content.ReadAsStringAsync();
        Assert.Contains("polyblk_volume_health{volume=\"data\",health=\"optimal\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("polyblk_volume_state{volume=\"data\",state=\"served\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("polyblk_export_up{volume=\"data\",export=\"data/nbd/0\",frontend=\"nbd\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("polyblk_export_requests_total{volume=\"data\",export=\"data/nbd/0\",frontend=\"nbd\",operation=\"write\"} 0\n", text, StringComparison.Ordinal);
        Assert.Contains("polyblk_member_in_use{volume=\"data\",member=\"1\",drive=", text, StringComparison.Ordinal);
        AssertIsExposition(text);
    }

    [Fact]
    public void NamesOfOthersCannotBreakOutOfALabel()
    {
        var daemon = new DaemonJson
        {
            Pid = 1, StartedUtc = default, ReactorPlan = "", Reactors = [],
            Volumes =
            [
                new DaemonVolumeJson
                {
                    Name = "v", State = DaemonState.Failed,
                    Exports = [new DaemonExportJson { Id = "a\\b\"} 1\nevil 2", Volume = "v", Frontend = "f", State = "failed" }],
                },
            ],
        };
        string text = MetricsText.Write(daemon, []);
        Assert.Contains("export=\"a\\\\b\\\"} 1\\nevil 2\"", text, StringComparison.Ordinal);
        AssertIsExposition(text);
    }

    /// <summary>Sums up to each bound, exact; the same numbers as in the counters; and a session with who it is.</summary>
    [Fact]
    public void HistogramsAreCumulativeAndExactAtTheirBounds()
    {
        var reads = new LatencyHistogram();
        long[] times = [.. Enumerable.Range(0, 2000).Select(i => (long)Math.Pow(1.01, i))];
        Array.ForEach(times, ns => reads.Add(ns));
        LatencyTable table = LatencyTable.Empty with { Reads = reads.Read() };
        var traffic = new MemberTraffic(table, ReadBytes: 77, WrittenBytes: 0);
        var member = new MemberStatus(0, "/dev/x", default, 0, 0, 0) { Traffic = traffic, RequestsInFlight = 5 };
        var live = new LiveJson
        {
            Volume = "v", Uuid = Guid.Empty, Pid = 1, ReactorPlan = "", Reactors = [],
            Array = new ArrayJson
            {
                Health = Health.Optimal,
                Members =
                [
                    new MemberJson(0, "/dev/x", MemberJson.Present) { Traffic = TrafficJson.Of(member) },
                ],
            },
            Exports =
            [
                new ExportJson
                {
                    Id = "v/nbd/0", Frontend = "nbd", EndpointKind = "unix-socket", Endpoint = "/s", State = "serving",
                    Statistics = new ExportStatistics
                    {
                        Latencies = table,
                        SessionList =
                        [
                            new SessionStatistics("v/nbd/0#1", "user 1, process 2") { Queues = 3, Writes = 4, Latencies = table },
                        ],
                    },
                },
            ],
            Statistics = new ExportStatistics { Latencies = table, Reads = 9, ReadBytes = 88, InFlight = 2, Errors = 1 },
        };
        string text = MetricsText.Write(
            new DaemonJson { Pid = 1, StartedUtc = default, ReactorPlan = "", Reactors = [], Volumes = [] }, [live]);
        AssertIsExposition(text);
        AssertHistogram("polyblk_export_request_seconds", """volume="v",export="v/nbd/0",frontend="nbd",operation="read""");
        AssertHistogram("polyblk_session_request_seconds", """volume="v",export="v/nbd/0",session="v/nbd/0#1",operation="read""");
        AssertHistogram("polyblk_volume_request_seconds", """volume="v",operation="read""");
        Assert.Contains("polyblk_volume_requests_total{volume=\"v\",operation=\"read\"} 9\n", text, StringComparison.Ordinal);
        Assert.Contains("polyblk_volume_bytes_total{volume=\"v\",operation=\"read\"} 88\n", text, StringComparison.Ordinal);
        Assert.Contains("polyblk_volume_in_flight{volume=\"v\"} 2\n", text, StringComparison.Ordinal);
        Assert.Contains("polyblk_volume_errors_total{volume=\"v\"} 1\n", text, StringComparison.Ordinal);
        AssertHistogram("polyblk_member_request_seconds", """volume="v",member="0",drive="/dev/x",operation="read""");
        string drive = """{volume="v",member="0",drive="/dev/x",operation="read"}""";
        Assert.Contains($"polyblk_member_requests_total{drive} 2000\n", text, StringComparison.Ordinal);
        Assert.Contains($"polyblk_member_bytes_total{drive} 77\n", text, StringComparison.Ordinal);
        Assert.Contains("""polyblk_member_in_flight{volume="v",member="0",drive="/dev/x"} 5""", text, StringComparison.Ordinal);
        string session = "volume=\"v\",export=\"v/nbd/0\",session=\"v/nbd/0#1\"";
        Assert.Contains($"polyblk_session_info{{{session},peer=\"user 1, process 2\"}} 1\n", text, StringComparison.Ordinal);
        Assert.Contains($"polyblk_session_queues{{{session}}} 3\n", text, StringComparison.Ordinal);
        Assert.Contains($"polyblk_session_requests_total{{{session},operation=\"write\"}} 4\n", text, StringComparison.Ordinal);

        void AssertHistogram(string name, string labels)
        {
            string[] lines = [.. text.Split('\n').Where(l => l.StartsWith($"{name}_bucket{{{labels}", StringComparison.Ordinal))];
            Assert.Equal(25, lines.Length);
            foreach (string line in lines)
            {
                Match match = Bound().Match(line);
                bool isLast = match.Groups[1].Value == "+Inf";
                decimal seconds = isLast ? decimal.MaxValue : decimal.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);
                int expected = isLast ? times.Length : times.Count(ns => ns <= seconds * 1_000_000_000m);
                Assert.Equal((line, expected), (line, int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture)));
            }

            Assert.Contains($"{name}_count{{{labels}\"}} {times.Length}\n", text, StringComparison.Ordinal);
            string sum = (times.Sum() / 1e9).ToString("R", CultureInfo.InvariantCulture);
            Assert.Contains($"{name}_sum{{{labels}\"}} {sum}\n", text, StringComparison.Ordinal);
        }
    }

    /// <summary>Percentiles in what is shown of a volume, and whole histograms for who takes differences.</summary>
    [Fact]
    public async Task WhatIsServedIsShownWithItsLatency()
    {
        await CreateAsync("data");
        using HttpResponseMessage made = await PostAsync("/v1/volumes/data/exports", """{"frontend":"nbd"}""");
        using (var client = new NbdClient(Text((await GetAsync("/v1/exports"))[0].GetProperty("live"), "endpoint")!, "data"))
        {
            for (int i = 0; i < 20; i++)
            {
                Assert.Equal(0, client.Write(i * 4096, new byte[4096]));
            }
        }

        // The last answer is counted at the end of the turn in which it went out.
        JsonElement live, writes;
        do
        {
            live = await GetAsync("/v1/volumes/data/live");
            writes = live.GetProperty("exports")[0].GetProperty("latency").GetProperty("write");
        }
        while (writes.GetProperty("count").GetInt64() < 20);

        string[] names = ["p50Us", "p90Us", "p99Us", "p999Us", "p9999Us"];
        double[] percentiles = [.. names.Select(name => writes.GetProperty(name).GetDouble())];
        Assert.Equal(percentiles.Order(), percentiles);
        Assert.True(percentiles[0] > 0);
        JsonElement drive = live.GetProperty("array").GetProperty("members")[0].GetProperty("traffic");
        Assert.True(drive.GetProperty("writes").GetInt64() > 0);
        Assert.True(drive.GetProperty("latency").GetProperty("write").GetProperty("p50Us").GetDouble() > 0);

        StatisticsJson statistics = (await _client.GetFromJsonAsync("/v1/statistics", ApiJson.Default.StatisticsJson))!;
        OperationStatisticsJson operation = statistics.Volumes[0].Exports[0].Operations.Single(o => o.Operation == "write");
        Assert.Equal((20, 20 * 4096L, 20), (operation.Requests, operation.Bytes, operation.Buckets.Sum(b => b[1])));
        Assert.Equal(Math.Round(operation.ToCounts().MeanNs / 1000, 3), writes.GetProperty("meanUs").GetDouble());
    }

    /// <summary>
    /// What a volume has done does not go with the export through which it was asked: a counter never goes back.
    /// </summary>
    [Fact]
    public async Task AVolumesCountersOutliveItsExports()
    {
        await CreateAsync("data");
        using HttpResponseMessage first = await PostAsync("/v1/volumes/data/exports", """{"frontend":"nbd"}""");
        using HttpResponseMessage second = await PostAsync(
            "/v1/volumes/data/exports", $"{{\"frontend\":\"nbd\",\"socketPath\":\"{Path.Combine(Directories.Runtime, "2.sock")}\"}}");
        foreach (JsonElement export in (await GetAsync("/v1/exports")).EnumerateArray().ToArray())
        {
            using (var client = new NbdClient(Text(export.GetProperty("live"), "endpoint")!, "data"))
            {
                Assert.Equal(0, client.Write(0, new byte[4096]));
                Assert.Equal(0, client.Read(0, new byte[8192]));
            }

            if (Text(export, "id") == "data/nbd/0")
            {
                using HttpResponseMessage removed = await _client.DeleteAsync("/v1/exports/data/nbd/0?force=true");
                Assert.Equal(HttpStatusCode.NoContent, removed.StatusCode);
            }
        }

        StatisticsJson statistics = (await _client.GetFromJsonAsync("/v1/statistics", ApiJson.Default.StatisticsJson))!;
        VolumeStatisticsJson volume = Assert.Single(statistics.Volumes);
        Assert.Equal("data/nbd/1", Assert.Single(volume.Exports).Id);
        Assert.Equal((2, 2 * 4096, 2), Of(volume, "write"));
        Assert.Equal((2, 2 * 8192, 2), Of(volume, "read"));
        string text = await _client.GetStringAsync("/metrics");
        Assert.Contains("polyblk_volume_requests_total{volume=\"data\",operation=\"write\"} 2\n", text, StringComparison.Ordinal);

        static (long Requests, long Bytes, long InBuckets) Of(VolumeStatisticsJson volume, string word)
        {
            OperationStatisticsJson its = volume.Operations.Single(o => o.Operation == word);
            return (its.Requests, its.Bytes, its.Buckets.Sum(b => b[1]));
        }
    }

    [Fact]
    public void TheSocketIsItsUsersOnly() => Assert.Equal(
        UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(ApiServer.PathOf(Directories)));

    /// <summary>
    /// The rules that promtool checks: help and type once, before the samples; names and ends of counters; no sample twice.
    /// </summary>
    private static void AssertIsExposition(string text)
    {
        Assert.EndsWith("\n", text, StringComparison.Ordinal);
        string[] lines = text[..^1].Split('\n');
        string[] names = [.. lines.Where(l => l.StartsWith("# TYPE ", StringComparison.Ordinal)).Select(l => l.Split(' ')[2])];
        Assert.Equal(names.Distinct(), names);
        string name = "", type = "";
        foreach (string line in lines)
        {
            if (line.StartsWith("# HELP ", StringComparison.Ordinal))
            {
                name = line.Split(' ')[2];
                Assert.True(line.Length > "# HELP ".Length + name.Length + 1, line);
            }
            else if (line.StartsWith("# TYPE ", StringComparison.Ordinal))
            {
                Assert.Equal(name, line.Split(' ')[2]);
                type = line.Split(' ')[3];
                string expected = name.EndsWith("_total", StringComparison.Ordinal) ? "counter"
                    : name.EndsWith("_request_seconds", StringComparison.Ordinal) && name != Oldest ? "histogram" : "gauge";
                Assert.Equal(expected, type);
            }
            else
            {
                Assert.Matches(Sample(), line);
                string sample = line[..line.IndexOf('{', StringComparison.Ordinal)];
                string[] parts = type == "histogram" ? ["_bucket", "_sum", "_count"] : [string.Empty];
                Assert.Contains(sample, parts.Select(part => name + part));
            }
        }

        Assert.Equal(lines.Distinct(), lines);
    }

    [GeneratedRegex("""^polyblk_[a-z_]+\{[a-z]+="(\\.|[^"\\\n])*"(,[a-z]+="(\\.|[^"\\\n])*")*\} [0-9.E+-]+$""")]
    private static partial Regex Sample();

    [GeneratedRegex("""le="([^"]+)"\} (\d+)$""")]
    private static partial Regex Bound();

    private static string? Text(JsonElement element, string name) => element.GetProperty(name).GetString();

    private static async Task AssertProblemAsync(HttpResponseMessage response, HttpStatusCode status, string kind)
    {
        string body = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, $"{response.StatusCode}: {body}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        JsonElement problem = JsonDocument.Parse(body).RootElement;
        Assert.Equal(((int)status, kind), (problem.GetProperty("status").GetInt32(), Text(problem, "kind")));
        Assert.NotEmpty(Text(problem, "title")!);
    }

    private async Task<JsonElement> GetAsync(string path) => await _client.GetFromJsonAsync<JsonElement>(path);

    private Task<HttpResponseMessage> PostAsync(string path, string body) =>
        _client.PostAsync(path, new StringContent(body, Encoding.UTF8, "application/json"));

    private async Task CreateAsync(string name)
    {
        using var errors = new StringWriter();
        int code = await CliProgram.RunAsync(
            ["volume", "create", name, "--level", "raid1", $"file:{_directory}/{name}0,size=4MiB", $"file:{_directory}/{name}1,size=4MiB", "--state", _directory],
            TextWriter.Null, errors).WaitAsync(s_tooLong);
        Assert.True(code == ExitCode.Ok, errors.ToString());
    }
}
