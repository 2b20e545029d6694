// GET /v1/events: what has happened, as JSON, or as server-sent events (HTML standard, 9.2) what happens from there on.
//
// A follower reads the store at a pace of its own, from a place of its own: it has no queue, nothing waits for it, and one that
// comes back with Last-Event-ID misses nothing that is kept still. One that does not take what it is sent is dropped. The
// framework's own server-sent events (TypedResults) have no comments, by which a connection through a proxy is kept, so the
// four lines are written here.

using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Polyblk.Host;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Api;

/// <summary>How followers are treated.</summary>
internal sealed record FollowerLimits
{
    /// <summary>Followers at a time.</summary>
    public int Followers { get; init; } = 16;

    /// <summary>How long one may take for what it is sent.</summary>
    public TimeSpan SendTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>After what time without an event it is sent a comment.</summary>
    public TimeSpan Heartbeat { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How often it is looked for events that other processes have kept.</summary>
    public TimeSpan Look { get; init; } = TimeSpan.FromSeconds(1);
}

/// <summary>Answers them.</summary>
/// <param name="events">What has happened.</param>
/// <param name="limits">How followers are treated.</param>
/// <param name="ending">The end of the API.</param>
internal sealed class EventsAnswer(EventLog events, FollowerLimits limits, CancellationToken ending)
{
    private const string StreamType = "text/event-stream";
    private const int UsualLimit = 1000;
    private int _followers;

    /// <summary>Answers one request.</summary>
    public Task AnswerAsync(HttpContext context)
    {
        string? volume = context.Request.Query["volume"];
        if (volume is not null)
        {
            VolumeName.Check(volume);
        }

        bool follows = context.Request.Headers.Accept
            .Any(a => a?.Contains(StreamType, StringComparison.OrdinalIgnoreCase) ?? false);
        string? lastId = follows ? context.Request.Headers["Last-Event-ID"] : (string?)null;
        long? since = Number(lastId, "Last-Event-ID") ?? Number(context.Request.Query["since"], "since");
        return follows ? FollowAsync(context, volume, since) : SendAsync(context, volume, since ?? 0);
    }

    private static long? Number(string? text, string name) =>
        string.IsNullOrEmpty(text) ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number
        : throw RefusalException.Invalid($"'{text}' is no number of an event ({name}).");

    private Task SendAsync(HttpContext context, string? volume, long since)
    {
        int most = (int)Math.Min(Number(context.Request.Query["limit"], "limit") ?? UsualLimit, int.MaxValue);
        context.Response.ContentType = "application/json";
        IReadOnlyList<EventJson> found = events.Store.Read(since, volume, most);
        return JsonSerializer.SerializeAsync(
            context.Response.Body, found, EventLineJson.Default.IReadOnlyListEventJson, context.RequestAborted);
    }

    private async Task FollowAsync(HttpContext context, string? volume, long? since)
    {
        if (Interlocked.Increment(ref _followers) > limits.Followers)
        {
            Interlocked.Decrement(ref _followers);
            throw RefusalException.Refused(
                $"{limits.Followers} follow the events already.",
                "Ask without Accept: text/event-stream, or end another one.");
        }

        using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
        try
        {
            context.Response.ContentType = StreamType;
            context.Response.Headers.CacheControl = "no-store";
            var cursor = new EventCursor(events.Store, since ?? LastNumber());
            await FollowAsync(context, volume, cursor, end.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // It has left, the API ends, or it did not take what it was sent: it may come again with its last number.
            context.Abort();
        }
        finally
        {
            Interlocked.Decrement(ref _followers);
        }
    }

    private async Task FollowAsync(HttpContext context, string? volume, EventCursor cursor, CancellationToken end)
    {
        await WriteAsync(context, ": polyblk events\n\n", end).ConfigureAwait(false);
        TimeSpan quiet = TimeSpan.Zero;
        while (true)
        {
            Task news = events.News;
            foreach (EventJson e in cursor.Read().Where(e => volume is null || e.Volume == volume))
            {
                string json = JsonSerializer.Serialize(e, EventLineJson.Default.EventJson);
                string sequence = e.Sequence.ToString(CultureInfo.InvariantCulture);
                await WriteAsync(context, $"id: {sequence}\nevent: {e.Kind}\ndata: {json}\n\n", end).ConfigureAwait(false);
                quiet = TimeSpan.Zero;
            }

            if (quiet >= limits.Heartbeat)
            {
                await WriteAsync(context, ":\n\n", end).ConfigureAwait(false);
                quiet = TimeSpan.Zero;
            }

            await EventLog.WaitForNewsAsync(news, limits.Look, end).ConfigureAwait(false);
            quiet += limits.Look;
        }
    }

    private async Task WriteAsync(HttpContext context, string text, CancellationToken end)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(end);
        limit.CancelAfter(limits.SendTime);
        await context.Response.WriteAsync(text, limit.Token).ConfigureAwait(false);
        await context.Response.Body.FlushAsync(limit.Token).ConfigureAwait(false);
    }

    /// <summary>Who names no place begins with what comes next.</summary>
    private long LastNumber() => events.Store.Read(most: 1) is [EventJson last] ? last.Sequence : 0;
}
