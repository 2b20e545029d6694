// What sessions make a door say, so that no guest and no client can write the log as it likes.
//
// Theory of operation. A door has one SessionLogs, and opens a SessionLog for each session; both are loggers in front of the real
// one. Every line is escaped (LogText), whoever's words are in it. Every line is also counted: a session may cause so many in a
// window of time, and so may all sessions of one source together (a user on a Unix socket, an address on TCP), so that a new
// connection does not bring a new allowance, and so that one source does not use up what others may say. What is beyond is not
// written and not even formatted, only counted, and when the window ends one line says how many there were: at once visible,
// never a flood, never silent.
//
// Nothing here is for a reactor: it locks and allocates.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Logging;

namespace Polyblk.Frontends;

/// <summary>The sessions' logs of a door. Any thread.</summary>
public sealed class SessionLogs : IDisposable
{
    /// <summary>Lines of a session in a window.</summary>
    public const int SessionLines = 20;

    /// <summary>Lines of all sessions of a source in a window.</summary>
    public const int SourceLines = 100;

    /// <summary>Sources that are told apart; further ones share one allowance until those are quiet.</summary>
    public const int MaxSources = 256;

    private const string Others = "other sources";

    private readonly ILogger _log;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, LineBudget> _sources = [];

    /// <summary>Makes the logs of a door.</summary>
    /// <param name="log">Where lines go.</param>
    /// <param name="time">The clock; the system's by default.</param>
    public SessionLogs(ILogger log, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(log);
        _log = log;
        _time = time ?? TimeProvider.System;
        Door = new SessionLog(_log, null, new LineBudget(SourceLines, _time, Tell("connections")));
    }

    /// <summary>Length of a window, after which a session or source may say as much again.</summary>
    public static TimeSpan Window { get; } = TimeSpan.FromSeconds(10);

    /// <summary>For lines about connections that are no session (refused ones).</summary>
    public SessionLog Door { get; }

    /// <summary>Opens the log of a session. Dispose it when the session has ended.</summary>
    /// <param name="session">Its name, for the line that says how many were left out.</param>
    /// <param name="source">Who is at the other end: <c>user 1000</c>, <c>192.0.2.1</c>.</param>
    public SessionLog Open(string session, string source)
    {
        ArgumentNullException.ThrowIfNull(session);
        LineBudget shared = SourceOf(source);
        var own = new SessionLog(_log, null, shared);
        void TellLeftOut(int count) => own.LogWarning("{Session}: {Count} more lines were left out", session, count);
        return new SessionLog(_log, shared, new LineBudget(SessionLines, _time, TellLeftOut));
    }

    /// <summary>Says what was left out until now.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (LineBudget budget in _sources.Values)
            {
                budget.Dispose();
            }

            _sources.Clear();
        }

        Door.Dispose();
    }

    private LineBudget SourceOf(string source)
    {
        lock (_lock)
        {
            if (_sources.TryGetValue(source, out LineBudget? known))
            {
                return known;
            }

            if (_sources.Count >= MaxSources)
            {
                ForgetQuiet();
                source = _sources.Count >= MaxSources ? Others : source;
            }

            if (!_sources.TryGetValue(source, out LineBudget? budget))
            {
                _sources[source] = budget = new LineBudget(SourceLines, _time, Tell(source));
            }

            return budget;
        }
    }

    /// <summary>Forgets sources whose window is over: they would begin anew in any case.</summary>
    private void ForgetQuiet()
    {
        foreach (string quiet in _sources.Where(s => s.Value.IsQuiet).Select(s => s.Key).ToArray())
        {
            _sources.Remove(quiet);
        }
    }

    // Not counted itself: there is one a window.
    private Action<int> Tell(string source) =>
        count => SessionLog.Write(
            _log, LogLevel.Warning, default, $"{count} more lines about sessions of {source} were left out");
}

/// <summary>The log of one session: escapes, counts, and leaves out what is too much. Any thread.</summary>
public sealed class SessionLog : ILogger, IDisposable
{
    private readonly ILogger _log;
    private readonly LineBudget? _shared;
    private readonly LineBudget _budget;

    internal SessionLog(ILogger log, LineBudget? shared, LineBudget budget)
    {
        _log = log;
        _shared = shared;
        _budget = budget;
    }

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => _log.IsEnabled(logLevel);

    /// <inheritdoc/>
    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        ArgumentNullException.ThrowIfNull(formatter);
        if (!_log.IsEnabled(logLevel) || !_budget.TryTake() || (_shared is not null && !_shared.TryTake()))
        {
            return;
        }

        // An exception becomes a part of the line: its message may hold a client's words.
        string text = formatter(state, exception);
        Write(_log, logLevel, eventId, exception is null ? text : $"{text}: {exception.ToString().ReplaceLineEndings(" | ")}");
    }

    /// <summary>The session has ended: says what was left out until now.</summary>
    public void Dispose() => _budget.Dispose();

    internal static void Write(ILogger log, LogLevel level, EventId eventId, string text) =>
        log.Log(level, eventId, LogText.Escape(text), null, static (line, _) => line);
}

/// <summary>Lines in a window of time. Any thread.</summary>
internal sealed class LineBudget(int lines, TimeProvider time, Action<int> onLeftOut) : IDisposable
{
    private readonly Lock _lock = new();
    private long _windowStart = time.GetTimestamp();
    private int _taken;
    private int _leftOut;
    private ITimer? _end;

    /// <summary>Whether its window is over and nothing is left to be said.</summary>
    public bool IsQuiet
    {
        get
        {
            lock (_lock)
            {
                return _leftOut == 0 && time.GetElapsedTime(_windowStart) >= SessionLogs.Window;
            }
        }
    }

    /// <summary>Takes one line; false when there are no more in this window.</summary>
    public bool TryTake()
    {
        lock (_lock)
        {
            if (_leftOut == 0 && time.GetElapsedTime(_windowStart) >= SessionLogs.Window)
            {
                _windowStart = time.GetTimestamp();
                _taken = 0;
            }

            if (_taken < lines)
            {
                _taken++;
                return true;
            }

            if (_leftOut++ == 0)
            {
                TimeSpan left = SessionLogs.Window - time.GetElapsedTime(_windowStart);
                left = left > TimeSpan.Zero ? left : TimeSpan.Zero;
                _end = time.CreateTimer(static budget => ((LineBudget)budget!).EndWindow(), this, left, Timeout.InfiniteTimeSpan);
            }

            return false;
        }
    }

    /// <summary>Says what was left out until now.</summary>
    public void Dispose() => EndWindow();

    private void EndWindow()
    {
        int leftOut;
        lock (_lock)
        {
            leftOut = _leftOut;
            _leftOut = 0;
            _taken = 0;
            _windowStart = time.GetTimestamp();
            _end?.Dispose();
            _end = null;
        }

        // Without the lock: the line may be counted elsewhere.
        if (leftOut != 0)
        {
            onLeftOut(leftOut);
        }
    }
}
