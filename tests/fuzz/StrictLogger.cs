using Microsoft.Extensions.Logging;

namespace Polyblk.Fuzz;

/// <summary>A log in which no error may be: that would be a bug of ours, whoever caused it.</summary>
internal sealed class StrictLogger : ILogger
{
    /// <summary>It has no state.</summary>
    public static StrictLogger Instance { get; } = new();

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => true;

    /// <inheritdoc/>
    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        ArgumentNullException.ThrowIfNull(formatter);
        string text = formatter(state, exception);
        FuzzFailureException.Require(logLevel < LogLevel.Error, $"An error was logged: {text} {exception}");
    }
}
