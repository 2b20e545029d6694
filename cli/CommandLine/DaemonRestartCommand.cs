using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk daemon restart</c>.</summary>
internal static class DaemonRestartCommand
{
    public static Command Build()
    {
        var command = new Command(
            "restart", "Have the daemon that works succeeded by the program as it is installed now. Virtual machines do not notice.");
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "# after an upgrade", "polyblk daemon restart");
        return command;
    }

    private static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var request = new ControlRequest { Command = "restart" };
        ControlResponse answer = await DaemonClient.AskAsync(CommandSettings.Directories(parsed), request, cancellation).ConfigureAwait(false);
        CommandSettings.Terminal(parsed).WriteLine(answer.Message!);
        return ExitCode.Ok;
    }
}
