namespace Polyblk.Host;

/// <summary>Ends a command with a message for the user and an exit code. The message says what is wrong and what to do.</summary>
public sealed class CliException : Exception
{
    public CliException(int exitCode, string message)
        : base(message) => Code = exitCode;

    public CliException(int exitCode, string message, Exception inner)
        : base(message, inner) => Code = exitCode;

    /// <summary>One of <see cref="ExitCode"/>.</summary>
    public int Code { get; }

    public static CliException Usage(string message) => new(ExitCode.Usage, message);

    public static CliException NotFound(string message) => new(ExitCode.NotFound, message);

    public static CliException Refused(string message) => new(ExitCode.Refused, message);

    public static CliException HostLacks(string message) => new(ExitCode.HostLacks, message);
}
