using System.CommandLine;
using System.Diagnostics;
using Polyblk.Cli.Output;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk daemon restart</c>.</summary>
internal static class DaemonRestartCommand
{
    private const string TakeOver = "--take-over";
    private const string Deleted = " (deleted)";

    public static Command Build()
    {
        var command = new Command(
            "restart", "Have the daemon that works succeeded by the program as it is installed now. Virtual machines do not notice.");
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "# after an upgrade", "polyblk daemon restart");
        return command;
    }

    /// <summary>How the successor of this process is started: with its own arguments.</summary>
    public static ProcessStartInfo Successor() => Again(arguments => [.. arguments, .. arguments.Contains(TakeOver) ? [] : (string[])[TakeOver]]);

    /// <summary>How the process of a volume is started: with the arguments of this one, the daemon.</summary>
    public static ProcessStartInfo Isolated(string volume) =>
        Again(arguments => [.. arguments.Where(a => a != TakeOver), DaemonCommand.OnlyName, volume]);

    private static ProcessStartInfo Again(Func<string[], IEnumerable<string>> change)
    {
        // A program that was replaced is found where it was.
        string program = Environment.ProcessPath!;
        program = program.EndsWith(Deleted, StringComparison.Ordinal) ? program[..^Deleted.Length] : program;
        string[] arguments = Environment.GetCommandLineArgs();
        bool isRuntime = Path.GetFileName(program) == "dotnet"; // which is told the program by its first argument
        return new ProcessStartInfo(program, change(isRuntime ? arguments : arguments[1..])) { UseShellExecute = false };
    }

    private static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var request = new ControlRequest { Command = "restart" };
        ControlResponse answer = await DaemonClient.AskAsync(CommandSettings.Directories(parsed), request, cancellation).ConfigureAwait(false);
        CommandSettings.Terminal(parsed).WriteLine(answer.Message!);
        return ExitCode.Ok;
    }
}
