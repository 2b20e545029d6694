// Drives Debian's chromium by the DevTools protocol: a web socket on the loopback interface, commands and events as JSON.

using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Polyblk.Compare.Tests;

/// <summary>A headless browser with one page.</summary>
internal sealed class Chromium : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(90);

    private readonly Process _process;
    private readonly string _profile;
    private readonly ClientWebSocket _socket = new();
    private readonly CancellationTokenSource _limit = new(TimeSpan.FromMinutes(5));
    private int _lastId;

    private Chromium(Process process, string profile) => (_process, _profile) = (process, profile);

    /// <summary>
    /// Errors, warnings and uncaught exceptions of the page, and requests that it made besides its own document.
    /// </summary>
    public List<string> Complaints { get; } = [];

    public static async Task<Chromium> StartAsync()
    {
        string profile = Directory.CreateTempSubdirectory("polyblk-chromium-").FullName;
        var start = new ProcessStartInfo("/usr/bin/chromium") { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (string argument in new[]
        {
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0", $"--user-data-dir={profile}", "about:blank",
        })
        {
            start.ArgumentList.Add(argument);
        }

        var browser = new Chromium(Process.Start(start)!, profile);
        try
        {
            _ = browser._process.StandardError.ReadToEndAsync();
            _ = browser._process.StandardOutput.ReadToEndAsync();
            await browser.ConnectAsync();
            return browser;
        }
        catch
        {
            await browser.DisposeAsync();
            throw;
        }
    }

    /// <summary>Opens a file as a screen of this size would show it.</summary>
    public async Task OpenAsync(string path, int width, int height, bool isDark)
    {
        await ResizeAsync(width, height);
        await SetDarkAsync(isDark);
        await CallAsync("Page.navigate", new() { ["url"] = new Uri(path).AbsoluteUri });
        await WaitAsync($"document.readyState === 'complete' && location.href === '{new Uri(path).AbsoluteUri}'");
    }

    /// <summary>
    /// Turns the system's setting to dark or light while a page is open, and shows it as on a screen or on paper.
    /// </summary>
    public Task SetDarkAsync(bool isDark, bool isPaper = false) => CallAsync("Emulation.setEmulatedMedia", new()
    {
        ["media"] = isPaper ? "print" : string.Empty,
        ["features"] = new JsonArray(new JsonObject { ["name"] = "prefers-color-scheme", ["value"] = isDark ? "dark" : "light" }),
    });

    /// <summary>Makes the window another size while a page is open.</summary>
    public Task ResizeAsync(int width, int height) =>
        CallAsync("Emulation.setDeviceMetricsOverride", new() { ["width"] = width, ["height"] = height, ["deviceScaleFactor"] = 1, ["mobile"] = width < 600 });

    /// <summary>Whether pages that are opened from now on may run scripts.</summary>
    public Task AllowScriptsAsync(bool isAllowed) => CallAsync("Emulation.setScriptExecutionDisabled", new() { ["value"] = !isAllowed });

    /// <summary>Where downloads go.</summary>
    public Task DownloadToAsync(string folder) => CallAsync("Browser.setDownloadBehavior", new() { ["behavior"] = "allow", ["downloadPath"] = folder });

    /// <summary>Moves the mouse to a place in the window, in CSS pixels.</summary>
    public Task MoveMouseAsync(double x, double y) => CallAsync("Input.dispatchMouseEvent", new() { ["type"] = "mouseMoved", ["x"] = x, ["y"] = y });

    /// <summary>Clicks with the left button.</summary>
    public async Task ClickAsync(double x, double y)
    {
        await MoveMouseAsync(x, y);
        foreach (string type in new[] { "mousePressed", "mouseReleased" })
            await CallAsync("Input.dispatchMouseEvent", new() { ["type"] = type, ["x"] = x, ["y"] = y, ["button"] = "left", ["clickCount"] = 1 });
    }

    /// <summary>Waits until a JavaScript expression is true.</summary>
    public async Task WaitAsync(string condition)
    {
        long start = Stopwatch.GetTimestamp();
        while (!bool.TryParse(await EvaluateAsync(condition), out bool isTrue) || !isTrue)
        {
            if (Stopwatch.GetElapsedTime(start) > Limit)
                throw new TimeoutException($"In chromium this was not so within {Limit.TotalSeconds} s: {condition}\n{string.Join('\n', Complaints)}");
            await Task.Delay(50);
        }
    }

    /// <summary>Evaluates JavaScript and returns its value as text.</summary>
    public async Task<string> EvaluateAsync(string script)
    {
        JsonNode result = await CallAsync("Runtime.evaluate", new() { ["expression"] = script, ["returnByValue"] = true });
        return result["exceptionDetails"] is { } failure
            ? throw new InvalidOperationException($"{script}: {failure.ToJsonString()}")
            : result["result"]!["value"]?.ToString() ?? string.Empty;
    }

    /// <summary>Takes a picture of what is in the window, or of the whole page.</summary>
    public async Task ScreenshotAsync(string path, bool isWholePage)
    {
        JsonNode result = await CallAsync("Page.captureScreenshot", new() { ["format"] = "png", ["captureBeyondViewport"] = isWholePage, ["clip"] = isWholePage ? await WholePageAsync() : null });
        await File.WriteAllBytesAsync(path, Convert.FromBase64String(result["data"]!.ToString()));
    }

    /// <summary>Prints the page to PDF.</summary>
    public async Task PrintAsync(string path)
    {
        JsonNode result = await CallAsync("Page.printToPDF", new() { ["printBackground"] = true, ["paperWidth"] = 8.27, ["paperHeight"] = 11.69 });
        await File.WriteAllBytesAsync(path, Convert.FromBase64String(result["data"]!.ToString()));
    }

    public async ValueTask DisposeAsync()
    {
        _socket.Dispose();
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
        _limit.Dispose();
        Directory.Delete(_profile, recursive: true);
    }

    private async Task<JsonNode> WholePageAsync()
    {
        JsonNode metrics = await CallAsync("Page.getLayoutMetrics", []);
        JsonNode size = metrics["cssContentSize"]!;
        return new JsonObject { ["x"] = 0, ["y"] = 0, ["width"] = size["width"]!.DeepClone(), ["height"] = size["height"]!.DeepClone(), ["scale"] = 1 };
    }

    private async Task ConnectAsync()
    {
        string portFile = Path.Combine(_profile, "DevToolsActivePort");
        long start = Stopwatch.GetTimestamp();
        string[] lines = [];
        while (lines.Length < 2)
        {
            if (_process.HasExited || Stopwatch.GetElapsedTime(start) > Limit)
                throw new InvalidOperationException("chromium did not open its debugging port.");
            await Task.Delay(50);
            lines = File.Exists(portFile) ? await File.ReadAllLinesAsync(portFile) : [];
        }

        using var http = new HttpClient();
        JsonArray targets = JsonNode.Parse(await http.GetStringAsync(new Uri($"http://127.0.0.1:{lines[0]}/json/list")))!.AsArray();
        JsonNode page = targets.First(t => t!["type"]!.ToString() == "page")!;
        await _socket.ConnectAsync(new Uri(page["webSocketDebuggerUrl"]!.ToString()), _limit.Token);
        foreach (string domain in new[] { "Page", "Runtime", "Log", "Network" })
            await CallAsync($"{domain}.enable", []);
    }

    private async Task<JsonNode> CallAsync(string method, JsonObject parameters)
    {
        int id = ++_lastId;
        foreach (string empty in parameters.Where(p => p.Value is null).Select(p => p.Key).ToArray())
            parameters.Remove(empty);
        string message = new JsonObject { ["id"] = id, ["method"] = method, ["params"] = parameters }.ToJsonString();
        await _socket.SendAsync(Encoding.UTF8.GetBytes(message), WebSocketMessageType.Text, true, _limit.Token);
        while (true)
        {
            JsonNode answer = await ReceiveAsync();
            if (answer["id"]?.GetValue<int>() != id)
                Note(answer);
            else if (answer["error"] is { } error)
                throw new InvalidOperationException($"{method}: {error.ToJsonString()}");
            else
                return answer["result"]!;
        }
    }

    private async Task<JsonNode> ReceiveAsync()
    {
        using var message = new MemoryStream();
        byte[] buffer = new byte[1 << 16];
        WebSocketReceiveResult part;
        do
        {
            part = await _socket.ReceiveAsync(buffer, _limit.Token);
            message.Write(buffer, 0, part.Count);
        }
        while (!part.EndOfMessage);
        return JsonNode.Parse(message.ToArray()) ?? throw new JsonException("chromium sent nothing.");
    }

    private void Note(JsonNode message)
    {
        JsonNode? parameters = message["params"];
        string? complaint = message["method"]?.ToString() switch
        {
            "Runtime.exceptionThrown" => $"exception: {parameters!["exceptionDetails"]!.ToJsonString()}",
            "Runtime.consoleAPICalled" => $"console: {parameters!["args"]!.ToJsonString()}",
            "Log.entryAdded" => $"log: {parameters!["entry"]!["text"]}",
            "Network.requestWillBeSent" when parameters!["type"]?.ToString() != "Document" && !parameters["request"]!["url"]!.ToString().StartsWith("data:", StringComparison.Ordinal) =>
                $"request: {parameters["request"]!["url"]}",
            _ => null,
        };
        if (complaint is not null)
            Complaints.Add(complaint);
    }
}
