// Metrics as those take them for whom they are: Debian's Prometheus scrapes the daemon's port and answers queries, its promtool
// has nothing to say against the text, and scraping goes on after the daemon was succeeded by another process.

using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class MetricsTests : DaemonProcessTestBase
{
    private const string Export = "export=\"data/vhost-user/0\"";
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(20);

    private readonly HttpClient _http = new() { Timeout = Patience };
    private SystemProcess? _prometheus;

    /// <summary>Where tests/setup/install has unpacked Debian's package, which starts a service where it is installed.</summary>
    private static string Programs => Path.Combine(
        Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache
            ? cache : Path.Combine(Environment.GetEnvironmentVariable("HOME")!, ".cache"),
        "polyblk/prometheus/usr/bin");

    public override void Dispose()
    {
        if (_prometheus is { HasExited: false })
        {
            _prometheus.Kill();
            _prometheus.WaitForExit();
        }

        _prometheus?.Dispose();
        _http.Dispose();
        base.Dispose();
    }

    [Fact]
    public async Task PrometheusScrapesThePortAndGoesOnWithASuccessor()
    {
        string metrics = FreePort();
        Create("data");
        Start("--metrics", metrics);
        Sandbox.Must("export", "add", "data", "--frontend", "vhost-user", "--socket", Socket("data"), "--queues", "1");
        using (VhostUserClient client = Attach("data"))
        {
            DriverCalls.WriteAll(client, seed: 1, Blocks);
            DriverCalls.CheckAll(client, seed: 1, Blocks);
            string text = await _http.GetStringAsync($"http://{metrics}/metrics");
            string peer = $"user {Libc.geteuid()}, process {Environment.ProcessId}";
            Assert.Contains($"session=\"data/vhost-user/0#1\",peer=\"{peer}\"", text, StringComparison.Ordinal);
            Assert.Equal((0, string.Empty), Promtool(text));
            client.Detach();
        }

        string prometheus = StartPrometheus(metrics);
        string requests = $"polyblk_export_requests_total{{{Export},operation=\"write\"}}";
        Assert.Equal(Blocks, await QueryAsync(prometheus, requests, value => value == Blocks));
        string histogram = $"polyblk_export_request_seconds_bucket{{{Export},operation=\"write\"}}";
        double p9999 = await QueryAsync(prometheus, $"histogram_quantile(0.9999, {histogram})", value => value > 0);
        Assert.InRange(p9999, 1e-6, 10);
        string count = $"polyblk_export_request_seconds_count{{{Export},operation=\"write\"}}";
        Assert.Equal(Blocks, await QueryAsync(prometheus, count, _ => true));
        const string Written = "sum(polyblk_member_bytes_total{operation=\"write\"})";
        Assert.True(await QueryAsync(prometheus, Written, _ => true) >= Blocks * BlockBytes);

        // Of the successor, whose counters begin anew: it has the port, and is scraped there.
        int successor = int.Parse(Sandbox.Must("daemon", "restart").Output.Split(' ')[1], CultureInfo.InvariantCulture);
        Assert.Equal(0, WaitForEnd(Daemon!));
        Assert.Equal(0, await QueryAsync(prometheus, requests, value => value == 0));
        Assert.Equal(0, Libc.kill(successor, SigTerm));
        await QueryAsync(prometheus, "up", value => value == 0);
    }

    private static string FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return socket.LocalEndPoint!.ToString()!;
    }

    private static (int Code, string Said) Promtool(string text)
    {
        var start = new ProcessStartInfo(Path.Combine(Programs, "promtool"), ["check", "metrics"])
        {
            RedirectStandardInput = true, RedirectStandardError = true, RedirectStandardOutput = true,
        };
        using SystemProcess process = SystemProcess.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        process.StandardInput.Write(text);
        process.StandardInput.Close();
        Assert.True(process.WaitForExit(Patience));
        return (process.ExitCode, errors.Result + output.Result);
    }

    /// <summary>Starts it, to scrape an address five times a second.</summary>
    /// <returns>Where it answers.</returns>
    private string StartPrometheus(string target)
    {
        string config = Sandbox.PathOf("prometheus.yml");
        File.WriteAllText(config, $"""
            global:
              scrape_interval: 200ms
              scrape_timeout: 200ms
            scrape_configs:
              - job_name: polyblk
                static_configs:
                  - targets: ['{target}']
            """);
        string address = FreePort();
        string[] arguments =
        [
            $"--config.file={config}", $"--storage.tsdb.path={Sandbox.PathOf("tsdb")}", $"--web.listen-address={address}",
            "--log.level=error",
        ];
        _prometheus = SystemProcess.Start(new ProcessStartInfo(Path.Combine(Programs, "prometheus"), arguments))!;
        return address;
    }

    /// <summary>Asks until the answer is a number that is wanted.</summary>
    private async Task<double> QueryAsync(string prometheus, string query, Func<double, bool> isWanted)
    {
        string last = "nothing";
        for (long began = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(began) < Patience; await Task.Delay(s_look))
        {
            Assert.False(_prometheus!.HasExited, "Prometheus has ended");
            try
            {
                last = await _http.GetStringAsync($"http://{prometheus}/api/v1/query?query={Uri.EscapeDataString(query)}");
            }
            catch (HttpRequestException e)
            {
                last = e.Message; // It starts.
                continue;
            }

            JsonElement result = JsonDocument.Parse(last).RootElement.GetProperty("data").GetProperty("result");
            if (result.GetArrayLength() == 1)
            {
                double value = double.Parse(result[0].GetProperty("value")[1].GetString()!, CultureInfo.InvariantCulture);
                if (isWanted(value))
                {
                    return value;
                }
            }
        }

        throw new TimeoutException($"{query}: {last}");
    }
}
