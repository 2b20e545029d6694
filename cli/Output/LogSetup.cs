using Polyblk.Cli.State;
using Serilog;
using Serilog.Core;
using Serilog.Events;

namespace Polyblk.Cli.Output;

/// <summary>Makes the log of a served volume: standard error for who is watching, a rotated file for later.</summary>
internal static class LogSetup
{
    private const long MaxFileBytes = 10L << 20;
    private const int MaxFiles = 5;
    private const string ConsoleTemplate = "{Timestamp:HH:mm:ss} {Level:u3} {Message:lj}{NewLine}";
    private const string ConsoleTemplateWithErrors = "{Timestamp:HH:mm:ss.fff} {Level:u3} {SourceContext} {Message:lj}{NewLine}{Exception}";
    private const string FileTemplate = "{Timestamp:yyyy-MM-ddTHH:mm:ss.fffzzz} {Level:u3} [{SourceContext}] {Message:lj}{NewLine}{Exception}";

    public static Logger Create(StateDirectories directories, string volume, LogEventLevel level, bool verbose)
    {
        StateDirectories.Ensure(directories.Logs);
        var theme = Console.IsErrorRedirected || !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"))
            ? Serilog.Sinks.SystemConsole.Themes.ConsoleTheme.None
            : Serilog.Sinks.SystemConsole.Themes.AnsiConsoleTheme.Literate;
        return new LoggerConfiguration()
            .MinimumLevel.Is(level)
            .WriteTo.Console(
                outputTemplate: verbose ? ConsoleTemplateWithErrors : ConsoleTemplate,
                standardErrorFromLevel: LogEventLevel.Verbose,
                theme: theme)
            .WriteTo.File(
                Path.Combine(directories.Logs, volume + ".log"),
                outputTemplate: FileTemplate,
                fileSizeLimitBytes: MaxFileBytes,
                rollOnFileSizeLimit: true,
                retainedFileCountLimit: MaxFiles)
            .CreateLogger();
    }
}
