using System.Diagnostics;

namespace Polyblk.Cli.CommandLine;

/// <summary>What a process of the daemon is to others of it. Users start <see cref="None"/>.</summary>
internal enum DaemonRole
{
    /// <summary>What its options say.</summary>
    None,

    /// <summary>It waits until its supervisor tells it to serve.</summary>
    Worker,

    /// <summary>It takes over from the daemon that works.</summary>
    Successor,

    /// <summary>The same, under a supervisor.</summary>
    SupervisedSuccessor,

    /// <summary>It serves one volume, for the daemon that has started it.</summary>
    Isolated,
}

/// <summary>
/// How other processes of the daemon are started: with the arguments of this one, from the program as it is installed now. What
/// they are to do stands in their environment.
/// </summary>
internal static class DaemonProcesses
{
    private const string Variable = "POLYBLK_DAEMON_ROLE";
    private const string Deleted = " (deleted)";

    /// <summary>What this process is.</summary>
    public static DaemonRole Role =>
        Enum.TryParse(Environment.GetEnvironmentVariable(Variable), out DaemonRole role) ? role : DaemonRole.None;

    /// <summary>Whether a supervisor keeps this process.</summary>
    public static bool IsSupervised => Role is DaemonRole.Worker or DaemonRole.SupervisedSuccessor;

    /// <summary>The successor of this process.</summary>
    public static ProcessStartInfo Successor() => Start(IsSupervised ? DaemonRole.SupervisedSuccessor : DaemonRole.Successor);

    /// <summary>A worker of this process.</summary>
    /// <param name="takesOver">Whether it takes over from a daemon that works; otherwise it waits for the word to serve.</param>
    public static ProcessStartInfo WorkerOf(bool takesOver)
    {
        ProcessStartInfo start = Start(takesOver ? DaemonRole.SupervisedSuccessor : DaemonRole.Worker);

        // systemd listens to the process that it has started; what a worker has to tell goes through that.
        start.Environment.Remove("NOTIFY_SOCKET");
        return start;
    }

    /// <summary>The process of one volume.</summary>
    public static ProcessStartInfo Isolated(string volume) => Start(DaemonRole.Isolated, DaemonCommand.OnlyName, volume);

    private static ProcessStartInfo Start(DaemonRole role, params string[] more)
    {
        // A program that was replaced is found where it was.
        string program = Environment.ProcessPath!;
        program = program.EndsWith(Deleted, StringComparison.Ordinal) ? program[..^Deleted.Length] : program;
        bool isRuntime = Path.GetFileName(program) == "dotnet"; // which is told the program by its first argument
        var start = new ProcessStartInfo(
            program, [.. Environment.GetCommandLineArgs().Skip(isRuntime ? 0 : 1), .. more]) { UseShellExecute = false };
        start.Environment[Variable] = role.ToString();
        return start;
    }
}
