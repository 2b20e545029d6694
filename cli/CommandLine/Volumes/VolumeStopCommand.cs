using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host.Model;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume stop</c>: ends the serving of a volume, cleanly.</summary>
internal sealed class VolumeStopCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _force = new("--force")
    {
        Description = "Stop also when a consumer would lose its disk: a virtual machine or a client that is connected, "
            + "a mounted file system.",
    };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("stop", "Stop serving a volume; its data stays.");
        command.Arguments.Add(_name);
        command.Options.Add(_force);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        using HostDoor host = HostDoor.Open(parsed);
        VolumeJson stopped = await host.StopVolumeAsync(parsed.GetRequiredValue(_name), parsed.GetValue(_force), cancellation)
            .ConfigureAwait(false);
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(stopped, OutputJson.Default.VolumeJson);
        }
        else
        {
            terminal.WriteLine(stopped.Message!);
        }

        if (stopped.Unfinished is not { Count: > 0 } unfinished)
        {
            return ExitCode.Ok;
        }

        terminal.Warn(
            $"Drives did not answer until the end ({string.Join("; ", unfinished)}): what was not acknowledged may be lost there, and an array "
            + "is not marked clean. Check the drives and their cables.");
        return ExitCode.Failed;
    }
}
