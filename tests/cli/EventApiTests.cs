// Events over the API: asked for, and followed; who comes back misses nothing, and who does not read is dropped.

using System.Net;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Api;
using Polyblk.Core.Reactors;
using Polyblk.Host.Daemon;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class EventApiTests : IAsyncLifetime
{
    private static readonly TimeSpan s_tooLong = TimeSpan.FromSeconds(120);

    private readonly string _directory = Directory.CreateTempSubdirectory("pba").FullName;
    private readonly FollowerLimits _limits = new()
    {
        Followers = 2,
        SendTime = TimeSpan.FromSeconds(1),
        Heartbeat = TimeSpan.FromMilliseconds(100),
        Look = TimeSpan.FromMilliseconds(50),
    };

    private VolumeDaemon _daemon = null!;
    private ApiServer _api = null!;
    private HttpClient _client = null!;

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    public async ValueTask InitializeAsync()
    {
        var options = new DaemonOptions(ReactorPlan.Make(null, CpuSet.Allowed(), 1), IdlePolicy.Frugal, []);
        _daemon = VolumeDaemon.Start(options, Directories, NullLoggerFactory.Instance);
        _api = await ApiServer.StartAsync(_daemon, Directories, NullLogger.Instance, _limits);
        _client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) => new NetworkStream(await ConnectAsync(cancellation), ownsSocket: true),
        })
        {
            BaseAddress = new Uri("http://polyblk"), Timeout = Timeout.InfiniteTimeSpan,
        };
        while (_daemon.Events.Store.Read().Count == 0)
        {
            await Task.Delay(10);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _api.DisposeAsync();
        await _daemon.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task WhatHasHappenedIsAskedForByNumberAndVolume()
    {
        Tell("one", "two", "one");
        string?[] kinds = [.. (await GetAsync("")).Select(e => e.GetProperty("kind").GetString())];
        Assert.Equal(["daemon-started", "volume-served", "volume-served", "volume-served"], kinds);
        Assert.Equal([2L, 4L], Numbers(await GetAsync("?volume=one")));
        Assert.Equal([4L], Numbers(await GetAsync("?since=2&volume=one")));
        Assert.Equal([3L, 4L], Numbers(await GetAsync("?limit=2")));
        foreach (string bad in (string[])["?since=-1", "?since=x", "?volume=..%2Fx", "?limit=x"])
        {
            using HttpResponseMessage refused = await _client.GetAsync("/v1/events" + bad);
            Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        }
    }

    [Fact]
    public async Task AFollowerIsSentWhatComesAndGoesOnWhereItWas()
    {
        using var end = new CancellationTokenSource(s_tooLong);
        string id;
        using (HttpResponseMessage response = await FollowAsync("?since=0", null, end.Token))
        {
            Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
            await using IAsyncEnumerator<SseItem<string>> items = Items(response, end.Token);
            Assert.Equal("daemon-started", (await NextAsync(items)).EventType);

            // Of this daemon, and of another process that keeps events in the same place.
            Tell("one");
            SseItem<string> own = await NextAsync(items);
            Assert.Equal(("volume-served", "2", "one"), (own.EventType, own.EventId, Volume(own)));
            new EventStore(Directories).Append([new EventJson { Kind = EventKinds.VolumeStopped, Volume = "two" }]);
            SseItem<string> others = await NextAsync(items);
            Assert.Equal(("volume-stopped", "3", "two"), (others.EventType, others.EventId, Volume(others)));
            id = others.EventId!;
        }

        Tell("while", "away");
        using HttpResponseMessage again = await FollowAsync("?since=0", id, end.Token);
        await using IAsyncEnumerator<SseItem<string>> rest = Items(again, end.Token);
        Assert.Equal(["while", "away"], [Volume(await NextAsync(rest)), Volume(await NextAsync(rest))]);
    }

    [Fact]
    public async Task WhoNamesNoPlaceBeginsWithWhatComesAndMayNameAVolume()
    {
        using var end = new CancellationTokenSource(s_tooLong);
        using HttpResponseMessage response = await FollowAsync("?volume=two", null, end.Token);
        await using IAsyncEnumerator<SseItem<string>> items = Items(response, end.Token);
        Tell("one", "two");
        Assert.Equal("two", Volume(await NextAsync(items)));
    }

    [Fact]
    public async Task AFollowerWhoIsToldNothingIsSentComments()
    {
        using Socket socket = await ConnectAsync(CancellationToken.None);
        await SendAsync(socket);
        string text = "";
        byte[] bytes = new byte[4096];
        while (text.Split("\n:\n\n").Length < 3)
        {
            int read = await socket.ReceiveAsync(bytes).WaitAsync(s_tooLong);
            Assert.NotEqual(0, read);
            text += Encoding.UTF8.GetString(bytes, 0, read).Replace("\r\n", "\n", StringComparison.Ordinal);
        }
    }

    /// <summary>Its place is free again, and nobody else has noticed.</summary>
    [Fact]
    public async Task AFollowerWhoDoesNotReadIsDroppedAndHoldsUpNobody()
    {
        using var end = new CancellationTokenSource(s_tooLong);
        using Socket lazy = await ConnectAsync(end.Token);
        await SendAsync(lazy);
        Assert.NotEqual(0, await lazy.ReceiveAsync(new byte[16], end.Token)); // it follows
        using HttpResponseMessage response = await FollowAsync("", null, end.Token);
        await using IAsyncEnumerator<SseItem<string>> items = Items(response, end.Token);
        using (HttpResponseMessage third = await FollowAsync("", null, end.Token))
        {
            Assert.Equal(HttpStatusCode.Conflict, third.StatusCode);
        }

        // More than the sockets and the server hold back for one who does not read.
        var large = new EventJson { Kind = EventKinds.VolumeFailed, Volume = "v", Message = new string('x', 100_000) };
        for (int i = 0; i < 40; i++)
        {
            new EventStore(Directories).Append([large]);
            Assert.Equal("volume-failed", (await NextAsync(items)).EventType);
        }

        HttpStatusCode status = HttpStatusCode.Conflict;
        while (status == HttpStatusCode.Conflict)
        {
            using HttpResponseMessage next = await FollowAsync("", null, end.Token);
            status = next.StatusCode;
            await Task.Delay(50, end.Token);
        }

        Assert.Equal(HttpStatusCode.OK, status);
    }

    [Fact]
    public async Task TheEndOfTheApiEndsFollowers()
    {
        using var end = new CancellationTokenSource(s_tooLong);
        using HttpResponseMessage response = await FollowAsync("", null, end.Token);
        await using IAsyncEnumerator<SseItem<string>> items = Items(response, end.Token);
        Task<bool> next = items.MoveNextAsync().AsTask();
        await _api.DisposeAsync().AsTask().WaitAsync(s_tooLong, end.Token);
        await Assert.ThrowsAnyAsync<Exception>(() => next);
        _api = await ApiServer.StartAsync(_daemon, Directories, NullLogger.Instance, _limits);
    }

    private void Tell(params string[] volumes)
    {
        long last = _daemon.Events.Store.Read(most: 1)[0].Sequence;
        foreach (string volume in volumes)
        {
            new EventTeller(volume, _daemon.Events, NullLogger.Instance)
                .Tell(new EventJson { Kind = EventKinds.VolumeServed, Volume = volume });
        }

        Assert.True(SpinWait.SpinUntil(() => _daemon.Events.Store.Read(most: 1)[0].Sequence == last + volumes.Length, s_tooLong));
    }

    private static IEnumerable<long> Numbers(JsonElement[] events) => events.Select(e => e.GetProperty("sequence").GetInt64());

    private async Task<JsonElement[]> GetAsync(string query) =>
        [.. (await _client.GetFromJsonAsync<JsonElement>("/v1/events" + query)).EnumerateArray()];

    private async Task<HttpResponseMessage> FollowAsync(string query, string? lastId, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/events" + query);
        request.Headers.Accept.ParseAdd("text/event-stream");
        if (lastId is not null)
        {
            request.Headers.Add("Last-Event-ID", lastId);
        }

        return await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
    }

    private static IAsyncEnumerator<SseItem<string>> Items(HttpResponseMessage response, CancellationToken cancellation) =>
        SseParser.Create(response.Content.ReadAsStream(cancellation)).EnumerateAsync(cancellation)
            .GetAsyncEnumerator(cancellation);

    private static async Task<SseItem<string>> NextAsync(IAsyncEnumerator<SseItem<string>> items)
    {
        Assert.True(await items.MoveNextAsync());
        return items.Current;
    }

    private static string? Volume(SseItem<string> item) =>
        JsonDocument.Parse(item.Data).RootElement.GetProperty("volume").GetString();

    private async Task<Socket> ConnectAsync(CancellationToken cancellation)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(ApiServer.PathOf(Directories)), cancellation);
        return socket;
    }

    private static async Task SendAsync(Socket socket) => await socket.SendAsync(
        Encoding.ASCII.GetBytes("GET /v1/events HTTP/1.1\r\nHost: p\r\nAccept: text/event-stream\r\n\r\n"));
}
