using System.Diagnostics;

namespace Polyblk.Cli.CommandLine;

/// <summary>How other processes of the daemon are started: as this one was, from the program as it is installed now.</summary>
internal static class DaemonProcesses
{
    /// <summary>The process takes over from the daemon that works.</summary>
    public const string TakeOver = "--take-over";

    /// <summary>The process keeps a daemon working.</summary>
    public const string Standby = "--standby";

    /// <summary>The process is one that such a process has started, or a successor of it.</summary>
    public const string Worker = "--worker";

    private const string Deleted = " (deleted)";

    /// <summary>The successor of this process.</summary>
    public static ProcessStartInfo Successor() => Start(Arguments(without: [TakeOver]), TakeOver);

    /// <summary>A worker of this process.</summary>
    /// <param name="takesOver">Whether it takes over from a daemon that works; otherwise it waits for the word to serve.</param>
    public static ProcessStartInfo WorkerOf(bool takesOver)
    {
        ProcessStartInfo start = Start(Arguments(without: [Standby, TakeOver]), takesOver ? [Worker, TakeOver] : [Worker]);

        // systemd listens to the process that it has started; what a worker has to tell goes through that.
        start.Environment.Remove("NOTIFY_SOCKET");
        return start;
    }

    private static IEnumerable<string> Arguments(string[] without) => Environment.GetCommandLineArgs().Where(a => !without.Contains(a));

    private static ProcessStartInfo Start(IEnumerable<string> arguments, params string[] more)
    {
        // A program that was replaced is found where it was.
        string program = Environment.ProcessPath!;
        program = program.EndsWith(Deleted, StringComparison.Ordinal) ? program[..^Deleted.Length] : program;
        bool isRuntime = Path.GetFileName(program) == "dotnet"; // which is told the program by its first argument
        return new ProcessStartInfo(program, [.. arguments.Skip(isRuntime ? 0 : 1), .. more]) { UseShellExecute = false };
    }
}
