using Microsoft.Extensions.Logging;

namespace Polyblk.Cli.Tests;

/// <summary>What is logged, line by line.</summary>
internal sealed class LogLines : ILogger
{
    private readonly List<string> _texts = [];

    public string[] Texts
    {
        get
        {
            lock (_texts)
            {
                return [.. _texts];
            }
        }
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_texts)
        {
            _texts.Add(formatter(state, exception));
        }
    }
}
