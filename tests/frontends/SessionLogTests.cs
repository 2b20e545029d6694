using Microsoft.Extensions.Logging;
using Polyblk.Fakes;

namespace Polyblk.Frontends.Tests;

/// <summary>No guest and no client writes the log as it likes.</summary>
public sealed class SessionLogTests
{
    private readonly ManualTime _time = new();
    private readonly Lines _lines = new();
    private readonly SessionLogs _logs;

    public SessionLogTests() => _logs = new SessionLogs(_lines, _time);

    [Fact]
    public void Lines_are_escaped_with_their_exceptions()
    {
        SessionLog log = _logs.Open("s#1", "user 1");
        log.LogWarning("the export \"{Name}\" is unknown", "x\nerror: all is lost");
        log.LogError(new InvalidOperationException("first\nsecond"), "failed");
        Assert.Equal("the export \"x\\nerror: all is lost\" is unknown", _lines.All[0]);
        Assert.Equal("failed: System.InvalidOperationException: first | second", _lines.All[1]);
    }

    [Fact]
    public void A_session_that_floods_is_cut_short_and_the_rest_is_counted()
    {
        SessionLog log = _logs.Open("s#1", "user 1");
        Flood(log, 1000);
        Assert.Equal(SessionLogs.SessionLines, _lines.All.Count);

        // Another session is heard.
        SessionLog other = _logs.Open("s#2", "user 1");
        other.LogWarning("hello");
        Assert.Equal("hello", _lines.All[^1]);

        _time.Advance(SessionLogs.Window);
        Assert.Equal($"s#1: {1000 - SessionLogs.SessionLines} more lines were left out", _lines.All[^1]);
        int before = _lines.All.Count;
        Flood(log, 1000);
        Assert.Equal(before + SessionLogs.SessionLines, _lines.All.Count);

        // The end of the session says what is left to say, once.
        log.Dispose();
        Assert.Equal($"s#1: {1000 - SessionLogs.SessionLines} more lines were left out", _lines.All[^1]);
        before = _lines.All.Count;
        _time.Advance(SessionLogs.Window);
        Assert.Equal(before, _lines.All.Count);
    }

    [Fact]
    public void A_source_does_not_get_more_by_connecting_anew_and_does_not_silence_others()
    {
        for (int i = 0; i < 1000; i++)
        {
            using SessionLog log = _logs.Open($"s#{i}", "user 1");
            log.LogInformation("attached");
            log.LogInformation("detached");
        }

        Assert.Equal(SessionLogs.SourceLines, _lines.All.Count);
        _logs.Open("s#1000", "user 2").LogWarning("hello");
        Assert.Equal("hello", _lines.All[^1]);
        _time.Advance(SessionLogs.Window);
        Assert.Equal($"{2000 - SessionLogs.SourceLines} more lines about sessions of user 1 were left out", _lines.All[^1]);
    }

    [Fact]
    public void Any_number_of_sources_takes_bounded_memory_and_bounded_lines()
    {
        for (int i = 0; i < 20 * SessionLogs.MaxSources; i++)
        {
            _logs.Open($"s#{i}", $"address {i}").LogInformation("attached");
        }

        Assert.Equal(SessionLogs.MaxSources + SessionLogs.SourceLines, _lines.All.Count);
        _logs.Dispose();
        Assert.EndsWith("more lines about sessions of other sources were left out", _lines.All[^1], StringComparison.Ordinal);
    }

    [Fact]
    public void Refused_connections_are_counted_as_well()
    {
        Flood(_logs.Door, 1000);
        Assert.Equal(SessionLogs.SourceLines, _lines.All.Count);
        _logs.Dispose();
        Assert.Equal($"{1000 - SessionLogs.SourceLines} more lines about sessions of connections were left out", _lines.All[^1]);
    }

    [Fact]
    public void What_the_log_does_not_want_costs_nothing()
    {
        SessionLog log = _logs.Open("s#1", "user 1");
        for (int i = 0; i < 1000; i++)
        {
            log.LogDebug("detail");
        }

        log.LogInformation("attached");
        Assert.Equal(["attached"], _lines.All);
    }

    private static void Flood(SessionLog log, int count)
    {
        for (int i = 0; i < count; i++)
        {
            log.LogWarning("line {Number}", i);
        }
    }

    private sealed class Lines : ILogger
    {
        public List<string> All { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            All.Add(formatter(state, exception));
    }
}
