using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Host.State;
using Serilog.Events;

namespace Polyblk.Cli.CommandLine;

/// <summary>The options that every command has, and what they give.</summary>
internal static class CommandSettings
{
    public static Option<string?> State { get; } = new("--state")
    {
        HelpName = "DIR",
        Description = "Keep volume records, logs and sockets here (sockets in DIR/run) instead of in the system's or the user's "
            + $"place. [default: {StateDirectories.Variable}]",
        Recursive = true,
    };

    public static Option<bool> Verbose { get; } = new("--verbose", "-v")
    {
        Description = "Say more on standard error; show where an error came from.",
        Recursive = true,
    };

    public static Option<LogEventLevel?> LogLevel { get; } = new("--log-level")
    {
        HelpName = "LEVEL",
        Description = "Least level that is logged: verbose, debug, information, warning, error, fatal. [default: information]",
        Recursive = true,
        CustomParser = result =>
        {
            if (Enum.TryParse(result.Tokens[0].Value, ignoreCase: true, out LogEventLevel level) && Enum.IsDefined(level))
            {
                return level;
            }

            result.AddError($"'{result.Tokens[0].Value}' is no log level: use verbose, debug, information, warning, error or fatal.");
            return null;
        },
    };

    /// <summary>Makes the <c>--json</c> switch for a command that prints something to read.</summary>
    public static Option<bool> Json() => new("--json") { Description = "Print JSON instead of text (see docs/cli.md for the names)." };

    /// <summary>Makes an option that takes a size.</summary>
    public static Option<long?> Size(string name, string description) => new(name)
    {
        HelpName = "SIZE",
        Description = description,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (ByteSize.TryParse(text, out long bytes) && bytes > 0)
            {
                return bytes;
            }

            result.AddError($"'{text}' is no size for {name}: write a number with a unit, such as 64KiB, 10GiB or 1.5T.");
            return null;
        },
    };

    public static StateDirectories Directories(ParseResult parsed) =>
        StateDirectories.Resolve(parsed.GetValue(State), Environment.IsPrivilegedProcess, Environment.GetEnvironmentVariable);

    public static LogEventLevel Level(ParseResult parsed) =>
        parsed.GetValue(LogLevel) ?? (parsed.GetValue(Verbose) ? LogEventLevel.Debug : LogEventLevel.Information);

    /// <summary>Standard output and error as this command line wants them.</summary>
    public static Terminal Terminal(ParseResult parsed) =>
        new(parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
}
