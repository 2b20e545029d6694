using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Polyblk.Host;
using Polyblk.Host.State;
using Serilog;
using Serilog.Core;
using Serilog.Events;
using Serilog.Extensions.Logging;

namespace Polyblk.Cli.Output;

/// <summary>Makes the log of a served volume: standard error for who is watching, a rotated file for later.</summary>
internal static class LogSetup
{
    private const long MaxFileBytes = 10L << 20;
    private const int MaxFiles = 5;
    private const string ConsoleTemplate = "{Timestamp:HH:mm:ss} {Level:u3} {Message:lj}{NewLine}";
    private const string ConsoleTemplateWithErrors = "{Timestamp:HH:mm:ss.fff} {Level:u3} {SourceContext} {Message:lj}{NewLine}{Exception}";
    private const string JournalTemplate = "<{Priority}>{Message:lj}{NewLine}";
    private const string FileTemplate = "{Timestamp:yyyy-MM-ddTHH:mm:ss.fffzzz} {Level:u3} [{SourceContext}] {Message:lj}{NewLine}{Exception}";

    /// <param name="directories">Where the file is.</param>
    /// <param name="volume">Whose log it is.</param>
    /// <param name="level">What is shown.</param>
    /// <param name="verbose">Whether it is shown with its source and its errors.</param>
    /// <param name="mayWrite">
    /// When the file is this process's, where another one writes to it still; what comes before is written then. Null: now.
    /// </param>
    public static Logger Create(StateDirectories directories, string volume, LogEventLevel level, bool verbose, Task? mayWrite = null)
    {
        StateDirectories.Ensure(directories.Logs);
        return OfConsole(level, verbose)
            .WriteTo.Sink(new FirstUseSink(mayWrite ?? Task.CompletedTask, () => new LoggerConfiguration()
                .MinimumLevel.Is(LogEventLevel.Verbose)
                .WriteTo.File(
                    Path.Combine(directories.Logs, volume + ".log"),
                    outputTemplate: FileTemplate,
                    fileSizeLimitBytes: MaxFileBytes,
                    rollOnFileSizeLimit: true,
                    retainedFileCountLimit: MaxFiles)
                .CreateLogger()))
            .CreateLogger();
    }

    /// <summary>The log of a process beside the one that has the file: standard error only.</summary>
    /// <param name="level">What is shown.</param>
    /// <param name="verbose">Whether it is shown with its source and its errors.</param>
    public static Logger CreateWithoutFile(LogEventLevel level, bool verbose) => OfConsole(level, verbose).CreateLogger();

    private static LoggerConfiguration OfConsole(LogEventLevel level, bool verbose)
    {
        var theme = Console.IsErrorRedirected || !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"))
            ? Serilog.Sinks.SystemConsole.Themes.ConsoleTheme.None
            : Serilog.Sinks.SystemConsole.Themes.AnsiConsoleTheme.Literate;
        bool isJournal = JournalStream.IsStandardError(Environment.GetEnvironmentVariable("JOURNAL_STREAM"));
        return new LoggerConfiguration()
            .MinimumLevel.Is(level)
            .Enrich.With(new PrintableText())
            .Enrich.With(new JournalPriority())
            .WriteTo.Console(
                outputTemplate: isJournal ? JournalTemplate : verbose ? ConsoleTemplateWithErrors : ConsoleTemplate,
                standardErrorFromLevel: LogEventLevel.Verbose,
                theme: theme);
    }

    /// <summary>The log of a command that opens a volume itself; it is closed with the factory.</summary>
    public static ILoggerFactory CreateFactory(StateDirectories directories, string volume, LogEventLevel level, bool verbose) =>
        new SerilogLoggerFactory(Create(directories, volume, level, verbose), dispose: true);

    /// <summary>Names and messages of others stay on their line of the log, whoever logs them.</summary>
    private sealed class PrintableText : ILogEventEnricher
    {
        public void Enrich(LogEvent logEvent, ILogEventPropertyFactory propertyFactory)
        {
            foreach ((string name, LogEventPropertyValue value) in logEvent.Properties.ToArray())
            {
                if (value is ScalarValue { Value: string text } && Printable.Line(text) is string line && line != text)
                {
                    logEvent.AddOrUpdateProperty(new LogEventProperty(name, new ScalarValue(line)));
                }
            }
        }
    }

    /// <summary>What stands before a line for the journal, which has a time of its own (sd-daemon(3), syslog(3)).</summary>
    private sealed class JournalPriority : ILogEventEnricher
    {
        public void Enrich(LogEvent logEvent, ILogEventPropertyFactory propertyFactory) =>
            logEvent.AddOrUpdateProperty(new LogEventProperty("Priority", new ScalarValue(logEvent.Level switch
            {
                LogEventLevel.Fatal => 2,
                LogEventLevel.Error => 3,
                LogEventLevel.Warning => 4,
                LogEventLevel.Information => 6,
                _ => 7,
            })));
    }

    /// <summary>
    /// Makes the file's sink when the first line comes. It compiles a regular expression, and the first line of a server says
    /// that it serves: whoever waits for one that is started again need not wait for that.
    /// </summary>
    private sealed class FirstUseSink(Task mayWrite, Func<Logger> make) : ILogEventSink, IDisposable
    {
        /// <summary>Lines that are kept until the file may be written; a hand-over has a few for each volume.</summary>
        private const int MostKept = 10_000;

        private readonly Lazy<Logger> _sink = new(make);
        private readonly ConcurrentQueue<LogEvent> _kept = new();

        public void Emit(LogEvent logEvent)
        {
            if (mayWrite.IsCompleted)
            {
                WriteKept();
                _sink.Value.Write(logEvent);
            }
            else if (_kept.Count < MostKept)
            {
                _kept.Enqueue(logEvent);
            }
        }

        private void WriteKept()
        {
            while (_kept.TryDequeue(out LogEvent? kept))
            {
                _sink.Value.Write(kept);
            }
        }

        public void Dispose()
        {
            // One that ends before it may write it all the same: nobody else says why it ended.
            WriteKept();
            if (_sink.IsValueCreated)
            {
                _sink.Value.Dispose();
            }
        }
    }
}
